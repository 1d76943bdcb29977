//! Events and rows as tests write them, and a stage driven by plain calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    StringDictionaryBuilder, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};

use crate::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeSource};
use crate::stage::{Output, PartState, Stage};
use crate::windows::Windows;
use crate::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

/// An event with a field of each kind.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub time: i64,
    pub key: String,
    pub partition: u64,
    pub offset: i64,
    pub float: Option<f64>,
    pub int: Option<i64>,
    pub bool: Option<bool>,
    pub text: Option<String>,
}

pub fn schema() -> SchemaRef {
    let kinds =
        [("float", FieldKind::Float), ("int", FieldKind::Int), ("bool", FieldKind::Bool), ("text", FieldKind::Text)];
    let field = |(name, kind): (&str, FieldKind)| FieldSpec {
        name: name.to_owned(),
        kind,
        path: vec![name.to_owned()],
        default: None,
        required: false,
        missing_as: None,
    };
    let schema = EventSchema {
        time: TimeSource::Received,
        key: KeySource::Partition,
        fields: kinds.map(field).to_vec(),
        record_bytes_max: 1,
    };
    schema.arrow()
}

pub fn spec(size: i64, slide: i64, by: &[&str], aggregates: &[(&str, &str)], lateness: i64) -> WindowSpec {
    let aggregate = |(field, name): &(&str, &str)| AggregateSpec {
        field: (*field).to_owned(),
        aggregate: Aggregate::parse(name).unwrap_or_else(|| panic!("no aggregate `{name}`")),
    };
    WindowSpec {
        name: "test".to_owned(),
        size: Duration::from_micros(size as u64),
        slide: Duration::from_micros(slide as u64),
        by: by.iter().map(|by| (*by).to_owned()).collect(),
        aggregates: aggregates.iter().map(aggregate).collect(),
        allowed_lateness: Duration::from_micros(lateness as u64),
    }
}

/// A batch with dictionaries of its own.
pub fn batch(events: &[Event]) -> RecordBatch {
    let texts = |of: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<UInt32Type>::new();
        events.iter().for_each(|event| builder.append_option(of(event)));
        Arc::new(builder.finish())
    };
    batch_with(events, texts(&|event| Some(event.key.clone())), texts(&|event| event.text.clone()))
}

/// A batch whose keys and texts are coded by these dictionaries, which may hold more than the batch needs.
pub fn batch_coded(events: &[Event], keys: &ArrayRef, texts: &ArrayRef) -> RecordBatch {
    let coded = |dictionary: &ArrayRef, of: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
        let values = dictionary.as_string::<i32>();
        let code = |text: String| values.iter().position(|value| value == Some(text.as_str())).unwrap() as u32;
        let codes: UInt32Array = events.iter().map(|event| of(event).map(code)).collect();
        Arc::new(DictionaryArray::new(codes, Arc::clone(dictionary)))
    };
    batch_with(events, coded(keys, &|event| Some(event.key.clone())), coded(texts, &|event| event.text.clone()))
}

pub fn dictionary<'a>(texts: impl Iterator<Item = &'a String>) -> ArrayRef {
    let mut texts: Vec<&String> = texts.collect();
    texts.sort();
    texts.dedup();
    Arc::new(StringArray::from_iter_values(texts))
}

fn batch_with(events: &[Event], keys: ArrayRef, texts: ArrayRef) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        keys,
        Arc::new(UInt64Array::from_iter_values(events.iter().map(|event| event.partition))),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.offset))),
        Arc::new(events.iter().map(|event| event.float).collect::<Float64Array>()),
        Arc::new(events.iter().map(|event| event.int).collect::<Int64Array>()),
        Arc::new(events.iter().map(|event| event.bool).collect::<BooleanArray>()),
        texts,
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// A value of a table; doubles by their bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Int(i64),
    Float(u64),
    Text(String),
}

/// A row by the names of its columns.
pub type Row = BTreeMap<String, Value>;

pub fn rows(output: &Output) -> Vec<Row> {
    let of_batch = |batch: &RecordBatch| -> Vec<Row> {
        let schema = batch.schema();
        let row = |row| {
            let columns = schema.fields().iter().zip(batch.columns());
            columns.map(|(field, column)| (field.name().clone(), value(column, row))).collect()
        };
        (0..batch.num_rows()).map(row).collect()
    };
    output.0.iter().flat_map(|rows| of_batch(&rows.batch)).collect()
}

fn value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Float64 => Value::Float(column.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Int64 => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Value::Int(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::UInt64 => Value::Int(column.as_primitive::<UInt64Type>().value(row) as i64),
        DataType::Timestamp(..) => Value::Int(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Boolean => Value::Int(column.as_boolean().value(row).into()),
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Dictionary(..) => {
            let coded = column.as_dictionary::<UInt32Type>();
            value(coded.values(), coded.keys().value(row) as usize)
        }
        other => panic!("a column of type {other}"),
    }
}

/// What is stored of a worker's state: its parts, as the last snapshot of each left them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored(pub BTreeMap<String, Vec<RecordBatch>>);

impl Stored {
    /// All of it, by one snapshot.
    pub fn of(stage: &mut Windows) -> Stored {
        let mut stored = Stored::default();
        stored.take(stage);
        stored
    }

    /// Takes the next snapshot. Gives the names of the parts that it wrote.
    pub fn take(&mut self, stage: &mut Windows) -> Vec<String> {
        let mut before = std::mem::take(&mut self.0);
        let mut written = Vec::new();
        let mut last = String::new();
        stage.snapshot(&mut |name, state| {
            let goes_on = last == name && matches!(state, PartState::Batch(_));
            let part = self.0.entry(name.to_owned()).or_default();
            assert!(goes_on || part.is_empty(), "part {name} comes twice");
            match state {
                PartState::Batch(batch) => part.push(batch),
                PartState::Unchanged => {
                    *part = before.remove(name).unwrap_or_else(|| panic!("part {name} was never written"));
                    return;
                }
            }
            if !goes_on {
                name.clone_into(&mut last);
                written.push(last.clone());
            }
        });
        written
    }

    pub fn batches(&self) -> Vec<RecordBatch> {
        self.0.values().flatten().cloned().collect()
    }
}
