//! The laws of the Parquet sink: newest revisions, order, hours, and restarts that change nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;
use crate::checkpoint::manifest::Sequence;
use crate::domain::schema::{text_type, time_type};
use crate::domain::table::Table;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

fn spec() -> FileSpec {
    FileSpec {
        partition_by: PartitionBy::Hour,
        windows: vec![WindowTable { name: "by_label".into(), by: vec!["label".into()] }],
        publish_every: Duration::from_secs(60),
        file_size: 1 << 20,
    }
}

fn sink() -> TableSink {
    TableSink::new(spec(), Writer { generation: Generation(Sequence(1)), worker: 0 })
}

/// A window's row: start, label, mean, revision.
type Row = (i64, &'static str, f64, i32);

fn windows(rows: &[Row]) -> Rows {
    let times = |add: i64| -> ArrayRef {
        let times = rows.iter().map(|row| row.0 + add);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let labels = StringArray::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![
        times(0),
        times(10 * SECOND),
        cast(&labels, &text_type()).unwrap(),
        Arc::new(arrow::array::Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.3))),
    ];
    let schema = Schema::new(vec![
        Field::new("window_start", time_type(), false),
        Field::new("window_end", time_type(), false),
        Field::new("label", text_type(), true),
        Field::new("Rate_mean", DataType::Float64, true),
        Field::new("revision", DataType::Int32, false),
    ]);
    Rows { table: Table::Windows(0), batch: RecordBatch::try_new(Arc::new(schema), columns).unwrap() }
}

fn push(sink: &mut TableSink, epoch: u64, rows: &[Row]) {
    assert!(sink.push(Epoch(epoch), windows(rows)).unwrap().is_empty());
}

fn at(sink: &mut TableSink, seconds: i64, epoch: u64, publication: Publication) -> Staged {
    sink.on_checkpoint(WallTime(seconds * SECOND), Epoch(epoch), publication).unwrap()
}

/// The rows of the files of a checkpoint, in their order: folder, start, label, mean, revision, epoch.
fn told(staged: &Staged) -> Vec<String> {
    let mut lines = Vec::new();
    for file in &staged.part.publish {
        let object = staged.objects.iter().find(|object| object.key == file.staged).unwrap();
        assert_eq!((object.bytes.len() as u64, Sha256::of(&object.bytes)), (file.size, file.sha256));
        let folder = file.target.as_str().rsplit_once('/').unwrap().0;
        let mut rows = 0;
        for batch in decode(object.bytes.clone()).unwrap() {
            rows += batch.num_rows();
            lines.extend(lines_of(&batch).into_iter().map(|line| format!("{folder} {line}")));
        }
        assert_eq!(rows as u64, file.rows);
    }
    lines
}

fn lines_of(batch: &RecordBatch) -> Vec<String> {
    let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let labels = batch.column(2).as_string::<i32>();
    let means = batch.column(3).as_primitive::<Float64Type>();
    let revisions = batch.column(4).as_primitive::<Int32Type>();
    let epochs = batch.column(5).as_primitive::<Int64Type>();
    let line = |row: usize| {
        let (start, revision) = (starts.value(row) / SECOND, revisions.value(row));
        format!("{start} {} {} r{revision} e{}", labels.value(row), means.value(row), epochs.value(row))
    };
    (0..batch.num_rows()).map(line).collect()
}

#[test]
fn files_hold_the_newest_revision_sorted_in_the_hour_of_the_window() {
    let mut sink = sink();
    push(&mut sink, 1, &[(HOUR, "b", 1.0, 0), (0, "b", 2.0, 0), (0, "a", 3.0, 0)]);
    push(&mut sink, 2, &[(-10 * SECOND, "a", 4.0, 0), (0, "a", 5.0, 1), (0, "a", 6.0, 2)]);
    let staged = at(&mut sink, 0, 2, Publication::All);
    assert_eq!(
        told(&staged),
        [
            "windows/by_label/date=1969-12-31/hour=23 -10 a 4 r0 e2",
            "windows/by_label/date=1970-01-01/hour=00 0 a 6 r2 e2",
            "windows/by_label/date=1970-01-01/hour=00 0 b 2 r0 e1",
            "windows/by_label/date=1970-01-01/hour=01 3600 b 1 r0 e1",
        ]
    );
    let counts = TableCounts { table: "windows/by_label".into(), rows: 6, published: 4, superseded: 2, open: 0 };
    assert_eq!(staged.part.tables, [counts]);
    let target = &staged.part.publish[0].target;
    let digest = staged.part.publish[0].sha256.short();
    assert_eq!(target.name(), format!("00000000000000000002-0-{digest}.parquet"));
    assert!(!staged.objects.iter().any(|object| object.key.as_str().contains(".parquet")));
}

#[test]
fn rows_are_staged_until_the_oldest_is_old_enough() {
    let mut sink = sink();
    push(&mut sink, 1, &[(0, "a", 1.0, 0)]);
    let first = at(&mut sink, 100, 1, Publication::WhenDue);
    assert_eq!((first.objects.len(), first.part.staged.len(), first.part.publish.len()), (1, 1, 0));
    push(&mut sink, 2, &[(0, "a", 2.0, 1)]);
    let second = at(&mut sink, 130, 2, Publication::WhenDue);
    assert_eq!((second.objects.len(), second.part.staged.len(), second.part.publish.len()), (1, 2, 0));
    assert_eq!(second.part.staged[0], first.part.staged[0]);
    let idle = at(&mut sink, 159, 3, Publication::WhenDue);
    assert_eq!((idle.objects.len(), idle.part.staged.clone()), (0, second.part.staged));
    assert_eq!(idle.part.tables[0].open, 2);
    let third = at(&mut sink, 160, 4, Publication::WhenDue);
    assert_eq!(third.part.staged, []);
    assert_eq!(told(&third), ["windows/by_label/date=1970-01-01/hour=00 0 a 2 r1 e2"]);
    let nothing = at(&mut sink, 500, 5, Publication::All);
    assert!(nothing.objects.is_empty() && nothing.part.publish.is_empty());
}

#[test]
fn rows_beyond_the_file_size_become_a_file_at_once_and_the_next_checkpoint_names_it() {
    let mut sink = TableSink::new(
        FileSpec { file_size: 4_000, ..spec() },
        Writer { generation: Generation(Sequence(1)), worker: 3 },
    );
    let rows: Vec<Row> = (0..40).map(|row| (row * 10 * SECOND, "a", row as f64, 0)).collect();
    let (mut objects, mut files, mut held) = (0, 0, 0);
    for epoch in 1..=50 {
        objects += sink.push(Epoch(epoch), windows(&rows)).unwrap().len();
        held = held.max(sink.held_bytes());
    }
    assert!(held < 4_000, "{held}");
    let staged = at(&mut sink, 0, 50, Publication::WhenDue);
    files += staged.part.publish.len();
    assert_eq!(files, objects);
    assert!(objects > 10);
    let counts = &staged.part.tables[0];
    assert_eq!((counts.rows, counts.published + counts.open, counts.superseded), (2000, 2000, 0));
}

#[test]
fn a_configuration_that_added_an_aggregate_writes_old_and_new_rows_apart() {
    let mut before = sink();
    push(&mut before, 1, &[(0, "a", 1.0, 0)]);
    let staged = at(&mut before, 0, 1, Publication::WhenDue);
    let mut after = sink();
    after.restore(&staged.part.staged[0], staged.objects[0].bytes.clone()).unwrap();
    let Rows { table, batch } = windows(&[(0, "b", 2.0, 0)]);
    let mut fields = batch.schema().fields().to_vec();
    fields.insert(4, Arc::new(Field::new("Rate_max", DataType::Float64, true)));
    let mut columns = batch.columns().to_vec();
    columns.insert(4, columns[3].clone());
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    after.push(Epoch(2), Rows { table, batch }).unwrap();
    assert_eq!(at(&mut after, 0, 2, Publication::All).part.publish.len(), 2);
}

#[test]
#[should_panic(expected = "rows of later epochs came before the checkpoint")]
fn rows_of_a_later_epoch_are_not_taken_into_a_checkpoint() {
    let mut sink = sink();
    push(&mut sink, 2, &[(0, "a", 1.0, 0)]);
    at(&mut sink, 0, 1, Publication::WhenDue);
}

#[test]
fn anomalies_with_their_reasons_come_back_from_staging_as_they_were() {
    let mut sink = sink();
    let batch = anomalies();
    sink.push(Epoch(1), Rows { table: Table::Anomalies, batch: batch.clone() }).unwrap_err();
    sink.name_partition(PartitionId(7), "t/7");
    sink.push(Epoch(1), Rows { table: Table::Anomalies, batch }).unwrap();
    let staged = at(&mut sink, 0, 1, Publication::WhenDue);
    let mut other = TableSink::new(spec(), Writer { generation: Generation(Sequence(2)), worker: 1 });
    other.restore(&staged.part.staged[0], staged.objects[0].bytes.clone()).unwrap();
    let here = at(&mut sink, 0, 2, Publication::All);
    let there = at(&mut other, 0, 2, Publication::All);
    assert_eq!(here.objects[0].bytes, there.objects[0].bytes);
    assert_eq!(here.part.publish[0].target.as_str().split('/').nth(2).unwrap(), "hour=01");
    // The retraction of the window's row replaces it; the event's row stands.
    assert_eq!((here.part.publish.len(), here.part.tables[0].superseded), (1, 1));
}

/// A row of an event, one of a window, and the latter's retraction.
fn anomalies() -> RecordBatch {
    use arrow::array::{BooleanArray, ListBuilder, StringBuilder, StructBuilder, UInt64Array};
    let fields = vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("expected", DataType::Float64, true),
        Field::new("share", DataType::Float64, true),
    ];
    let mut why = ListBuilder::new(StructBuilder::from_fields(fields, 3));
    for row in 0..3 {
        for reason in 0..row {
            why.values().field_builder::<StringBuilder>(0).unwrap().append_value(format!("f{reason}"));
            for number in 1..4 {
                let builder = why.values().field_builder::<arrow::array::Float64Builder>(number).unwrap();
                builder.append_value(f64::from(reason));
            }
            why.values().append(true);
        }
        why.append(true);
    }
    let times = |values: [Option<i64>; 3]| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
    };
    let texts = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; 3])) };
    let (start, end) = (Some(HOUR), Some(HOUR + 10 * SECOND));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", times([Some(HOUR + 5), None, None])),
        ("window_start", times([None, start, start])),
        ("window_end", times([None, end, end])),
        ("key", texts("pump-1")),
        ("detector", texts("flow")),
        ("model", texts("iomt/3")),
        ("score", Arc::new(arrow::array::Float64Array::from(vec![1.0, 2.0, 0.5]))),
        ("threshold", Arc::new(arrow::array::Float64Array::from(vec![0.7; 3]))),
        ("severity", texts("low")),
        ("why", Arc::new(why.finish())),
        ("partition", Arc::new(UInt64Array::from(vec![Some(7), None, None]))),
        ("offset", Arc::new(Int64Array::from(vec![Some(12), None, None]))),
        ("revision", Arc::new(Int32Array::from(vec![0, 0, 1]))),
        ("retracted", Arc::new(BooleanArray::from(vec![false, false, true]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

const LABELS: [&str; 3] = ["a", "b", "c"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Crash after any checkpoint, with any number of workers before and after: the visible rows, by their newest revisions, are those of
    /// one worker that never stopped, and every row that was pushed is published, superseded or open.
    #[test]
    fn a_restart_with_other_workers_gives_the_same_rows(
        batches in prop::collection::vec(prop::collection::vec((-5i64..500, 0usize..3), 0..20), 1..12),
        crash_after in 0usize..12,
        workers in 1usize..4,
        workers_after in 1usize..4,
    ) {
        let (rows, expected) = revised(&batches);
        let sinks = |generation: u64, workers: usize| -> Vec<TableSink> {
            (0..workers).map(|worker| TableSink::new(spec(), Writer { generation: Generation(Sequence(generation)), worker })).collect()
        };
        let mut running = sinks(1, workers);
        let (mut objects, mut visible, mut last) = (BTreeMap::new(), BTreeMap::new(), Part::default());
        for (index, rows) in rows.iter().enumerate() {
            let epoch = Epoch(index as u64 + 1);
            if index == crash_after {
                running = sinks(2, workers_after);
                for (index, staged) in last.staged.iter().enumerate() {
                    let bytes: &Bytes = &objects[&staged.key];
                    running[index % workers_after].restore(staged, bytes.clone()).unwrap();
                }
            }
            let count = running.len();
            let mut parts = Vec::new();
            for (worker, sink) in running.iter_mut().enumerate() {
                let own: Vec<Row> = rows.iter().copied().filter(|row| row.0.rem_euclid(count as i64) == worker as i64).collect();
                if !own.is_empty() {
                    let more = sink.push(epoch, windows(&own)).unwrap();
                    prop_assert!(more.is_empty());
                }
                let publication = if index + 1 == batches.len() { Publication::All } else { Publication::WhenDue };
                let staged = sink.on_checkpoint(WallTime(index as i64 * 25 * SECOND), epoch, publication).unwrap();
                objects.extend(staged.objects.into_iter().map(|object| (object.key, object.bytes)));
                parts.push(staged.part);
            }
            let open: u64 = last.tables.iter().map(|counts| counts.open).sum();
            last = Part::merged(parts);
            for counts in &last.tables {
                prop_assert_eq!(open + counts.rows, counts.published + counts.superseded + counts.open);
            }
            for file in &last.publish {
                prop_assert!(visible.insert(file.target.clone(), objects[&file.staged].clone()).is_none());
            }
        }
        prop_assert_eq!(newest(&visible), expected);
    }
}

/// Revision and mean of each window's newest row.
type Newest = BTreeMap<(i64, String), (i32, u64)>;

/// Rows in which each repetition of a window is its next revision, and the newest of each: (start, label) to (revision, mean).
fn revised(batches: &[Vec<(i64, usize)>]) -> (Vec<Vec<Row>>, Newest) {
    let mut newest: Newest = BTreeMap::new();
    let mut mean = 0u64;
    let mut revise = |start: i64, label: &'static str| {
        mean += 1;
        let entry = newest.entry((start * 60 * SECOND, label.to_string())).or_insert((-1, 0));
        *entry = (entry.0 + 1, mean);
        (start * 60 * SECOND, label, mean as f64, entry.0)
    };
    let rows = batches
        .iter()
        .map(|batch| batch.iter().map(|(start, label)| revise(*start, LABELS[*label])).collect())
        .collect();
    (rows, newest)
}

fn newest(visible: &BTreeMap<ObjectKey, Bytes>) -> Newest {
    let mut newest = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for bytes in visible.values() {
        for batch in decode(bytes.clone()).unwrap() {
            let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                let key = (starts.value(row), batch.column(2).as_string::<i32>().value(row).to_string());
                let revision = batch.column(4).as_primitive::<Int32Type>().value(row);
                let mean = batch.column(3).as_primitive::<Float64Type>().value(row) as u64;
                assert!(seen.insert((key.clone(), revision)), "a row is visible twice");
                let entry = newest.entry(key).or_insert((revision, mean));
                *entry = (*entry).max((revision, mean));
            }
        }
    }
    newest
}
