//! The ledger's table: every row in one file or in the manifest, and restarts between.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::manifest::Counts;
use crate::checkpoint::places::Generation;
use crate::domain::ids::Offset;
use crate::domain::trace::Trace;
use crate::sinks::ledger_rows;
use crate::sinks::parquet::TableCounts;
use crate::sinks::writer::decode;

const SECOND: i64 = 1_000_000;

fn writer() -> Writer {
    Writer { generation: Generation(Sequence(1)), worker: 0 }
}

fn accounts(sequence: u64) -> Vec<Account> {
    let counts = Counts { read: 10, accepted: 9, too_late: 1, ..Counts::default() };
    let (from, to) = (Offset(sequence as i64 * 10), Offset(sequence as i64 * 10 + 10));
    let partition =
        PartitionAccount { partition: "t/0".into(), from, to, counts, trace: Trace(u64::MAX - 7), watermark: Some(-1) };
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
    let members = Memberships { events: 9, given: 18, refused: 1, published: 10, open: 7 };
    let tables = table_accounts(&part, &BTreeMap::from([("windows/w".to_string(), members)]));
    tables.into_iter().map(Account::Table).chain([Account::Partition(partition)]).collect()
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
        let place = (Sequence(sequence), Epoch(sequence * 40));
        sink.on_checkpoint(accounts(sequence), place, WallTime(seconds * SECOND), publication).unwrap()
    };
    let first = at(2, 0, Publication::WhenDue);
    assert!(matches!(&first.ledger, Ledger::Open(rows) if rows.len() == 3));
    assert!(first.publish.is_empty());
    let second = at(3, 60, Publication::WhenDue);
    assert_eq!(filed(&second), [("from_epoch=0".to_string(), vec![2, 2, 2, 3, 3, 3])]);
    assert!(matches!(&second.ledger, Ledger::Filed(rows) if rows.len() == 3));
    assert_eq!(filed(&at(4, 61, Publication::WhenDue)), []);
    assert_eq!(filed(&at(5, 62, Publication::All)), [("from_epoch=0".to_string(), vec![4, 4, 4, 5, 5, 5])]);
}

#[test]
fn rows_of_epochs_far_apart_go_into_folders_of_their_own() {
    let mut sink = LedgerSink::new(writer(), Duration::from_secs(60), None);
    let mut at = |sequence, epoch, publication| {
        sink.on_checkpoint(accounts(sequence), (Sequence(sequence), Epoch(epoch)), WallTime(0), publication).unwrap()
    };
    at(2, 99_999, Publication::WhenDue);
    let part = at(3, 100_000, Publication::All);
    let wanted = [("from_epoch=0".to_string(), vec![2, 2, 2]), ("from_epoch=100000".to_string(), vec![3, 3, 3])];
    assert_eq!(filed(&part), wanted);
}

#[test]
fn a_row_of_a_partition_has_no_table_and_a_row_of_a_table_no_offsets() {
    let mut sink = LedgerSink::new(writer(), Duration::ZERO, None);
    let place = (Sequence(2), Epoch(40));
    let part = sink.on_checkpoint(accounts(2), place, WallTime(0), Publication::WhenDue).unwrap();
    let batch = &decode(part.objects[0].bytes.clone()).unwrap()[0];
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let nulls = |name: &str| (0..3).map(|row| column(name).is_null(row)).collect::<Vec<_>>();
    for name in ["partition", "from_offset", "read", "watermark"] {
        assert_eq!(nulls(name), [true, true, false], "{name}");
    }
    for name in ["table", "rows_open", "files"] {
        assert_eq!(nulls(name), [false, false, true], "{name}");
    }
    assert_eq!(nulls("memberships"), [true, false, true], "only windows count events");
    let file = column("files").as_list::<i32>().value(0);
    assert_eq!(file.as_struct().column(0).as_string::<i32>().value(0), "late/x.parquet");
    assert_eq!(column("to_offset").as_primitive::<Int64Type>().value(2), 30);
}

#[test]
fn the_rows_of_a_file_come_back_as_they_were_and_go_on_in_their_chain() {
    let mut sink = LedgerSink::new(writer(), Duration::from_secs(60), None);
    let mut at = |sequence, publication| {
        let place = (Sequence(sequence), Epoch(sequence * 40));
        sink.on_checkpoint(accounts(sequence), place, WallTime(0), publication).unwrap()
    };
    let Ledger::Open(first) = at(2, Publication::WhenDue).ledger else { panic!("not due yet") };
    let second = at(3, Publication::All);
    let back = ledger_rows::read(second.objects[0].bytes.clone()).unwrap();
    assert_eq!(back, [&first, second.ledger.rows()].concat());
    let mut chain = LedgerChain::empty();
    assert!(back.iter().all(|row| chain.follow(row)));
    assert_eq!(chain, second.chain);
}

proptest! {
    #[test]
    fn a_file_of_the_ledger_that_was_damaged_anywhere_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut sink = LedgerSink::new(writer(), Duration::ZERO, None);
        let place = (Sequence(2), Epoch(40));
        let part = sink.on_checkpoint(accounts(2), place, WallTime(0), Publication::WhenDue).unwrap();
        let mut bytes = part.objects[0].bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = ledger_rows::read(bytes.clone().into());
        bytes.truncate(cut.index(bytes.len()));
        let _ = ledger_rows::read(bytes.into());
    }
}
