//! Owners of an output that stop at every possible call, sleep, and meet each other.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::chain::LedgerChain;
use crate::checkpoint::decide::Conflict;
use crate::checkpoint::manifest::{
    Counts, Ledger, Outlook, PartitionAccount, PartitionState, StagedRows, StateObject, WallTime,
};
use crate::domain::ids::{Epoch, Offset, PartitionId};
use crate::domain::trace::Trace;
use crate::storage::S3Options;
use crate::storage::patience::Patience;
use crate::storage::simulated::{LastCall, Simulated};

fn identity() -> Identity {
    Identity { pipeline: "iomt".into(), source: "files".into(), configuration: BTreeMap::new() }
}

fn one_try() -> Patience {
    Patience { budget: Duration::ZERO, pause: Duration::ZERO, pause_max: Duration::ZERO, ..Patience::default() }
}

fn over(memory: &Arc<InMemory>) -> Storage {
    Storage::over(Arc::clone(memory) as Arc<_>, one_try()).unwrap()
}

/// A stand-in for a pipeline: counts offsets, ten a checkpoint. Each checkpoint stages one row; every third publishes the rows that
/// wait, this one included, as a file with a line each. The state is the next offset.
fn step(storage: &Storage, log: &mut CheckpointLog) -> Result<(), CheckpointError> {
    let before = log.current().cloned();
    let from = before.as_ref().map_or(0, |checkpoint| checkpoint.partitions[0].next.0);
    let epoch = Epoch(before.as_ref().map_or(1, |checkpoint| checkpoint.epoch.0 + 1));
    let (generation, sequence) = (log.generation(), log.next_sequence());
    let put = |key: &dyn Fn(&Sha256) -> ObjectKey, text: String| -> Result<(ObjectKey, u64, Sha256), CheckpointError> {
        let bytes = Bytes::from(text);
        let sha256 = Sha256::of(&bytes);
        storage.put(&key(&sha256), &bytes)?;
        Ok((key(&sha256), bytes.len() as u64, sha256))
    };
    let (key, size, sha256) = put(&|digest| generation.state(epoch, 0, "counter", digest), format!("{}", from + 10))?;
    let state = vec![StateObject { stage: "counter".into(), key, size, sha256 }];
    let mut chain = before.as_ref().map_or(LedgerChain::empty(), |checkpoint| checkpoint.chain);
    let mut staged = before.map_or(Vec::new(), |checkpoint| checkpoint.staged.clone());
    let mut publish = Vec::new();
    if (from / 10) % 3 == 2 {
        let mut lines = String::new();
        for rows in staged.drain(..) {
            let bytes = storage.get_exactly(&rows.key, rows.size, &rows.sha256)?;
            lines.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        lines.push_str(&format!("{from}\n"));
        let (key, size, sha256) = put(&|digest| generation.staged(epoch, 0, "file", digest), lines)?;
        let target = ObjectKey::of(["late", &format!("{:020}-0-{}.parquet", epoch.0, sha256.short())]);
        publish.push(PublishFile { table: "late".into(), staged: key, target, size, sha256, rows: 1 });
    } else {
        let (key, size, sha256) = put(&|digest| generation.staged(epoch, 0, "rows", digest), format!("{from}\n"))?;
        let oldest = WallTime(0);
        staged.push(StagedRows { table: "late".into(), key, size, sha256, rows: 1, oldest });
    }
    let counts = Counts { read: 10, accepted: 10, ..Counts::default() };
    let (name, to) = ("a".to_string(), Offset(from + 10));
    let account = PartitionAccount {
        partition: name.clone(),
        from: Offset(from),
        to,
        counts,
        trace: Trace(u64::MAX - 7),
        watermark: None,
    };
    let partition = PartitionState {
        name,
        id: PartitionId(0),
        next: to,
        max_event_time: None,
        ended: false,
        totals: counts,
        marks: BTreeMap::new(),
    };
    let committed = log.commit(Checkpoint {
        epoch,
        at: WallTime(0),
        outlook: Outlook::Open,
        configuration: BTreeMap::new(),
        partitions: vec![partition],
        state,
        staged,
        publish,
        ledger: Ledger::Filed(vec![chain.link(sequence, epoch, Account::Partition(account))]),
        chain,
        models: Vec::new(),
        published: None,
    })?;
    log.publish(&committed)?;
    log.sweep()?;
    Ok(())
}

/// Opens and steps until `offsets` were committed.
fn run(storage: &Storage, offsets: i64) -> Result<(), CheckpointError> {
    let Opened { mut log, resume } = CheckpointLog::open(storage.clone(), identity())?;
    if let Some(checkpoint) = &resume {
        let state = &checkpoint.state[0];
        let bytes = storage.get_exactly(&state.key, state.size, &state.sha256)?;
        assert_eq!(bytes, format!("{}", checkpoint.partitions[0].next));
        for rows in &checkpoint.staged {
            storage.get_exactly(&rows.key, rows.size, &rows.sha256)?;
        }
    }
    while log.current().is_none_or(|current| current.partitions[0].next.0 < offsets) {
        step(storage, &mut log)?;
    }
    Ok(())
}

/// The lines of all visible files, sorted, so that one that is there twice is seen.
fn visible(storage: &Storage) -> Vec<i64> {
    let mut lines = Vec::new();
    for object in storage.list(&ObjectKey::of(["late"])).unwrap() {
        let text = String::from_utf8(storage.get(&object.key).unwrap().to_vec()).unwrap();
        lines.extend(text.lines().map(|line| line.parse::<i64>().unwrap()));
    }
    lines.sort_unstable();
    lines
}

fn names(storage: &Storage, folder: &ObjectKey) -> Vec<String> {
    storage.list(folder).unwrap().into_iter().map(|object| object.key.to_string()).collect()
}

const OFFSETS: i64 = 60;

fn all_lines() -> Vec<i64> {
    (0..OFFSETS / 10).map(|line| line * 10).collect()
}

#[test]
fn a_process_that_stops_at_any_call_changes_nothing_about_the_visible_rows() {
    let whole = Simulated::stopping(Arc::new(InMemory::new()), u64::MAX, LastCall::Undone);
    run(&Storage::over(Arc::new(whole.clone()), one_try()).unwrap(), OFFSETS).unwrap();
    assert!(whole.calls() > 40, "{}", whole.calls());
    for (stop, last) in (0..whole.calls()).flat_map(|stop| [(stop, LastCall::Undone), (stop, LastCall::Done)]) {
        let memory = Arc::new(InMemory::new());
        let stopping = Simulated::stopping(Arc::clone(&memory), stop, last);
        let first = run(&Storage::over(Arc::new(stopping), one_try()).unwrap(), OFFSETS);
        let when = format!("stopped at call {stop}, {last:?}");
        assert!(first.is_err(), "{when}");
        let storage = over(&memory);
        // Nothing uncommitted is visible, and what is visible is a part of the whole.
        assert!(all_lines().starts_with(&visible(&storage)), "{when}");
        run(&storage, OFFSETS).unwrap();
        assert_eq!(visible(&storage), all_lines(), "{when}");
        // No orphans: all rows were published, so only the last state is left.
        assert_eq!(names(&storage, &places::staging()), Vec::<String>::new(), "{when}");
        assert_eq!(names(&storage, &places::state()).len(), 1, "{when}");
    }
}

#[test]
fn a_process_that_stops_again_and_again_gets_there() {
    let memory = Arc::new(InMemory::new());
    let mut starts = 0u64;
    loop {
        let stopping = Simulated::stopping(Arc::clone(&memory), 12 + (starts * 7) % 13, LastCall::Done);
        starts += 1;
        match run(&Storage::over(Arc::new(stopping), one_try()).unwrap(), OFFSETS) {
            Ok(()) => break,
            Err(_) => assert!(starts < 200, "no progress"),
        }
    }
    assert!(starts > 3);
    assert_eq!(visible(&over(&memory)), all_lines());
}

#[test]
fn a_process_that_was_thought_dead_cannot_commit_and_the_other_goes_on() {
    let storage = Storage::in_memory().unwrap();
    let mut sleeper = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
    step(&storage, &mut sleeper).unwrap();
    let Opened { mut log, resume } = CheckpointLog::open(storage.clone(), identity()).unwrap();
    assert_eq!(resume.unwrap().partitions[0].next, Offset(10));
    let error = step(&storage, &mut sleeper).unwrap_err();
    assert!(matches!(error, CheckpointError::Superseded { sequence: Sequence(3) }), "{error}");
    // What the sleeper had staged is of no lower generation than the next start sweeps.
    while log.current().is_none_or(|current| current.partitions[0].next.0 < OFFSETS) {
        step(&storage, &mut log).unwrap();
    }
    assert_eq!(visible(&storage), all_lines());
    run(&storage, OFFSETS).unwrap();
    assert_eq!(names(&storage, &places::staging()), Vec::<String>::new());
}

#[test]
fn a_process_that_slept_for_long_neither_commits_nor_disturbs_the_row() {
    let storage = Storage::in_memory().unwrap();
    let mut sleeper = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
    let mut log = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
    for _ in 0..200 {
        step(&storage, &mut log).unwrap();
    }
    let kept = names(&storage, &places::manifests()).iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(kept, 65, "the first and the newest 64");
    assert!(matches!(step(&storage, &mut sleeper), Err(CheckpointError::Superseded { .. })));
    step(&storage, &mut log).unwrap();
    let resume = CheckpointLog::open(storage, identity()).unwrap().resume.unwrap();
    assert_eq!(resume.partitions[0].next, Offset(2010));
}

#[test]
fn a_process_knows_that_it_was_replaced_however_long_it_slept() {
    // It claims the first, the second, or a later number; its successors go on by one, or until what follows its own was swept.
    for (before, after) in [(0, 1), (0, 80), (1, 1), (1, 80), (9, 1), (9, 80)] {
        let storage = Storage::in_memory().unwrap();
        run(&storage, before * 10).unwrap();
        let mut sleeper = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
        sleeper.confirm().unwrap();
        step(&storage, &mut sleeper).unwrap();
        sleeper.confirm().unwrap();
        run(&storage, (before + 1 + after) * 10).unwrap();
        let error = sleeper.confirm().unwrap_err();
        assert!(matches!(error, CheckpointError::Superseded { .. }), "{before}, {after}: {error}");
    }
}

#[test]
fn the_row_is_chained_by_the_digests_of_its_manifests() {
    let storage = Storage::in_memory().unwrap();
    run(&storage, OFFSETS).unwrap();
    let bytes: Vec<Bytes> =
        (1..=7).map(|sequence| storage.get(&places::manifest(Sequence(sequence))).unwrap()).collect();
    for (index, pair) in bytes.windows(2).enumerate() {
        let manifest = Manifest::from_bytes(&pair[1], Sequence(index as u64 + 2)).unwrap();
        assert_eq!(manifest.previous, Some(Sha256::of(&pair[0])));
    }
}

#[test]
fn another_pipeline_or_source_is_refused_and_nothing_is_written() {
    let storage = Storage::in_memory().unwrap();
    run(&storage, OFFSETS).unwrap();
    let before = names(&storage, &places::manifests());
    let other = Identity { pipeline: "sensors".into(), ..identity() };
    let error = CheckpointLog::open(storage.clone(), other).unwrap_err();
    assert!(matches!(error, CheckpointError::Conflict(Conflict::Pipeline { .. })));
    let other = Identity { source: "kafka".into(), ..identity() };
    let error = CheckpointLog::open(storage.clone(), other).unwrap_err();
    assert!(matches!(error, CheckpointError::Conflict(Conflict::Source { .. })));
    assert_eq!(names(&storage, &places::manifests()), before);
}

#[test]
fn files_without_a_checkpoint_are_not_ours_to_add_to() {
    let storage = Storage::in_memory().unwrap();
    storage.put(&ObjectKey::of(["windows", "x.parquet"]), &Bytes::from_static(b"x")).unwrap();
    let error = CheckpointLog::open(storage, identity()).unwrap_err();
    assert!(matches!(error, CheckpointError::Conflict(Conflict::TablesAlone { .. })));
}

#[test]
fn an_account_that_does_not_add_up_is_never_written() {
    let storage = Storage::in_memory().unwrap();
    let mut log = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
    step(&storage, &mut log).unwrap();
    let good = Checkpoint { epoch: Epoch(2), publish: Vec::new(), ..(**log.current().unwrap()).clone() };
    let mut skipping = good.clone();
    skipping.partitions[0].next = Offset(30);
    let mut unbalanced = good.clone();
    let Ledger::Filed(rows) = &mut unbalanced.ledger else { panic!("filed above") };
    rows[0].sequence = log.next_sequence();
    if let Account::Partition(account) = &mut rows[0].account {
        account.counts.accepted = 9;
    }
    for bad in [skipping, unbalanced] {
        assert!(matches!(log.commit(bad), Err(CheckpointError::Unbalanced { .. })));
    }
    let backwards = Checkpoint { epoch: Epoch(1), ..good.clone() };
    assert!(matches!(log.commit(backwards), Err(CheckpointError::Backwards { .. })));
    log.commit(good).unwrap();
}

#[test]
fn a_local_folder_keeps_a_row_as_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    on_a_real_store(&Storage::open(&folder.path().display().to_string(), &S3Options::default(), one_try()).unwrap());
}

#[test]
fn a_real_s3_keeps_a_row_as_memory_does() {
    let (Ok(endpoint), Ok(bucket)) =
        (std::env::var("TIDEWATCH_TEST_S3_ENDPOINT"), std::env::var("TIDEWATCH_TEST_S3_BUCKET"))
    else {
        println!("skipped: TIDEWATCH_TEST_S3_ENDPOINT and TIDEWATCH_TEST_S3_BUCKET are not set");
        return;
    };
    let options = S3Options { endpoint: Some(endpoint), ..S3Options::default() };
    let url = format!("s3://{bucket}/row-{}", std::process::id());
    on_a_real_store(&Storage::open(&url, &options, one_try()).unwrap());
}

fn on_a_real_store(storage: &Storage) {
    run(storage, OFFSETS / 2).unwrap();
    let mut sleeper = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
    run(storage, OFFSETS).unwrap();
    assert!(matches!(step(storage, &mut sleeper), Err(CheckpointError::Superseded { .. })));
    assert_eq!(visible(storage), all_lines());
    // A whole row of more than the manifests that are kept.
    let mut log = CheckpointLog::open(storage.clone(), identity()).unwrap().log;
    for _ in 0..70 {
        step(storage, &mut log).unwrap();
    }
    let rows = names(storage, &places::manifests());
    assert_eq!(rows.iter().filter(|name| name.ends_with(".json")).count(), 65);
    assert_eq!(storage.sweep_local(&places::manifest(Sequence(log.next_sequence().0 - 1))).unwrap(), 0);
}
