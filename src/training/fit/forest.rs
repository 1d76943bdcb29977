//! An isolation forest as Liu, Ting and Zhou (2008) grow it, with scikit-learn's choices: a tree sees `sample_rows` rows without
//! repetition, splits by a feature that is not constant there, at a place drawn evenly between its ends, down to `ceil(log2(sample))`.

use rand::Rng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::models::estimator::{Estimator, EstimatorFault};
use crate::models::forest::{Forest, Node, Split, Tree};
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::prepared_sample;
use crate::training::train::{News, Watch};

/// Rows that medians are taken of.
pub(super) const MEDIAN_ROWS: u64 = 4096;
const TREES_A_WORD: usize = 50;

pub(super) fn fit(
    trees: usize,
    sample_rows: usize,
    seed: u64,
    data: &mut Dataset,
    watch: &mut Watch<'_>,
) -> Result<Estimator, TrainingError> {
    let rows = usize::try_from(data.training.len()).unwrap_or(usize::MAX);
    let sample_rows = sample_rows.clamp(2, rows);
    let mut grown = Vec::with_capacity(trees);
    let mut raw = Vec::new();
    for tree in 0..trees {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(tree as u64);
        raw.clear();
        for row in index::sample(&mut random, rows, sample_rows) {
            data.training.read(row as u64, 1, &mut raw)?;
        }
        let mut scaled = vec![0.0; raw.len()];
        data.preparation.prepare(&mut raw, &mut scaled);
        let width = data.training.width();
        grown.push(
            Growing { values: &scaled, width, depth_max: depth_max(sample_rows), random, tree: Tree::new() }.grow(),
        );
        if tree % TREES_A_WORD == 0 {
            watch.tell(News::Grown { trees: tree, of: trees })?;
        }
    }
    let expected =
        medians(&prepared_sample(&data.preparation, &mut data.training, MEDIAN_ROWS)?, data.training.width());
    let max_samples = u32::try_from(sample_rows).unwrap_or(u32::MAX);
    Ok(Estimator::IsolationForest(Forest::new(grown, max_samples, expected).map_err(EstimatorFault::from)?))
}

fn depth_max(sample_rows: usize) -> u32 {
    sample_rows.next_power_of_two().trailing_zeros()
}

/// The middle value of each feature.
pub(super) fn medians(rows: &[f32], width: usize) -> Vec<f64> {
    let middle = |feature: usize| {
        let mut values: Vec<f32> = rows.iter().skip(feature).step_by(width).copied().collect();
        values.sort_by(f32::total_cmp);
        f64::from(values[values.len() / 2])
    };
    (0..width).map(middle).collect()
}

/// A tree while it grows.
struct Growing<'a> {
    values: &'a [f32],
    width: usize,
    depth_max: u32,
    random: ChaCha8Rng,
    tree: Tree,
}

/// Rows that came to a node which is to be split, or not.
struct Waiting {
    rows: Vec<u32>,
    depth: u32,
    /// The node above, and whether this one is its right child.
    above: Option<(usize, bool)>,
}

impl Growing<'_> {
    /// Depth first, a left child right behind its parent.
    fn grow(mut self) -> Tree {
        let rows = (0..(self.values.len() / self.width) as u32).collect();
        let mut waiting = vec![Waiting { rows, depth: 0, above: None }];
        while let Some(Waiting { rows, depth, above }) = waiting.pop() {
            let place = self.tree.len();
            if let Some((parent, is_right)) = above
                && let Some(split) = &mut self.tree[parent].split
            {
                *(if is_right { &mut split.right } else { &mut split.left }) = place as u32;
            }
            let split = if depth < self.depth_max && rows.len() > 1 { self.split(&rows) } else { None };
            self.tree.push(Node { samples: rows.len() as u32, split });
            if let Some(Split { feature, threshold, .. }) = split {
                let is_left = |row: &u32| f64::from(self.value(*row, feature as usize)) <= threshold;
                let (left, right) = rows.into_iter().partition(is_left);
                waiting.push(Waiting { rows: right, depth: depth + 1, above: Some((place, true)) });
                waiting.push(Waiting { rows: left, depth: depth + 1, above: Some((place, false)) });
            }
        }
        self.tree
    }

    fn value(&self, row: u32, feature: usize) -> f32 {
        self.values[row as usize * self.width + feature]
    }

    /// A split whose children are not known yet; none where all rows are alike.
    fn split(&mut self, rows: &[u32]) -> Option<Split> {
        let ends = |feature: usize| {
            let values = rows.iter().map(|row| self.value(*row, feature));
            values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let free: Vec<(usize, f32, f32)> = (0..self.width)
            .map(|feature| (feature, ends(feature)))
            .filter(|(_, (low, high))| low < high)
            .map(|(feature, (low, high))| (feature, low, high))
            .collect();
        if free.is_empty() {
            return None;
        }
        let (feature, low, high) = free[self.random.random_range(0..free.len())];
        let (low, high) = (f64::from(low), f64::from(high));
        let threshold = low + (high - low) * self.random.random::<f64>();
        // Rounding may reach the upper end, beyond which there is nothing.
        let threshold = if threshold < high { threshold } else { low };
        Some(Split { feature: feature as u32, threshold, left: 0, right: 0 })
    }
}
