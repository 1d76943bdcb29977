//! Accepted events that came after their windows had been dropped: rows of the `late` table.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::domain::schema::time_type;
use crate::domain::table::{LateReason, Rows, Table};
use crate::domain::time::EventTime;
use crate::stage::Output;
use crate::windows::exact::ends::Place;

/// Set aside until the epoch ends, so that how it was cut does not show.
#[derive(Debug, Default)]
pub struct LateEvents(Vec<Place>);

impl LateEvents {
    pub fn extend(&mut self, places: impl Iterator<Item = Place>) {
        self.0.extend(places);
    }

    /// Gives the rows by partition and offset. They are late by their distance to the watermark that made windows final; those before
    /// `seen_from` are not late, but had no window yet.
    pub fn leave(&mut self, retained: EventTime, seen_from: i64, output: &mut Output) {
        self.0.sort_unstable_by_key(|place| (place.partition, place.offset, place.time));
        for places in std::mem::take(&mut self.0).chunks(super::BATCH_ROWS_MAX) {
            output.push(Rows { table: Table::Late, batch: rows_of(places, retained, seen_from) });
        }
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::UInt64, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("received", time_type(), true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("event_time", time_type(), true),
        Field::new("late_by", DataType::Float64, true),
        Field::new("payload", DataType::Binary, true),
    ]))
}

fn rows_of(places: &[Place], retained: EventTime, seen_from: i64) -> RecordBatch {
    let reason = |place: &Place| match place.time < seen_from {
        true => LateReason::BeforeWindow.to_string(),
        false => LateReason::WindowFinal.to_string(),
    };
    let late_by = |place: &Place| match retained {
        EventTime::MIN | EventTime::MAX => None,
        _ if place.time < seen_from => None,
        EventTime(retained) => Some((i128::from(retained) - i128::from(place.time)) as f64 / 1e6),
    };
    let times = places.iter().map(|place| place.time);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(places.iter().map(|place| place.partition))),
        Arc::new(Int64Array::from_iter_values(places.iter().map(|place| place.offset))),
        new_null_array(&time_type(), places.len()),
        Arc::new(StringArray::from_iter_values(places.iter().map(reason))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(places.iter().map(late_by).collect::<Float64Array>()),
        Arc::new(BinaryArray::new_null(places.len())),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are made in the order of the schema, of one length")
}
