//! An anomaly: the columns of its row, and what names one that was found in a window.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::domain::schema::time_type;

/// The columns of `Table::Anomalies`.
pub fn schema() -> SchemaRef {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    Arc::new(Schema::new(vec![
        field("time", time_type(), true),
        field("window_start", time_type(), true),
        field("window_end", time_type(), true),
        field("key", DataType::Utf8, false),
        field("detector", DataType::Utf8, false),
        field("model", DataType::Utf8, false),
        field("score", DataType::Float64, false),
        field("threshold", DataType::Float64, false),
        field("severity", DataType::Utf8, false),
        field("why", DataType::List(why_item()), false),
        field("partition", DataType::UInt64, true),
        field("offset", DataType::Int64, true),
        field("revision", DataType::Int32, false),
        field("retracted", DataType::Boolean, false),
    ]))
}

/// An element of `why`.
pub fn why_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(why_fields()), false))
}

pub fn why_fields() -> Fields {
    Fields::from(vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
        Field::new("expected", DataType::Float64, true),
        Field::new("share", DataType::Float64, false),
    ])
}

/// Which anomaly of a window: the same in all its revisions. In the order of the windows' ends, for that is the order in which
/// windows become final. Times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WindowAnomaly {
    pub window_end: i64,
    pub window_start: i64,
    pub key: String,
    pub detector: String,
}
