//! What is usual at a time of the day or of the week: for each slot of it, the median of the means of earlier days or weeks.

use std::collections::{BTreeMap, VecDeque};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// How time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Periods {
    period: i64,
    slot: i64,
    /// From 1970 to the begin of a period.
    begin: i64,
    /// Earlier periods that count.
    most: usize,
}

/// Slots of a quarter of an hour, over two weeks.
pub(super) const DAILY: Periods = Periods { period: DAY, slot: 900 * SECOND, begin: 0, most: 14 };
/// Slots of an hour, over four weeks, each from Monday on.
pub(super) const WEEKLY: Periods = Periods { period: 7 * DAY, slot: 3600 * SECOND, begin: 4 * DAY, most: 4 };
/// Fewer earlier periods say nothing.
const PERIODS_MIN: usize = 2;

/// One time of the period.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    /// The one that is being gathered, and its values so far.
    pub(super) period: i64,
    pub(super) sum: f64,
    pub(super) count: u32,
    /// Means of those before it, the oldest first.
    pub(super) earlier: VecDeque<f64>,
}

/// The slots that had values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile(pub(super) BTreeMap<i64, Slot>);

impl Profile {
    /// What is usual at `time`, from periods before its own.
    pub(super) fn usual(&self, periods: Periods, time: i64) -> Option<f64> {
        let (period, slot) = periods.place(time);
        let slot = self.0.get(&slot)?;
        let mut means: Vec<f64> = slot.earlier.iter().copied().collect();
        if slot.period != period {
            means.push(slot.sum / f64::from(slot.count));
        }
        let mut means = means.split_off(means.len().saturating_sub(periods.most));
        if means.len() < PERIODS_MIN {
            return None;
        }
        means.sort_by(f64::total_cmp);
        let half = means.len() / 2;
        Some(if means.len().is_multiple_of(2) { (means[half - 1] + means[half]) / 2.0 } else { means[half] })
    }

    /// Takes a value in; gives its slot and what that held before.
    pub(super) fn push(&mut self, periods: Periods, time: i64, value: f64) -> (i64, Option<Slot>) {
        let (period, place) = periods.place(time);
        let before = self.0.get(&place).cloned();
        let new = Slot { period, sum: 0.0, count: 0, earlier: VecDeque::new() };
        let slot = self.0.entry(place).or_insert(new);
        if slot.period != period {
            slot.earlier.push_back(slot.sum / f64::from(slot.count));
            let surplus = slot.earlier.len().saturating_sub(periods.most);
            slot.earlier.drain(..surplus);
            (slot.period, slot.sum, slot.count) = (period, 0.0, 0);
        }
        slot.sum += value;
        slot.count += 1;
        (place, before)
    }

    /// Undoes the last `push`, which gave this.
    pub(super) fn pop(&mut self, (place, before): (i64, Option<Slot>)) {
        match before {
            Some(before) => self.0.insert(place, before),
            None => self.0.remove(&place),
        };
    }
}

impl Periods {
    /// The period of a time, and its slot.
    fn place(self, time: i64) -> (i64, i64) {
        let time = time.saturating_sub(self.begin);
        (time.div_euclid(self.period), time.rem_euclid(self.period).div_euclid(self.slot))
    }
}
