//! Rows to train on and rows to judge by, split by time, with the scaler that the first gave.
//!
//! Promise: exactly the last share in time is the validation part, also where times are equal (then what was read later is later; where
//! sequences are trained on, windows of one time are of one part); the scaler sees nothing of it.

use crate::models::features::Scaler;
use crate::models::preparation::Preparation;
use crate::training::error::TrainingError;
use crate::training::gather::{Gathered, Kept, memory_rows, read};
use crate::training::input::InputSpec;
use crate::training::order;
use crate::training::prepare::preparation;
use crate::training::recording::{Counts, RecordingSpec};
use crate::training::samples::Samples;
use crate::training::selection::Selection;
use crate::training::sequences::{self, Cut, Keyed};
use crate::training::spec::{Method, TrainingSpec};
use crate::training::store::Rows;
use crate::training::train::Watch;

/// Fewer anomalies than this say nothing about anomalies.
const ANOMALIES_MIN: u64 = 10;
const READ_ROWS: u64 = 4096;

/// What a detector is trained with: what its selection reads of each row. Missing values are NaN.
pub(super) struct Dataset {
    pub(super) preparation: Preparation,
    pub(super) training: Samples,
    pub(super) validation: Samples,
    /// The same of rows that are known to be anomalies, where those are trained on; split by their own times, so that each part has some.
    pub(super) anomalies: Option<[Samples; 2]>,
    pub(super) counts: Counts,
    /// Rows that did not meet the condition.
    pub(super) passed_over: u64,
    pub(super) cut_off: u64,
    /// Windows with too few before them to be compared with.
    pub(super) without_past: u64,
    /// The first time of the training part, of the validation part, and the last time of all.
    pub(super) span: [i64; 3],
    /// From a sample's first row to its last, in microseconds.
    pub(super) sample_us: i64,
}

/// Rows after they were split.
struct Parts {
    training: Samples,
    validation: Samples,
    span: [i64; 3],
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
    let rows = gathered.normal.len();
    if rows < spec.rows_min {
        return Err(TrainingError::TooFewRows {
            usable: rows,
            wanted: spec.rows_min,
            events: gathered.counts.accepted,
            rejected: gathered.counts.rejected,
            passed_over: gathered.passed_over,
            cut_off: gathered.cut_off,
        });
    }
    let anomalies = match &spec.method {
        Method::Classifier { .. } => {
            let anomalous = gathered.anomalous.len();
            if anomalous < ANOMALIES_MIN {
                let column = spec.labels.as_ref().map(|labels| labels.column.clone()).unwrap_or_default();
                return Err(TrainingError::OneClass { column, normal: rows, anomalous, wanted: ANOMALIES_MIN });
            }
            Some(split(spec, &mut gathered.anomalous)?)
        }
        _ => None,
    };
    let slide = match input {
        InputSpec::Windows(window) if spec.steps > 1 => Some(window.timing().slide),
        _ => None,
    };
    let Parts { mut training, validation, span } = match slide {
        Some(slide) => split_sequences(spec, slide, &mut gathered.normal)?,
        None => split(spec, &mut gathered.normal)?,
    };
    let preparation = match selection.compared() {
        Some(features) => Preparation::new(features.to_vec(), Scaler::None),
        None => preparation(spec, selection.features(), training.rows())?,
    };
    let Gathered { counts, passed_over, cut_off, without_past, .. } = gathered;
    let sample_us = slide.map_or(0, |slide| (spec.steps as i64 - 1) * slide);
    let anomalies = anomalies.map(|parts| [parts.training, parts.validation]);
    Ok(Dataset {
        preparation,
        training,
        validation,
        anomalies,
        counts,
        passed_over,
        cut_off,
        without_past,
        span,
        sample_us,
    })
}

/// Of so many rows, those that are trained on.
fn training_rows(spec: &TrainingSpec, rows: u64) -> u64 {
    rows - ((rows as f64 * spec.validation).round() as u64).clamp(1, rows.saturating_sub(1).max(1))
}

/// The rows that are first in time, and the others.
fn split(spec: &TrainingSpec, kept: &mut Kept) -> Result<Parts, TrainingError> {
    let (width, total) = (kept.values.width(), kept.len());
    let training_rows = training_rows(spec, total);
    let last_time = order::smallest(&mut kept.times, training_rows - 1)?;
    let span = span(kept, training_rows)?;
    let (mut earlier, mut read_times) = (0, Vec::new());
    for_each_block(total, |from| {
        read_times.clear();
        kept.times.read(from, READ_ROWS, &mut read_times)?;
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
        kept.times.read(from, READ_ROWS, &mut read_times)?;
        kept.values.read(from, READ_ROWS, &mut values)?;
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
    Ok(Parts { training: Samples::of_rows(training), validation: Samples::of_rows(validation), span })
}

/// The windows that begin before the first of the validation part does, and the others, as sequences.
fn split_sequences(spec: &TrainingSpec, slide: i64, kept: &mut Kept) -> Result<Parts, TrainingError> {
    let windows = kept.len();
    let span = span(kept, training_rows(spec, windows))?;
    let memory_rows = memory_rows(spec, kept.values.width());
    let cut = Cut { steps: spec.steps, slide, boundary: span[1], memory_rows };
    let Kept { times, keys, values } = kept;
    let [training, validation] = sequences::split(Keyed { times, keys, values }, cut)?;
    if training.len() == 0 || validation.len() == 0 || training.len() + validation.len() < spec.rows_min {
        return Err(TrainingError::TooFewSequences {
            steps: spec.steps,
            training: training.len(),
            validation: validation.len(),
            windows,
        });
    }
    Ok(Parts { training, validation, span })
}

fn span(kept: &mut Kept, training_rows: u64) -> Result<[i64; 3], TrainingError> {
    let mut at = |row| order::smallest(&mut kept.times, row);
    Ok([at(0)?, at(training_rows)?, at(kept.values.len() - 1)?])
}

fn for_each_block(rows: u64, mut each: impl FnMut(u64) -> Result<(), TrainingError>) -> Result<(), TrainingError> {
    (0..rows).step_by(READ_ROWS as usize).try_for_each(&mut each)
}
