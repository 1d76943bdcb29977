//! The stored form of manifests: there and back, and bytes that are none.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::schedule::ModelFrom;

/// A manifest with something in every field.
pub(crate) fn full(sequence: u64) -> Manifest {
    let sha256 = Sha256::of(b"bytes");
    let key = |text: &str| ObjectKey::of(text.split('/'));
    let counts = Counts { read: 10, accepted: 8, too_late: 1, quarantined: 1, skipped: 2, lost: 3 };
    let (from, to) = (Offset(5), Offset(20));
    let account = PartitionAccount {
        partition: "flows/0".into(),
        from,
        to,
        counts,
        trace: Trace(u64::MAX - 7),
        watermark: Some(-7),
    };
    let file = FileAccount { path: key("late/x.parquet"), rows: 3, size: 77, sha256 };
    let table = TableAccount {
        table: "late".into(),
        memberships: Some(Memberships { events: 8, given: 16, refused: 1, published: 5, open: 10 }),
        rows: 4,
        published: 3,
        superseded: 0,
        open: 1,
        files: vec![file],
    };
    let (sequence, epoch) = (Sequence(sequence), Epoch(412));
    let mut chain = LedgerChain::empty();
    let rows = [Account::Partition(account), Account::Table(table)].map(|account| chain.link(sequence, epoch, account));
    let checkpoint = Checkpoint {
        epoch,
        at: WallTime(1_790_000_000_000_000),
        outlook: Outlook::Stopped,
        configuration: [("windows.by_label.size", "10s"), ("event.fields.Rate", "float"), ("event.key", "device")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        partitions: vec![PartitionState {
            name: "flows/0".into(),
            id: PartitionId(1 << 32),
            next: to,
            max_event_time: Some(i64::MAX - 1),
            ended: false,
            totals: counts,
            marks: BTreeMap::from([("byte".into(), 4096)]),
        }],
        state: vec![StateObject { stage: "windows".into(), key: key("_checkpoints/state/1/a"), size: 5, sha256 }],
        staged: vec![StagedRows {
            table: "late".into(),
            key: key("_staging/1/b"),
            size: 5,
            sha256,
            rows: 1,
            oldest: WallTime(3),
        }],
        publish: vec![PublishFile {
            table: "late".into(),
            staged: key("_staging/1/c"),
            target: key("late/x.parquet"),
            size: 77,
            sha256,
            rows: 3,
        }],
        ledger: Ledger::Open(rows.to_vec()),
        chain,
        models: vec![ModelSchedule { detector: "flow".into(), versions: vec![ModelFrom::always("iomt/3", sha256)] }],
        published: Some(-9),
    };
    Manifest {
        format: FORMAT,
        sequence,
        token: Token([7; 16]),
        previous: Some(sha256),
        pipeline: "iomt".into(),
        source: "kafka: flows".into(),
        entry: Entry::Checkpoint(Box::new(checkpoint)),
    }
}

#[test]
fn a_manifest_comes_back_as_it_was_written() {
    let manifest = full(3);
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes(), Sequence(3)).unwrap(), manifest);
    let claim = Manifest { entry: Entry::Claim(None), previous: None, ..manifest };
    assert_eq!(Manifest::from_bytes(&claim.to_bytes(), Sequence(3)).unwrap(), claim);
}

#[test]
fn a_manifest_of_another_format_is_told_from_a_damaged_one() {
    for format in [FORMAT - 1, FORMAT + 1] {
        let other = format!(r#"{{"format": {format}, "whatever": []}}"#);
        let told = Manifest::from_bytes(other.as_bytes(), Sequence(3));
        assert!(matches!(told, Err(ManifestFault::Format { found }) if found == format));
    }
    let foreign = format!(r#"{{"format": {FORMAT}, "sequence": 3}}"#);
    assert!(matches!(
        Manifest::from_bytes(foreign.as_bytes(), Sequence(3)),
        Err(ManifestFault::Seal(SealFault::Missing))
    ));
}

#[test]
fn a_manifest_that_was_edited_by_one_byte_is_refused() {
    let bytes = full(3).to_bytes();
    for at in 0..bytes.len() {
        let mut edited = bytes.to_vec();
        edited[at] = if edited[at] == b'1' { b'2' } else { b'1' };
        assert!(Manifest::from_bytes(&edited, Sequence(3)).is_err(), "byte {at}");
    }
}

#[test]
fn a_manifest_under_another_number_is_refused() {
    let moved = Manifest::from_bytes(&full(3).to_bytes(), Sequence(4));
    assert!(matches!(moved, Err(ManifestFault::Misplaced { found: Sequence(3) })));
}

#[test]
fn two_tokens_differ() {
    assert_ne!(Token::random().unwrap(), Token::random().unwrap());
}

#[test]
fn an_account_balances_only_when_every_offset_and_every_record_is_accounted_for() {
    let manifest = full(3);
    let Account::Partition(good) = &manifest.checkpoint().unwrap().ledger.rows()[0].account else {
        panic!("not a partition")
    };
    assert!(good.is_balanced());
    let missing = PartitionAccount { to: Offset(21), ..good.clone() };
    let backwards = PartitionAccount { from: Offset(i64::MAX), to: Offset(i64::MIN), ..good.clone() };
    let lost_record = PartitionAccount { counts: Counts { accepted: 7, ..good.counts }, ..good.clone() };
    for bad in [missing, backwards, lost_record] {
        assert!(!bad.is_balanced(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn bytes_that_were_changed_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let mut bytes = full(3).to_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Manifest::from_bytes(&bytes, Sequence(3));
        let _ = Manifest::from_bytes(&bytes[..cut.index(bytes.len())], Sequence(3));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::from_bytes(&bytes, Sequence(1));
    }
}
