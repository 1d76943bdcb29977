//! `evaluate` as a whole: a labelled recording and a model in, how well the model tells out.
//!
//! Rows are scored by the stage that scores them in the flow.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Schema, TimestampMicrosecondType};
use serde::Serialize;

use crate::domain::detector::DetectorSpec;
use crate::domain::schema::KEY;
use crate::models::model::RegisteredModel;
use crate::scoring::scorer::Scorer;
use crate::training::error::TrainingError;
use crate::training::input::{Input, InputSpec, times};
use crate::training::judgement::{Judgement, judge};
use crate::training::labelled::{Gathered, LabelledRows, Row};
use crate::training::recording::RecordingSpec;
use crate::training::train::{News, Watch};
use crate::training::truth::Truth;

/// What the truth is, and how sure to be.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationSpec {
    pub truth: Truth,
    pub seed: u64,
}

/// How well a model tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    pub detector: String,
    pub model: String,
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Rows without a label: no part of the judgement.
    pub unlabelled: u64,
    /// Records that were no events.
    pub rejected: u64,
    /// Spans of the file of ranges that no row of their key lies in.
    pub ranges_without_rows: u64,
    pub normal: Vec<String>,
}

/// A recording with its truth, and a model's score of each row.
struct Scored {
    rows: LabelledRows,
    /// NaN where there is none.
    scores: Vec<f64>,
    unlabelled: u64,
    rejected: u64,
}

pub fn evaluate(
    detector: &DetectorSpec,
    model: Arc<RegisteredModel>,
    input: &InputSpec,
    recording: &RecordingSpec,
    spec: &EvaluationSpec,
    mut watch: Watch<'_>,
) -> Result<Evaluation, TrainingError> {
    let (version, threshold) = (model.version.to_string(), model.model.threshold().value);
    let Scored { rows, scores, unlabelled, rejected } =
        scored(detector, model, input, recording, &spec.truth, &mut watch)?;
    Ok(Evaluation {
        detector: detector.name.clone(),
        model: version,
        judgement: judge(&rows, &scores, threshold, spec.seed),
        unlabelled,
        rejected,
        ranges_without_rows: rows.spans_without_rows(),
        normal: rows.normal(),
    })
}

fn scored(
    detector: &DetectorSpec,
    model: Arc<RegisteredModel>,
    input: &InputSpec,
    recording: &RecordingSpec,
    truth: &Truth,
    watch: &mut Watch<'_>,
) -> Result<Scored, TrainingError> {
    let schema = input.schema(recording)?;
    let label = match truth {
        Truth::Labels { column, .. } => Some(place_of(column, &schema)?),
        Truth::Spans(_) => None,
    };
    let keys: Vec<usize> = match input {
        InputSpec::Events => vec![KEY],
        InputSpec::Windows(window) => {
            let by = window.by.iter().filter_map(|name| schema.index_of(name).ok());
            by.filter(|column| Some(*column) != label).collect()
        }
    };
    let mut scorer = Scorer::new(detector, model, &schema).map_err(Box::new)?;
    let score = format!("{}_score", detector.name);
    let mut recorded = Input::open(input, recording, scorer.reach().as_slice())?;
    let (mut gathered, mut scores, mut unlabelled) = (Gathered::default(), Vec::new(), 0);
    while let Some(rows) = recorded.next()? {
        let labels = match label {
            Some(label) => gathered.labels.of(rows.column(label)),
            None => vec![Some(0); rows.num_rows()],
        };
        let keys = gathered.keys.joined(&rows, &keys);
        let times = times(&rows).to_vec();
        gathered.extent = extent(input, &rows).unwrap_or(gathered.extent);
        let batch = scorer.score(rows, recorded.history_mut()).batch;
        let of_batch = batch.column_by_name(&score).and_then(|column| column.as_primitive_opt::<Float64Type>());
        let of_batch = of_batch.expect("a scorer adds a column of scores");
        for (((score, label), key), time) in of_batch.iter().zip(labels).zip(keys).zip(times) {
            match label {
                None => unlabelled += 1,
                Some(label) => {
                    gathered.rows.push(Row { time, label, key });
                    scores.push(score.unwrap_or(f64::NAN));
                }
            }
        }
        watch.tell(News::Read { rows: scores.len() as u64, counts: recorded.counts() })?;
    }
    let rejected = recorded.counts().rejected;
    Ok(Scored { rows: LabelledRows::new(gathered, truth)?, scores, unlabelled, rejected })
}

fn place_of(label: &str, schema: &Schema) -> Result<usize, TrainingError> {
    schema.index_of(label).map_err(|_| TrainingError::ColumnMissing {
        column: label.to_owned(),
        purpose: "take labels from",
        columns: schema.fields().iter().map(|field| field.name().clone()).collect(),
    })
}

/// How long after its time each row lasts; the windows of a detector are all of one length.
fn extent(input: &InputSpec, rows: &RecordBatch) -> Option<i64> {
    match input {
        InputSpec::Events => None,
        InputSpec::Windows(_) => {
            let ends = rows.column(1).as_primitive_opt::<TimestampMicrosecondType>()?;
            Some(ends.values().first()? - times(rows).first()?)
        }
    }
}
