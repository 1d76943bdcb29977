//! How all workers let a version of a model take over at one event time: decided by each from the marks that all hear.
//!
//! Worker 0 proposes a version at the end of an epoch. With each mark a source worker says whether its process has the version ready. Let
//! `p` be the first epoch by whose end all said so; then the version scores from epoch `E = p + epochs_ahead + 1` on, whatever has the
//! event time `A` or a later one: the earliest that is behind all that any source worker had handed on by the end of epoch `E - 1`, as the
//! marks of that epoch say.
//!
//! Promise: a row of an event time before `A` is never scored by the version, and a row of `A` or later by no other, on every worker.
//! - What is scored in epochs before `E` has a time before `A`. Its events were handed on by then. Its windows ended before a watermark,
//!   and no watermark is ahead of the newest event of its partition, or of the first one that a file is known to begin with.
//! - What is scored in epochs from `E` on is scored by those who know `A`. A stage ends epochs in their order. Events are scored as they are
//!   read, so a source does not read in `E` until `E - 1` is over everywhere (`begins`): it knows of `E` in time, for it reads in an epoch
//!   only when those more than `epochs_ahead` before it, `p` among them, are over.
//! - The change is in the manifest of the first checkpoint from `E - 1` on, with the first rows that the version scored, or before them. A
//!   crash before that leaves nothing of it, and the next start decides anew.
//! - Nobody waits for a source that left before `E - 1` was over (the run is being stopped): the proposal is dropped, by all.

use serde::{Deserialize, Serialize};

use crate::checkpoint::schedule::{ModelFrom, behind};
use crate::domain::ids::Epoch;
use crate::domain::time::EventTime;
use crate::pipeline::parcel::Item;
use crate::pipeline::watermarks::Mark;
use crate::storage::digest::Sha256;

/// A version that is to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Counts up within a run.
    pub number: u64,
    pub detector: String,
    pub version: String,
    pub sha256: Sha256,
}

/// What a process says of the newest proposal that it has heard of, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    #[default]
    None,
    /// It is loaded, and fits.
    Ready(u64),
    Refused(u64),
}

/// What was said at the end of an epoch.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub marks: Vec<Mark>,
    pub proposal: Option<Proposal>,
}

impl Said {
    /// Takes what is of its kind.
    pub fn hear(&mut self, item: Item) {
        match item {
            Item::Mark { mark, .. } => self.marks.push(mark),
            Item::Proposal { proposal, .. } => self.proposal = Some(proposal),
            _ => {}
        }
    }
}

/// A version that takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub detector: String,
    pub version: ModelFrom,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Changed(Change),
    /// A process cannot score by it.
    Refused(Proposal),
    /// A source left before it was decided.
    Dropped(Proposal),
}

#[derive(Clone, Debug)]
enum Standing {
    Idle,
    Asked(Proposal),
    Agreed { proposal: Proposal, begins: Epoch },
}

/// See the module. Whoever is told the same epochs comes to the same outcomes.
#[derive(Clone, Debug)]
pub struct Agreement {
    epochs_ahead: u64,
    /// No event was accepted, and no window published, behind this time before the run.
    newest: EventTime,
    /// What each source worker said last, and when.
    last: Vec<Option<(Epoch, Mark)>>,
    standing: Standing,
}

impl Agreement {
    pub fn new(workers: usize, epochs_ahead: u64, newest: EventTime) -> Agreement {
        Agreement { epochs_ahead, newest, last: vec![None; workers], standing: Standing::Idle }
    }

    /// The epoch in which no source may read before all earlier ones are over everywhere, once there is one.
    pub fn begins(&self) -> Option<Epoch> {
        match self.standing {
            Standing::Agreed { begins, .. } => Some(begins),
            Standing::Idle | Standing::Asked(_) => None,
        }
    }

    /// An epoch is over on every worker. In ascending order; one in which nobody spoke may be left out.
    pub fn end(&mut self, epoch: Epoch, said: &Said) -> Option<Outcome> {
        for mark in &said.marks {
            self.last[mark.source] = Some((epoch, *mark));
        }
        if let Some(proposal) = &said.proposal {
            self.standing = Standing::Asked(proposal.clone());
        }
        if let Standing::Asked(proposal) = &self.standing {
            let proposal = proposal.clone();
            let answers = || self.last.iter().map(|last| last.map_or(Answer::None, |(_, mark)| mark.answer));
            if answers().any(|answer| answer == Answer::Refused(proposal.number)) {
                self.standing = Standing::Idle;
                return Some(Outcome::Refused(proposal));
            }
            if answers().all(|answer| answer == Answer::Ready(proposal.number)) {
                let begins = Epoch(epoch.0 + self.epochs_ahead + 1);
                self.standing = Standing::Agreed { proposal, begins };
            }
        }
        match &self.standing {
            Standing::Agreed { proposal, begins } if epoch.0 + 1 >= begins.0 => {
                let (proposal, begins) = (proposal.clone(), *begins);
                self.standing = Standing::Idle;
                Some(self.decided(epoch, proposal, begins))
            }
            _ => None,
        }
    }

    /// The outcome, at the end of the epoch before `begins` or, if nobody spoke in that, of a later one.
    fn decided(&self, epoch: Epoch, proposal: Proposal, begins: Epoch) -> Outcome {
        let newest_of = |last: &Option<(Epoch, Mark)>| {
            let spoke = last.filter(|(spoke, mark)| *spoke == epoch || mark.is_done);
            spoke.map(|(_, mark)| mark.newest)
        };
        let newest: Option<Vec<EventTime>> = self.last.iter().map(newest_of).collect();
        let newest = newest.filter(|_| epoch.0 + 1 == begins.0).and_then(|newest| newest.into_iter().max());
        match newest.map(|newest| behind(newest.max(self.newest))).filter(|from| *from != EventTime::MAX) {
            Some(from) => {
                let Proposal { detector, version, sha256, .. } = proposal;
                Outcome::Changed(Change { detector, version: ModelFrom { from: from.0, version, sha256 } })
            }
            None => Outcome::Dropped(proposal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(number: u64) -> Proposal {
        Proposal { number, detector: "flow".into(), version: "iomt/2".into(), sha256: Sha256::of(b"2") }
    }

    fn mark(source: usize, newest: i64, answer: Answer) -> Mark {
        Mark { newest: EventTime(newest), answer, ..Mark::silent(source) }
    }

    fn said(marks: &[Mark]) -> Said {
        Said { marks: marks.to_vec(), proposal: None }
    }

    fn changed(from: i64) -> Option<Outcome> {
        let version = ModelFrom { from, version: "iomt/2".into(), sha256: Sha256::of(b"2") };
        Some(Outcome::Changed(Change { detector: "flow".into(), version }))
    }

    /// Two workers, of which the second is ready in epoch 6, and three epochs ahead at most: it begins in epoch 10.
    fn agreed() -> Agreement {
        let mut agreement = Agreement::new(2, 3, EventTime(5));
        let (ready, none) = (Answer::Ready(1), Answer::None);
        let first = Said { proposal: Some(proposal(1)), ..said(&[mark(0, 90, ready), mark(1, 10, none)]) };
        assert_eq!(agreement.end(Epoch(5), &first), None);
        assert_eq!(agreement.begins(), None, "one is not ready");
        assert_eq!(agreement.end(Epoch(6), &said(&[mark(0, 95, ready), mark(1, 10, ready)])), None);
        assert_eq!(agreement.begins(), Some(Epoch(10)));
        agreement
    }

    #[test]
    fn a_version_takes_over_behind_all_that_was_read_before_its_epoch() {
        let mut agreement = agreed();
        let ready = Answer::Ready(1);
        for epoch in 7..9 {
            assert_eq!(agreement.end(Epoch(epoch), &said(&[mark(0, 96, ready), mark(1, 120, ready)])), None);
        }
        assert_eq!(agreement.end(Epoch(9), &said(&[mark(0, 97, ready), mark(1, 130, ready)])), changed(131));
        assert_eq!(agreement.begins(), None);
        let mut agreement = Agreement { newest: EventTime(700), ..agreed() };
        let outcome = agreement.end(Epoch(9), &said(&[mark(0, 97, ready), mark(1, 130, ready)]));
        assert_eq!(outcome, changed(701), "and behind what was read before the run");
    }

    #[test]
    fn a_source_that_is_done_is_waited_for_by_nobody_and_one_that_left_without_a_word_spoils_it() {
        let ready = Answer::Ready(1);
        let mut agreement = agreed();
        let done = Mark { is_done: true, ..mark(1, 140, ready) };
        assert_eq!(agreement.end(Epoch(8), &said(&[mark(0, 96, ready), done])), None);
        assert_eq!(agreement.end(Epoch(9), &said(&[mark(0, 97, ready)])), changed(141));
        let dropped = Some(Outcome::Dropped(proposal(1)));
        let mut agreement = agreed();
        assert_eq!(agreement.end(Epoch(9), &said(&[mark(0, 97, ready)])), dropped);
        let mut agreement = agreed();
        let all_gone = said(&[mark(0, 97, ready), Mark { is_done: true, ..mark(1, 98, ready) }]);
        assert_eq!(agreement.end(Epoch(12), &all_gone), dropped, "all left at once, and epoch 9 never was");
    }

    #[test]
    fn a_version_that_one_process_refuses_is_refused_by_all_and_the_next_proposal_is_heard() {
        let mut agreement = Agreement::new(2, 1, EventTime::MIN);
        let (ready, refused) = (Answer::Ready(1), Answer::Refused(1));
        let first = Said { proposal: Some(proposal(1)), ..said(&[mark(0, 1, ready), mark(1, 1, Answer::None)]) };
        assert_eq!(agreement.end(Epoch(1), &first), None);
        let outcome = agreement.end(Epoch(2), &said(&[mark(0, 1, ready), mark(1, 1, refused)]));
        assert_eq!(outcome, Some(Outcome::Refused(proposal(1))));
        let second = Said { proposal: Some(proposal(2)), ..said(&[mark(0, 1, ready), mark(1, 1, refused)]) };
        assert_eq!(agreement.end(Epoch(3), &second), None, "what was said of the first is not said of the second");
        let ready = Answer::Ready(2);
        assert_eq!(agreement.end(Epoch(4), &said(&[mark(0, 1, ready), mark(1, 2, ready)])), None);
        assert_eq!(agreement.end(Epoch(5), &said(&[mark(0, 8, ready), mark(1, 2, ready)])), changed(9));
    }
}
