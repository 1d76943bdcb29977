//! The row of manifests: dense, unedited, each linked to the one before it, all of one pipeline.

use std::collections::BTreeMap;

use crate::audit::verify::finding::Finding;
use crate::audit::verify::look::{FoundManifest, whole};
use crate::checkpoint::commit::oldest_kept;
use crate::checkpoint::decide::may_follow;
use crate::checkpoint::manifest::{Manifest, Sequence};
use crate::checkpoint::places;

/// More that are missing say nothing new: a number that is no manifest's may be far behind the last one.
const MISSING_MAX: usize = 1000;

/// What is wrong with the row. Those that the newest one lets be swept may be there or not.
pub fn judge(manifests: &[FoundManifest]) -> Vec<Finding> {
    let Some(newest) = manifests.last() else { return Vec::new() };
    let by_number: BTreeMap<Sequence, &FoundManifest> =
        manifests.iter().map(|manifest| (manifest.sequence, manifest)).collect();
    // Swept one by one from below: none is missing behind the oldest that is left of those.
    let listed = by_number.keys().find(|sequence| sequence.0 > 1).copied();
    let oldest = listed.unwrap_or(newest.sequence).min(oldest_kept(newest.sequence));
    let wanted = std::iter::once(Sequence(1)).chain((oldest.0..=newest.sequence.0).map(Sequence));
    let (mut findings, mut missing) = (Vec::new(), 0);
    for sequence in wanted {
        if missing == MISSING_MAX {
            break;
        }
        match by_number.get(&sequence) {
            None => {
                missing += 1;
                findings.push(Finding::ManifestMissing { sequence, file: places::manifest(sequence) });
            }
            Some(found) => {
                let before = sequence.0.checked_sub(1).and_then(|before| by_number.get(&Sequence(before)));
                one(found, before.copied(), newest.read.as_ref().ok(), &mut findings);
            }
        }
    }
    findings
}

fn one(found: &FoundManifest, before: Option<&FoundManifest>, newest: Option<&Manifest>, findings: &mut Vec<Finding>) {
    let (sequence, file) = (found.sequence, places::manifest(found.sequence));
    let manifest = match &found.read {
        Ok(manifest) => manifest,
        Err(fault) => return findings.push(Finding::ManifestUnreadable { sequence, file, fault: whole(fault) }),
    };
    let shown = |digest: Option<String>| digest.unwrap_or_else(|| "none".to_owned());
    let says = manifest.previous;
    // Where the one before was swept, nothing can be held against what is said of it.
    let has = if sequence == Sequence(1) { None } else { before.map(|before| before.digest).or(says) };
    if says != has {
        let (wanted, has) = (shown(says.map(|digest| digest.to_string())), shown(has.map(|digest| digest.to_string())));
        findings.push(Finding::ManifestUnlinked { sequence, file: file.clone(), wanted, found: has });
    }
    let owner = |manifest: &Manifest| format!("{}, reading {}", manifest.pipeline, manifest.source);
    let is_ours =
        |newest: &&Manifest| newest.pipeline == manifest.pipeline && may_follow(&newest.source, &manifest.source);
    if let Some(newest) = newest.filter(|newest| !is_ours(newest)) {
        let (found, wanted) = (owner(manifest), owner(newest));
        findings.push(Finding::ManifestForeign { sequence, file, found, wanted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::ManifestFault;
    use crate::checkpoint::manifest::tests::full;
    use crate::storage::digest::Sha256;

    /// A row of manifests with these numbers, each linked to the one before it.
    fn row(numbers: impl IntoIterator<Item = u64>) -> Vec<FoundManifest> {
        let digest = |number: u64| Sha256::of(&number.to_le_bytes());
        let manifest = |number: u64| {
            let previous = (number > 1).then(|| digest(number - 1));
            let read = Ok(Manifest { previous, ..full(number) });
            FoundManifest { sequence: Sequence(number), digest: digest(number), read }
        };
        numbers.into_iter().map(manifest).collect()
    }

    fn missing(found: &[FoundManifest]) -> Vec<u64> {
        let number = |finding: Finding| match finding {
            Finding::ManifestMissing { sequence, .. } => sequence.0,
            other => panic!("{other}"),
        };
        judge(found).into_iter().map(number).collect()
    }

    #[test]
    fn a_row_is_dense_but_for_what_was_swept_from_below() {
        let none: [u64; 0] = [];
        assert_eq!(missing(&row(1..=1)), none);
        assert_eq!(missing(&row(1..=9)), none);
        assert_eq!(missing(&row((1..=1).chain(37..=100))), none, "all before 37 may be swept");
        assert_eq!(missing(&row((1..=1).chain(30..=100))), none, "and need not be");
        assert_eq!(missing(&row((1..=1).chain(39..=100))), [37, 38]);
        assert_eq!(missing(&row([1, 2, 1 << 40])).len(), MISSING_MAX, "a stray one");
        assert_eq!(missing(&row((1..=4).chain(6..=9))), [5]);
        assert_eq!(missing(&row(2..=9)), [1], "the first is never swept");
        assert_eq!(missing(&row((1..=1).chain(30..=31).chain(33..=100))), [32], "swept from below, one by one");
    }

    #[test]
    fn an_edited_a_rewritten_and_a_foreign_manifest_are_named() {
        let mut edited = row(1..=5);
        edited[2].read = Err(ManifestFault::Format { found: 1 });
        let told = judge(&edited);
        assert!(matches!(told[..], [Finding::ManifestUnreadable { sequence: Sequence(3), .. }]), "{told:?}");
        let mut rewritten = row(1..=5);
        rewritten[2].digest = Sha256::of(b"other bytes");
        let told = judge(&rewritten);
        assert!(matches!(told[..], [Finding::ManifestUnlinked { sequence: Sequence(4), .. }]), "{told:?}");
        let mut foreign = row(1..=5);
        let Ok(manifest) = &mut foreign[1].read else { panic!("readable") };
        manifest.pipeline = "another".into();
        let told = judge(&foreign);
        assert!(matches!(told[..], [Finding::ManifestForeign { sequence: Sequence(2), .. }]), "{told:?}");
    }
}
