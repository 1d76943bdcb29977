//! What becomes of a record, told by stories: each record's event as `time|key|fields`, or the reason for its reject.

mod monsters;
mod oracle;
mod properties;
mod records;
mod stories;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt32Type};

use super::{Backend, JsonDecoder};
use crate::decode::Decoded;
use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, Offsets, RawBatch};
use crate::domain::schema::{EventSchema, FIRST_FIELD, FieldKind, FieldSpec, KEY, KeySource, TimeFormat, TimeSource};

/// Records of partition 7 from offset 100 on, with a newline between them.
fn raw(records: &[impl AsRef<[u8]>]) -> RawBatch {
    let (mut bytes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        if !bytes.is_empty() {
            bytes.push(b'\n');
        }
        starts.push(bytes.len() as u32);
        bytes.extend_from_slice(record.as_ref());
        ends.push(bytes.len() as u32);
    }
    RawBatch {
        partition: PartitionId(7),
        form: Form::Objects,
        bytes,
        starts,
        ends,
        offsets: Offsets::Dense { first: Offset(100) },
        received: None,
        keys: None,
        tombstones: Vec::new(),
    }
}

fn path(text: &str) -> Vec<String> {
    text.split('/').map(String::from).collect()
}

fn field(name: &str, kind: FieldKind) -> FieldSpec {
    FieldSpec { name: name.into(), kind, path: path(name), default: None, required: false, missing_as: None }
}

/// Events without a time or a key of their own: the time counts in microseconds, the key is the partition's name.
fn schema(fields: impl IntoIterator<Item = FieldSpec>) -> EventSchema {
    EventSchema {
        time: TimeSource::Counted { from: 0, every: 1 },
        key: KeySource::Partition,
        fields: fields.into_iter().collect(),
        record_bytes_max: 1 << 20,
    }
}

fn timed(field: &str, format: TimeFormat) -> TimeSource {
    TimeSource::Fields { paths: vec![path(field)], format }
}

/// A row's value as it would be written, strings in quotes.
fn show(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    match column.data_type() {
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        _ => {
            let column = column.as_dictionary::<UInt32Type>();
            format!("{:?}", column.values().as_string::<i32>().value(column.keys().value(row) as usize))
        }
    }
}

/// What became of each record, in their order.
fn outcomes(raw: &RawBatch, decoded: &Decoded) -> Vec<String> {
    let events = &decoded.events;
    assert_eq!(events.len() + decoded.rejects.len(), raw.len());
    let (mut row, mut reject) = (0, 0);
    (0..raw.len())
        .map(|index| {
            let offset = raw.offset(index);
            if let Some(found) = decoded.rejects.get(reject).filter(|found| found.offset == offset) {
                reject += 1;
                let field = found.reason.field().map(|field| format!(" {field}"));
                return found.reason.name().to_owned() + &field.unwrap_or_default();
            }
            assert_eq!((events.offsets()[row], events.partitions()[row]), (offset.0, raw.partition.0));
            let columns = events.columns().columns();
            let shown: Vec<String> =
                std::iter::once(&columns[KEY]).chain(&columns[FIRST_FIELD..]).map(|column| show(column, row)).collect();
            row += 1;
            format!("{}|{}", events.times()[row - 1], shown.join("|"))
        })
        .collect()
}

/// Decodes on every backend, twice: all must agree.
fn decode(schema: &EventSchema, raw: &RawBatch) -> Vec<String> {
    let mut found: Option<Vec<String>> = None;
    for backend in Backend::available() {
        let mut decoder = JsonDecoder::with_backend(schema, backend).unwrap();
        // The second time the decoder knows the records' forms.
        for _ in 0..2 {
            let outcomes = outcomes(raw, &decoder.decode(raw, "file.ndjson"));
            assert_eq!(found.get_or_insert_with(|| outcomes.clone()), &outcomes, "{backend:?}");
        }
    }
    found.unwrap()
}

/// Decodes records that all stand in one batch, and compares their outcomes.
fn check(schema: &EventSchema, cases: &[(&str, &str)]) {
    let records: Vec<&str> = cases.iter().map(|(record, _)| *record).collect();
    let outcomes = decode(schema, &raw(&records));
    for ((record, wanted), outcome) in cases.iter().zip(&outcomes) {
        assert_eq!(outcome, wanted, "{record}");
    }
}

/// The same, looking only at the fields.
fn check_fields(fields: impl IntoIterator<Item = FieldSpec>, cases: &[(&str, &str)]) {
    let records: Vec<&str> = cases.iter().map(|(record, _)| *record).collect();
    let outcomes = decode(&schema(fields), &raw(&records));
    for ((record, wanted), outcome) in cases.iter().zip(&outcomes) {
        let fields = outcome.splitn(3, '|').nth(2).unwrap_or(outcome);
        assert_eq!(fields, *wanted, "{record}");
    }
}
