//! Events in windows: an event is counted once in each window that it lies in.

use serde::{Deserialize, Serialize};

/// What became of the events that a window's stage was given, between two checkpoints. An event and a window that it lies in are one
/// membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memberships {
    /// Events that came.
    pub events: u64,
    /// The windows that they lie in, event by event.
    pub given: u64,
    /// Those of windows that were final, in which nothing is counted any more.
    pub refused: u64,
    /// By how much the counts of published rows grew.
    pub published: u64,
    /// Counted in windows that are not published yet: a level, all others are since the last checkpoint.
    pub open: u64,
}

impl Memberships {
    /// Whether every membership is published, open or refused. `open_before`: as the last checkpoint left it.
    pub fn is_balanced(&self, open_before: u64) -> bool {
        let came = open_before.checked_add(self.given);
        let went = self.refused.checked_add(self.published).and_then(|settled| settled.checked_add(self.open));
        came.is_some() && came == went
    }

    /// These and those of another worker.
    pub fn and(self, more: Memberships) -> Memberships {
        Memberships {
            events: self.events.saturating_add(more.events),
            given: self.given.saturating_add(more.given),
            refused: self.refused.saturating_add(more.refused),
            published: self.published.saturating_add(more.published),
            open: self.open.saturating_add(more.open),
        }
    }
}
