//! Rows to train on and rows to judge by, split by time, with the scaler that the first gave.
//!
//! Promise: exactly the last share in time is the validation part, also where times are equal (then what was read later is later; where
//! sequences are trained on, windows of one time are of one part); the scaler sees nothing of it.

use crate::models::preparation::Preparation;
use crate::training::error::TrainingError;
use crate::training::input::{Input, InputSpec, times};
use crate::training::keys::Keys;
use crate::training::order;
use crate::training::prepare::preparation;
use crate::training::recording::{Counts, RecordingSpec};
use crate::training::samples::Samples;
use crate::training::selection::Selection;
use crate::training::sequences::{self, Cut, Keyed};
use crate::training::spec::TrainingSpec;
use crate::training::store::Rows;
use crate::training::train::{News, Watch};

/// Fewer rows than this say nothing about anything.
const ROWS_MIN: u64 = 50;
const READ_ROWS: u64 = 4096;

/// What a detector is trained with. Raw values; missing ones are NaN.
pub(super) struct Dataset {
    pub(super) preparation: Preparation,
    pub(super) training: Samples,
    pub(super) validation: Samples,
    pub(super) counts: Counts,
    /// Rows that did not meet the condition.
    pub(super) passed_over: u64,
    pub(super) cut_off: u64,
    /// The first time of the training part, of the validation part, and the last time of all.
    pub(super) span: [i64; 3],
    /// From a sample's first row to its last, in microseconds.
    pub(super) sample_us: i64,
}

/// Everything that was read, in the order it came.
struct Gathered {
    times: Rows<i64>,
    /// The numbers of their keys; empty where each row stands for itself.
    keys: Rows<i64>,
    values: Rows<f64>,
    counts: Counts,
    passed_over: u64,
    cut_off: u64,
}

/// Reads the recording once.
pub(super) fn gather(
    spec: &TrainingSpec,
    input: &InputSpec,
    recording: &RecordingSpec,
    watch: &mut Watch<'_>,
) -> Result<Dataset, TrainingError> {
    let schema = input.schema(recording)?;
    let selection = Selection::new(spec, input, &recording.events, &schema)?;
    let mut gathered = read(spec, input, recording, &selection, watch)?;
    let rows = gathered.values.len();
    let validation = ((rows as f64 * spec.validation).round() as u64).clamp(1, rows.saturating_sub(1).max(1));
    if rows < ROWS_MIN {
        return Err(TrainingError::TooFewRows {
            usable: rows,
            wanted: ROWS_MIN,
            events: gathered.counts.accepted,
            rejected: gathered.counts.rejected,
            passed_over: gathered.passed_over,
            cut_off: gathered.cut_off,
        });
    }
    match input {
        InputSpec::Windows(window) if spec.steps > 1 => {
            split_sequences(spec, &selection, window.timing().slide, &mut gathered, rows - validation)
        }
        _ => split(spec, &selection, &mut gathered, rows - validation),
    }
}

/// How many rows of so many numbers each of two copies may hold in memory.
fn memory_rows(spec: &TrainingSpec, width: usize) -> u64 {
    let of_key = if spec.steps > 1 { 8 } else { 0 };
    spec.memory_bytes / (8 + of_key + 16 * width as u64)
}

fn read(
    spec: &TrainingSpec,
    input: &InputSpec,
    recording: &RecordingSpec,
    selection: &Selection,
    watch: &mut Watch<'_>,
) -> Result<Gathered, TrainingError> {
    let mut input = Input::open(input, recording, selection.reach().as_slice())?;
    let width = selection.features().len();
    let memory = memory_rows(spec, width);
    let (mut times_kept, mut values_kept) = (Rows::new(1, memory), Rows::new(width, memory));
    let (mut keys, mut keys_kept) = (Keys::default(), Rows::new(1, memory));
    let (mut passed_over, mut cut_off, mut values) = (0, 0, Vec::new());
    while let Some(rows) = input.next()? {
        selection.read(&rows, input.history(), &mut values);
        let chosen = selection.chosen(&rows);
        let cut = input.cut_off(&rows);
        let numbers = if spec.steps > 1 { keys.of(&rows) } else { Vec::new() };
        for (row, (time, values)) in times(&rows).iter().zip(values.chunks_exact(width)).enumerate() {
            if chosen.as_ref().is_some_and(|chosen| !chosen.value(row)) {
                passed_over += 1;
                continue;
            }
            if cut.as_ref().is_some_and(|cut| cut[row]) {
                cut_off += 1;
                continue;
            }
            times_kept.push(&[*time])?;
            if let Some(key) = numbers.get(row) {
                keys_kept.push(&[*key])?;
            }
            values_kept.push(values)?;
        }
        watch.tell(News::Read { rows: values_kept.len(), counts: input.counts() })?;
    }
    let (times, keys, values, counts) = (times_kept, keys_kept, values_kept, input.counts());
    Ok(Gathered { times, keys, values, counts, passed_over, cut_off })
}

/// The first `training_rows` in time, and the others.
fn split(
    spec: &TrainingSpec,
    selection: &Selection,
    gathered: &mut Gathered,
    training_rows: u64,
) -> Result<Dataset, TrainingError> {
    let (width, total) = (gathered.values.width(), gathered.values.len());
    let last_time = order::smallest(&mut gathered.times, training_rows - 1)?;
    let first = order::smallest(&mut gathered.times, 0)?;
    let boundary = order::smallest(&mut gathered.times, training_rows)?;
    let last = order::smallest(&mut gathered.times, total - 1)?;
    let (mut earlier, mut read_times) = (0, Vec::new());
    for_each_block(total, |from| {
        read_times.clear();
        gathered.times.read(from, READ_ROWS, &mut read_times)?;
        earlier += read_times.iter().filter(|time| **time < last_time).count() as u64;
        Ok(())
    })?;
    // Of the rows at the boundary's own time, so many still belong to the training part.
    let mut ties = training_rows - earlier;
    let memory = memory_rows(spec, width);
    let in_training = memory.saturating_mul(training_rows) / total;
    let mut training = Rows::new(width, in_training);
    let mut validation = Rows::new(width, memory - in_training);
    let mut values = Vec::new();
    for_each_block(total, |from| {
        read_times.clear();
        values.clear();
        gathered.times.read(from, READ_ROWS, &mut read_times)?;
        gathered.values.read(from, READ_ROWS, &mut values)?;
        for (time, row) in read_times.iter().zip(values.chunks_exact(width)) {
            let is_tie = *time == last_time && ties > 0;
            ties -= u64::from(is_tie);
            if *time < last_time || is_tie {
                training.push(row)?;
            } else {
                validation.push(row)?;
            }
        }
        Ok(())
    })?;
    let preparation = preparation(spec, selection.features(), &mut training)?;
    let (training, validation) = (Samples::of_rows(training), Samples::of_rows(validation));
    Ok(gathered.dataset(preparation, [training, validation], [first, boundary, last], 0))
}

/// The windows that begin before the row behind `training_rows` does, and the others, as sequences.
fn split_sequences(
    spec: &TrainingSpec,
    selection: &Selection,
    slide: i64,
    gathered: &mut Gathered,
    training_rows: u64,
) -> Result<Dataset, TrainingError> {
    let total = gathered.values.len();
    let at = |gathered: &mut Gathered, row| order::smallest(&mut gathered.times, row);
    let span = [at(gathered, 0)?, at(gathered, training_rows)?, at(gathered, total - 1)?];
    let memory_rows = memory_rows(spec, gathered.values.width());
    let cut = Cut { steps: spec.steps, slide, boundary: span[1], memory_rows };
    let Gathered { times, keys, values, .. } = gathered;
    let [mut training, validation] = sequences::split(Keyed { times, keys, values }, cut)?;
    if training.len() == 0 || validation.len() == 0 || training.len() + validation.len() < ROWS_MIN {
        return Err(TrainingError::TooFewSequences {
            steps: spec.steps,
            training: training.len(),
            validation: validation.len(),
            windows: total,
        });
    }
    let preparation = preparation(spec, selection.features(), training.rows())?;
    Ok(gathered.dataset(preparation, [training, validation], span, (spec.steps as i64 - 1) * slide))
}

impl Gathered {
    fn dataset(&self, preparation: Preparation, parts: [Samples; 2], span: [i64; 3], sample_us: i64) -> Dataset {
        let Gathered { counts, passed_over, cut_off, .. } = *self;
        let [training, validation] = parts;
        Dataset { preparation, training, validation, counts, passed_over, cut_off, span, sample_us }
    }
}

fn for_each_block(rows: u64, mut each: impl FnMut(u64) -> Result<(), TrainingError>) -> Result<(), TrainingError> {
    (0..rows).step_by(READ_ROWS as usize).try_for_each(&mut each)
}
