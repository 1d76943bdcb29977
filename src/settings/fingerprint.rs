//! What a manifest keeps of the configuration, and what a changed one means for the state that is stored.
//!
//! Promise: the same meaning gives the same fingerprint on every machine and in every version of the same format; what
//! only decides how fast or how often things happen is no part of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::domain::schema::{Constant, FieldSpec, KeySource, TimeFormat, TimeSource};
use crate::domain::time::micros;
use crate::sinks::tables::PartitionBy;
use crate::windows::spec::WindowSpec;

use super::event::{EventFormat, EventSection, kind_name};
use super::{Settings, SourceSection};

/// A digest for each section whose change would mix two meanings in one state, by its name: `source`, `event`, `windows.<name>`. All
/// others apply from the next start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub BTreeMap<String, String>);

impl Fingerprint {
    pub fn of(settings: &Settings) -> Fingerprint {
        let mut sections = BTreeMap::new();
        let mut add = |name: String, text: &str| sections.insert(name, digest(text));
        add("source".to_owned(), &source(&settings.source));
        add("event".to_owned(), &event(&settings.event));
        // Readers of Hive's folders take one depth of them alone.
        add(
            "output.partition_by".to_owned(),
            match settings.output.partition_by {
                PartitionBy::Hour => "hour",
                PartitionBy::Day => "day",
            },
        );
        for spec in &settings.windows {
            add(format!("windows.{}", spec.name), &window(spec));
        }
        Fingerprint(sections)
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

/// Brokers move and start positions are history; the topics and their order are the partitions' identity. Of a simulation all
/// counts but its pace and how long it goes on.
fn source(section: &SourceSection) -> String {
    match section {
        SourceSection::Kafka(kafka) => format!("kafka {:?}", kafka.topics),
        SourceSection::Files(files) => format!("files {:?}", files.paths),
        SourceSection::Simulator(simulator) => super::simulator::identity(&simulator.spec),
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
    let format = match section.format {
        EventFormat::Json => "json".to_owned(),
        EventFormat::Csv => format!("csv {:?}", section.csv),
        EventFormat::Parquet => "parquet".to_owned(),
    };
    format!("{format}\ntime {time}\nkey {key}\nrecord_bytes_max {}\n{}", schema.record_bytes_max, fields.join("\n"))
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
