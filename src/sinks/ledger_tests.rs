//! The ledger's table: every row in one file or in the manifest, and restarts between.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::checkpoint::manifest::{Counts, Sequence};
use crate::checkpoint::places::Generation;
use crate::domain::ids::Offset;
use crate::sinks::parquet::TableCounts;
use crate::sinks::writer::decode;

const SECOND: i64 = 1_000_000;

fn writer() -> Writer {
    Writer { generation: Generation(Sequence(1)), worker: 0 }
}

fn rows(sequence: u64, epoch: u64) -> Vec<LedgerRow> {
    let counts = Counts { read: 10, accepted: 9, too_late: 1, ..Counts::default() };
    let (from, to) = (Offset(sequence as i64 * 10), Offset(sequence as i64 * 10 + 10));
    let partition = PartitionAccount { partition: "t/0".into(), from, to, counts, watermark: Some(-1) };
    let part = Part {
        staged: Vec::new(),
        publish: vec![PublishFile {
            table: "late".into(),
            staged: ObjectKey::of(["_staging", "x"]),
            target: ObjectKey::of(["late", "x.parquet"]),
            size: 5,
            sha256: Sha256::of(b"x"),
            rows: 1,
        }],
        tables: vec![TableCounts { table: "late".into(), rows: 1, published: 1, superseded: 0, open: 0 }],
    };
    let tables = table_accounts(&part, &BTreeMap::from([("late".to_string(), 1)]));
    let accounts = tables.into_iter().map(Account::Table).chain([Account::Partition(partition)]);
    accounts.map(|account| LedgerRow { sequence: Sequence(sequence), epoch: Epoch(epoch), account }).collect()
}

/// The sequences in a part's files, with their folders.
fn filed(part: &LedgerPart) -> Vec<(String, Vec<i64>)> {
    let file = |(file, object): (&PublishFile, &Object)| {
        let batches = decode(object.bytes.clone()).unwrap();
        let sequences = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        (file.target.as_str().split('/').nth(1).unwrap().to_string(), sequences.collect())
    };
    part.publish.iter().zip(&part.objects).map(file).collect()
}

#[test]
fn rows_stay_in_the_manifest_until_they_are_old_then_all_go_into_a_file() {
    let mut sink = LedgerSink::new(writer(), Duration::from_secs(60), None);
    let mut at = |sequence: u64, seconds: i64, publication: Publication| {
        sink.on_checkpoint(rows(sequence, sequence * 40), WallTime(seconds * SECOND), Epoch(sequence * 40), publication)
            .unwrap()
    };
    let first = at(2, 0, Publication::WhenDue);
    assert!(matches!(&first.ledger, Ledger::Open(rows) if rows.len() == 2));
    assert!(first.publish.is_empty());
    let second = at(3, 60, Publication::WhenDue);
    assert_eq!(filed(&second), [("from_epoch=0".to_string(), vec![2, 2, 3, 3])]);
    assert!(matches!(&second.ledger, Ledger::Filed(rows) if rows.len() == 2));
    assert_eq!(filed(&at(4, 61, Publication::WhenDue)), []);
    assert_eq!(filed(&at(5, 62, Publication::All)), [("from_epoch=0".to_string(), vec![4, 4, 5, 5])]);
}

#[test]
fn rows_of_epochs_far_apart_go_into_folders_of_their_own() {
    let mut sink = LedgerSink::new(writer(), Duration::from_secs(60), None);
    sink.on_checkpoint(rows(2, 99_999), WallTime(0), Epoch(99_999), Publication::WhenDue).unwrap();
    let part = sink.on_checkpoint(rows(3, 100_000), WallTime(0), Epoch(100_000), Publication::All).unwrap();
    assert_eq!(filed(&part), [("from_epoch=0".to_string(), vec![2, 2]), ("from_epoch=100000".to_string(), vec![3, 3])]);
}

#[test]
fn a_row_of_a_partition_has_no_table_and_a_row_of_a_table_no_offsets() {
    let mut sink = LedgerSink::new(writer(), Duration::ZERO, None);
    let part = sink.on_checkpoint(rows(2, 40), WallTime(0), Epoch(40), Publication::WhenDue).unwrap();
    let batch = &decode(part.objects[0].bytes.clone()).unwrap()[0];
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let nulls = |name: &str| (0..2).map(|row| column(name).is_null(row)).collect::<Vec<_>>();
    for name in ["partition", "from_offset", "read", "watermark"] {
        assert_eq!(nulls(name), [true, false], "{name}");
    }
    for name in ["table", "events", "rows_open", "files"] {
        assert_eq!(nulls(name), [false, true], "{name}");
    }
    let file = column("files").as_list::<i32>().value(0);
    assert_eq!(file.as_struct().column(0).as_string::<i32>().value(0), "late/x.parquet");
    assert_eq!(column("to_offset").as_primitive::<Int64Type>().value(1), 30);
}
