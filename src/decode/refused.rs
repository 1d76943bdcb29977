//! The rows of what was refused: every record keeps its address, its bytes and the reason.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::decode::admission::TooLate;
use crate::decode::columnar::row_as_json;
use crate::domain::ids::Offset;
use crate::domain::raw::{Form, RawBatch};
use crate::domain::reject::Reject;
use crate::domain::schema::time_type;
use crate::domain::table::LateReason;

/// The schema of `late` rows in memory.
fn late_schema() -> SchemaRef {
    Arc::new(Schema::new(fields()))
}

/// The schema of `quarantine` rows in memory: with the record's own key, for whoever plays it again.
fn quarantine_schema() -> SchemaRef {
    let key = Field::new("record_key", DataType::Binary, true);
    Arc::new(Schema::new([fields(), vec![key]].concat()))
}

fn fields() -> Vec<Field> {
    vec![
        Field::new("partition", DataType::UInt64, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("received", time_type(), true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("event_time", time_type(), true),
        Field::new("late_by", DataType::Float64, true),
        Field::new("payload", DataType::Binary, true),
    ]
}

/// One row a refused record.
struct Builder<'a> {
    raw: &'a RawBatch,
    offset: Int64Builder,
    received: TimestampMicrosecondBuilder,
    reason: StringBuilder,
    event_time: TimestampMicrosecondBuilder,
    late_by: Float64Builder,
    payload: BinaryBuilder,
    record_key: BinaryBuilder,
}

impl<'a> Builder<'a> {
    fn new(raw: &'a RawBatch) -> Builder<'a> {
        Builder {
            raw,
            offset: Int64Builder::new(),
            received: TimestampMicrosecondBuilder::new(),
            reason: StringBuilder::new(),
            event_time: TimestampMicrosecondBuilder::new(),
            late_by: Float64Builder::new(),
            payload: BinaryBuilder::new(),
            record_key: BinaryBuilder::new(),
        }
    }

    fn push(&mut self, offset: Offset, reason: &str, event_time: Option<i64>, late_by: Option<f64>) {
        let record = self.raw.find(offset).expect("a refused record is one of its batch");
        let is_tombstone = self.raw.tombstones.binary_search(&(record as u32)).is_ok();
        self.offset.append_value(offset.0);
        self.received.append_option(self.raw.received.as_ref().map(|received| received[record]));
        self.reason.append_value(reason);
        self.event_time.append_option(event_time);
        self.late_by.append_option(late_by);
        self.record_key.append_option(self.raw.key(record));
        match &self.raw.form {
            // What never had bytes is shown as an object, as it was read.
            Form::Columns(columns) => self.payload.append_value(row_as_json(columns, record)),
            _ => self.payload.append_option((!is_tombstone).then(|| self.raw.payload(record))),
        }
    }

    fn finish(mut self, schema: SchemaRef) -> RecordBatch {
        let offset = self.offset.finish();
        let rows = arrow::array::Array::len(&offset);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(vec![self.raw.partition.0; rows])),
            Arc::new(offset),
            Arc::new(self.received.finish().with_timezone("UTC")),
            Arc::new(self.reason.finish()),
            Arc::new(self.event_time.finish().with_timezone("UTC")),
            Arc::new(self.late_by.finish()),
            Arc::new(self.payload.finish()),
            Arc::new(self.record_key.finish()),
        ];
        let columns = columns[..schema.fields().len()].to_vec();
        RecordBatch::try_new(schema, columns).expect("the builders follow the schema")
    }
}

/// Rows for `quarantine`: the reason, with the field at fault behind a colon.
pub fn quarantine(raw: &RawBatch, rejects: &[Reject]) -> RecordBatch {
    let mut rows = Builder::new(raw);
    for reject in rejects {
        rows.push(reject.offset, &reject.reason.to_string(), None, None);
    }
    rows.finish(quarantine_schema())
}

/// Rows for `late`.
pub fn late(raw: &RawBatch, events: &[TooLate]) -> RecordBatch {
    let mut rows = Builder::new(raw);
    let reason = LateReason::TooLate.to_string();
    for event in events {
        rows.push(event.offset, &reason, Some(event.event_time.0), Some(event.late_by as f64 / 1e6));
    }
    rows.finish(late_schema())
}
