//! What is remembered of one series of values, and what it says of the next one.
//!
//! Promise: it is a function of the values in the order of their times, and taking one back leaves exactly what was before.

use std::collections::VecDeque;

use crate::scoring::tail::profile::{DAILY, Profile, Slot, WEEKLY};
use crate::scoring::tail::ranked::Ranked;

/// What is looked at of a value and those before it.
pub(super) const SHAPES: usize = 14;
/// Windows over which means are taken, the longest of all, and those before it that are remembered.
const LEVELS: [usize; 4] = [1, 6, 24, 96];
const DIFFERENCES: [usize; 3] = [1, 6, 24];
const DEVIATIONS: [usize; 2] = [12, 48];
const OFF_DAILY: [usize; 3] = [1, 6, 24];
const OFF_WEEKLY: [usize; 2] = [6, 24];
const VALUES_KEPT: usize = 95;
const RESIDUALS_KEPT: usize = 23;
/// A deviation counts for this share of that of the first values at least.
const DEVIATION_SHARE: f64 = 0.01;
const DEVIATION_MIN: f64 = 1e-9;

/// How much is remembered, and when a score counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Values that tails are made of, at most and at least.
    pub(super) most: usize,
    pub(super) least: usize,
    /// A score counts where it is above `again` times the greatest of the last `quiet_us`.
    pub(super) quiet_us: i64,
    pub(super) again: f64,
    /// A series that was silent for longer begins anew.
    pub(super) silence_us: i64,
}

/// What was said of a value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scoring) struct Told {
    pub(in crate::scoring) shapes: [f64; SHAPES],
    /// How far it was off what is usual at its time of the day and of the week.
    pub(in crate::scoring) residuals: [f64; 2],
    /// The mean of the shapes' improbabilities.
    pub(in crate::scoring) nats: f64,
    /// The same where it counts, else 0.
    pub(in crate::scoring) score: f64,
    /// The middle of earlier values.
    pub(in crate::scoring) usual: f64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Past {
    /// The first values with their times, until there are enough of them to begin.
    pub(super) first: Vec<(i64, f64)>,
    /// Added to deviations. None: it has not begun.
    pub(super) floor: Option<f64>,
    pub(super) values: VecDeque<f64>,
    /// Off the day and off the week.
    pub(super) residuals: [VecDeque<f64>; 2],
    pub(super) profiles: [Profile; 2],
    pub(super) ranked: [Ranked; SHAPES],
    /// Times and nats of the time in which a score is compared.
    pub(super) recent: VecDeque<(i64, f64)>,
}

/// What takes the last value back.
#[derive(Debug)]
pub(super) enum Undo {
    /// It was one of the first.
    First,
    /// It was the last of the first.
    Begun(Vec<(i64, f64)>),
    /// It began anew; this was before.
    Anew(Box<Past>),
    Value(Box<Before>),
}

/// What a value pushed out.
#[derive(Debug)]
pub(super) struct Before {
    value: Option<f64>,
    residuals: [Option<f64>; 2],
    slots: [(i64, Option<Slot>); 2],
    ranked: [Option<f64>; SHAPES],
    recent: Vec<(i64, f64)>,
}

impl Past {
    /// What is said of a value at `time`; nothing before it has begun.
    pub(super) fn tell(&self, limits: &Limits, time: i64, value: f64) -> Option<Told> {
        let floor = self.floor.filter(|_| !self.is_over(limits, time))?;
        let (shapes, residuals) = self.shapes(floor, time, value);
        let is_enough = self.ranked[0].values().len() >= limits.least;
        let each = shapes.iter().zip(&self.ranked).map(|(shape, ranked)| ranked.nats(*shape));
        let nats = if is_enough { each.sum::<f64>() / SHAPES as f64 } else { 0.0 };
        let since = time.saturating_sub(limits.quiet_us);
        let recent = self.recent.iter().filter(|(at, _)| *at >= since).map(|(_, nats)| *nats);
        let score = if nats > limits.again * recent.fold(0.0, f64::max) { nats } else { 0.0 };
        Some(Told { shapes, residuals, nats, score, usual: self.ranked[0].median() })
    }

    fn shapes(&self, floor: f64, time: i64, value: f64) -> ([f64; SHAPES], [f64; 2]) {
        let values: Vec<f64> = self.values.iter().copied().chain([value]).collect();
        let off_daily = self.profiles[0].usual(DAILY, time).map_or(0.0, |usual| value - usual);
        let off_weekly = self.profiles[1].usual(WEEKLY, time).map_or(off_daily, |usual| value - usual);
        let residuals = [off_daily, off_weekly];
        let trail =
            |place: usize| -> Vec<f64> { self.residuals[place].iter().copied().chain([residuals[place]]).collect() };
        let (daily, weekly) = (trail(0), trail(1));
        let level = |over: usize| mean(last(&values, over));
        let difference = |over: usize| match values.len().checked_sub(over) {
            None | Some(0) => 0.0,
            Some(before) => level(over) - mean(last(&values[..before], over)),
        };
        let deviation = |over: usize| libm::log(deviation(last(&values, over)) + floor);
        let all = (LEVELS.into_iter().map(level))
            .chain(DIFFERENCES.into_iter().map(difference))
            .chain(DEVIATIONS.into_iter().map(deviation))
            .chain(OFF_DAILY.into_iter().map(|over| mean(last(&daily, over))))
            .chain(OFF_WEEKLY.into_iter().map(|over| mean(last(&weekly, over))));
        let mut shapes = [0.0; SHAPES];
        // A negative zero is the positive one: equal values have equal bits.
        shapes.iter_mut().zip(all).for_each(|(shape, value)| *shape = value + 0.0);
        (shapes, residuals)
    }

    /// Takes a value in, of which this was said; what was said before it had begun is told anew.
    pub(super) fn push(&mut self, limits: &Limits, time: i64, value: f64, told: Option<&Told>) -> Undo {
        if self.is_over(limits, time) {
            let before = std::mem::take(self);
            self.push(limits, time, value, None);
            return Undo::Anew(Box::new(before));
        }
        if self.floor.is_some() {
            let anew = told.is_none().then(|| self.tell(limits, time, value)).flatten();
            return match told.or(anew.as_ref()) {
                Some(told) => Undo::Value(Box::new(self.take(limits, time, value, told))),
                None => Undo::First,
            };
        }
        self.first.push((time, value));
        if self.first.len() < limits.least {
            return Undo::First;
        }
        let first = std::mem::take(&mut self.first);
        let values: Vec<f64> = first.iter().map(|(_, value)| *value).collect();
        self.floor = Some(DEVIATION_SHARE * (deviation(&values) + DEVIATION_MIN));
        for (time, value) in &first {
            if let Some(told) = self.tell(limits, *time, *value) {
                self.take(limits, *time, *value, &told);
            }
        }
        Undo::Begun(first)
    }

    fn take(&mut self, limits: &Limits, time: i64, value: f64, told: &Told) -> Before {
        let mut ranked = [None; SHAPES];
        for ((out, own), shape) in ranked.iter_mut().zip(&mut self.ranked).zip(&told.shapes) {
            *out = own.push(*shape, limits.most);
        }
        let slots = [self.profiles[0].push(DAILY, time, value), self.profiles[1].push(WEEKLY, time, value)];
        let mut residuals = [None; 2];
        for ((out, own), residual) in residuals.iter_mut().zip(&mut self.residuals).zip(told.residuals) {
            *out = pushed(own, residual, RESIDUALS_KEPT);
        }
        self.recent.push_back((time, told.nats));
        let since = time.saturating_sub(limits.quiet_us);
        let old = self.recent.partition_point(|(at, _)| *at < since);
        let recent = self.recent.drain(..old).collect();
        Before { value: pushed(&mut self.values, value, VALUES_KEPT), residuals, slots, ranked, recent }
    }

    /// Whether nothing came for so long that what is remembered says nothing at `time`.
    fn is_over(&self, limits: &Limits, time: i64) -> bool {
        let last = self.recent.back().map(|(at, _)| *at).or_else(|| self.first.last().map(|(at, _)| *at));
        last.is_some_and(|last| time.saturating_sub(last) > limits.silence_us)
    }

    /// Undoes the last `push`, which gave this.
    pub(super) fn pop(&mut self, undo: Undo) {
        match undo {
            Undo::First => {
                self.first.pop();
            }
            Undo::Begun(mut first) => {
                first.pop();
                *self = Past { first, ..Past::default() };
            }
            Undo::Anew(before) => *self = *before,
            Undo::Value(before) => {
                let Before { value, residuals, slots, ranked, recent } = *before;
                self.ranked.iter_mut().zip(ranked).for_each(|(own, out)| own.pop(out));
                self.profiles.iter_mut().zip(slots).for_each(|(own, slot)| own.pop(slot));
                self.residuals.iter_mut().zip(residuals).for_each(|(own, out)| popped(own, out));
                popped(&mut self.values, value);
                self.recent.pop_back();
                recent.into_iter().rev().for_each(|one| self.recent.push_front(one));
            }
        }
    }
}

fn pushed(values: &mut VecDeque<f64>, value: f64, most: usize) -> Option<f64> {
    values.push_back(value);
    if values.len() > most { values.pop_front() } else { None }
}

fn popped(values: &mut VecDeque<f64>, oldest: Option<f64>) {
    values.pop_back();
    oldest.into_iter().for_each(|oldest| values.push_front(oldest));
}

fn last(values: &[f64], count: usize) -> &[f64] {
    &values[values.len().saturating_sub(count)..]
}

/// In the order of time, so that the bits are the same wherever it is computed.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of a population.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / values.len() as f64).sqrt()
}
