//! `train` as a whole: a recording in, a model and the account of its training out.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::models::model::{Model, ModelParts, Threshold};
use crate::training::calibrate::{Calibration, calibrate};
use crate::training::dataset::{Dataset, gather};
use crate::training::error::TrainingError;
use crate::training::fit::{Epoch, Fitted, Learning, fit};
use crate::training::input::InputSpec;
use crate::training::recording::{Counts, RecordingSpec};
use crate::training::spec::TrainingSpec;

/// A model that is ready to be saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    pub model: Model,
    pub account: Account,
}

/// How a model came to be; kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    pub features: Vec<String>,
    /// Windows that are scored at once. More than 1: what is counted as rows are sequences of so many.
    pub sequence: usize,
    pub training_rows: u64,
    pub validation_rows: u64,
    /// Rows labelled as anomalies that were trained on, and others that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomalous_rows: Option<[u64; 2]>,
    /// Records that were no events, and events that were too late.
    pub rejected: u64,
    pub too_late: u64,
    /// Rows that did not meet the condition.
    pub passed_over: u64,
    /// Windows that the recording cuts off at its ends.
    pub cut_off: u64,
    /// Windows with too few before them to be compared with.
    pub without_past: u64,
    /// Of the training part's first row, of the validation part's first, and of the last; RFC 3339.
    pub from: String,
    pub validation_from: String,
    pub to: String,
    pub seed: u64,
    /// The epoch whose weights were kept, where there are epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<Epoch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Epoch>,
    pub calibration: Calibration,
}

/// What a person would want to know while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// Rows that were taken so far.
    Read {
        rows: u64,
        counts: Counts,
    },
    /// The recording has been read; training begins.
    Split {
        training_rows: u64,
        validation_rows: u64,
        /// Of the training rows, as many as an epoch takes.
        epoch_rows: u64,
    },
    /// Rows of this epoch so far, and their mean loss.
    Trained {
        epoch: usize,
        rows: u64,
        loss: f64,
    },
    /// Parts of what has no epochs: trees of a forest, starts of a clustering.
    Grown {
        trees: usize,
        of: usize,
    },
    Epoch {
        point: Epoch,
        is_best: bool,
    },
    /// Rows that were scored so far, and how many are to be.
    Scored {
        rows: u64,
        of: u64,
    },
}

/// Who is told, and who may end it.
pub struct Watch<'a> {
    pub told: &'a mut dyn FnMut(News),
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    pub(super) fn tell(&mut self, news: News) -> Result<(), TrainingError> {
        (self.told)(news);
        if (self.is_stopped)() { Err(TrainingError::Stopped) } else { Ok(()) }
    }
}

/// Trains a model for rows of `input`.
pub fn train(
    spec: &TrainingSpec,
    input: &InputSpec,
    recording: &RecordingSpec,
    mut watch: Watch<'_>,
) -> Result<Trained, TrainingError> {
    let mut data = gather(spec, input, recording, &mut watch)?;
    let (training_rows, validation_rows) = (data.training.len(), data.validation.len());
    // Of two classes an epoch lasts as long as the more common one.
    let longest = data.anomalies.as_ref().map_or(0, |[training, _]| training.len()).max(training_rows);
    let epoch_rows = longest.min(spec.epoch_rows_for());
    watch.tell(News::Split { training_rows, validation_rows, epoch_rows })?;
    let fitted = fit(spec, &mut data, &mut watch)?;
    let raw = model(&fitted, &data, recording, Threshold { value: 0.0, calibration: String::new() }, BTreeMap::new())?;
    let calibration = calibrate(&raw, &mut data, spec.threshold, &mut watch)?;
    let threshold = Threshold {
        value: calibration.threshold,
        calibration: format!(
            "{} of the scores of {} validation {}",
            spec.threshold.words(),
            data.validation.len(),
            units(&data)
        ),
    };
    let mut metrics: BTreeMap<String, f64> = [
        ("training_rows", data.training.len() as f64),
        ("validation_rows", data.validation.len() as f64),
        ("training_share_above", calibration.training_share_above),
        ("validation_share_above", calibration.validation_share_above),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(share) = calibration.anomalous_share_above {
        metrics.insert("anomalous_share_above".to_owned(), share);
    }
    if let Some(Learning { best, curve }) = &fitted.learning {
        metrics.insert("training_loss".to_owned(), best.training_loss);
        metrics.insert("validation_loss".to_owned(), best.validation_loss);
        metrics.insert("epochs".to_owned(), curve.len() as f64);
    }
    let model = model(&fitted, &data, recording, threshold, metrics)?;
    Ok(Trained { account: account(spec, fitted, &data, calibration), model })
}

fn model(
    fitted: &Fitted,
    data: &Dataset,
    recording: &RecordingSpec,
    threshold: Threshold,
    metrics: BTreeMap<String, f64>,
) -> Result<Model, TrainingError> {
    let rows = data.training.len() + data.validation.len();
    let [from, _, to] = data.span.map(instant);
    Ok(Model::new(ModelParts {
        estimator: fitted.estimator.clone(),
        features: data.preparation.features().to_vec(),
        scaler: data.preparation.scaler().clone(),
        threshold,
        training_data: Some(format!(
            "{rows} {} from {from} to {to} of {}",
            units(data),
            recording.files.paths.join(", ")
        )),
        metrics,
    })?)
}

/// What is counted.
fn units(data: &Dataset) -> String {
    match data.training.steps() {
        1 => "rows".to_owned(),
        steps => format!("sequences of {steps} windows"),
    }
}

fn account(spec: &TrainingSpec, fitted: Fitted, data: &Dataset, calibration: Calibration) -> Account {
    let [from, validation_from, to] = data.span.map(instant);
    let (best, curve) = fitted.learning.map(|learning| (learning.best, learning.curve)).unzip();
    Account {
        features: data.preparation.features().iter().map(|feature| feature.name.clone()).collect(),
        sequence: spec.steps,
        training_rows: data.training.len(),
        validation_rows: data.validation.len(),
        anomalous_rows: data.anomalies.as_ref().map(|[training, validation]| [training.len(), validation.len()]),
        rejected: data.counts.rejected,
        too_late: data.counts.too_late,
        passed_over: data.passed_over,
        cut_off: data.cut_off,
        without_past: data.without_past,
        from,
        validation_from,
        to,
        seed: spec.seed,
        best,
        curve: curve.unwrap_or_default(),
        calibration,
    }
}

fn instant(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{micros} us"),
    }
}
