//! Mean, deviation and range of every feature, row by row: the same bits however the rows were cut.

use crate::models::features::Scaler;
use crate::training::spec::Scaling;

/// Of all features.
#[derive(Debug)]
pub(super) struct Statistics(Vec<Column>);

/// Of one feature's finite values.
#[derive(Clone, Debug)]
pub(super) struct Column {
    count: u64,
    mean: f64,
    /// The sum of squared distances from the mean (Welford's).
    squares: f64,
    least: f64,
    greatest: f64,
}

impl Statistics {
    pub(super) fn new(width: usize) -> Statistics {
        let none = Column { count: 0, mean: 0.0, squares: 0.0, least: f64::INFINITY, greatest: f64::NEG_INFINITY };
        Statistics(vec![none; width])
    }

    pub(super) fn add(&mut self, row: &[f64]) {
        for (column, value) in self.0.iter_mut().zip(row).filter(|(_, value)| value.is_finite()) {
            column.count += 1;
            let off = value - column.mean;
            column.mean += off / column.count as f64;
            column.squares += off * (value - column.mean);
            column.least = column.least.min(*value);
            column.greatest = column.greatest.max(*value);
        }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.0
    }

    /// A feature that is always the same is left at its size, as scikit-learn does; one that varies by less than `floor` is taken to vary
    /// by that.
    pub(super) fn scaler(&self, scaling: Scaling, floor: f64) -> Scaler {
        let sized = |size: f64| match size.max(floor) {
            size if size > 0.0 => size,
            _ => 1.0,
        };
        match scaling {
            Scaling::None => Scaler::None,
            Scaling::Standard => Scaler::Standard {
                mean: self.0.iter().map(Column::mean).collect(),
                deviation: self.0.iter().map(|column| sized(column.deviation())).collect(),
            },
            Scaling::MinMax => {
                let scale: Vec<f64> = self.0.iter().map(|column| 1.0 / sized(column.range())).collect();
                let offset = self.0.iter().zip(&scale).map(|(column, scale)| -column.least * scale).collect();
                Scaler::MinMax { scale, offset, range: [0.0, 1.0], clip: false }
            }
        }
    }
}

impl Column {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// Of these values themselves, as scikit-learn has it. Rounding may leave a trace where all values are equal.
    pub(super) fn deviation(&self) -> f64 {
        if self.least == self.greatest { 0.0 } else { (self.squares / self.count.max(1) as f64).sqrt() }
    }

    pub(super) fn range(&self) -> f64 {
        self.greatest - self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Statistics {
        let mut statistics = Statistics::new(1);
        values.iter().for_each(|value| statistics.add(&[*value]));
        statistics
    }

    #[test]
    fn a_standard_scaler_has_mean_and_deviation_of_the_values_that_are_there() {
        let scaler = of(&[1.0, f64::NAN, 3.0, f64::INFINITY]).scaler(Scaling::Standard, 0.0);
        assert_eq!(scaler, Scaler::Standard { mean: vec![2.0], deviation: vec![1.0] });
    }

    #[test]
    fn a_min_max_scaler_puts_the_values_between_0_and_1() {
        let scaler = of(&[2.0, 6.0, 4.0]).scaler(Scaling::MinMax, 0.0);
        let mut scaled = [0.0];
        for (raw, wanted) in [(2.0, 0.0), (6.0, 1.0), (4.0, 0.5), (8.0, 1.5)] {
            scaler.scale(&[raw], &mut scaled);
            assert_eq!(scaled[0], wanted);
        }
    }

    #[test]
    fn a_value_that_is_always_the_same_is_scaled_by_one() {
        let scaler = of(&[0.1; 10]).scaler(Scaling::Standard, 0.0);
        let Scaler::Standard { deviation, .. } = scaler else { panic!("it is standard") };
        assert_eq!(deviation, [1.0]);
    }
}
