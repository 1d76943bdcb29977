//! K-means: centres seeded as k-means++ does (Arthur and Vassilvitskii, 2007), then moved to the means of their rows (Lloyd), several
//! times from other seeds; those with the least sum of squares are kept.
//!
//! Centres are found on a sample that is evenly spread over all rows, so that memory stays within bounds.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::models::centers::Centers;
use crate::models::estimator::{Estimator, EstimatorFault};
use crate::scoring::estimators::nearest;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::prepared_sample;
use crate::training::train::{News, Watch};

const SAMPLE_ROWS: u64 = 65_536;
const STARTS: u64 = 4;
const ROUNDS_MAX: usize = 300;

pub(super) fn fit(
    clusters: usize,
    seed: u64,
    data: &mut Dataset,
    watch: &mut Watch<'_>,
) -> Result<Estimator, TrainingError> {
    let width = data.training.width();
    let rows = prepared_sample(&data.preparation, &mut data.training, SAMPLE_ROWS)?;
    let mut best: Option<(f64, Vec<f64>)> = None;
    for start in 0..STARTS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(start);
        let (squares, centers) = settled(&rows, width, seeded(&rows, width, clusters, &mut random))?;
        if best.as_ref().is_none_or(|(least, _)| squares < *least) {
            best = Some((squares, centers));
        }
        watch.tell(News::Grown { trees: start as usize + 1, of: STARTS as usize })?;
    }
    let (_, centers) = best.unwrap_or_default();
    Ok(Estimator::KMeans(sound(width, centers)?))
}

fn sound(width: usize, centers: Vec<f64>) -> Result<Centers, TrainingError> {
    Ok(Centers::new(width, centers).map_err(EstimatorFault::from)?)
}

/// Rows far from each other, as many as there are clusters or different rows.
fn seeded(rows: &[f32], width: usize, clusters: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let row = |place: usize| rows[place * width..][..width].iter().map(|value| f64::from(*value));
    let count = rows.len() / width;
    let mut centers: Vec<f64> = row(random.random_range(0..count)).collect();
    let mut squares = vec![f64::INFINITY; count];
    while centers.len() < clusters * width {
        let last = &centers[centers.len() - width..];
        let mut total = 0.0;
        for (place, square) in squares.iter_mut().enumerate() {
            let off = row(place).zip(last).fold(0.0, |sum, (value, center)| sum + (value - center) * (value - center));
            *square = square.min(off);
            total += *square;
        }
        if total <= 0.0 {
            break;
        }
        let mut drawn = total * random.random::<f64>();
        let reached = |square: &f64| {
            drawn -= square;
            drawn < 0.0
        };
        let place = squares.iter().position(reached).unwrap_or(count - 1);
        centers.extend(row(place).collect::<Vec<_>>());
    }
    centers
}

/// Centres that no longer move, with the sum of the squares of the distances to them. One that loses all its rows stays where it is.
fn settled(rows: &[f32], width: usize, mut centers: Vec<f64>) -> Result<(f64, Vec<f64>), TrainingError> {
    let mut assigned = vec![usize::MAX; rows.len() / width];
    let mut squares = 0.0;
    for _ in 0..ROUNDS_MAX {
        let known = sound(width, centers.clone())?;
        let (mut sums, mut counts) = (vec![0.0; centers.len()], vec![0u64; centers.len() / width]);
        let mut has_moved = false;
        squares = 0.0;
        for (row, assigned) in rows.chunks_exact(width).zip(&mut assigned) {
            let (center, square) = nearest(&known, row);
            has_moved |= *assigned != center;
            *assigned = center;
            squares += square;
            counts[center] += 1;
            sums[center * width..].iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        if !has_moved {
            break;
        }
        for ((center, sums), count) in centers.chunks_exact_mut(width).zip(sums.chunks_exact(width)).zip(counts) {
            if count > 0 {
                center.iter_mut().zip(sums).for_each(|(center, sum)| *center = sum / count as f64);
            }
        }
    }
    Ok((squares, centers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centres_settle_in_the_middle_of_their_rows() {
        let rows = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0f32];
        let (squares, mut centers) = settled(&rows, 1, seeded(&rows, 1, 2, &mut ChaCha8Rng::seed_from_u64(3))).unwrap();
        centers.sort_by(f64::total_cmp);
        assert_eq!((squares, centers), (4.0, vec![1.0, 11.0]));
    }

    #[test]
    fn fewer_different_rows_than_clusters_give_fewer_centres() {
        assert_eq!(seeded(&[1.0, 2.0, 1.0, 2.0], 2, 5, &mut ChaCha8Rng::seed_from_u64(0)), [1.0, 2.0]);
    }
}
