//! Where manifests, state and staged objects stand under the output's URL.

use crate::checkpoint::manifest::Sequence;
use crate::domain::ids::Epoch;
use crate::storage::digest::Sha256;
use crate::storage::key::ObjectKey;

/// The folders of all tables: where files in them are met without a manifest, they are not ours.
pub const TABLE_FOLDERS: [&str; 6] = ["events", "windows", "anomalies", "late", "quarantine", "ledger"];

/// The folder of the manifests.
pub fn manifests() -> ObjectKey {
    ObjectKey::of(["_checkpoints"])
}

/// The folder of the state objects.
pub fn state() -> ObjectKey {
    ObjectKey::of(["_checkpoints", "state"])
}

/// The folder of the staged objects.
pub fn staging() -> ObjectKey {
    ObjectKey::of(["_staging"])
}

pub fn manifest(sequence: Sequence) -> ObjectKey {
    manifests().child(&format!("{:020}.json", sequence.0))
}

/// Numbers beyond are no manifest's, whatever a file is called: a manifest each microsecond would take as many centuries.
const NUMBERS: u64 = 1 << 62;

/// The number of a manifest, if the key is one's.
pub fn sequence_of(key: &ObjectKey) -> Option<Sequence> {
    let digits = key.name().strip_suffix(".json").filter(|digits| digits.len() == 20)?;
    let sequence = Sequence(digits.parse().ok().filter(|number| *number < NUMBERS)?);
    (*key == manifest(sequence)).then_some(sequence)
}

/// The process that owns the output: the number of its claim. Whatever it writes stands in folders of that number, so that the next owner
/// knows what can be swept: what an earlier generation wrote and the manifest does not name. A later one's is never touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub Sequence);

impl Generation {
    /// The key of a staged object. Epoch, worker and digest make it unique; the name is for people.
    pub fn staged(self, epoch: Epoch, worker: usize, name: &str, digest: &Sha256) -> ObjectKey {
        staging().child(&self.folder()).child(&object_name(epoch, worker, name, digest))
    }

    /// The key of a state object of a stage.
    pub fn state(self, epoch: Epoch, worker: usize, stage: &str, digest: &Sha256) -> ObjectKey {
        state().child(&self.folder()).child(&object_name(epoch, worker, stage, digest))
    }

    fn folder(self) -> String {
        format!("{:020}", self.0.0)
    }

    /// The generation that wrote a staged or state object.
    pub fn of(key: &ObjectKey) -> Option<Generation> {
        let folder = key.as_str().rsplit('/').nth(1).filter(|folder| folder.len() == 20)?;
        Some(Generation(Sequence(folder.parse().ok()?)))
    }
}

fn object_name(epoch: Epoch, worker: usize, name: &str, digest: &Sha256) -> String {
    // A slash within a segment would be percent-encoded; an underscore reads better.
    format!("{:020}-{worker}-{}-{}", epoch.0, name.replace('/', "_"), digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_known_by_its_name_and_nothing_else_is() {
        assert_eq!(manifest(Sequence(17)).as_str(), "_checkpoints/00000000000000000017.json");
        assert_eq!(sequence_of(&manifest(Sequence(17))), Some(Sequence(17)));
        for other in ["_checkpoints/17.json", "_checkpoints/state/00000000000000000017.json", "_checkpoints/x"] {
            assert_eq!(sequence_of(&ObjectKey::of(other.split('/'))), None, "{other}");
        }
    }

    #[test]
    fn what_a_generation_writes_tells_which_it_was() {
        let generation = Generation(Sequence(3));
        let digest = Sha256::of(b"x");
        let staged = generation.staged(Epoch(9), 1, "windows/by_label", &digest);
        assert_eq!(
            staged.as_str(),
            "_staging/00000000000000000003/00000000000000000009-1-windows_by_label-2d711642b726b044"
        );
        assert_eq!(Generation::of(&staged), Some(generation));
        assert_eq!(Generation::of(&generation.state(Epoch(9), 1, "windows", &digest)), Some(generation));
        assert_eq!(Generation::of(&ObjectKey::of(["_staging", "probe-1"])), None);
    }
}
