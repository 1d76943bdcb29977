//! One series while its newest windows are not final: what was said of each, and the past up to any of them.
//!
//! Promise: what is said of a window is a function of its value and of those final before it began. A correction takes the past back to in
//! front of the corrected window, and goes on from there when it is asked for what is later.

use std::collections::BTreeMap;

use crate::scoring::tail::past::{Limits, Past, Told, Undo};

/// A window's value, and what was said of it; nothing in the beginning.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) value: f64,
    pub(super) told: Option<Told>,
}

/// See the module.
///
/// Invariant: the past holds all windows up to the last of the journal, and no window of `open`, which all begin later.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) past: Past,
    /// Windows in the past that may still be taken back, by their start.
    journal: Vec<(i64, Said, Undo)>,
    /// Windows that are not in the past.
    pub(super) open: BTreeMap<i64, Said>,
    /// The past does not go back before this; windows up to it are final.
    pub(super) settled: Option<i64>,
}

impl Series {
    /// What is said of a window that begins at `start`, where those up to `last_final` were final before it began.
    pub(super) fn tell(&mut self, limits: &Limits, start: i64, last_final: i64, value: f64) -> Option<Told> {
        // What is final is told no more; the past cannot be taken back to it.
        if self.settled.is_some_and(|settled| start <= settled || last_final < settled) {
            return None;
        }
        self.seek(limits, last_final.min(start.saturating_sub(1)));
        let told = self.past.tell(limits, start, value);
        self.open.insert(start, Said { value, told: told.clone() });
        told
    }

    /// Puts exactly the windows up to `upto` into the past.
    fn seek(&mut self, limits: &Limits, upto: i64) {
        while let Some((start, said, undo)) = self.journal.pop_if(|(start, ..)| *start > upto) {
            self.past.pop(undo);
            self.open.insert(start, said);
        }
        while let Some(next) = self.open.first_entry().filter(|next| *next.key() <= upto) {
            let (start, said) = next.remove_entry();
            let undo = self.past.push(limits, start, said.value, said.told.as_ref());
            self.journal.push((start, said, undo));
        }
    }

    /// No window that begins before `upto` or at it is asked for any more, and none that has less than these before it.
    pub(super) fn settle(&mut self, limits: &Limits, upto: i64) {
        if self.open.first_key_value().is_some_and(|(first, _)| *first <= upto) {
            self.seek(limits, upto);
        }
        let settled = self.journal.partition_point(|(start, ..)| *start <= upto);
        if let Some((last, ..)) = settled.checked_sub(1).and_then(|last| self.journal.get(last)) {
            self.settled = Some(*last);
        }
        self.journal.drain(..settled);
    }

    /// Takes back all that may be taken back, for a state without a journal.
    pub(super) fn rest(&mut self, limits: &Limits) {
        self.seek(limits, self.settled.unwrap_or(i64::MIN));
    }

    /// When its last window began.
    pub(super) fn last(&self) -> Option<i64> {
        let open = self.open.last_key_value().map(|(start, _)| *start);
        open.or_else(|| self.journal.last().map(|(start, ..)| *start)).or(self.settled)
    }

    /// Whether anything may still change it.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.journal.is_empty()
    }
}
