//! From rows of all keys in the order of time to sequences of each key's windows, split by time.
//!
//! Promise: a sequence is windows of one key, each right behind the one before it, and lies whole in the training part or whole in the
//! validation part: where a window is missing, or the parts meet, there is none. Scoring has the same rule (`scoring::look_back`).

use std::ops::Range;

use crate::training::error::TrainingError;
use crate::training::samples::Samples;
use crate::training::store::Rows;

/// Rows that are sorted at once, so that those of a key are written together.
const SORTED_ROWS: u64 = 1 << 16;

/// Rows in the order of time, with their times and the numbers of their keys.
pub(super) struct Keyed<'a> {
    pub(super) times: &'a mut Rows<i64>,
    pub(super) keys: &'a mut Rows<i64>,
    pub(super) values: &'a mut Rows<f64>,
}

/// How sequences are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) steps: usize,
    /// From a window's start to that of the next.
    pub(super) slide: i64,
    /// Windows that begin before are of the training part, the others of the validation part.
    pub(super) boundary: i64,
    /// Rows of both parts that memory holds.
    pub(super) memory_rows: u64,
}

/// A part while its rows are put in the order of keys and times.
struct Part {
    /// Where the next row of each key goes.
    next: Vec<u64>,
    /// For each key its last row's time, and the first row of those that follow each other up to it.
    runs: Vec<Option<(i64, u64)>>,
    starts: Vec<Range<u64>>,
    rows: Rows<f64>,
}

/// The training part and the validation part.
pub(super) fn split(keyed: Keyed<'_>, cut: Cut) -> Result<[Samples; 2], TrainingError> {
    let counts = counts(keyed.times, keyed.keys, cut.boundary)?;
    let total = keyed.values.len().max(1);
    let in_training = cut.memory_rows.saturating_mul(counts[0].iter().sum()) / total;
    let width = keyed.values.width();
    let [training, validation] = counts;
    let mut parts =
        [Part::new(training, width, in_training)?, Part::new(validation, width, cut.memory_rows - in_training)?];
    let (mut times, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for from in (0..keyed.values.len()).step_by(SORTED_ROWS as usize) {
        times.clear();
        keys.clear();
        values.clear();
        keyed.times.read(from, SORTED_ROWS, &mut times)?;
        keyed.keys.read(from, SORTED_ROWS, &mut keys)?;
        keyed.values.read(from, SORTED_ROWS, &mut values)?;
        let mut places: Vec<(usize, u64, usize)> = Vec::with_capacity(times.len());
        for (row, (time, key)) in times.iter().zip(&keys).enumerate() {
            let part = usize::from(*time >= cut.boundary);
            places.push((part, parts[part].place(*key as usize, *time, cut), row));
        }
        places.sort_unstable();
        let mut together = Vec::new();
        for run in places.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            together.clear();
            run.iter().for_each(|(.., row)| together.extend_from_slice(&values[row * width..][..width]));
            let (part, first, _) = run[0];
            parts[part].rows.put(first, &together)?;
        }
    }
    Ok(parts.map(|part| part.finish(cut.steps)))
}

/// Rows of each key in each part.
fn counts(times: &mut Rows<i64>, keys: &mut Rows<i64>, boundary: i64) -> Result<[Vec<u64>; 2], TrainingError> {
    let mut counts = [Vec::new(), Vec::new()];
    let (mut read_times, mut read_keys) = (Vec::new(), Vec::new());
    for from in (0..times.len()).step_by(SORTED_ROWS as usize) {
        read_times.clear();
        read_keys.clear();
        times.read(from, SORTED_ROWS, &mut read_times)?;
        keys.read(from, SORTED_ROWS, &mut read_keys)?;
        for (time, key) in read_times.iter().zip(&read_keys) {
            let key = *key as usize;
            if counts[0].len() <= key {
                counts.iter_mut().for_each(|part| part.resize(key + 1, 0));
            }
            counts[usize::from(*time >= boundary)][key] += 1;
        }
    }
    Ok(counts)
}

impl Part {
    fn new(counts: Vec<u64>, width: usize, memory_rows: u64) -> Result<Part, TrainingError> {
        let mut total = 0;
        let next: Vec<u64> = counts
            .iter()
            .map(|count| {
                let from = total;
                total += count;
                from
            })
            .collect();
        let rows = Rows::unfilled(width, memory_rows, total, f64::NAN)?;
        Ok(Part { runs: vec![None; next.len()], next, starts: Vec::new(), rows })
    }

    /// Where the key's next row goes; the rows of a key come in the order of time.
    fn place(&mut self, key: usize, time: i64, cut: Cut) -> u64 {
        let place = self.next[key];
        self.next[key] += 1;
        match &mut self.runs[key] {
            Some((last, _)) if *last + cut.slide == time => *last = time,
            run => {
                let ended = run.replace((time, place));
                self.starts.extend(ended.and_then(|(_, first)| begins(first..place, cut.steps)));
            }
        }
        place
    }

    fn finish(self, steps: usize) -> Samples {
        let Part { next, runs, mut starts, rows } = self;
        let last = runs.iter().zip(&next).filter_map(|(run, next)| begins(run.as_ref()?.1..*next, steps));
        starts.extend(last);
        starts.sort_unstable_by_key(|range| range.start);
        Samples::of_sequences(rows, steps, starts)
    }
}

/// Of rows that follow each other, those that begin a sequence.
fn begins(run: Range<u64>, steps: usize) -> Option<Range<u64>> {
    let end = (run.end + 1).checked_sub(steps as u64)?;
    (run.start < end).then_some(run.start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row is its key and its time, by times and keys in the order of time.
    fn sequences(rows: &[(i64, i64)], boundary: i64, memory: u64) -> [Vec<String>; 2] {
        let (mut times, mut keys, mut values) = (Rows::new(1, memory), Rows::new(1, memory), Rows::new(2, memory));
        for (time, key) in rows {
            times.push(&[*time]).unwrap();
            keys.push(&[*key]).unwrap();
            values.push(&[*key as f64, *time as f64]).unwrap();
        }
        let keyed = Keyed { times: &mut times, keys: &mut keys, values: &mut values };
        let cut = Cut { steps: 3, slide: 10, boundary, memory_rows: memory };
        split(keyed, cut).unwrap().map(|mut part| {
            let mut read = Vec::new();
            part.read(0, part.len(), &mut read).unwrap();
            let told = read.chunks_exact(6).map(|sequence| {
                let [key, first, other, second, last, third] = sequence else { panic!("three rows of two") };
                assert!(key == other && key == last && first + 10.0 == *second && second + 10.0 == *third);
                format!("{key}: {first}")
            });
            told.collect()
        })
    }

    #[test]
    fn no_sequence_spans_keys_gaps_or_the_boundary() {
        let mut rows: Vec<(i64, i64)> =
            (0..12).flat_map(|window| [(window * 10, 1), (window * 10, 0), (window * 10, 2)]).collect();
        // Key 0 misses one window, and key 2 comes late and leaves early.
        rows.retain(|row| *row != (20, 0) && (row.1 != 2 || (30..=100).contains(&row.0)));
        for memory in [0, 3, 1000] {
            let [training, validation] = sequences(&rows, 80, memory);
            assert_eq!(
                training,
                [
                    "0: 30", "0: 40", "0: 50", "1: 0", "1: 10", "1: 20", "1: 30", "1: 40", "1: 50", "2: 30", "2: 40",
                    "2: 50"
                ]
            );
            assert_eq!(validation, ["0: 80", "0: 90", "1: 80", "1: 90", "2: 80"]);
        }
    }

    #[test]
    fn a_key_with_too_few_windows_has_no_sequence() {
        let [training, validation] = sequences(&[(0, 0), (10, 0), (10, 1), (20, 1), (30, 1)], 100, 10);
        assert_eq!((training.as_slice(), validation.as_slice()), (["1: 10".to_owned()].as_slice(), [].as_slice()));
    }
}
