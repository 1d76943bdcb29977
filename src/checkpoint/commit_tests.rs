//! The commit over a store that misbehaves by a seed.

use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;
use crate::storage::simulated::{Faults, Simulated};

/// One request an operation, so that the writers take turns between all requests.
fn one_try() -> Patience {
    Patience { budget: Duration::ZERO, pause: Duration::ZERO, pause_max: Duration::ZERO, ..Patience::default() }
}

fn faulty(seed: u64) -> Storage {
    let faults = Faults { before: 150, after: 200, delayed: 150 };
    Storage::over(Arc::new(Simulated::new(Arc::new(InMemory::new()), seed, faults)), one_try()).unwrap()
}

/// Lets two writers take turns at one number, as the seed has it, until both know; gives their beliefs.
fn race(
    storage: &Storage,
    turns: &mut u64,
    sequence: Sequence,
    commit: impl Fn(&Storage, Sequence, &Bytes) -> Belief,
) -> [bool; 2] {
    let bodies = [0u8, 1].map(|writer| Bytes::from(vec![writer; 16]));
    let mut beliefs = [None, None];
    while beliefs.contains(&None) {
        *turns = turns.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let writer = (*turns >> 63) as usize;
        if beliefs[writer].is_none() {
            beliefs[writer] = match commit(storage, sequence, &bodies[writer]) {
                Belief::Won => Some(true),
                Belief::Lost => Some(false),
                Belief::Open => None,
            };
        }
    }
    let stored = loop {
        if let Ok(stored) = storage.get(&places::manifest(sequence)) {
            break stored;
        }
    };
    // What a writer believes is right if the stored bytes are its own exactly when it believes to have won.
    [0, 1].map(|writer| beliefs[writer] == Some(stored == bodies[writer]))
}

#[derive(Clone, Copy)]
enum Belief {
    Won,
    Lost,
    Open,
}

fn real(storage: &Storage, sequence: Sequence, body: &Bytes) -> Belief {
    match commit(storage, sequence, body).unwrap() {
        Outcome::Won => Belief::Won,
        Outcome::Lost(_) | Outcome::Passed => Belief::Lost,
        Outcome::Unknown(_) => Belief::Open,
    }
}

fn gullible(storage: &Storage, sequence: Sequence, body: &Bytes) -> Belief {
    match storage.put_new(&places::manifest(sequence), body) {
        Ok(()) => Belief::Won,
        Err(StorageError::AlreadyExists { .. }) => Belief::Lost,
        Err(_) => Belief::Open,
    }
}

fn wrong_beliefs(commit: impl Fn(&Storage, Sequence, &Bytes) -> Belief) -> usize {
    let mut wrong = 0;
    for seed in 0..100 {
        let (storage, mut turns) = (faulty(seed), seed);
        for sequence in 1..=20 {
            wrong += race(&storage, &mut turns, Sequence(sequence), &commit).iter().filter(|right| !**right).count();
        }
    }
    wrong
}

#[test]
fn two_writers_never_both_believe_to_have_won_nor_both_to_have_lost() {
    assert_eq!(wrong_beliefs(real), 0);
}

#[test]
fn a_writer_that_takes_already_exists_for_lost_is_caught_by_the_same_simulation() {
    assert!(wrong_beliefs(gullible) > 0);
}

#[test]
fn a_writer_that_slept_while_others_went_on_and_swept_does_not_win() {
    for (slept_at, others) in [(1u64, 2u64..=200), (17, 18..=300)] {
        let storage = Storage::in_memory().unwrap();
        let body = |sequence: u64| Bytes::from(format!("{sequence}"));
        for sequence in (1..=slept_at).chain(others.clone()) {
            assert!(matches!(commit(&storage, Sequence(sequence), &body(sequence)).unwrap(), Outcome::Won));
        }
        let swept: Vec<_> = (1..200).map(Sequence).filter(|one| is_swept(*one, Sequence(*others.end()))).collect();
        swept.iter().for_each(|sequence| storage.delete(&places::manifest(*sequence)).unwrap());
        let late = commit(&storage, Sequence(slept_at + 1), &Bytes::from_static(b"late")).unwrap();
        assert!(matches!(late, Outcome::Passed), "{late:?}");
        assert_eq!(storage.head(&places::manifest(Sequence(slept_at + 1))).unwrap(), None);
    }
}
