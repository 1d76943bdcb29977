//! How improbable a window is for its key, without training: the mean, over fourteen shapes of a value and its recent past, of the negative
//! logarithm of the chance of anything as far out, under the tails of the same shape's last values (after SPOT: Siffer, Fouque, Termier and
//! Largouet, 2017). The shapes: means over the last 1, 6, 24 and 96 windows; their changes; logarithms of deviations; and means of what is
//! off the usual at that time of the day and of the week.
//!
//! A score counts only where it is well above all of the last day: one alarm for what goes on, another where it gets worse.
//!
//! Promise: what is said of a window depends on its value and on windows final before it began, in the order of their times, and on nothing
//! else. What is remembered of a key is bounded by the configuration; a key that was silent for as long as is remembered begins anew.

mod past;
mod profile;
mod ranked;
mod series;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::domain::timing::WindowTiming;
use crate::models::baseline::{Baseline, BaselineMethod};
use crate::scoring::tail::past::Limits;
pub(super) use crate::scoring::tail::past::Told;
use crate::scoring::tail::series::Series;
use crate::scoring::tail::words::Words;
use crate::stage::{PartState, Tell};

/// Marks batches of state, and says whose they are.
const OF_TAILS: &str = "tidewatch.tails";
const BUCKETS: u64 = 64;

/// What decides how much is remembered and what is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TailSettings {
    pub(crate) history: u32,
    pub(crate) rows_min: u32,
    pub(crate) quiet_us: i64,
    pub(crate) again: f64,
}

/// What one detector remembers of all keys.
#[derive(Debug)]
pub(crate) struct Tails {
    timing: WindowTiming,
    /// None: nothing was asked since it was restored.
    limits: Option<Limits>,
    /// By their groups, as bytes.
    keys: BTreeMap<Box<[u8]>, Key>,
    /// Buckets in which something changed.
    changed: BTreeSet<u64>,
}

#[derive(Debug)]
struct Key {
    /// Any row of the group, for its columns.
    row: RecordBatch,
    /// One for each feature.
    features: Vec<Series>,
}

impl TailSettings {
    /// Those of a baseline whose method this is.
    pub(super) fn of(baseline: &Baseline) -> Option<TailSettings> {
        let Baseline { history, rows_min, .. } = *baseline;
        match baseline.method {
            BaselineMethod::Tail { quiet_us, again } => Some(TailSettings { history, rows_min, quiet_us, again }),
            _ => None,
        }
    }

    fn limits(&self, timing: WindowTiming) -> Limits {
        let TailSettings { history, rows_min, quiet_us, again } = *self;
        let silence_us = i64::from(history).saturating_mul(timing.slide);
        Limits { most: history as usize, least: rows_min as usize, quiet_us, again, silence_us }
    }
}

impl Tails {
    pub(super) fn new(timing: WindowTiming) -> Tails {
        Tails { timing, limits: None, keys: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// What is said of each feature of a row, whose window begins at `start`; nothing where it has no value, or too short a past. `row` gives
    /// the row.
    pub(super) fn tell(
        &mut self,
        settings: &TailSettings,
        (key, start): (&[u8], i64),
        values: &[f64],
        row: impl FnOnce() -> RecordBatch,
    ) -> Vec<Option<Told>> {
        let limits = *self.limits.insert(settings.limits(self.timing));
        let last_final = self.timing.last_final(start);
        self.changed.insert(bucket(key));
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), Key { row: row(), features: Vec::new() });
        }
        let Some(known) = self.keys.get_mut(key) else { return vec![None; values.len()] };
        known.features.resize_with(values.len(), Series::default);
        let tell = |(series, value): (&mut Series, &f64)| {
            value.is_finite().then(|| series.tell(&limits, start, last_final, *value)).flatten()
        };
        known.features.iter_mut().zip(values).map(tell).collect()
    }

    /// Windows that end, their lateness counted, at `retained` or before it change no more.
    pub(super) fn settle(&mut self, retained: i64) {
        let Some(limits) = self.limits else { return };
        let final_up_to = self.timing.last_final(retained);
        // The first window that is not final looks back on those that were final before it.
        let upto = self.timing.last_final(final_up_to);
        let changed = &mut self.changed;
        self.keys.retain(|key, known| {
            let mut is_over = true;
            for series in &mut known.features {
                if !series.is_settled() {
                    series.settle(&limits, upto);
                    changed.insert(bucket(key));
                }
                let is_silent = series.last().is_none_or(|last| final_up_to.saturating_sub(last) > limits.silence_us);
                is_over &= is_silent && series.is_settled();
            }
            if is_over {
                changed.insert(bucket(key));
            }
            !is_over
        });
    }

    /// A part for each bucket of keys.
    pub(super) fn snapshot(&mut self, detector: &str, tell: Tell) {
        let changed = std::mem::take(&mut self.changed);
        let mut buckets: BTreeMap<u64, Vec<&mut Key>> = BTreeMap::new();
        for (key, known) in &mut self.keys {
            buckets.entry(bucket(key)).or_default().push(known);
        }
        for (bucket, mut known) in buckets {
            let part = format!("tails-{detector}-{bucket}");
            if !changed.contains(&bucket) {
                tell(&part, PartState::Unchanged);
                continue;
            }
            if let Some(limits) = &self.limits {
                known.iter_mut().flat_map(|known| &mut known.features).for_each(|series| series.rest(limits));
            }
            tell(&part, PartState::Batch(saved(detector, &known)));
        }
    }

    /// Takes back a key, by what `saved` wrote of it; nothing where that is damaged.
    pub(super) fn restore(&mut self, key: Box<[u8]>, row: RecordBatch, words: &[i64]) -> Option<()> {
        let mut words = Words(words);
        let count = usize::try_from(words.next()?).ok().filter(|count| *count <= words.0.len())?;
        let features = (0..count).map(|_| words.series()).collect::<Option<Vec<Series>>>()?;
        self.changed.insert(bucket(&key));
        self.keys.insert(key, Key { row, features });
        words.0.is_empty().then_some(())
    }
}

/// The rows of keys, each with its series as one more column.
fn saved(detector: &str, keys: &[&mut Key]) -> RecordBatch {
    let (mut words, mut lengths) = (Vec::new(), Vec::with_capacity(keys.len()));
    for key in keys {
        let before = words.len();
        words.push(key.features.len() as i64);
        key.features.iter().for_each(|series| words::write(series, &mut words));
        lengths.push(words.len() - before);
    }
    let rows: Vec<&RecordBatch> = keys.iter().map(|key| &key.row).collect();
    let rows = concat_batches(&rows[0].schema(), rows).expect("rows of a window have one schema");
    let item = Arc::new(Field::new_list_field(DataType::Int64, false));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let list = ListArray::new(Arc::clone(&item), offsets, Arc::new(Int64Array::from(words)), None);
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("tails", DataType::List(item), false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(list) as ArrayRef);
    let metadata: HashMap<String, String> = [(OF_TAILS.to_owned(), detector.to_owned())].into();
    RecordBatch::try_new(Arc::new(Schema::new_with_metadata(fields, metadata)), columns)
        .expect("a series was added for each row")
}

/// The detector whose tails a batch of state is of.
pub(super) fn detector_of(state: &RecordBatch) -> Option<&str> {
    state.schema_ref().metadata().get(OF_TAILS).map(String::as_str)
}

/// The rows, of this schema, and the series of a batch of state; nothing where it is damaged.
pub(super) fn parted(state: &RecordBatch, rows: &SchemaRef) -> Option<(RecordBatch, ListArray)> {
    let (list, columns) = state.columns().split_last()?;
    let list = list.as_list_opt::<i32>().filter(|list| list.values().data_type() == &DataType::Int64)?;
    Some((RecordBatch::try_new(Arc::clone(rows), columns.to_vec()).ok()?, list.clone()))
}

/// The numbers of one row.
pub(super) fn words_of(list: &ListArray, row: usize) -> Vec<i64> {
    list.value(row).as_primitive::<Int64Type>().values().to_vec()
}

/// Which part of the state a key belongs to: FNV-1a of its bytes.
fn bucket(key: &[u8]) -> u64 {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash % BUCKETS
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
