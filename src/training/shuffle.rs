//! The batches of an epoch: every training sample once, or so many of them, in an order that the seed and the epoch decide.
//!
//! Blocks of rows are shuffled, then the samples that begin in as many blocks as a pool holds; so a recording beyond all memory is still
//! read in pieces, and one of up to 65,536 rows is shuffled as a whole. The order does not depend on where rows lie. The pool holds rows:
//! sequences that overlap are cut when they go into a batch.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::models::preparation::Preparation;
use crate::training::error::TrainingError;
use crate::training::samples::Samples;

const BLOCK_ROWS: u64 = 1024;
const POOL_BLOCKS: usize = 64;

/// One epoch's batches.
pub(super) struct Batches<'a> {
    samples: &'a mut Samples,
    preparation: &'a Preparation,
    random: ChaCha8Rng,
    /// The blocks that are still to come, the next one last.
    blocks: Vec<u64>,
    pool: Vec<f32>,
    /// Rows of the pool whose samples are still to come, the next one last.
    order: Vec<u32>,
    raw: Vec<f64>,
    /// Samples that the epoch may still take.
    left: u64,
}

impl<'a> Batches<'a> {
    /// An epoch of at most `samples_max` samples.
    pub(super) fn new(
        samples: &'a mut Samples,
        preparation: &'a Preparation,
        (seed, epoch): (u64, usize),
        samples_max: u64,
    ) -> Batches<'a> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // The first stream made the weights.
        random.set_stream(epoch as u64);
        let mut blocks: Vec<u64> = (0..samples.rows().len().div_ceil(BLOCK_ROWS)).collect();
        blocks.shuffle(&mut random);
        let (pool, order, raw, left) = (Vec::new(), Vec::new(), Vec::new(), samples_max);
        Batches { samples, preparation, random, blocks, pool, order, raw, left }
    }

    /// Puts the next samples into `batch`: `count`, or those that a pool has left. False at the end.
    pub(super) fn next(&mut self, count: usize, batch: &mut Vec<f32>) -> Result<bool, TrainingError> {
        while self.order.is_empty() && !self.blocks.is_empty() && self.left > 0 {
            self.refill()?;
        }
        let (width, values) = (self.samples.width(), self.samples.values());
        batch.clear();
        // A count that memory cannot hold is not asked for.
        let count = count.min(self.left as usize);
        for row in self.order.drain(self.order.len().saturating_sub(count)..) {
            let from = row as usize * width;
            batch.extend_from_slice(&self.pool[from..from + values]);
            self.left -= 1;
        }
        Ok(!batch.is_empty())
    }

    /// Begins anew, in another order.
    pub(super) fn again(&mut self) {
        self.order.clear();
        self.blocks = (0..self.samples.rows().len().div_ceil(BLOCK_ROWS)).collect();
        self.blocks.shuffle(&mut self.random);
    }

    fn refill(&mut self) -> Result<(), TrainingError> {
        self.pool.clear();
        let width = self.samples.width();
        for block in self.blocks.drain(self.blocks.len().saturating_sub(POOL_BLOCKS)..) {
            let first = block * BLOCK_ROWS;
            // Rows of a pool number at most what its blocks hold.
            let shift = (self.pool.len() / width) as u64;
            let before = self.order.len();
            self.order
                .extend(self.samples.starts_in(first..first + BLOCK_ROWS).map(|row| (row - first + shift) as u32));
            if self.order.len() == before {
                continue;
            }
            self.raw.clear();
            let rows = BLOCK_ROWS + self.samples.steps() as u64 - 1;
            self.samples.rows().read(first, rows, &mut self.raw)?;
            let before = self.pool.len();
            self.pool.resize(before + self.raw.len(), 0.0);
            self.preparation.prepare(&mut self.raw, &mut self.pool[before..]);
        }
        self.order.shuffle(&mut self.random);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::features::{Feature, Scaler};

    use crate::training::store::Rows;

    /// The first feature of every sample of `steps` rows in the order of an epoch.
    fn order((count, steps): (u64, usize), memory: u64, (seed, epoch): (u64, usize), most: u64) -> Vec<f32> {
        let mut rows = Rows::new(2, memory);
        (0..count).for_each(|row| rows.push(&[row as f64, f64::NAN]).unwrap());
        let starts = 0..count + 1 - steps as u64;
        let mut samples = Samples::of_sequences(rows, steps, vec![starts]);
        let features = vec![Feature::of_field("a"), Feature { default: 7.0, ..Feature::of_field("b") }];
        let preparation = Preparation::new(features, Scaler::None);
        let mut batches = Batches::new(&mut samples, &preparation, (seed, epoch), most);
        let (mut batch, mut all) = (Vec::new(), Vec::new());
        while batches.next(1000, &mut batch).unwrap() {
            assert!(batch.len() <= 2000 * steps && batch.iter().skip(1).step_by(2).all(|value| *value == 7.0));
            for sample in batch.chunks_exact(2 * steps) {
                let rows = sample.iter().step_by(2);
                assert!(rows.enumerate().all(|(step, row)| *row == sample[0] + step as f32));
            }
            all.extend(batch.iter().step_by(2 * steps));
        }
        all
    }

    #[test]
    fn an_epoch_has_every_sample_once_in_an_order_of_its_own() {
        for steps in [1, 50] {
            let rows = (70_000, steps);
            let first = order(rows, 5_000, (1, 1), u64::MAX);
            assert_eq!(first, order(rows, u64::MAX, (1, 1), u64::MAX), "where rows lie does not show");
            assert_ne!(first, order(rows, 5_000, (1, 2), u64::MAX));
            assert_ne!(first, order(rows, 5_000, (2, 1), u64::MAX));
            let mut sorted = first;
            sorted.sort_by(f32::total_cmp);
            assert!(sorted.iter().enumerate().all(|(place, row)| *row == place as f32));
            assert_eq!(sorted.len(), 70_001 - steps);
        }
    }

    #[test]
    fn an_epoch_that_is_bounded_takes_others_the_next_time() {
        let taken = |epoch| order((70_000, 3), 5_000, (1, epoch), 1500);
        let (first, second) = (taken(1), taken(2));
        assert_eq!((first.len(), second.len()), (1500, 1500));
        assert!(first.iter().filter(|row| second.contains(row)).count() < 300);
    }
}
