//! What every store has to do: the same checks over memory, a local disk, and a real S3 where the environment names one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;

use super::simulated::{Faults, LastCall, Simulated, Unconditional};
use super::upload::{Uploads, Wake};
use super::*;

fn hasty() -> Patience {
    let pause = Duration::from_millis(1);
    Patience { attempt: Duration::from_secs(5), budget: Duration::from_secs(5), pause, pause_max: pause }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::try_from(text.to_string()).unwrap()
}

/// The whole contract, on an empty store.
fn check(storage: &Storage) {
    creates_once(storage);
    lists_in_order(storage);
    copies_once(storage);
    uploads_in_the_background(storage);
    copies_at_the_same_time_leave_one_object(storage);
    races_have_one_winner(storage);
    storage.probe("contract").unwrap();
    assert_nothing_left_behind(storage);
}

fn creates_once(storage: &Storage) {
    let (at, ours) = (key("create/a"), Bytes::from_static(b"ours"));
    storage.put_new(&at, &ours).unwrap();
    let second = storage.put_new(&at, &Bytes::from_static(b"theirs"));
    assert!(matches!(second, Err(StorageError::AlreadyExists { key }) if key == at));
    assert_eq!(storage.get(&at).unwrap(), ours);
    assert_eq!(storage.get_exactly(&at, 4, &Sha256::of(b"ours")).unwrap(), ours);
    let wrong = storage.get_exactly(&at, 4, &Sha256::of(b"theirs"));
    assert!(matches!(wrong, Err(StorageError::WrongDigest { .. })));
    storage.delete(&at).unwrap();
    storage.delete(&at).unwrap();
    assert_eq!(storage.head(&at).unwrap(), None);
    assert!(matches!(storage.get(&at), Err(StorageError::NotFound { key }) if key == at));
}

fn lists_in_order(storage: &Storage) {
    assert!(!storage.holds_any(&key("list")).unwrap());
    let names: Vec<String> = (0..20).map(|i| format!("list/{:03}", (i * 7) % 20)).collect();
    for name in &names {
        storage.put(&key(name), &Bytes::from_static(b"12345")).unwrap();
    }
    storage.put(&key("listed/no"), &Bytes::new()).unwrap();
    let listed = storage.list(&key("list")).unwrap();
    let wanted: Vec<Listed> = (0..20).map(|i| Listed { key: key(&format!("list/{i:03}")), size: 5 }).collect();
    assert_eq!(listed, wanted);
    assert!(storage.holds_any(&key("list")).unwrap());
    storage.delete_all(&listed.into_iter().map(|object| object.key).collect::<Vec<_>>()).unwrap();
    assert_eq!(storage.list(&key("list")).unwrap(), []);
}

fn copies_once(storage: &Storage) {
    let copy = Copy { from: key("_staging/x"), to: key("windows/by day/date=2026-09-01/x.parquet"), size: 3 };
    assert!(matches!(storage.copy(&copy), Err(StorageError::NotFound { key }) if key == copy.from));
    storage.put(&copy.from, &Bytes::from_static(b"abc")).unwrap();
    assert_eq!(storage.copy(&copy).unwrap(), Copied::Now);
    assert_eq!(storage.copy_all(&[copy.clone(), copy.clone()]).unwrap(), [Copied::WasThere, Copied::WasThere]);
    storage.delete(&copy.from).unwrap();
    assert_eq!(storage.copy(&copy).unwrap(), Copied::WasThere);
    assert_eq!(storage.get(&copy.to).unwrap(), "abc");
    let larger = Copy { size: 4, ..copy };
    assert!(matches!(storage.copy(&larger), Err(StorageError::WrongSize { found: 3, wanted: 4, .. })));
}

fn uploads_in_the_background(storage: &Storage) {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = Mutex::new(tell);
    let wake: Wake = Arc::new(move || tell.lock().unwrap().send(()).unwrap());
    let uploads = Uploads::new(storage, 64 << 10, 1 << 20, wake);
    // The second is larger than may be on the way at once: it goes alone, and does not wait for ever.
    let bodies: HashMap<_, _> = [1usize, 100 << 10, 0].iter().map(|size| (format!("up/{size}"), *size)).collect();
    let mut pending: Vec<_> =
        bodies.iter().map(|(name, size)| uploads.upload(key(name), Bytes::from(vec![7; *size]))).collect();
    let mut done = 0;
    while done < bodies.len() {
        told.recv_timeout(Duration::from_secs(10)).unwrap();
        pending.retain_mut(|one| match one.poll() {
            Some(outcome) => {
                outcome.unwrap();
                done += 1;
                false
            }
            None => true,
        });
    }
    assert_eq!(uploads.held_bytes(), 0);
    for (name, size) in &bodies {
        assert_eq!(storage.head(&key(name)).unwrap(), Some(*size as u64));
    }
}

/// A process that was thought dead publishes what its successor publishes.
fn copies_at_the_same_time_leave_one_object(storage: &Storage) {
    for race in 0..50 {
        let copy = Copy { from: key(&format!("staged/{race}")), to: key(&format!("copied/{race}")), size: 3 };
        storage.put(&copy.from, &Bytes::from_static(b"abc")).unwrap();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| storage.copy(&copy).unwrap())));
        });
    }
    assert_eq!(storage.list(&key("copied")).unwrap().len(), 50);
    assert_nothing_left_behind(storage);
}

/// A copy or a put may leave a stray link beside what it made.
fn assert_nothing_left_behind(storage: &Storage) {
    let last = key("last");
    storage.put(&last, &Bytes::from_static(b"abc")).unwrap();
    assert_eq!(storage.sweep_local(&last).unwrap(), 0);
}

fn races_have_one_winner(storage: &Storage) {
    for race in 0..20 {
        let at = key(&format!("race/{race}"));
        let wins: Vec<bool> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4u8)
                .map(|racer| {
                    scope.spawn({
                        let at = &at;
                        move || storage.put_new(at, &Bytes::from(vec![racer; 100])).is_ok()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(wins.iter().filter(|won| **won).count(), 1);
        let winner = wins.iter().position(|won| *won).unwrap() as u8;
        assert_eq!(storage.get(&at).unwrap(), vec![winner; 100]);
    }
}

#[test]
fn memory_keeps_the_contract() {
    check(&Storage::in_memory().unwrap());
}

#[test]
fn a_local_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("out with ü").display().to_string();
    check(&Storage::open(&url, &S3Options::default(), hasty()).unwrap());
}

#[test]
fn a_real_s3_keeps_the_contract() {
    let (Ok(endpoint), Ok(bucket)) =
        (std::env::var("TIDEWATCH_TEST_S3_ENDPOINT"), std::env::var("TIDEWATCH_TEST_S3_BUCKET"))
    else {
        println!("skipped: TIDEWATCH_TEST_S3_ENDPOINT and TIDEWATCH_TEST_S3_BUCKET are not set");
        return;
    };
    let options = S3Options { endpoint: Some(endpoint), ..S3Options::default() };
    let name = std::process::id();
    let storage = Storage::open(&format!("s3://{bucket}/contract-{name}/x"), &options, hasty()).unwrap();
    check(&storage);
    let missing = Storage::open(&format!("s3://{bucket}-missing/x"), &options, hasty()).unwrap();
    assert!(matches!(missing.probe("x"), Err(StorageError::Refused { .. })));
}

#[test]
fn a_store_that_fails_now_and_then_is_waited_for() {
    let faults = Faults { before: 200, after: 200, delayed: 0 };
    let storage = Storage::over(Arc::new(Simulated::new(Arc::new(InMemory::new()), 7, faults)), hasty()).unwrap();
    for round in 0..50 {
        let copy = Copy { from: key(&format!("_staging/{round}")), to: key(&format!("t/{round}")), size: 3 };
        storage.put(&copy.from, &Bytes::from_static(b"abc")).unwrap();
        storage.copy(&copy).unwrap();
        storage.delete(&copy.from).unwrap();
    }
    assert_eq!(storage.list(&key("t")).unwrap().len(), 50);
}

#[test]
fn a_store_that_stays_away_ends_the_patience_with_the_right_word() {
    let patience = Patience { budget: Duration::from_millis(5), ..hasty() };
    let away = Simulated::stopping(Arc::new(InMemory::new()), 0, LastCall::Undone);
    let storage = Storage::over(Arc::new(away), patience).unwrap();
    let bytes = Bytes::from_static(b"x");
    assert!(matches!(storage.put(&key("a"), &bytes), Err(StorageError::Indeterminate { .. })));
    assert!(matches!(storage.put_new(&key("a"), &bytes), Err(StorageError::Indeterminate { .. })));
    assert!(matches!(storage.get(&key("a")), Err(StorageError::Unavailable { .. })));
    assert!(matches!(storage.list(&key("a")), Err(StorageError::Unavailable { .. })));
}

#[test]
fn a_store_that_ignores_conditions_is_found_out() {
    let storage = Storage::over(Arc::new(Unconditional(InMemory::new())), hasty()).unwrap();
    assert!(matches!(storage.probe("x"), Err(StorageError::NotConditional { .. })));
}
