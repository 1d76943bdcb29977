//! What a process does when it starts: one pure function from what is found to what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::checkpoint::manifest::{Checkpoint, Manifest, ManifestFault, Sequence};
use crate::domain::ids::Epoch;
use crate::storage::key::ObjectKey;

/// Who we are: an output belongs to one pipeline and one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pipeline: String,
    pub source: String,
    /// The keys of the configuration, with their values, that must not change while there is state (a window's size, an event's key;
    /// not where the broker is). Keys may come and go.
    pub configuration: BTreeMap<String, String>,
}

impl Identity {
    /// What this pipeline's checkpoints keep of the configuration: its own keys, and those that earlier runs into the output had, for
    /// a window or a field that comes back must be what its table holds.
    pub fn kept(&self, resume: Option<&Checkpoint>) -> BTreeMap<String, String> {
        let mut kept = resume.map_or_else(BTreeMap::new, |checkpoint| checkpoint.configuration.clone());
        kept.extend(self.configuration.clone());
        kept
    }
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
    #[error("{}: restore {}, or begin another output (--output)", told(changes), it(changes))]
    Configuration { changes: Vec<Change> },
    #[error("the output has files in `{folder}` but no checkpoint: give it an empty place")]
    TablesAlone { folder: ObjectKey },
    #[error("manifest {sequence} cannot be read")]
    Unreadable { sequence: Sequence, source: ManifestFault },
}

/// A key of the configuration that stored state depends on, and that has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub was: String,
    pub is: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has changed since the output was begun (it was {}, and is {})", self.key, self.was, self.is)
    }
}

fn told(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; ")
}

fn it(changes: &[Change]) -> &'static str {
    if changes.len() == 1 { "it" } else { "them" }
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
    if !is_same_source(manifest, &ours.source) {
        return Some(Conflict::Source { found: manifest.source.clone(), ours: ours.source.clone() });
    }
    let theirs = &manifest.checkpoint()?.configuration;
    let change = |(key, is): (&String, &String)| {
        let was = theirs.get(key).filter(|was| *was != is)?;
        Some(Change { key: key.clone(), was: was.clone(), is: is.clone() })
    };
    let changes: Vec<Change> = ours.configuration.iter().filter_map(change).collect();
    (!changes.is_empty()).then_some(Conflict::Configuration { changes })
}

/// The same text, or topics of which at least one was read into this output before: those that are new begin, and those that are no
/// longer named rest where they are.
fn is_same_source(manifest: &Manifest, ours: &str) -> bool {
    if manifest.source == ours {
        return true;
    }
    let (Some((mode, before)), Some((our_mode, topics))) = (topics_of(&manifest.source), topics_of(ours)) else {
        return false;
    };
    let resting = manifest.checkpoint().into_iter().flat_map(|checkpoint| &checkpoint.partitions);
    let resting = resting.filter_map(|partition| partition.name.rsplit_once('/').map(|(topic, _)| topic));
    let known: BTreeSet<&str> = before.into_iter().chain(resting).collect();
    mode == our_mode && topics.iter().any(|topic| known.contains(topic))
}

/// How topics are read, and which, where it is topics.
fn topics_of(source: &str) -> Option<(&str, Vec<&str>)> {
    let (mode, topics) = source.split_once(KAFKA)?;
    (mode.is_empty() || mode == REPLAY_OF).then(|| (mode, topics.split(TOPICS_APART).collect()))
}

const KAFKA: &str = "kafka: ";
const REPLAY_OF: &str = "replay of ";
const TOPICS_APART: &str = ", ";

/// The text for topics as they stand (`is_replay`), or live. No topic's name has a blank.
pub fn source_of_topics(topics: &[String], is_replay: bool) -> String {
    format!("{}{KAFKA}{}", if is_replay { REPLAY_OF } else { "" }, topics.join(TOPICS_APART))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::tests::full;
    use crate::checkpoint::manifest::{Checkpoint, Entry};

    fn ours() -> Identity {
        let configuration = [("windows.by_label.size", "10s"), ("event.fields.Rate", "float"), ("event.key", "device")];
        Identity {
            pipeline: "iomt".into(),
            source: "kafka: flows".into(),
            configuration: configuration.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// Ours with other values of keys, and without those that have none.
    fn changed(keys: &[(&str, Option<&str>)]) -> Identity {
        let mut identity = ours();
        for (key, value) in keys {
            match value {
                Some(value) => identity.configuration.insert((*key).to_owned(), (*value).to_owned()),
                None => identity.configuration.remove(*key),
            };
        }
        identity
    }

    fn from(source: &str) -> Identity {
        Identity { source: source.into(), ..ours() }
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
        let other = Identity { pipeline: "sensors".into(), ..ours() };
        let folder = ObjectKey::of(["windows"]);
        let on = "Resume { claim: Sequence(9), after: Epoch(412) }";
        let size = ("windows.by_label.size", Some("20s"));
        let two = [size, ("event.key", Some("label"))];
        let rows: Vec<(Found, Identity, &str)> = vec![
            (Found::Nothing, ours(), "StartFresh { claim: Sequence(1) }"),
            (Found::TablesAlone { folder }, ours(), "files in `windows` but no checkpoint"),
            (unreadable(b"{"), ours(), "manifest 8 cannot be read"),
            (unreadable(br#"{"format":99}"#), ours(), "manifest 8 cannot be read"),
            (newest(|_| ()), ours(), "FinishPublishing { claim: Sequence(9), after: Epoch(412) }"),
            (newest(unpublished_none), ours(), on),
            (newest(claimed), ours(), "FinishPublishing { claim: Sequence(9), after: Epoch(412) }"),
            (newest(|m| m.entry = Entry::Claim(None)), ours(), "StartFresh { claim: Sequence(9) }"),
            // A window or a field that is new, and one that is gone.
            (newest(unpublished_none), changed(&[("windows.new.size", Some("1m"))]), on),
            (newest(unpublished_none), changed(&[("event.fields.Rate", None)]), on),
            (
                newest(|_| ()),
                changed(&[size]),
                "`windows.by_label.size` has changed since the output was begun (it was 10s, and is 20s): restore it, or \
                 begin another output (--output)",
            ),
            (newest(|_| ()), changed(&[("event.fields.Rate", Some("int"))]), "(it was float, and is int)"),
            (newest(|_| ()), changed(&two), "`event.key` has changed"),
            (newest(|_| ()), changed(&two), "and is 20s): restore them"),
            (newest(|m| m.entry = Entry::Claim(None)), changed(&[size]), "StartFresh { claim: Sequence(9) }"),
            (
                newest(|m| m.entry = Entry::Claim(None)),
                other.clone(),
                "belongs to pipeline `iomt`, and this is `sensors`",
            ),
            (newest(|_| ()), other, "belongs to pipeline `iomt`, and this is `sensors`"),
            (newest(|_| ()), from("files: flows"), "read from `kafka: flows`, and the source is `files: flows`"),
            (newest(|_| ()), from("replay of kafka: flows"), "and the source is `replay of kafka: flows`"),
            (newest(|m| m.source = "files: a".into()), from("files: b"), "read from `files: a`"),
            (
                newest(|m| m.source = "files: kafka: a".into()),
                from("files: kafka: a, b"),
                "read from `files: kafka: a`",
            ),
            // Topics that are new, gone, in another order, or back after having rested: `flows/0` stands among the partitions.
            (newest(unpublished_none), from("kafka: flows, more"), on),
            (newest(|m| (unpublished_none(m), m.source = "kafka: more, flows".into()).1), from("kafka: flows"), on),
            (newest(|m| (unpublished_none(m), m.source = "kafka: more".into()).1), from("kafka: flows"), on),
            (newest(|_| ()), from("kafka: other"), "read from `kafka: flows`, and the source is `kafka: other`"),
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

    #[test]
    fn what_a_table_was_made_by_is_kept_for_a_window_that_comes_back() {
        let without = changed(&[("windows.by_label.size", None)]);
        let kept = without.kept(full(8).checkpoint());
        assert_eq!(kept.get("windows.by_label.size").map(String::as_str), Some("10s"));
        assert_eq!(without.kept(None), without.configuration);
    }
}
