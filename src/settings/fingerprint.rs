//! What a manifest keeps of the configuration, and what a changed one means for the state that is stored.
//!
//! Promise: the same meaning gives the same fingerprint on every machine and in every version of the same format; what
//! only decides how fast or how often things happen is no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::domain::schema::{Constant, FieldSpec, KeySource, TimeFormat, TimeSource};
use crate::domain::time::micros;
use crate::windows::spec::WindowSpec;

use super::event::{EventSection, kind_name};
use super::{Settings, SourceSection};

/// A digest for each section, by its name: `source`, `event`, `watermark`, `windows.<name>`, `detectors.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub BTreeMap<String, String>);

/// What a difference between the stored fingerprint and ours means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It applies from here on; the state fits.
    FromHereOn,
    /// A window that was not there: it begins empty.
    Begins,
    /// A window that is no longer there: its state is dropped.
    Ends,
    /// The state was made by another meaning of the same words: going on would mix them.
    Refused,
}

impl Fingerprint {
    pub fn of(settings: &Settings) -> Fingerprint {
        let mut sections = BTreeMap::new();
        let mut add = |name: String, text: &str| sections.insert(name, digest(text));
        add("source".to_owned(), &source(&settings.source));
        add("event".to_owned(), &event(&settings.event));
        let watermark = &settings.watermark;
        let spans = [
            ("out_of_orderness", watermark.out_of_orderness),
            ("allowed_lateness", watermark.allowed_lateness),
            ("future_skew", watermark.future_skew),
            ("idle_retention", watermark.idle_retention),
        ];
        add("watermark".to_owned(), &spans.map(|(name, span)| format!("{name}={}", micros(span))).join("\n"));
        for spec in &settings.windows {
            add(format!("windows.{}", spec.name), &window(spec));
        }
        for detector in &settings.detectors {
            let text = format!("{:?}\n{:?}", detector.spec.model, detector.spec.input);
            add(format!("detectors.{}", detector.spec.name), &text);
        }
        Fingerprint(sections)
    }

    /// One digest over all sections.
    pub fn whole(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(|(name, digest)| format!("{name}={digest}")).collect();
        digest(&lines.join("\n"))
    }

    /// The sections whose change would mix two meanings in one state: another event, source, or window of the same name. All
    /// others apply from the next start on.
    pub fn that_state_depends_on(&self) -> BTreeMap<String, String> {
        let binds = |name: &str| matches!(name, "event" | "source") || name.starts_with("windows.");
        self.0.iter().filter(|(name, _)| binds(name)).map(|(name, hash)| (name.clone(), hash.clone())).collect()
    }

    /// The sections that differ from what a manifest holds, and what each difference means.
    pub fn changes_since(&self, stored: &Fingerprint) -> Vec<(String, Effect)> {
        let names: BTreeSet<&String> = self.0.keys().chain(stored.0.keys()).collect();
        let differs = |name: &&&String| self.0.get(**name) != stored.0.get(**name);
        names.iter().filter(differs).map(|name| ((*name).clone(), self.effect(name, stored))).collect()
    }

    fn effect(&self, name: &str, stored: &Fingerprint) -> Effect {
        let is_window = name.starts_with("windows.");
        match (self.0.contains_key(name), stored.0.contains_key(name)) {
            (true, true) if is_window || name == "event" || name == "source" => Effect::Refused,
            (true, false) if is_window => Effect::Begins,
            (false, true) if is_window => Effect::Ends,
            _ => Effect::FromHereOn,
        }
    }
}

fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Brokers move and start positions are history; the topics and their order are the partitions' identity.
fn source(section: &SourceSection) -> String {
    match section {
        SourceSection::Kafka(kafka) => format!("kafka {:?}", kafka.topics),
        SourceSection::Files(files) => format!("files {:?}", files.paths),
    }
}

fn event(section: &EventSection) -> String {
    let schema = &section.schema;
    let time = match &schema.time {
        TimeSource::Fields { paths, format } => format!("fields {paths:?} {}", time_format(format)),
        TimeSource::Received => "kafka".to_owned(),
        TimeSource::Counted { from, every } => format!("from {from} every {every}"),
    };
    let key = match &schema.key {
        KeySource::Field(path) => format!("field {path:?}"),
        KeySource::Partition => "partition".to_owned(),
        KeySource::Record => "record".to_owned(),
    };
    let fields: Vec<String> = schema.fields.iter().map(field).collect();
    format!("json\ntime {time}\nkey {key}\nrecord_bytes_max {}\n{}", schema.record_bytes_max, fields.join("\n"))
}

fn time_format(format: &TimeFormat) -> String {
    match format {
        TimeFormat::Rfc3339 => "rfc3339".to_owned(),
        TimeFormat::UnixSeconds => "unix_s".to_owned(),
        TimeFormat::UnixMillis => "unix_ms".to_owned(),
        TimeFormat::UnixMicros => "unix_us".to_owned(),
        TimeFormat::Pattern(pattern) => format!("pattern {pattern:?}"),
    }
}

fn field(spec: &FieldSpec) -> String {
    let constant = |constant: &Option<Constant>| match constant {
        None => "none".to_owned(),
        // By its bits: no printing of floats is part of the format.
        Some(Constant::Float(value)) => format!("float {:016x}", value.to_bits()),
        Some(Constant::Int(value)) => format!("int {value}"),
        Some(Constant::Bool(value)) => format!("bool {value}"),
        Some(Constant::Text(value)) => format!("text {value:?}"),
    };
    format!(
        "field {:?} {} {:?} default {} required {} missing_as {}",
        spec.name,
        kind_name(spec.kind),
        spec.path,
        constant(&spec.default),
        spec.required,
        constant(&spec.missing_as)
    )
}

/// The lateness is the watermark's, and changes nothing about what a pane means.
fn window(spec: &WindowSpec) -> String {
    let aggregates: Vec<String> =
        spec.aggregates.iter().map(|one| format!("{:?} {}", one.field, one.aggregate.name())).collect();
    let (size, slide) = (micros(spec.size), micros(spec.slide));
    format!("size {size} slide {slide} by {:?}\n{}", spec.by, aggregates.join("\n"))
}
