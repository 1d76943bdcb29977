//! What an event consists of: its time, its key and its configured fields.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The type of a configured field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Float,
    Int,
    Bool,
    Text,
}

impl FieldKind {
    /// How a column of this kind is held in memory. Text is a dictionary, for most texts repeat.
    pub fn data_type(self) -> DataType {
        match self {
            FieldKind::Float => DataType::Float64,
            FieldKind::Int => DataType::Int64,
            FieldKind::Bool => DataType::Boolean,
            FieldKind::Text => text_type(),
        }
    }
}

/// A constant of a field's kind, as the configuration gives it (`default`, `missing_as`).
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Float(f64),
    Int(i64),
    Bool(bool),
    Text(String),
}

/// A configured field: where it is found in a record, and what it is there and when it is not.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    /// The column's name in every table.
    pub name: String,
    pub kind: FieldKind,
    /// The names to follow into nested objects; one element for a top-level field.
    pub path: Vec<String>,
    /// What stands for a missing or null field; of the field's kind.
    pub default: Option<Constant>,
    /// A record without this field (missing or null, and no default) is quarantined.
    pub required: bool,
    /// A value that means "missing" (such as -999), of the field's kind.
    pub missing_as: Option<Constant>,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    Rfc3339,
    UnixSeconds,
    UnixMillis,
    UnixMicros,
    /// A strptime pattern as chrono reads it; a time without zone is UTC.
    Pattern(String),
}

/// Where an event's time comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum TimeSource {
    /// One field, or several whose texts are joined by a blank. Each is a path.
    Fields { paths: Vec<Vec<String>>, format: TimeFormat },
    /// The record's own Kafka timestamp.
    Received,
    /// Recordings without a time: `from + offset * every`, by the record's offset. Microseconds.
    Counted { from: i64, every: i64 },
}

/// What an event's key is.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// A path. A record without it is quarantined.
    Field(Vec<String>),
    /// `$file`, `$partition`: the partition's name.
    Partition,
    /// `$kafka_key`: the record's key as UTF-8 text.
    Record,
}

/// The events of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSchema {
    pub time: TimeSource,
    pub key: KeySource,
    pub fields: Vec<FieldSpec>,
    /// A record longer than this many bytes is quarantined.
    pub record_bytes_max: usize,
}

/// The places of an event batch's own columns; the configured fields follow from `FIRST_FIELD` in their order.
pub const EVENT_TIME: usize = 0;
pub const KEY: usize = 1;
pub const PARTITION: usize = 2;
pub const OFFSET: usize = 3;
pub const FIRST_FIELD: usize = 4;

impl EventSchema {
    /// Where the values are found that an event is made of: its time's, its key's, its fields'.
    pub fn paths(&self) -> impl Iterator<Item = &[String]> {
        let time = match &self.time {
            TimeSource::Fields { paths, .. } => paths.as_slice(),
            TimeSource::Received | TimeSource::Counted { .. } => &[],
        };
        let key = match &self.key {
            KeySource::Field(path) => Some(path),
            KeySource::Partition | KeySource::Record => None,
        };
        time.iter().chain(key).chain(self.fields.iter().map(|field| &field.path)).map(Vec::as_slice)
    }

    /// The schema of an event batch: `event_time`, `key`, `partition` (the `PartitionId`), `offset`, then the fields.
    pub fn arrow(&self) -> SchemaRef {
        let own = [
            Field::new("event_time", time_type(), false),
            Field::new("key", text_type(), false),
            Field::new("partition", DataType::UInt64, false),
            Field::new("offset", DataType::Int64, false),
        ];
        let fields = self.fields.iter().map(|field| Field::new(&field.name, field.kind.data_type(), true));
        Arc::new(Schema::new(own.into_iter().chain(fields).collect::<Vec<_>>()))
    }
}

/// `timestamp[us, UTC]`.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Text in memory: `dictionary<u32, utf8>`.
pub fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}
