//! The batches of an epoch: every training row once, in an order that the seed and the epoch decide.
//!
//! Blocks of rows are shuffled, then the rows of as many blocks as a pool holds; so a recording beyond all memory is still read in pieces,
//! and one of up to 65,536 rows is shuffled as a whole. The order does not depend on where rows lie.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::models::preparation::Preparation;
use crate::training::error::TrainingError;
use crate::training::store::Rows;

const BLOCK_ROWS: u64 = 1024;
const POOL_BLOCKS: usize = 64;

/// One epoch's batches.
pub(super) struct Batches<'a> {
    rows: &'a mut Rows<f64>,
    preparation: &'a Preparation,
    random: ChaCha8Rng,
    /// The blocks that are still to come, the next one last.
    blocks: Vec<u64>,
    pool: Vec<f32>,
    /// Rows of the pool that are still to come, the next one last.
    order: Vec<u32>,
    raw: Vec<f64>,
}

impl<'a> Batches<'a> {
    pub(super) fn new(rows: &'a mut Rows<f64>, preparation: &'a Preparation, seed: u64, epoch: usize) -> Batches<'a> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // The first stream made the weights.
        random.set_stream(epoch as u64);
        let mut blocks: Vec<u64> = (0..rows.len().div_ceil(BLOCK_ROWS)).collect();
        blocks.shuffle(&mut random);
        Batches { rows, preparation, random, blocks, pool: Vec::new(), order: Vec::new(), raw: Vec::new() }
    }

    /// Puts the next rows into `batch`: `batch_rows`, or those that a pool has left. False at the end.
    pub(super) fn next(&mut self, batch_rows: usize, batch: &mut Vec<f32>) -> Result<bool, TrainingError> {
        if self.order.is_empty() {
            self.refill()?;
        }
        let width = self.rows.width();
        batch.clear();
        for row in self.order.drain(self.order.len().saturating_sub(batch_rows)..) {
            let from = row as usize * width;
            batch.extend_from_slice(&self.pool[from..from + width]);
        }
        Ok(!batch.is_empty())
    }

    fn refill(&mut self) -> Result<(), TrainingError> {
        self.pool.clear();
        for block in self.blocks.drain(self.blocks.len().saturating_sub(POOL_BLOCKS)..) {
            self.raw.clear();
            self.rows.read(block * BLOCK_ROWS, BLOCK_ROWS, &mut self.raw)?;
            let before = self.pool.len();
            self.pool.resize(before + self.raw.len(), 0.0);
            self.preparation.prepare(&mut self.raw, &mut self.pool[before..]);
        }
        self.order = (0..(self.pool.len() / self.rows.width()) as u32).collect();
        self.order.shuffle(&mut self.random);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::features::{Feature, Scaler};

    /// The first feature of every row in the order of an epoch.
    fn order(count: u64, memory: u64, seed: u64, epoch: usize) -> Vec<f32> {
        let mut rows = Rows::new(2, memory);
        (0..count).for_each(|row| rows.push(&[row as f64, f64::NAN]).unwrap());
        let features = vec![Feature::of_field("a"), Feature { default: 7.0, ..Feature::of_field("b") }];
        let preparation = Preparation::new(features, Scaler::None);
        let mut batches = Batches::new(&mut rows, &preparation, seed, epoch);
        let (mut batch, mut all) = (Vec::new(), Vec::new());
        while batches.next(1000, &mut batch).unwrap() {
            assert!(batch.len() <= 2000 && batch.iter().skip(1).step_by(2).all(|value| *value == 7.0));
            all.extend(batch.iter().step_by(2));
        }
        all
    }

    #[test]
    fn an_epoch_has_every_row_once_in_an_order_of_its_own() {
        let count = 70_000;
        let first = order(count, 5_000, 1, 1);
        assert_eq!(first, order(count, u64::MAX, 1, 1), "where rows lie does not show");
        assert_ne!(first, order(count, 5_000, 1, 2));
        assert_ne!(first, order(count, 5_000, 2, 1));
        let mut sorted = first;
        sorted.sort_by(f32::total_cmp);
        assert!(sorted.iter().enumerate().all(|(place, row)| *row == place as f32) && sorted.len() == count as usize);
    }
}
