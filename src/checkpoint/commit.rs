//! Adding one manifest to the row, and knowing whether it was us.
//!
//! Promise: two writers never both believe to have written one number, whatever the store and the way to it answer, and however long
//! one of them had slept.

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;

use crate::checkpoint::manifest::Sequence;
use crate::checkpoint::places;
use crate::storage::Storage;
use crate::storage::error::StorageError;
use crate::storage::patience::Patience;

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Ours: the reply said so, or what lies there is byte for byte what we sent.
    Won,
    /// Another writer's.
    Lost(Bytes),
    /// The number is long past: other writers went on, and swept it.
    Passed,
    /// Not known within the patience: the process has to end, and the next start finds out.
    Unknown(StorageError),
}

/// Creates the manifest of `sequence`. `body` must hold something that only this process can have written, so that equal bytes are ours.
///
/// "Already exists" does not say who wrote, and reading nothing back proves nothing, for a lost request may still arrive: only another
/// create, won or refused and read back, settles the matter.
pub(super) fn commit(storage: &Storage, sequence: Sequence, body: &Bytes) -> Result<Outcome, StorageError> {
    let key = places::manifest(sequence);
    let mut attempts = storage.patience().start();
    let hasty = storage.with_patience(Patience { budget: Duration::ZERO, ..storage.patience() });
    loop {
        let unknown = match storage.put_new(&key, body) {
            Ok(()) => break,
            Err(error @ StorageError::AlreadyExists { .. }) => match storage.get(&key) {
                Ok(found) if found == *body => break,
                Ok(found) => return Ok(Outcome::Lost(found)),
                // S3 tells two writes at the same instant (409) in the same way; then there may be nothing.
                Err(StorageError::NotFound { .. }) => error,
                Err(error) => error,
            },
            // What lies there says who has written, if anything does; a way that loses every answer must not hide it.
            Err(error @ StorageError::Indeterminate { .. }) => match hasty.get(&key) {
                Ok(found) if found == *body => break,
                Ok(found) => return Ok(Outcome::Lost(found)),
                Err(_) => error,
            },
            Err(error) => return Err(error),
        };
        match attempts.next_pause() {
            Some(pause) => sleep(pause),
            None => return Ok(Outcome::Unknown(unknown)),
        }
    }
    // From here on the manifest is ours and there; what may be wrong is its place.
    match is_passed(storage, sequence) {
        Ok(false) => Ok(Outcome::Won),
        Ok(true) => {
            storage.delete(&key)?;
            Ok(Outcome::Passed)
        }
        Err(error) => Ok(Outcome::Unknown(error)),
    }
}

/// How many of the newest manifests are kept, besides the first. More than a few serve `verify`, and people.
const KEPT: u64 = 64;

/// The oldest manifest, the first aside, that stands in any row of which this is the newest.
pub fn oldest_kept(newest: Sequence) -> Sequence {
    Sequence((newest.0 + 1).saturating_sub(KEPT).max(2))
}

/// Whether a manifest may be swept once `newest` is there.
pub(super) fn is_swept(sequence: Sequence, newest: Sequence) -> bool {
    sequence.0 > 1 && sequence.0.saturating_add(KEPT) <= newest.0
}

/// Whether others have gone beyond this number and swept it, so that it could be created once more.
///
/// Manifests are swept one by one from below (`CheckpointLog::sweep`), so one that is missing has no predecessor either. Only the
/// first is never swept: it cannot be created twice, and after the second one a list has to decide.
pub(super) fn is_passed(storage: &Storage, sequence: Sequence) -> Result<bool, StorageError> {
    match sequence.0 {
        1 => Ok(false),
        2 => {
            let listed = storage.list(&places::manifests())?;
            let newest = listed.iter().filter_map(|object| places::sequence_of(&object.key)).max();
            Ok(newest.is_some_and(|newest| is_swept(sequence, newest)))
        }
        _ => Ok(storage.head(&places::manifest(Sequence(sequence.0 - 1)))?.is_none()),
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
