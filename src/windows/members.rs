//! The stage's own account of its events: how many came, and whether each is counted in every window that it lies in.

use crate::domain::membership::Memberships;
use crate::windows::grid::Grid;

/// Which windows are published and which are final: all up to these.
#[derive(Clone, Copy, Debug)]
pub struct Through {
    pub published: i64,
    pub last_final: i64,
}

/// What came, and what became of it, since it was last taken.
#[derive(Debug, Default)]
pub struct Members {
    events: u64,
    given: u64,
    refused: u64,
    published: u64,
}

impl Members {
    /// Events of one pane came.
    pub fn come(&mut self, grid: &Grid, pane: i64, events: u64, through: Through) {
        let (first, last) = (grid.first_window(pane), grid.last_window(pane));
        let in_windows = |first: i64, last: i64| {
            let windows = last.saturating_sub(first).saturating_add(1);
            events * u64::try_from(windows).unwrap_or(0)
        };
        self.events += events;
        self.given += in_windows(first, last);
        self.refused += in_windows(first, last.min(through.last_final));
        // A correction follows before the next checkpoint.
        self.published += in_windows(first.max(through.last_final.saturating_add(1)), last.min(through.published));
    }

    /// Rows of windows that were not published before leave with these counts.
    pub fn publish(&mut self, counts: u64) {
        self.published += counts;
    }

    /// The account since the last one. `open`: what is counted in windows that are not published.
    pub fn take(&mut self, open: u64) -> Memberships {
        let Members { events, given, refused, published } = std::mem::take(self);
        Memberships { events, given, refused, published, open }
    }
}
