//! One field of one group over a whole window: its panes' cells merged, and the aggregates taken from them.

use crate::windows::cells::{FieldCells, NumberCells, TextCells};
use crate::windows::exact::distinct::Distinct;
use crate::windows::exact::ends::Ends;
use crate::windows::exact::extremes::Extremes;
use crate::windows::exact::kept::{Crowd, Held};
use crate::windows::exact::moments::Divisor;
use crate::windows::exact::number::Number;
use crate::windows::exact::percentile;
use crate::windows::exact::powers::Powers;
use crate::windows::exact::slope::Slope;
use crate::windows::exact::sums::{Habit, Sums};
use crate::windows::plan::Needs;
use crate::windows::spec::Aggregate;

/// A number's field over a window.
#[derive(Debug)]
pub struct NumberSummary<N: Number> {
    needs: Needs,
    /// Events of the group in the window, and those of them with a value.
    events: u64,
    present: u64,
    sums: Sums,
    extremes: Extremes<N>,
    powers: Powers,
    slope: Slope,
    pub ends: Ends<N>,
    distinct: Distinct,
    values: Vec<N>,
    /// How the group before held its sums.
    habit: Option<Habit>,
    crowd: Option<Box<Crowd<N>>>,
}

/// A cell of a pane that belongs to the window: its events, and how much later than the window its pane starts.
#[derive(Clone, Copy)]
pub struct Part<C> {
    pub cells: C,
    pub cell: usize,
    pub events: u64,
    pub missing: u64,
    pub later: i64,
}

impl<N: Number> NumberSummary<N> {
    pub fn new(needs: Needs) -> Self {
        NumberSummary {
            needs,
            events: 0,
            present: 0,
            sums: Sums::default(),
            extremes: Extremes::default(),
            powers: Powers::default(),
            slope: Slope::default(),
            ends: Ends::default(),
            distinct: Distinct::default(),
            values: Vec::new(),
            habit: None,
            crowd: None,
        }
    }

    /// Forgets the group before and takes up the parts of the next.
    pub fn gather<'a>(&mut self, parts: impl Iterator<Item = Part<&'a NumberCells<N>>>) {
        let values = std::mem::take(&mut self.values);
        *self = NumberSummary { values, habit: self.sums.habit().or(self.habit), ..NumberSummary::new(self.needs) };
        self.values.clear();
        parts.for_each(|part| self.merge(part));
        self.conclude_values();
    }

    fn merge(&mut self, part: Part<&NumberCells<N>>) {
        let (cells, cell) = (part.cells, part.cell);
        let present = part.events - part.missing;
        self.events += part.events;
        self.present += present;
        if let Some(sums) = cells.sums.get(cell) {
            self.sums.merge(sums);
        }
        if let Some(extremes) = cells.extremes.get(cell) {
            self.extremes.merge(extremes);
        }
        if let Some(powers) = cells.powers.get(cell) {
            self.powers.merge(powers);
        }
        if let Some(slope) = cells.slopes.get(cell) {
            self.slope.merge(slope, part.later, present);
        }
        if let Some(ends) = cells.ends.get(cell) {
            self.ends.merge(ends);
        }
        if let Some(distinct) = cells.distinct.get(cell) {
            self.distinct.merge(distinct);
        }
        match cells.kept.as_ref().map(|kept| kept.held(cell)) {
            None => {}
            Some(Held::Values(values)) => self.values.extend_from_slice(values),
            Some(Held::Crowd(crowd)) => match &mut self.crowd {
                Some(sum) => sum.merge(crowd),
                None => self.crowd = Some(Box::new(crowd.clone())),
            },
        }
    }

    /// Takes from kept values what the other accumulators would have.
    fn conclude_values(&mut self) {
        if self.needs.percentiles == 0 {
            return;
        }
        if let Some(mut crowd) = self.crowd.take() {
            // One pane with too many values is enough: percentiles of the window come from its sketch.
            crowd.add_run(self.values.as_slice(), self.needs.powers);
            self.values.clear();
            (self.sums, self.extremes) = (std::mem::take(&mut crowd.sums), crowd.extremes);
            self.powers = std::mem::take(&mut crowd.powers);
            self.crowd = Some(crowd);
            return;
        }
        let values = self.values.as_slice();
        self.sums.adopt(self.habit);
        if self.needs.squares {
            self.sums.add_run::<true, N>(values);
        } else if self.needs.sums {
            self.sums.add_run::<false, N>(values);
        }
        if self.needs.extremes {
            self.extremes.add_run(values);
        }
        if self.needs.powers {
            self.powers.add_run(values);
        }
        if self.needs.percentiles > 1 {
            self.values.sort_unstable_by(N::order);
        }
    }

    pub fn count(&self) -> u64 {
        self.present
    }

    pub fn distinct(&self) -> u64 {
        self.distinct.count()
    }

    /// An aggregate that is a double; nothing where it has no value or leaves the range. `size` is the window's, in microseconds.
    pub fn float(&mut self, aggregate: Aggregate, size: i64) -> Option<f64> {
        use Aggregate as A;
        let n = self.present;
        if n == 0 && aggregate != A::Missing && aggregate != A::Rate {
            return None;
        }
        let value = match aggregate {
            A::Sum => Some(self.sums.sum().to_f64()),
            A::Mean => self.sums.mean(n).map(|mean| mean.to_f64()),
            A::Stddev => self.sums.variance(n, Divisor::Sample).map(|variance| variance.root()),
            A::Variance => self.sums.variance(n, Divisor::Sample).map(|variance| variance.to_f64()),
            A::StddevPop => self.sums.variance(n, Divisor::Population).map(|variance| variance.root()),
            A::VariancePop => self.sums.variance(n, Divisor::Population).map(|variance| variance.to_f64()),
            A::RootMeanSquare => self.sums.root_mean_square(n),
            A::Min => self.extremes.of_values().map(|(least, _)| least.to_f64()),
            A::Max => self.extremes.of_values().map(|(_, greatest)| greatest.to_f64()),
            A::Range => self.extremes.of_values().map(|(least, greatest)| N::difference(greatest, least)),
            A::Median => self.percentile(500),
            A::Percentile(thousandths) => self.percentile(thousandths),
            A::Missing => Some(missing_share(self.events - n, self.events)),
            A::Rate => Some(rate(n, size)),
            A::Skewness => self.powers.shape(n).map(|shape| shape.skewness),
            A::Kurtosis => self.powers.shape(n).map(|shape| shape.kurtosis),
            A::Slope => self.slope.per_second(n),
            A::Count | A::Distinct | A::First | A::Last => None,
        };
        value.filter(|value| value.is_finite())
    }

    fn percentile(&mut self, thousandths: u16) -> Option<f64> {
        if let Some(crowd) = &self.crowd {
            let (least, greatest) = self.extremes.of_values()?;
            let middle = crowd.sketch.percentile(thousandths, crowd.count)?;
            return Some(middle.clamp(least.to_f64(), greatest.to_f64()));
        }
        match self.needs.percentiles {
            1 => percentile::select(&mut self.values, thousandths),
            _ => percentile::of_sorted(&self.values, thousandths),
        }
    }
}

/// Both numbers are below 2^53, so that one rounding is made.
fn missing_share(missing: u64, events: u64) -> f64 {
    missing as f64 / events as f64
}

/// Values a second. The product is exact for windows of up to 9 * 10^9 values.
fn rate(values: u64, size: i64) -> f64 {
    (u128::from(values) * 1_000_000) as f64 / size as f64
}

/// A text's field over a window.
#[derive(Debug, Default)]
pub struct TextSummary {
    events: u64,
    present: u64,
    pub ends: Ends<Box<str>>,
    distinct: Distinct,
}

impl TextSummary {
    /// Forgets the group before and takes up the parts of the next.
    pub fn gather<'a>(&mut self, parts: impl Iterator<Item = Part<&'a TextCells>>) {
        *self = TextSummary::default();
        for part in parts {
            self.events += part.events;
            self.present += part.events - part.missing;
            if let Some(ends) = part.cells.ends.get(part.cell) {
                self.ends.merge(ends);
            }
            if let Some(distinct) = part.cells.distinct.get(part.cell) {
                self.distinct.merge(distinct);
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.present
    }

    pub fn distinct(&self) -> u64 {
        self.distinct.count()
    }

    pub fn missing(&self) -> Option<f64> {
        (self.events > 0).then(|| missing_share(self.events - self.present, self.events))
    }
}

/// The part of a window that one cell is, for a field of that pane.
pub fn part<C>(cells: C, field: &FieldCells, cell: usize, events: u64, later: i64) -> Part<C> {
    Part { cells, cell, events, missing: field.missing(cell), later }
}
