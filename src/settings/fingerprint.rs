//! What a manifest keeps of the configuration: the keys that stored state depends on, each with its value.
//!
//! Promise: the same meaning gives the same texts on every machine and in every version of the same format. A key stands here if
//! state or tables that were made by another value of it could not be gone on with: what a window is, what an event's key is, the
//! types of fields that are stored, where a recording's records end. How a record is read apart from that (paths, defaults,
//! formats of times) is left out, so that it can be mended; so is what only decides how fast or how often things happen. No secret
//! is among them.

use std::collections::{BTreeMap, BTreeSet};

use humantime::format_duration;

use crate::domain::detector::DetectorInput;
use crate::domain::schema::{EventSchema, KeySource};
use crate::sinks::tables::PartitionBy;
use crate::windows::spec::WindowSpec;

use super::event::{EventFormat, EventSection, kind_name};
use super::{EventsStored, Settings, SourceSection};

/// Values by key, written as in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub BTreeMap<String, String>);

impl Fingerprint {
    pub fn of(settings: &Settings) -> Fingerprint {
        let mut keys = BTreeMap::new();
        // Which topics or files are read may change; `checkpoint::decide` judges that by the source's own text.
        if let SourceSection::Simulator(simulator) = &settings.source {
            for (name, value) in super::simulator::identity(&simulator.spec) {
                keys.insert(format!("source.simulator.{name}"), value);
            }
        }
        event(&settings.event, &mut keys);
        let stored = stored_fields(settings);
        for field in settings.event.schema.fields.iter().filter(|field| stored.contains(field.name.as_str())) {
            keys.insert(format!("event.fields.{}", field.name), kind_name(field.kind).to_owned());
        }
        // Readers of Hive's folders take one depth of them alone.
        let folders = match settings.output.partition_by {
            PartitionBy::Hour => "hour",
            PartitionBy::Day => "day",
        };
        keys.insert("output.partition_by".to_owned(), folders.to_owned());
        settings.windows.iter().for_each(|spec| window(spec, &mut keys));
        Fingerprint(keys)
    }
}

/// The fields that a window's state or a table has a column of.
fn stored_fields(settings: &Settings) -> BTreeSet<&str> {
    let scores_events = settings.detectors.iter().any(|section| section.spec.input == DetectorInput::Events);
    let has_events = match settings.output.events {
        EventsStored::All => true,
        EventsStored::Anomalies => scores_events,
        EventsStored::None => false,
    };
    let of_events = settings.event.schema.fields.iter().filter(|_| has_events).map(|field| field.name.as_str());
    let groups = settings.windows.iter().flat_map(|spec| spec.by.iter().map(String::as_str));
    let aggregated = settings.windows.iter().flat_map(|spec| spec.aggregates.iter().map(|one| one.field.as_str()));
    of_events.chain(groups).chain(aggregated).collect()
}

/// What an event's key is, and where records of a recording end: an offset must mean the same record for ever.
fn event(section: &EventSection, keys: &mut BTreeMap<String, String>) {
    let format = match section.format {
        EventFormat::Json => "json",
        EventFormat::Csv => "csv",
        EventFormat::Parquet => "parquet",
    };
    let character = |byte: Option<u8>, none: &str| byte.map_or(none.to_owned(), |byte| char::from(byte).to_string());
    let header = if section.csv.header.is_some() { "given" } else { "in the files" };
    keys.insert("event.format".to_owned(), format.to_owned());
    keys.insert("event.csv.separator".to_owned(), character(section.csv.separator, "as found"));
    keys.insert("event.csv.comment".to_owned(), character(section.csv.comment, "none"));
    keys.insert("event.csv.header".to_owned(), header.to_owned());
    keys.insert("event.key".to_owned(), key(&section.schema));
}

/// By the field that it is, so that where the field is found can change.
fn key(schema: &EventSchema) -> String {
    match &schema.key {
        KeySource::Field(path) => match schema.fields.iter().find(|field| field.path == *path) {
            Some(field) => field.name.clone(),
            None => path.join("."),
        },
        KeySource::Partition => "$partition".to_owned(),
        KeySource::Record => "$kafka_key".to_owned(),
    }
}

/// The lateness is the watermark's, and changes nothing about what a pane means. Every key of a window is there whatever it holds, so
/// that one that came or went is one that has changed.
fn window(spec: &WindowSpec, keys: &mut BTreeMap<String, String>) {
    let mut aggregates: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for one in &spec.aggregates {
        aggregates.entry(&one.field).or_default().insert(one.aggregate.name());
    }
    let mut add = |key: &str, value: String| keys.insert(format!("windows.{}.{key}", spec.name), value);
    add("size", format_duration(spec.size).to_string());
    add("slide", format_duration(spec.slide).to_string());
    add("by", format!("{:?}", spec.by));
    add("aggregates", format!("{:?}", aggregates.keys().collect::<Vec<_>>()));
    for (field, names) in &aggregates {
        add(&format!("aggregates.{field}"), format!("{:?}", names.iter().collect::<Vec<_>>()));
    }
}
