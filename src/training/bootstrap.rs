//! How sure a measure is: what it would have been on other rows of the same kind.
//!
//! Each resample counts every row as often as a Poisson number of mean one says, which is what drawing with replacement comes to; the
//! numbers come from a seed. An interval holds the middle 95 % of the resamples.

use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::training::metrics::{Measures, Ranking};

const RESAMPLES_MAX: u64 = 400;
const RESAMPLES_MIN: u64 = 100;
/// With more rows there are fewer resamples, and each is worth more.
const DRAWS: u64 = 200_000_000;

/// From and to.
pub type Interval = Option<[f64; 2]>;

/// An interval for each of the measures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    pub resamples: u64,
    pub auc: Interval,
    pub average_precision: Interval,
    pub tpr_at_1_percent_fpr: Interval,
    pub tpr_at_01_percent_fpr: Interval,
    pub precision: Interval,
    pub recall: Interval,
    pub f1: Interval,
}

pub fn intervals(ranking: &Ranking, seed: u64) -> Intervals {
    let resamples = (DRAWS / (ranking.len().max(1) as u64)).clamp(RESAMPLES_MIN, RESAMPLES_MAX);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let chances = chances();
    let drawn: Vec<Measures> =
        (0..resamples).map(|_| ranking.weighted(|_| poisson(random.next_u32(), &chances)).0).collect();
    let interval = |measure: fn(&Measures) -> Option<f64>| middle(drawn.iter().filter_map(measure).collect());
    Intervals {
        resamples,
        auc: interval(|measures| measures.auc),
        average_precision: interval(|measures| measures.average_precision),
        tpr_at_1_percent_fpr: interval(|measures| measures.tpr_at_1_percent_fpr),
        tpr_at_01_percent_fpr: interval(|measures| measures.tpr_at_01_percent_fpr),
        precision: interval(|measures| measures.precision),
        recall: interval(|measures| measures.recall),
        f1: interval(|measures| measures.f1),
    }
}

/// Below which 32-bit number a draw is at most 0, 1, 2, ...
fn chances() -> [u32; 12] {
    let (mut chance, mut sum) = ((-1.0f64).exp(), 0.0);
    std::array::from_fn(|count| {
        sum += chance;
        chance /= (count + 1) as f64;
        (sum * 4_294_967_296.0) as u32
    })
}

fn poisson(uniform: u32, chances: &[u32; 12]) -> u64 {
    chances.iter().take_while(|chance| uniform >= **chance).count() as u64
}

/// Where the middle 95 % begin and end.
fn middle(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(last as f64 * share).round() as usize];
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::metrics::Judged;

    fn ranking(rows: usize, seed: u64) -> Ranking {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = move || f64::from(random.next_u32()) / 4_294_967_296.0;
        let judged = (0..rows).map(|row| {
            let is_anomaly = row % 4 == 0;
            Judged { score: uniform() + if is_anomaly { 0.3 } else { 0.0 }, is_anomaly }
        });
        Ranking::new(judged.collect(), 0.8)
    }

    #[test]
    fn draws_have_mean_and_variance_one() {
        let (chances, mut random) = (chances(), ChaCha8Rng::seed_from_u64(1));
        let draws: Vec<f64> = (0..200_000).map(|_| poisson(random.next_u32(), &chances) as f64).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn an_interval_holds_the_measure_and_narrows_with_more_rows() {
        let width = |rows| {
            let ranking = ranking(rows, 3);
            let [from, to] = intervals(&ranking, 7).auc.unwrap();
            let auc = ranking.measures().auc.unwrap();
            assert!(from < auc && auc < to, "{from} {auc} {to}");
            to - from
        };
        let (few, many) = (width(200), width(3200));
        assert!(many < few / 2.5 && many > few / 6.5, "{few} {many}: a fourth is expected");
    }

    /// The interval of a share is that of its binomial distribution.
    #[test]
    fn the_interval_of_recall_is_as_wide_as_theory_says() {
        let ranking = ranking(4000, 5);
        let recall = ranking.measures().recall.unwrap();
        let [from, to] = intervals(&ranking, 7).recall.unwrap();
        let theory = 2.0 * 1.96 * (recall * (1.0 - recall) / 1000.0).sqrt();
        assert!(((to - from) / theory - 1.0).abs() < 0.2, "{} against {theory}", to - from);
    }

    #[test]
    fn the_seed_decides_the_interval() {
        let ranking = ranking(300, 2);
        assert_eq!(intervals(&ranking, 1), intervals(&ranking, 1));
        assert_ne!(intervals(&ranking, 1), intervals(&ranking, 2));
    }
}
