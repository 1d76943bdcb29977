//! The written form of each table, and the hour a row belongs to.

use arrow::array::{BinaryArray, Float64Array, Int32Array, TimestampMicrosecondArray, UInt64Array};

use super::*;
use crate::checkpoint::places::TABLE_FOLDERS;
use crate::domain::schema::{text_type, time_type};

fn windows() -> Vec<WindowTable> {
    vec![WindowTable { name: "by_label".into(), by: vec!["label".into()] }]
}

/// When something happened, and when it came.
type Times = (Option<i64>, Option<i64>);

/// Rows of `late`, as decoding gives them.
fn late(times: &[Times]) -> RecordBatch {
    let rows = times.len();
    let time = |which: &dyn Fn(&Times) -> Option<i64>| -> ArrayRef {
        Arc::new(times.iter().map(which).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let reason = cast(&arrow::array::StringArray::from(vec!["too_late"; rows]), &text_type()).unwrap();
    let columns: [(&str, ArrayRef, bool); 7] = [
        ("partition", Arc::new(UInt64Array::from(vec![1 << 32; rows])), false),
        ("offset", Arc::new(Int64Array::from_iter_values(0..rows as i64)), false),
        ("received", time(&|times| times.1), true),
        ("reason", reason, false),
        ("event_time", time(&|times| times.0), true),
        ("late_by", Arc::new(Float64Array::from(vec![1.5; rows])), true),
        ("payload", Arc::new(BinaryArray::from(vec![&b"{}"[..]; rows])), true),
    ];
    let fields: Vec<_> =
        columns.iter().map(|(name, column, is_null)| Field::new(*name, column.data_type().clone(), *is_null)).collect();
    let columns = columns.into_iter().map(|(_, column, _)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn names() -> PartitionNames {
    PartitionNames::from([(PartitionId(1 << 32), "flows/0".to_string())])
}

#[test]
fn the_written_form_names_the_partition_spells_texts_out_and_ends_with_the_epoch() {
    let shape = TableShape::of(Table::Late, &[]).unwrap();
    let batch = written(&shape, &late(&[(Some(0), None)]), Epoch(7), &names()).unwrap();
    let told: Vec<String> =
        batch.schema().fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect();
    assert_eq!(
        told,
        [
            "partition: Utf8",
            "offset: Int64",
            "received: Timestamp(µs, \"UTC\")",
            "reason: Utf8",
            "event_time: Timestamp(µs, \"UTC\")",
            "late_by: Float64",
            "payload: Binary",
            "epoch: Int64",
        ]
    );
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "flows/0");
    assert_eq!(batch.column(3).as_string::<i32>().value(0), "too_late");
    assert_eq!(batch.column(7).as_primitive::<arrow::datatypes::Int64Type>().value(0), 7);
}

#[test]
fn rows_of_a_partition_that_nobody_named_are_an_error() {
    let shape = TableShape::of(Table::Late, &[]).unwrap();
    let fault = written(&shape, &late(&[(None, None)]), Epoch(7), &PartitionNames::new()).unwrap_err();
    assert_eq!(fault.to_string(), "rows of `late` come from partition 4294967296, which nobody named");
}

#[test]
fn a_row_belongs_to_the_hour_of_its_event_else_of_its_arrival_else_to_the_first() {
    let hour = HOUR_MICROS;
    let cases = [
        (Some(hour * 3 + 1), Some(0), "date=1970-01-01/hour=03"),
        (None, Some(hour * 25), "date=1970-01-02/hour=01"),
        (None, None, "date=1970-01-01/hour=00"),
        (Some(-1), None, "date=1969-12-31/hour=23"),
        (Some(-hour), None, "date=1969-12-31/hour=23"),
        (Some(-hour - 1), None, "date=1969-12-31/hour=22"),
        (Some(1_790_000_000_000_000), None, "date=2026-09-21/hour=14"),
        (Some(i64::MAX), None, "date=1970-01-01/hour=00"),
        (Some(i64::MIN), None, "date=1970-01-01/hour=00"),
        (Some(253_402_300_799_999_999), None, "date=9999-12-31/hour=23"),
        (Some(253_402_300_800_000_000), None, "date=1970-01-01/hour=00"),
        (Some(-62_135_596_800_000_000), None, "date=0001-01-01/hour=00"),
        (Some(-62_135_596_800_000_001), None, "date=1970-01-01/hour=00"),
    ];
    let shape = TableShape::of(Table::Late, &[]).unwrap();
    let batch = late(&cases.map(|(event, received, _)| (event, received)));
    let places = Places::of(&shape, &written_schema(&batch.schema())).unwrap();
    let told = |by: PartitionBy| -> Vec<String> {
        folders(&batch, &places.time, by).into_iter().map(|hour| by.folder(hour).join("/")).collect()
    };
    let by_hour = told(PartitionBy::Hour);
    let dates: Vec<&str> = by_hour.iter().map(|folder| folder.split('/').next().unwrap()).collect();
    assert_eq!(told(PartitionBy::Day), dates);
    assert_eq!(by_hour, cases.map(|(_, _, folder)| folder));
}

#[test]
fn a_table_is_known_by_its_name_as_by_its_number() {
    for table in [Table::Events, Table::Windows(0), Table::Anomalies, Table::Late, Table::Quarantine] {
        let shape = TableShape::of(table, &windows()).unwrap();
        assert_eq!(TableShape::named(&shape.name, &windows()).unwrap(), shape);
        let first = shape.folder.as_str().split('/').next().unwrap();
        assert!(TABLE_FOLDERS.contains(&first), "{first}");
    }
    let gone = TableShape::named("windows/gone", &windows()).unwrap();
    assert_eq!((gone.folder.as_str(), gone.identity.len()), ("windows/gone", 0));
    assert!(TableShape::named("nothing", &windows()).is_err());
    assert!(TableShape::of(Table::Windows(1), &windows()).is_err());
}

#[test]
fn rows_without_a_column_that_their_table_needs_are_refused_by_its_name() {
    let shape = TableShape::of(Table::Windows(0), &windows()).unwrap();
    let schema = Schema::new(vec![
        Field::new("window_start", time_type(), false),
        Field::new("revision", Int32Array::from(vec![0]).data_type().clone(), false),
    ]);
    let fault = Places::of(&shape, &schema).unwrap_err();
    assert_eq!(fault.to_string(), "rows of `windows/by_label` have no usable column `label`");
}
