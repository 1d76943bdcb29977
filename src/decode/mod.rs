//! Records to event batches: one event or one reject for each record, in their order.
//!
//! A decoder knows the configured fields and the formats; it knows no source. Whatever the bytes are, it neither fails nor
//! panics: what cannot become an event is a [`Reject`] with its offset and a reason of a closed set. Which event or which
//! reason a record becomes depends on that record alone, not on its batch or on what the decoder saw before.

use crate::domain::batch::EventBatch;
use crate::domain::raw::{Form, RawBatch};
use crate::domain::reject::Reject;
use crate::domain::schema::EventSchema;
use crate::domain::time::EventTime;

pub mod admission;
mod columnar;
mod columns;
pub mod csv;
mod dictionary;
mod events;
pub mod json;
mod number;
mod record;
pub mod refused;
mod simd;
mod text;
mod time;
mod value;

/// Texts of a batch are kept with 31-bit positions, beside those of earlier batches.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// What makes events of records.
pub trait Decode {
    /// One event or one reject for each record, in their order.
    fn decode(&mut self, raw: &RawBatch, partition_name: &str) -> Decoded;
}

/// Decodes whatever a source hands on, by the form of each batch.
pub struct Decoder {
    json: json::JsonDecoder,
    csv: csv::CsvDecoder,
    columns: columnar::ColumnsDecoder,
}

impl Decoder {
    pub fn new(schema: &EventSchema) -> Result<Decoder, DecodeError> {
        Ok(Decoder {
            json: json::JsonDecoder::new(schema)?,
            csv: csv::CsvDecoder::new(schema)?,
            columns: columnar::ColumnsDecoder::new(schema)?,
        })
    }
}

impl Decoder {
    /// The time of the first event among records of one partition; none, if none of them is an event.
    pub fn first_time(&mut self, records: &[RawBatch], partition_name: &str) -> Option<EventTime> {
        let mut times = records.iter().map(|raw| self.decode(raw, partition_name).events.times().first().copied());
        times.find_map(|time| time).map(EventTime)
    }
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &RawBatch, partition_name: &str) -> Decoded {
        match &raw.form {
            Form::Objects => self.json.decode(raw, partition_name),
            Form::Cells(layout) => self.csv.decode(raw, layout, partition_name),
            Form::Columns(columns) => self.columns.decode(raw, columns, partition_name),
        }
    }
}

/// What a raw batch became: together as many events and rejects as it had records.
#[derive(Debug)]
pub struct Decoded {
    pub events: EventBatch,
    pub rejects: Vec<Reject>,
}

/// A schema of events that cannot be decoded by.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the path of {what} is empty")]
    EmptyPath { what: String },
    #[error("`{constant}` of field `{field}` is not a finite value of the field's type")]
    Constant { field: String, constant: &'static str },
    #[error("a unix time is read from one field, not from {fields}")]
    JoinedUnixTime { fields: usize },
    #[error("`{pattern}` is not a strptime pattern that gives a date")]
    Pattern { pattern: String },
    #[error("{fields} fields are more than {fields_max}")]
    TooManyFields { fields: usize, fields_max: usize },
    #[error("records of {bytes} bytes are longer than the {bytes_max} that can be decoded")]
    RecordBytes { bytes: usize, bytes_max: usize },
    #[error("this machine has no {backend:?}")]
    Backend { backend: simd::Backend },
}
