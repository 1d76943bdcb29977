//! What a process does when it starts: one pure function from what is found to what to do.

use std::collections::BTreeMap;

use crate::checkpoint::manifest::{Manifest, ManifestFault, Sequence};
use crate::domain::ids::Epoch;
use crate::storage::key::ObjectKey;

/// Who we are: an output belongs to one pipeline and one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pipeline: String,
    pub source: String,
    /// A hash by section of the configuration, of those sections alone that must not change while there is state
    /// (what is an event, a window's aggregates; not where the broker is). New sections may come, and old ones go.
    pub configuration: BTreeMap<String, String>,
}

/// What the output's URL holds.
#[derive(Debug)]
pub enum Found {
    /// No manifest and no table.
    Nothing,
    /// No manifest, but files in a table's folder.
    TablesAlone {
        folder: ObjectKey,
    },
    Newest(Box<Manifest>),
    /// A newest manifest that cannot be read.
    Unreadable {
        sequence: Sequence,
        fault: ManifestFault,
    },
}

/// What to do. Each begins by claiming the number given.
#[derive(Debug)]
pub enum Recovery {
    StartFresh {
        claim: Sequence,
    },
    /// All that was committed is visible, or will be: go on after this epoch.
    Resume {
        claim: Sequence,
        after: Epoch,
    },
    /// The last manifest may not have been published.
    FinishPublishing {
        claim: Sequence,
        after: Epoch,
    },
    Refuse(Conflict),
}

/// Why an output is not ours to write. Each is for a person to solve.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    #[error("the output belongs to pipeline `{found}`, and this is `{ours}`: give it an output of its own")]
    Pipeline { found: String, ours: String },
    #[error("the output holds what was read from `{found}`, and the source is `{ours}`: give it an output of its own")]
    Source { found: String, ours: String },
    #[error(
        "`{section}` of the configuration has changed since the output was begun: restore it, or begin another output (--output)"
    )]
    Configuration { section: String },
    #[error("the output has files in `{folder}` but no checkpoint: give it an empty place")]
    TablesAlone { folder: ObjectKey },
    #[error("manifest {sequence} cannot be read")]
    Unreadable { sequence: Sequence, source: ManifestFault },
}

/// The decision. No input or output here: everything it depends on is in the arguments.
pub fn decide(found: Found, ours: &Identity) -> Recovery {
    let manifest = match found {
        Found::Nothing => return Recovery::StartFresh { claim: Sequence(1) },
        Found::TablesAlone { folder } => return Recovery::Refuse(Conflict::TablesAlone { folder }),
        Found::Unreadable { sequence, fault } => {
            return Recovery::Refuse(Conflict::Unreadable { sequence, source: fault });
        }
        Found::Newest(manifest) => manifest,
    };
    if let Some(conflict) = conflict(&manifest, ours) {
        return Recovery::Refuse(conflict);
    }
    let claim = manifest.sequence.next();
    match manifest.checkpoint() {
        None => Recovery::StartFresh { claim },
        Some(checkpoint) if checkpoint.publish.is_empty() => Recovery::Resume { claim, after: checkpoint.epoch },
        Some(checkpoint) => Recovery::FinishPublishing { claim, after: checkpoint.epoch },
    }
}

fn conflict(manifest: &Manifest, ours: &Identity) -> Option<Conflict> {
    if manifest.pipeline != ours.pipeline {
        return Some(Conflict::Pipeline { found: manifest.pipeline.clone(), ours: ours.pipeline.clone() });
    }
    if manifest.source != ours.source {
        return Some(Conflict::Source { found: manifest.source.clone(), ours: ours.source.clone() });
    }
    let theirs = &manifest.checkpoint()?.configuration;
    let changed = |(section, hash): &(&String, &String)| theirs.get(*section).is_some_and(|theirs| theirs != *hash);
    let (section, _) = ours.configuration.iter().find(changed)?;
    Some(Conflict::Configuration { section: section.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::tests::full;
    use crate::checkpoint::manifest::{Checkpoint, Entry};

    fn ours() -> Identity {
        Identity {
            pipeline: "iomt".into(),
            source: "kafka".into(),
            configuration: BTreeMap::from([("event".into(), "ab12".into())]),
        }
    }

    fn newest(change: impl FnOnce(&mut Manifest)) -> Found {
        let mut manifest = full(8);
        change(&mut manifest);
        Found::Newest(Box::new(manifest))
    }

    fn checkpoint(manifest: &mut Manifest) -> Box<Checkpoint> {
        let Entry::Checkpoint(checkpoint) = manifest.entry.clone() else { panic!("a checkpoint") };
        checkpoint
    }

    fn unpublished_none(manifest: &mut Manifest) {
        let mut checkpoint = checkpoint(manifest);
        checkpoint.publish.clear();
        manifest.entry = Entry::Checkpoint(checkpoint);
    }

    fn claimed(manifest: &mut Manifest) {
        manifest.entry = Entry::Claim(Some(checkpoint(manifest)));
    }

    fn unreadable(bytes: &[u8]) -> Found {
        let fault = Manifest::from_bytes(bytes, Sequence(8)).unwrap_err();
        Found::Unreadable { sequence: Sequence(8), fault }
    }

    #[test]
    fn every_row_of_the_table_of_starts() {
        let changed = Identity { configuration: BTreeMap::from([("event".into(), "cd34".into())]), ..ours() };
        let grown = Identity { configuration: BTreeMap::from([("windows.new".into(), "cd34".into())]), ..ours() };
        let other = Identity { pipeline: "sensors".into(), ..ours() };
        let recorded = Identity { source: "files".into(), ..ours() };
        let folder = ObjectKey::of(["windows"]);
        let rows: Vec<(Found, Identity, &str)> = vec![
            (Found::Nothing, ours(), "StartFresh { claim: Sequence(1) }"),
            (Found::TablesAlone { folder }, ours(), "files in `windows` but no checkpoint"),
            (unreadable(b"{"), ours(), "manifest 8 cannot be read"),
            (unreadable(br#"{"format":99}"#), ours(), "manifest 8 cannot be read"),
            (newest(|_| ()), ours(), "FinishPublishing { claim: Sequence(9), after: Epoch(412) }"),
            (newest(unpublished_none), ours(), "Resume { claim: Sequence(9), after: Epoch(412) }"),
            (newest(claimed), ours(), "FinishPublishing { claim: Sequence(9), after: Epoch(412) }"),
            (newest(|m| m.entry = Entry::Claim(None)), ours(), "StartFresh { claim: Sequence(9) }"),
            (newest(unpublished_none), grown, "Resume { claim: Sequence(9), after: Epoch(412) }"),
            (newest(|_| ()), changed, "`event` of the configuration has changed"),
            (
                newest(|m| m.entry = Entry::Claim(None)),
                other.clone(),
                "belongs to pipeline `iomt`, and this is `sensors`",
            ),
            (newest(|_| ()), other, "belongs to pipeline `iomt`, and this is `sensors`"),
            (newest(|_| ()), recorded, "read from `kafka`, and the source is `files`"),
        ];
        for (found, identity, wanted) in rows {
            let shown = format!("{found:?}").chars().take(60).collect::<String>();
            let told = match decide(found, &identity) {
                Recovery::Refuse(conflict) => conflict.to_string(),
                recovery => format!("{recovery:?}"),
            };
            assert!(told.contains(wanted), "{shown}…: {told}");
        }
    }
}
