//! The last values of one series in order, and how improbable another one is under their tails.
//!
//! Beyond a high value, excesses follow a generalised Pareto distribution (Pickands, 1975); it is fitted by its first two moments (Hosking
//! and Wallis, 1987), on either side, over the outermost values.

use std::collections::VecDeque;

/// The share of values that make up a tail, and how many do at least.
const TAIL_SHARE: f64 = 0.02;
const TAIL_VALUES_MIN: usize = 5;
/// The mean excess counts as at least this share of the distance from the 5th to the 95th percentile: a tail of equal values is no wall.
const EXCESS_SHARE_MIN: f64 = 0.02;
const EXCESS_MIN: f64 = 1e-9;
/// A shape above this has no variance to be fitted by.
const SHAPE_MAX: f64 = 0.5;
/// Below this the distribution is the exponential one.
const SHAPE_MIN: f64 = 1e-6;

/// Invariant: both hold the same values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ranked {
    /// In the order of time.
    values: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl Ranked {
    /// `values` in the order of time.
    pub(super) fn new(values: VecDeque<f64>) -> Ranked {
        let mut sorted: Vec<f64> = values.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        Ranked { values, sorted }
    }

    pub(super) fn values(&self) -> &VecDeque<f64> {
        &self.values
    }

    pub(super) fn median(&self) -> f64 {
        self.sorted.get(self.sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Takes a value in; gives the one that left for it, where there were `most` already.
    pub(super) fn push(&mut self, value: f64, most: usize) -> Option<f64> {
        let oldest = if self.values.len() >= most { self.values.pop_front() } else { None };
        if let Some(oldest) = oldest {
            self.sorted.remove(self.place(oldest));
        }
        self.values.push_back(value);
        self.sorted.insert(self.place(value), value);
        oldest
    }

    /// Undoes the last `push`, which gave `oldest`.
    pub(super) fn pop(&mut self, oldest: Option<f64>) {
        if let Some(value) = self.values.pop_back() {
            self.sorted.remove(self.place(value));
        }
        if let Some(oldest) = oldest {
            self.values.push_front(oldest);
            self.sorted.insert(self.place(oldest), oldest);
        }
    }

    fn place(&self, value: f64) -> usize {
        self.sorted.partition_point(|other| other.total_cmp(&value).is_lt())
    }

    /// The negative logarithm of the chance of a value as far out as this one; 0 inside of the tails.
    pub(super) fn nats(&self, value: f64) -> f64 {
        let count = self.sorted.len();
        let tail = TAIL_VALUES_MIN.max((TAIL_SHARE * count as f64) as usize);
        if count <= tail {
            return 0.0;
        }
        let at = |share: f64| self.sorted[(share * count as f64) as usize];
        let least = (EXCESS_SHARE_MIN * (at(0.95) - at(0.05))).max(EXCESS_MIN);
        let (above, below) = (self.sorted[count - tail - 1], self.sorted[tail]);
        if value > above {
            let excesses = self.sorted[count - tail..].iter().rev().map(|other| other - above);
            beyond(value - above, excesses, tail, count, least)
        } else if value < below {
            beyond(below - value, self.sorted[..tail].iter().map(|other| below - other), tail, count, least)
        } else {
            0.0
        }
    }
}

/// Of an excess, under a tail of these excesses.
fn beyond(excess: f64, excesses: impl Iterator<Item = f64>, tail: usize, count: usize, least: f64) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for excess in excesses {
        sum += excess;
        squares += excess * excess;
    }
    let mean = sum / tail as f64;
    let variance = squares / tail as f64 - mean * mean;
    let shape = if variance > 0.0 && mean > 0.0 { 0.5 * (1.0 - mean * mean / variance) } else { 0.0 };
    let (mean, shape) = (mean.max(least), shape.clamp(0.0, SHAPE_MAX));
    let within =
        if shape < SHAPE_MIN { excess / mean } else { libm::log1p(shape * excess / (mean * (1.0 - shape))) / shape };
    within - libm::log((tail as f64 + 1.0) / (count as f64 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(values: impl Iterator<Item = f64>) -> Ranked {
        Ranked::new(values.collect())
    }

    #[test]
    fn values_are_put_back_where_they_were() {
        let whole = ranked((0..50).map(|value| f64::from(value * 7919 % 23)));
        let mut changed = whole.clone();
        let left: Vec<Option<f64>> = [3.0, -1.0, 99.0].iter().map(|value| changed.push(*value, 50)).collect();
        assert_eq!(changed.values().len(), 50);
        assert_ne!(changed, whole);
        left.into_iter().rev().for_each(|left| changed.pop(left));
        assert_eq!(changed, whole);
    }

    #[test]
    fn the_further_out_the_less_probable_on_both_sides_and_inside_nothing_is() {
        let values = ranked((0..1000).map(|value| f64::from(value % 100)));
        assert_eq!([5.0, 50.0, 95.0].map(|value| values.nats(value)), [0.0; 3]);
        let up = [99.5, 120.0, 1000.0].map(|value| values.nats(value));
        let down = [-0.5, -21.0, -901.0].map(|value| values.nats(value));
        assert!(up[0] < up[1] && up[1] < up[2] && down[0] < down[1] && down[1] < down[2], "{up:?} {down:?}");
        // Twenty of a thousand are beyond where the tail begins.
        assert!(up[0] > -(21f64 / 1001.0).ln() - 1e-9, "{up:?}");
    }

    #[test]
    fn what_never_changed_is_left_at_the_first_step() {
        let values = ranked((0..500).map(|_| 4.0));
        assert_eq!(values.nats(4.0), 0.0);
        assert!(values.nats(4.1) > 1e6);
    }
}
