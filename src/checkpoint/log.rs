//! The owner's hold on an output: opened by a claim, then commit, publish, sweep, for each checkpoint in that order.
//!
//! Promise: a process that stops at any instant, and one that only slept, leave an output from which the next owner goes on as if
//! nothing had happened. Every call may block for as long as the store's patience: keep it off the dataflow's threads.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tracing::info;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::balance;
use crate::checkpoint::commit::{Outcome, commit, is_passed, is_swept};
use crate::checkpoint::decide::{Conflict, Found, Identity, Recovery, decide};
use crate::checkpoint::manifest::{
    Account, Checkpoint, Entry, FORMAT, LedgerRow, Manifest, PublishFile, Sequence, Token,
};
use crate::checkpoint::newest;
use crate::checkpoint::places::{self, Generation, TABLE_FOLDERS};
use crate::storage::digest::Sha256;
use crate::storage::error::StorageError;
use crate::storage::key::ObjectKey;
use crate::storage::patience::Patience;
use crate::storage::{Copied, Copy, Storage};

/// The row of manifests, as its owner has it.
#[derive(Debug)]
pub struct CheckpointLog {
    storage: Storage,
    identity: Identity,
    generation: Generation,
    /// The newest manifest, which is ours, and the digest of its bytes.
    last: Sequence,
    last_digest: Sha256,
    /// The checkpoint in force.
    current: Option<Arc<Checkpoint>>,
    /// Objects that the manifest in force names and that a start from it would read.
    named: BTreeSet<ObjectKey>,
    /// Files that a manifest names and that may not be visible yet. Each later manifest names them again until they are.
    unpublished: Vec<PublishFile>,
    /// Objects that no start would read.
    stale: BTreeSet<ObjectKey>,
    /// The manifests that stand, the first aside.
    row: BTreeSet<Sequence>,
}

/// An output that is ours, with everything visible that was committed.
#[derive(Debug)]
pub struct Opened {
    pub log: CheckpointLog,
    /// Where to go on; none to start fresh.
    pub resume: Option<Arc<Checkpoint>>,
}

/// A checkpoint that is in the row. To hold one is the proof that its files may become visible.
#[derive(Debug)]
pub struct Committed {
    pub sequence: Sequence,
    pub checkpoint: Arc<Checkpoint>,
}

/// Claims that are tried against a process that keeps committing. It meets the conflict at its next commit, so one or two suffice.
const CLAIMS_MAX: usize = 16;

impl CheckpointLog {
    /// Finds the newest manifest, decides, claims the next number, finishes publishing, and sweeps what no process will read.
    pub fn open(storage: Storage, identity: Identity) -> Result<Opened, CheckpointError> {
        CheckpointLog::open_unless(storage, identity, |_| Ok(()))
    }

    /// The same, unless `refuses` has something against going on from what was found: then nothing is claimed.
    pub fn open_unless<E: From<CheckpointError>>(
        storage: Storage,
        identity: Identity,
        mut refuses: impl FnMut(Option<&Checkpoint>) -> Result<(), E>,
    ) -> Result<Opened, E> {
        let mut lost_to = Sequence(0);
        for _ in 0..CLAIMS_MAX {
            match CheckpointLog::claim(&storage, &identity, &mut refuses)? {
                Claim::Won(mut log) => {
                    log.finish()?;
                    let resume = log.current.clone();
                    return Ok(Opened { log: *log, resume });
                }
                Claim::LostToCheckpoint(sequence) => lost_to = sequence,
            }
        }
        Err(CheckpointError::Superseded { sequence: lost_to }.into())
    }

    /// What `open` would decide at this moment. Only reads.
    pub fn foresee(storage: &Storage, identity: &Identity) -> Result<Recovery, CheckpointError> {
        match decide(look(storage)?.found, identity) {
            Recovery::Refuse(conflict) => Err(conflict.into()),
            recovery => Ok(recovery),
        }
    }

    /// The newest manifest, if there is one. Only reads.
    pub fn newest(storage: &Storage) -> Result<Option<Manifest>, CheckpointError> {
        match look(storage)?.found {
            Found::Newest(manifest) => Ok(Some(*manifest)),
            Found::Nothing | Found::TablesAlone { .. } => Ok(None),
            Found::Unreadable { sequence, fault } => Err(Conflict::Unreadable { sequence, source: fault }.into()),
        }
    }

    fn claim<E: From<CheckpointError>>(
        storage: &Storage,
        identity: &Identity,
        refuses: &mut impl FnMut(Option<&Checkpoint>) -> Result<(), E>,
    ) -> Result<Claim, E> {
        let Look { found, row, digest } = look(storage)?;
        let carried = match &found {
            Found::Newest(manifest) => manifest.checkpoint().cloned(),
            _ => None,
        };
        let claim = match decide(found, identity) {
            Recovery::Refuse(conflict) => return Err(CheckpointError::from(conflict).into()),
            recovery @ (Recovery::StartFresh { claim }
            | Recovery::Resume { claim, .. }
            | Recovery::FinishPublishing { claim, .. }) => {
                info!(?recovery, "output looked at");
                claim
            }
        };
        refuses(carried.as_ref())?;
        let manifest = Manifest {
            format: FORMAT,
            sequence: claim,
            token: Token::random().ok_or(CheckpointError::NoRandomness)?,
            previous: digest,
            pipeline: identity.pipeline.clone(),
            source: identity.source.clone(),
            entry: Entry::Claim(carried.clone().map(Box::new)),
        };
        let body = manifest.to_bytes();
        match commit(storage, claim, &body).map_err(CheckpointError::from)? {
            Outcome::Won => {}
            Outcome::Passed => return Ok(Claim::LostToCheckpoint(claim)),
            Outcome::Lost(theirs) if is_checkpoint(&theirs, claim) => return Ok(Claim::LostToCheckpoint(claim)),
            // Another start: let it go on, rather than take turns for ever.
            Outcome::Lost(_) => return Err(CheckpointError::Superseded { sequence: claim }.into()),
            Outcome::Unknown(source) => return Err(CheckpointError::Unknown { sequence: claim, source }.into()),
        }
        info!(sequence = claim.0, "output claimed");
        Ok(Claim::Won(Box::new(CheckpointLog {
            storage: storage.clone(),
            identity: identity.clone(),
            generation: Generation(claim),
            last: claim,
            last_digest: Sha256::of(&body),
            named: carried.iter().flat_map(|checkpoint| checkpoint.objects().cloned()).collect(),
            unpublished: carried.iter().flat_map(|checkpoint| checkpoint.publish.clone()).collect(),
            current: carried.map(Arc::new),
            stale: BTreeSet::new(),
            row: row.into_iter().chain([claim]).collect(),
        })))
    }

    /// What the last owner may have left undone.
    fn finish(&mut self) -> Result<(), CheckpointError> {
        let published = self.make_visible()?;
        // Its writes that are under way look like leftovers.
        self.confirm()?;
        let leftovers = self.storage.sweep_local(&places::manifest(self.last))?;
        let orphans = self.orphans()?;
        let orphan_count = orphans.len();
        self.stale.extend(orphans);
        self.sweep()?;
        info!(published, orphans = orphan_count, leftovers, "output in order");
        Ok(())
    }

    /// What earlier generations wrote and no manifest will name: their next commit meets our claim.
    fn orphans(&self) -> Result<Vec<ObjectKey>, CheckpointError> {
        let mut orphans = Vec::new();
        for folder in [places::staging(), places::state()] {
            let listed = self.storage.list(&folder)?.into_iter().map(|object| object.key);
            orphans.extend(listed.filter(|key| {
                Generation::of(key).is_some_and(|generation| generation < self.generation) && !self.named.contains(key)
            }));
        }
        Ok(orphans)
    }

    /// The same hold with another patience.
    pub fn with_patience(self, patience: Patience) -> CheckpointLog {
        CheckpointLog { storage: self.storage.with_patience(patience), ..self }
    }

    pub fn patience(&self) -> Patience {
        self.storage.patience()
    }

    /// An error if another process has taken over. Asked before what a manifest's number does not protect: one that slept must not put
    /// out of action those who came after it.
    pub fn confirm(&self) -> Result<(), CheckpointError> {
        let sequence = self.next_sequence();
        match self.storage.head(&places::manifest(sequence))?.is_some() || is_passed(&self.storage, sequence)? {
            true => Err(CheckpointError::Superseded { sequence }),
            false => Ok(()),
        }
    }

    /// Under whose number objects are to be written.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The number that the next commit will have.
    pub fn next_sequence(&self) -> Sequence {
        self.last.next()
    }

    /// The checkpoint in force.
    pub fn current(&self) -> Option<&Arc<Checkpoint>> {
        self.current.as_ref()
    }

    /// Adds a checkpoint. Everything that it names has to be durable.
    pub fn commit(&mut self, mut checkpoint: Checkpoint) -> Result<Committed, CheckpointError> {
        let sequence = self.next_sequence();
        self.check(&checkpoint, sequence)?;
        checkpoint.publish.splice(0..0, self.unpublished.iter().cloned());
        let manifest = Manifest {
            format: FORMAT,
            sequence,
            token: Token::random().ok_or(CheckpointError::NoRandomness)?,
            previous: Some(self.last_digest),
            pipeline: self.identity.pipeline.clone(),
            source: self.identity.source.clone(),
            entry: Entry::Checkpoint(Box::new(checkpoint)),
        };
        let body = manifest.to_bytes();
        match commit(&self.storage, sequence, &body)? {
            Outcome::Won => {}
            Outcome::Lost(_) | Outcome::Passed => return Err(CheckpointError::Superseded { sequence }),
            Outcome::Unknown(source) => return Err(CheckpointError::Unknown { sequence, source }),
        }
        let Entry::Checkpoint(checkpoint) = manifest.entry else {
            unreachable!("the entry was made a checkpoint above")
        };
        let checkpoint = Arc::new(*checkpoint);
        self.last = sequence;
        self.last_digest = Sha256::of(&body);
        self.row.insert(sequence);
        self.unpublished = checkpoint.publish.clone();
        let named: BTreeSet<ObjectKey> = checkpoint.objects().cloned().collect();
        self.stale.extend(std::mem::take(&mut self.named).into_iter().filter(|key| !named.contains(key)));
        self.named = named;
        self.current = Some(Arc::clone(&checkpoint));
        Ok(Committed { sequence, checkpoint })
    }

    /// What must never be written down wrong: the next epoch, and every offset since the last checkpoint accounted for.
    fn check(&self, checkpoint: &Checkpoint, sequence: Sequence) -> Result<(), CheckpointError> {
        let epoch = checkpoint.epoch;
        if let Some(last) = self.current.as_ref().map(|current| current.epoch).filter(|last| *last >= epoch) {
            return Err(CheckpointError::Backwards { epoch, last });
        }
        let accounts = checkpoint.ledger.rows().iter().filter_map(|row| match row {
            LedgerRow { sequence: at, account: Account::Partition(account), .. } if *at == sequence => Some(account),
            _ => None,
        });
        let accounts: Vec<_> = accounts.collect();
        let wrong = |of: &str, fault: String| Err(CheckpointError::Unbalanced { of: of.to_string(), epoch, fault });
        for account in &accounts {
            if !account.is_balanced() {
                return wrong(&account.partition, format!("{account:?}"));
            }
        }
        for partition in &checkpoint.partitions {
            let before = self.current.as_ref().and_then(|current| current.partition(&partition.name));
            let mut own = accounts.iter().filter(|account| account.partition == partition.name);
            match (before, own.next(), own.next()) {
                (_, Some(_), Some(_)) => return wrong(&partition.name, "it has two accounts".into()),
                (Some(before), None, _) if before.next != partition.next => {
                    return wrong(&partition.name, format!("{} to {} has no account", before.next, partition.next));
                }
                (Some(before), Some(account), None) if account.from != before.next => {
                    return wrong(&partition.name, format!("it begins at {}, not {}", account.from, before.next));
                }
                (_, Some(account), None) if account.to != partition.next => {
                    return wrong(&partition.name, format!("it ends at {}, not {}", account.to, partition.next));
                }
                _ => {}
            }
        }
        let accepted = accounts.iter().map(|account| account.counts.accepted).sum();
        if let Err((table, fault)) = balance::windows(self.current.as_deref(), checkpoint, sequence, accepted) {
            return wrong(table, fault);
        }
        balance::chain(self.current.as_deref(), checkpoint, sequence).or_else(|fault| wrong("ledger", fault))
    }

    /// Makes the files of a commit visible. Gives how many were made visible by this call.
    pub fn publish(&mut self, committed: &Committed) -> Result<usize, CheckpointError> {
        // Publishing needs the newest commit, not just any: an older one's files are among the newer one's until they are visible.
        assert_eq!(committed.sequence, self.last, "only the newest commit can be published");
        self.make_visible()
    }

    fn make_visible(&mut self) -> Result<usize, CheckpointError> {
        let copies = self.unpublished.iter().map(|file| Copy {
            from: file.staged.clone(),
            to: file.target.clone(),
            size: file.size,
        });
        let copied = self.storage.copy_all(&copies.collect::<Vec<_>>())?;
        for file in std::mem::take(&mut self.unpublished) {
            self.named.remove(&file.staged);
            self.stale.insert(file.staged);
        }
        Ok(copied.into_iter().filter(|copied| *copied == Copied::Now).count())
    }

    /// Deletes what no start would read any more. Gives how many objects that were.
    pub fn sweep(&mut self) -> Result<usize, CheckpointError> {
        let stale: Vec<ObjectKey> = self.stale.iter().cloned().collect();
        self.storage.delete_all(&stale)?;
        self.stale.clear();
        let mut swept = stale.len();
        // Invariant: one by one from below, each confirmed before the next. A writer that slept tells by the missing predecessor
        // that the number it could create had been swept.
        while let Some(oldest) = self.row.first().copied() {
            if oldest != Sequence(1) {
                if !is_swept(oldest, self.last) {
                    break;
                }
                self.storage.delete(&places::manifest(oldest))?;
                swept += 1;
            }
            self.row.pop_first();
        }
        Ok(swept)
    }
}

/// What it means that an object of the checkpoint in force is not there for the owner that claimed as `generation` and has not
/// committed yet: another owner has gone on and swept it, or it is lost.
pub fn missing(storage: &Storage, generation: Generation, error: StorageError) -> CheckpointError {
    let sequence = generation.0.next();
    let is_superseded = matches!(error, StorageError::NotFound { .. })
        && storage.head(&places::manifest(sequence)).is_ok_and(|size| size.is_some());
    if is_superseded { CheckpointError::Superseded { sequence } } else { error.into() }
}

enum Claim {
    Won(Box<CheckpointLog>),
    /// The last owner is still at work: look again.
    LostToCheckpoint(Sequence),
}

/// What was found, and what a claim needs of it.
struct Look {
    found: Found,
    row: BTreeSet<Sequence>,
    digest: Option<Sha256>,
}

fn look(storage: &Storage) -> Result<Look, CheckpointError> {
    let mut attempts = storage.patience().start();
    loop {
        let Some(row) = newest::find(storage)? else {
            let found = match foreign_table(storage)? {
                Some(folder) => Found::TablesAlone { folder },
                None => Found::Nothing,
            };
            return Ok(Look { found, row: BTreeSet::new(), digest: None });
        };
        match storage.get(&places::manifest(row.newest)) {
            Ok(bytes) => {
                let digest = Some(Sha256::of(&bytes));
                return Ok(Look { found: read(&bytes, row.newest), row: row.all, digest });
            }
            // Its owner went on and swept it in that moment.
            Err(error @ StorageError::NotFound { .. }) => match attempts.next_pause() {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

fn read(bytes: &Bytes, sequence: Sequence) -> Found {
    match Manifest::from_bytes(bytes, sequence) {
        Ok(manifest) => Found::Newest(Box::new(manifest)),
        Err(fault) => Found::Unreadable { sequence, fault },
    }
}

fn foreign_table(storage: &Storage) -> Result<Option<ObjectKey>, CheckpointError> {
    for folder in TABLE_FOLDERS {
        let folder = ObjectKey::of([folder]);
        if storage.holds_any(&folder)? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

fn is_checkpoint(bytes: &Bytes, sequence: Sequence) -> bool {
    Manifest::from_bytes(bytes, sequence).is_ok_and(|manifest| !manifest.is_claim())
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
