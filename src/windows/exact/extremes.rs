//! The least and the greatest value.

use crate::windows::exact::number::{Number, Run};

/// Invariant: neither is minus zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes<N> {
    least: N,
    greatest: N,
}

impl<N: Number> Default for Extremes<N> {
    fn default() -> Self {
        Extremes { least: N::GREATEST, greatest: N::LEAST }
    }
}

impl<N: Number> Extremes<N> {
    #[inline]
    pub fn add_run(&mut self, run: impl Run<N>) {
        // Two lanes halve the wait for the previous comparison.
        let (mut even, mut odd) = (*self, *self);
        let pairs = run.length() / 2 * 2;
        for index in (0..pairs).step_by(2) {
            even.add(run.at(index));
            odd.add(run.at(index + 1));
        }
        if pairs < run.length() {
            even.add(run.at(pairs));
        }
        even.merge(&odd);
        *self = even;
    }

    #[inline(always)]
    fn add(&mut self, value: N) {
        let value = value.plain();
        self.least = if value < self.least { value } else { self.least };
        self.greatest = if value > self.greatest { value } else { self.greatest };
    }

    #[inline]
    pub fn merge(&mut self, other: &Extremes<N>) {
        self.least = if other.least < self.least { other.least } else { self.least };
        self.greatest = if other.greatest > self.greatest { other.greatest } else { self.greatest };
    }

    /// The least and the greatest value; nothing without values.
    pub fn of_values(&self) -> Option<(N, N)> {
        (self.least <= self.greatest).then_some((self.least, self.greatest))
    }

    pub fn from_values(values: Option<(N, N)>) -> Self {
        values.map_or_else(Extremes::default, |(least, greatest)| Extremes { least, greatest })
    }
}
