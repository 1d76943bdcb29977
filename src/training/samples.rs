//! What a model is given at once: a row, or a sequence of rows that follow each other.
//!
//! Promise: a row is kept once, however many sequences it is part of. Sequences overlap, so they are cut when they are read.

use std::ops::Range;

use crate::training::error::TrainingError;
use crate::training::store::Rows;

/// Rows, and which of them begin a sample.
///
/// Invariant: the ranges of `starts` ascend, do not overlap and are not empty, and every sample that begins in one of them ends with the
/// last row at the latest.
#[derive(Debug)]
pub(super) struct Samples {
    rows: Rows<f64>,
    steps: usize,
    starts: Vec<Range<u64>>,
    /// Samples in front of each range.
    before: Vec<u64>,
    count: u64,
}

impl Samples {
    /// Each row is one.
    pub(super) fn of_rows(rows: Rows<f64>) -> Samples {
        let all = 0..rows.len();
        Samples::of_sequences(rows, 1, vec![all])
    }

    /// `starts`: the rows that begin a sequence of `steps` rows.
    pub(super) fn of_sequences(rows: Rows<f64>, steps: usize, starts: Vec<Range<u64>>) -> Samples {
        let mut count = 0;
        let mut before = Vec::with_capacity(starts.len());
        for range in &starts {
            before.push(count);
            count += range.end - range.start;
        }
        Samples { rows, steps, starts, before, count }
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Numbers of one row.
    pub(super) fn width(&self) -> usize {
        self.rows.width()
    }

    /// Numbers of one sample.
    pub(super) fn values(&self) -> usize {
        self.steps * self.rows.width()
    }

    /// All rows, those that are part of no sample too.
    pub(super) fn rows(&mut self) -> &mut Rows<f64> {
        &mut self.rows
    }

    /// The rows of a range that begin a sample, in their order.
    pub(super) fn starts_in(&self, rows: Range<u64>) -> impl Iterator<Item = u64> {
        let first = self.starts.partition_point(|range| range.end <= rows.start);
        let ranges = self.starts[first..].iter().take_while(move |range| range.start < rows.end);
        ranges.flat_map(move |range| range.start.max(rows.start)..range.end.min(rows.end))
    }

    /// Appends `count` samples from `from` on, less those that there are not.
    pub(super) fn read(&mut self, from: u64, count: u64, into: &mut Vec<f64>) -> Result<(), TrainingError> {
        let (width, values) = (self.rows.width(), self.values());
        let mut from = from;
        let to = from.saturating_add(count).min(self.count);
        let mut cut = Vec::new();
        while from < to {
            // The last range that begins with this sample or one before it.
            let place = self.before.partition_point(|before| *before <= from) - 1;
            let row = self.starts[place].start + (from - self.before[place]);
            let samples = (self.starts[place].end - row).min(to - from);
            if self.steps == 1 {
                self.rows.read(row, samples, into)?;
            } else {
                cut.clear();
                self.rows.read(row, samples + self.steps as u64 - 1, &mut cut)?;
                let begins = (0..samples as usize).map(|sample| sample * width);
                begins.for_each(|begin| into.extend_from_slice(&cut[begin..begin + values]));
            }
            from += samples;
        }
        Ok(())
    }

    /// Appends up to `count` samples, evenly spread over all of them.
    pub(super) fn spread(&mut self, count: u64, into: &mut Vec<f64>) -> Result<(), TrainingError> {
        let taken = count.min(self.count);
        self.read_of_spread(0, taken, taken, into)
    }

    /// Appends `count` samples from `from` on of `taken` that are evenly spread over all of them.
    pub(super) fn read_of_spread(
        &mut self,
        from: u64,
        count: u64,
        taken: u64,
        into: &mut Vec<f64>,
    ) -> Result<(), TrainingError> {
        if taken == self.count {
            return self.read(from, count, into);
        }
        let to = from.saturating_add(count).min(taken);
        (from..to).try_for_each(|index| self.read(evenly(index, taken, self.count), 1, into))
    }
}

/// The place of one of `taken` that are evenly spread over `all`.
pub(super) fn evenly(index: u64, taken: u64, all: u64) -> u64 {
    // Both are far below 2^64 by their product's u128.
    (u128::from(index) * u128::from(all) / u128::from(taken)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(memory: u64) -> Samples {
        let mut rows = Rows::new(2, memory);
        (0..12).for_each(|row| rows.push(&[f64::from(row), -f64::from(row)]).unwrap());
        // Of the rows 0 to 4 and 7 to 11; between them nothing follows anything.
        Samples::of_sequences(rows, 3, vec![0..3, 7..10])
    }

    #[test]
    fn a_sequence_is_cut_from_rows_that_follow_each_other() {
        for memory in [0, 5, 100] {
            let mut samples = samples(memory);
            assert_eq!((samples.len(), samples.values()), (6, 6));
            for (from, count) in [(0, 6), (2, 2), (3, 100), (5, 1), (6, 1)] {
                let mut read = Vec::new();
                samples.read(from, count, &mut read).unwrap();
                let firsts: Vec<f64> = read.chunks_exact(6).map(|sample| sample[0]).collect();
                let wanted = [0.0, 1.0, 2.0, 7.0, 8.0, 9.0].into_iter().skip(from as usize).take(count as usize);
                assert_eq!(firsts, wanted.collect::<Vec<f64>>(), "{count} from {from}, {memory} rows in memory");
                assert!(read.chunks_exact(6).all(|sample| sample[4] == sample[0] + 2.0 && sample[5] == -sample[4]));
            }
        }
    }

    #[test]
    fn the_begins_in_a_part_of_the_rows_are_told() {
        let samples = samples(100);
        let starts = |rows| samples.starts_in(rows).collect::<Vec<u64>>();
        assert_eq!(starts(0..12), [0, 1, 2, 7, 8, 9]);
        assert_eq!(starts(2..8), [2, 7]);
        assert!(starts(3..7).is_empty() && starts(10..12).is_empty());
    }

    #[test]
    fn a_spread_reaches_over_all() {
        let mut read = Vec::new();
        samples(100).spread(3, &mut read).unwrap();
        assert_eq!(read.chunks_exact(6).map(|sample| sample[0]).collect::<Vec<f64>>(), [0.0, 2.0, 8.0]);
    }
}
