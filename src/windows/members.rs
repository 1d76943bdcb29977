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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::ids::Epoch;
    use crate::domain::table::Table;
    use crate::domain::time::EventTime;
    use crate::stage::{EpochEnd, Output, Share, Stage};
    use crate::windows::Windows;
    use crate::windows::harness::{Event, Stored, Value, batch, rows, schema, spec};

    /// Out of order by up to 30.
    fn events() -> Vec<Event> {
        let event = |index: i64| Event {
            time: 3 * index - index * 7919 % 31,
            key: format!("k{}", index % 5),
            offset: index,
            ..Event::default()
        };
        (0..400).map(event).collect()
    }

    /// All memberships of a run on so many workers, with an epoch every so many events and, on one, a restart at each checkpoint; and the events that the
    /// newest rows count.
    fn run(workers: usize, epoch_events: usize, lateness: i64) -> (Memberships, u64) {
        let spec = spec(45, 20, &["key"], &[("float", "sum")], lateness);
        let new = || Windows::new(&spec, &schema(), Table::Windows(0)).unwrap();
        let mut stages: Vec<Windows> = (0..workers).map(|_| new()).collect();
        let (mut all, mut newest, mut seen) = (Memberships::default(), BTreeMap::new(), i64::MIN);
        let events = events();
        let epochs: Vec<&[Event]> = events.chunks(epoch_events).collect();
        for (number, epoch) in epochs.iter().enumerate() {
            seen = epoch.iter().map(|event| event.time).fold(seen, i64::max);
            let is_last = number + 1 == epochs.len();
            let is_checkpoint = is_last || number % 3 == 2;
            let watermark = if is_last { EventTime::MAX } else { EventTime(seen - 5) };
            let mut sum = Memberships::default();
            let mut stored = Vec::new();
            for (worker, stage) in stages.iter_mut().enumerate() {
                let own = |event: &&Event| event.key.as_bytes()[1] as usize % workers == worker;
                let own: Vec<Event> = epoch.iter().filter(own).cloned().collect();
                let mut output = Output::default();
                stage.on_batch(batch(&own), &mut output);
                let end =
                    EpochEnd { epoch: Epoch(number as u64), is_checkpoint, publish: watermark, retain: watermark };
                stage.on_epoch_end(end, &mut output);
                for row in rows(&output).into_iter().filter(|row| row.contains_key("revision")) {
                    let Value::Int(count) = row["count"] else { panic!("a count") };
                    newest.insert((row["window_start"].clone(), row["key"].clone()), count as u64);
                }
                if is_checkpoint && workers == 1 {
                    stored = Stored::of(stage).batches();
                }
                if is_checkpoint {
                    sum = sum.and(stage.memberships());
                }
            }
            if is_checkpoint {
                assert!(sum.is_balanced(all.open), "after epoch {number}: {} were open, then {sum:?}", all.open);
                all = Memberships { open: sum.open, ..all.and(sum) };
            }
            // The stages share by hash, and this test by name: only one takes back what another had.
            if is_checkpoint && workers == 1 {
                stages = vec![new()];
                stages[0].restore(&stored, Share { worker: 0, workers: 1 }).unwrap();
            }
        }
        (all, newest.values().sum())
    }

    #[test]
    fn however_events_are_cut_and_shared_each_is_counted_in_every_window_that_it_lies_in() {
        let windows_of = |time: i64| (-10..100).filter(|at| (at * 20..at * 20 + 45).contains(&time)).count() as u64;
        let given: u64 = events().iter().map(|event| windows_of(event.time)).sum();
        for (workers, epoch_events) in [(1, 400), (1, 7), (1, 64), (2, 13), (5, 31)] {
            let (all, counted) = run(workers, epoch_events, 100);
            let wanted = Memberships { events: 400, given, refused: 0, published: given, open: 0 };
            assert_eq!((all, counted), (wanted, given), "{workers} workers, {epoch_events} an epoch");
        }
    }

    #[test]
    fn what_comes_after_its_windows_are_final_is_told_apart() {
        let (all, counted) = run(1, 7, 0);
        assert!(all.refused > 0, "{all:?}");
        assert_eq!((all.given, all.open), (all.refused + all.published, 0));
        assert_eq!(counted, all.published);
    }
}
