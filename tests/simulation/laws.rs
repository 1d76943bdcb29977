//! What must hold at every instant, whatever a process does: watched at the store itself, change by change.
//!
//! A manifest follows the one before, names only what is there, and accounts for the records that there are; a file becomes visible only as
//! a manifest says, and stays; nothing that a start would need is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::path::Path;
use tidewatch::checkpoint::manifest::{Account, Checkpoint, Manifest, Sequence};
use tidewatch::checkpoint::places::TABLE_FOLDERS;
use tidewatch::checkpoint::schedule::ModelSchedule;
use tidewatch::storage::digest::Sha256;

/// The eye of the law. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The offsets of the records of each partition.
    records: BTreeMap<String, Vec<i64>>,
    objects: BTreeMap<String, (u64, Sha256)>,
    manifests: BTreeMap<u64, (Manifest, Sha256)>,
    broken: Vec<String>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn expect_records(&self, records: BTreeMap<String, Vec<i64>>) {
        self.lock().records = records;
    }

    pub fn put(&self, to: &Path, bytes: Bytes) {
        self.lock().put(to.as_ref(), &bytes);
    }

    pub fn copy(&self, from: &Path, to: &Path) {
        self.lock().copy(from.as_ref(), to.as_ref());
    }

    pub fn delete(&self, path: &Path) {
        self.lock().delete(path.as_ref());
    }

    pub fn report(&self, fault: String) {
        self.lock().broken.push(fault);
    }

    /// Whether the rows of this epoch may be seen.
    pub fn is_committed(&self, epoch: u64) -> bool {
        let seen = self.lock();
        let epochs = seen.manifests.values().filter_map(|(manifest, _)| manifest.checkpoint());
        epochs.map(|checkpoint| checkpoint.epoch.0).any(|committed| committed == epoch)
    }

    pub fn manifests(&self) -> usize {
        self.lock().manifests.len()
    }

    /// Which versions of models score what, as the newest manifest says.
    pub fn schedules(&self) -> Vec<ModelSchedule> {
        let seen = self.lock();
        let newest = seen.manifests.values().next_back().and_then(|(manifest, _)| manifest.checkpoint());
        newest.map(|checkpoint| checkpoint.models.clone()).unwrap_or_default()
    }

    /// How often which law was broken.
    pub fn broken(&self) -> Vec<String> {
        self.lock().broken.clone()
    }

    /// After a clean end: everything that was ever published is visible, and nothing else; no leftovers.
    pub fn at_rest(&self) -> Vec<String> {
        let seen = self.lock();
        let newest = seen.manifests.values().next_back().and_then(|(manifest, _)| manifest.checkpoint());
        let needed: BTreeSet<&str> =
            newest.iter().flat_map(|checkpoint| &checkpoint.state).map(|o| o.key.as_str()).collect();
        let published: BTreeSet<&str> = seen.published().map(|(_, target)| target).collect();
        let mut faults = Vec::new();
        for path in seen.objects.keys().map(String::as_str) {
            let is_known = match path.split('/').next() {
                Some("_staging") => false,
                Some("_checkpoints") => needed.contains(path) || is_manifest(path).is_some(),
                _ => published.contains(path),
            };
            if !is_known {
                faults.push(format!("`{path}` is left over"));
            }
        }
        let missing = published.into_iter().filter(|target| !seen.objects.contains_key(*target));
        faults.extend(missing.map(|target| format!("`{target}` was never made visible")));
        faults
    }
}

fn is_manifest(path: &str) -> Option<u64> {
    let digits = path.strip_prefix("_checkpoints/")?.strip_suffix(".json")?;
    digits.parse().ok()
}

fn is_table(path: &str) -> bool {
    path.split('/').next().is_some_and(|folder| TABLE_FOLDERS.contains(&folder))
}

/// Times whose version was another one when their rows were scored.
fn rescored(before: &Checkpoint, now: &Checkpoint) -> Vec<String> {
    let (newest, mut faults) = (before.newest().0, Vec::new());
    if newest == i64::MIN {
        return faults;
    }
    for schedule in &before.models {
        let now = now.models.iter().find(|now| now.detector == schedule.detector);
        let Some(now) = now.filter(|now| !now.versions.is_empty()) else {
            faults.push(format!("the schedule of `{}` is lost", schedule.detector));
            continue;
        };
        let changes = schedule.versions.iter().chain(&now.versions).map(|version| version.from);
        for time in changes.flat_map(|from| [from.saturating_sub(1), from]).filter(|time| *time <= newest) {
            let version_of = |schedule: &ModelSchedule| schedule.versions[schedule.place_at(time)].version.clone();
            if version_of(schedule) != version_of(now) {
                faults.push(format!("{time} was scored by {}, and is {}'s", version_of(schedule), version_of(now)));
            }
        }
    }
    faults
}

impl Seen {
    fn break_law(&mut self, fault: String) {
        self.broken.push(fault);
    }

    /// Staged name and target of everything that a manifest publishes.
    fn published(&self) -> impl Iterator<Item = (&str, &str)> {
        let checkpoints = self.manifests.values().filter_map(|(manifest, _)| manifest.checkpoint());
        let files = checkpoints.flat_map(|checkpoint| &checkpoint.publish);
        files.map(|file| (file.staged.as_str(), file.target.as_str()))
    }

    fn put(&mut self, path: &str, bytes: &Bytes) {
        if is_table(path) {
            self.break_law(format!("`{path}` was written where readers look"));
        }
        let is_new = self.objects.insert(path.to_owned(), (bytes.len() as u64, Sha256::of(bytes))).is_none();
        if let Some(sequence) = is_manifest(path) {
            // A process that slept may create a number once more that was swept: it finds out, and nobody goes by it.
            if is_new && self.manifests.contains_key(&sequence) {
                return;
            }
            match Manifest::from_bytes(bytes, Sequence(sequence)) {
                Ok(manifest) => self.manifest(sequence, manifest, Sha256::of(bytes)),
                Err(fault) => self.break_law(format!("manifest {sequence}: {fault}")),
            }
        }
    }

    fn manifest(&mut self, sequence: u64, manifest: Manifest, digest: Sha256) {
        let last = self
            .manifests
            .last_key_value()
            .map(|(sequence, (manifest, digest))| (*sequence, manifest.clone(), *digest));
        let (number, before, before_digest) = match &last {
            Some((number, before, digest)) => (*number, before.checkpoint(), Some(*digest)),
            None => (0, None, None),
        };
        if sequence != number + 1 {
            self.break_law(format!("manifest {sequence} follows manifest {number}"));
        }
        if manifest.previous != before_digest {
            self.break_law(format!("manifest {sequence} names another predecessor than manifest {number}"));
        }
        let now = manifest.checkpoint().cloned();
        match &now {
            Some(now) if manifest.is_claim() && before == Some(now) => {}
            Some(_) if manifest.is_claim() => {
                self.break_law(format!("claim {sequence} carries another checkpoint than manifest {number}"));
            }
            Some(now) => self.checkpoint(sequence, before, now),
            None if before.is_some() => self.break_law(format!("claim {sequence} forgets a checkpoint")),
            None => {}
        }
        self.manifests.insert(sequence, (manifest, digest));
    }

    fn checkpoint(&mut self, sequence: u64, before: Option<&Checkpoint>, now: &Checkpoint) {
        let mut faults = Vec::new();
        if before.is_some_and(|before| before.epoch >= now.epoch) {
            faults.push(format!("manifest {sequence} is not of a later epoch than the one before"));
        }
        let state = now.state.iter().map(|object| (&object.key, object.size, object.sha256));
        let staged = now.staged.iter().map(|rows| (&rows.key, rows.size, rows.sha256));
        let hidden = now.publish.iter().filter(|file| !self.objects.contains_key(file.target.as_str()));
        let publish = hidden.map(|file| (&file.staged, file.size, file.sha256));
        for (key, size, sha256) in state.chain(staged).chain(publish) {
            if self.objects.get(key.as_str()) != Some(&(size, sha256)) {
                faults.push(format!("manifest {sequence} names `{key}`, which is not there as it says"));
            }
        }
        faults.extend(before.into_iter().flat_map(|before| rescored(before, now)));
        let offset = |checkpoint: &Checkpoint, name: &str| checkpoint.partition(name).map(|partition| partition.next.0);
        for partition in &now.partitions {
            let from = before.and_then(|before| offset(before, &partition.name));
            let account = now.ledger.rows().iter().find_map(|row| match &row.account {
                Account::Partition(account) if row.sequence.0 == sequence && account.partition == partition.name => {
                    Some(account)
                }
                _ => None,
            });
            let Some(account) = account else { continue };
            let (from, to) = (from.unwrap_or(account.from.0), partition.next.0);
            let Some(records) = self.records.get(&partition.name) else { continue };
            let there = records.iter().filter(|offset| (from..to).contains(*offset)).count() as u64;
            if (account.from.0, account.to.0, account.counts.read) != (from, to, there) || !account.is_balanced() {
                faults.push(format!(
                    "manifest {sequence}: `{}` has {there} records in {from}..{to}, and the account is {account:?}",
                    partition.name
                ));
            }
        }
        self.broken.extend(faults);
    }

    fn copy(&mut self, from: &str, to: &str) {
        let object = self.objects.get(from).copied();
        if is_table(to) && !self.published().any(|(staged, target)| (staged, target) == (from, to)) {
            self.break_law(format!("`{to}` became visible, and no manifest publishes it"));
        }
        match object {
            Some(object) => drop(self.objects.insert(to.to_owned(), object)),
            None => self.break_law(format!("`{to}` is a copy of nothing")),
        }
    }

    fn delete(&mut self, path: &str) {
        let newest = self.manifests.values().next_back().and_then(|(manifest, _)| manifest.checkpoint());
        let needed = newest.is_some_and(|checkpoint| {
            let state = checkpoint.state.iter().any(|object| object.key.as_str() == path);
            let staged = checkpoint.staged.iter().any(|rows| rows.key.as_str() == path);
            let hidden = checkpoint.publish.iter().filter(|file| !self.objects.contains_key(file.target.as_str()));
            state || staged || hidden.into_iter().any(|file| file.staged.as_str() == path)
        });
        if needed {
            self.break_law(format!("`{path}` was deleted, and the manifest in force needs it"));
        }
        if is_table(path) {
            self.break_law(format!("`{path}` was visible, and was deleted"));
        }
        self.objects.remove(path);
    }
}
