//! Exact percentiles: linear interpolation between neighbours, as numpy and SQL's `quantile_cont` do it.

use crate::windows::exact::number::Number;

/// Where a percentile lies among sorted values: at `index`, and so many thousandths of the way to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    pub index: u64,
    thousandths: u16,
}

impl Rank {
    /// Nothing without values.
    pub fn of(thousandths: u16, count: u64) -> Option<Rank> {
        let scaled = u128::from(count.checked_sub(1)?) * u128::from(thousandths);
        Some(Rank { index: (scaled / 1000) as u64, thousandths: (scaled % 1000) as u16 })
    }

    /// The value between two neighbours, reckoned from the nearer one.
    pub fn between(self, lower: f64, upper: f64) -> f64 {
        if self.thousandths == 0 {
            return lower;
        }
        let share = f64::from(self.thousandths) / 1000.0;
        let distance = upper - lower;
        if !distance.is_finite() {
            return lower * (1.0 - share) + upper * share;
        }
        if share >= 0.5 { upper - distance * (1.0 - share) } else { lower + distance * share }
    }
}

/// Of values in any order, which it changes.
pub fn select<N: Number>(values: &mut [N], thousandths: u16) -> Option<f64> {
    let rank = Rank::of(thousandths, values.len() as u64)?;
    let (_, lower, above) = values.select_nth_unstable_by(rank.index as usize, N::order);
    let upper = above.iter().copied().min_by(N::order).unwrap_or(*lower);
    Some(rank.between(lower.to_f64(), upper.to_f64()))
}

/// Of sorted values.
pub fn of_sorted<N: Number>(values: &[N], thousandths: u16) -> Option<f64> {
    let rank = Rank::of(thousandths, values.len() as u64)?;
    let lower = values.get(rank.index as usize)?;
    let upper = values.get(rank.index as usize + 1).unwrap_or(lower);
    Some(rank.between(lower.to_f64(), upper.to_f64()))
}
