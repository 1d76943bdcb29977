//! A configured detector in the flow: batches of events or window rows in; the same rows with their scores, and the anomalies, out.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::domain::detector::{DetectorInput, DetectorSpec};
use crate::domain::schema::{EVENT_TIME, KEY, OFFSET, PARTITION, text_type};
use crate::models::model::RegisteredModel;
use crate::scoring::anomalies::{self, Anomaly, Finder, Place};
use crate::scoring::detector::{CHUNK_ROWS, Detector, takes_rows};

/// Places in a window row; the group's columns follow from `FIRST_BY` up to `count`.
pub(super) const WINDOW_START: usize = 0;
pub(super) const WINDOW_END: usize = 1;
pub(super) const FIRST_BY: usize = 2;

/// Why a detector cannot score the rows it is to score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoringError {
    #[error("detector `{detector}`: the model {model} needs the column `{field}` for its feature `{feature}`, and there is none; there are {}", columns.join(", "))]
    ColumnMissing { detector: String, model: String, feature: String, field: String, columns: Vec<String> },
    #[error(
        "detector `{detector}`: the column `{field}` is {found}, and the model {model} needs numbers for its feature `{feature}`"
    )]
    ColumnType { detector: String, model: String, feature: String, field: String, found: String },
    #[error(
        "detector `{detector}`: the model {model} takes sequences of {steps} rows, and a detector scores rows one by one"
    )]
    Sequences { detector: String, model: String, steps: usize },
    #[error("detector `{detector}`: there is a column `{column}` already")]
    ColumnTwice { detector: String, column: String },
    #[error("detector `{detector}`: the rows have no column `{column}`")]
    NotRows { detector: String, column: &'static str },
    #[error(
        "detector `{detector}`: the model {model} gives the columns {}, and the versions before it give others: begin another output for it",
        columns.join(", ")
    )]
    OtherColumns { detector: String, model: String, columns: Vec<String> },
    #[error("detector `{detector}`: the model {model} was not loaded")]
    NoModel { detector: String, model: String },
}

/// A detector over batches of one schema.
pub struct Scorer {
    name: String,
    model: String,
    threshold: f64,
    detector: Detector,
    features: Vec<String>,
    /// Where each feature is found; nowhere for one that may be missing.
    columns: Vec<Option<usize>>,
    rows: RowKind,
    schema: SchemaRef,
    /// The model's name as a dictionary of one text.
    model_text: ArrayRef,
}

/// What kind of rows are scored.
enum RowKind {
    Events,
    /// Where the group's columns end, and where the revision is.
    Windows {
        by_end: usize,
        revision: usize,
    },
}

/// What scoring one batch gives.
#[derive(Debug)]
pub struct Scored {
    pub batch: RecordBatch,
    pub anomalies: Option<RecordBatch>,
    /// Rows whose score is not finite, and therefore null.
    pub unscored: usize,
}

/// The scores of a batch, as they become columns.
struct Scores {
    scores: Vec<f64>,
    unscored: usize,
    anomalies: Vec<Anomaly>,
}

impl Scorer {
    /// Checks that the model can score rows of `input`.
    pub fn new(spec: &DetectorSpec, model: Arc<RegisteredModel>, input: &Schema) -> Result<Scorer, ScoringError> {
        let (detector, version) = (spec.name.clone(), model.version.to_string());
        if !takes_rows(&model.model) {
            let steps = model.model.layout().rows();
            return Err(ScoringError::Sequences { detector, model: version, steps });
        }
        let columns = columns_of(spec, &model, input)?;
        let place = |column: &'static str| {
            input.index_of(column).map_err(|_| ScoringError::NotRows { detector: spec.name.clone(), column })
        };
        let (rows, at) = match spec.input {
            DetectorInput::Events => (RowKind::Events, input.fields().len()),
            DetectorInput::Windows(_) => {
                let revision = place("revision")?;
                (RowKind::Windows { by_end: place("count")?, revision }, revision)
            }
        };
        let schema = scored_schema(spec, input, at)?;
        let model_text: ArrayRef = Arc::new(StringArray::from(vec![version.as_str()]));
        Ok(Scorer {
            name: detector,
            model: version,
            threshold: model.model.threshold().value,
            features: model.model.features().iter().map(|feature| feature.name.clone()).collect(),
            detector: Detector::new(Arc::new(model.model.clone())),
            columns,
            rows,
            schema,
            model_text,
        })
    }

    /// Of the detector.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column that tells whether a row is an anomaly.
    pub fn flag_column(&self) -> String {
        flag_column(&self.name)
    }

    /// The schema of scored batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Scores every row of a batch of the schema that `new` was given.
    pub fn score(&mut self, batch: RecordBatch) -> Scored {
        let Scores { scores, unscored, anomalies } = self.scores(&batch);
        let is_scored = |score: &f64| score.is_finite().then_some(*score);
        let flags: BooleanArray = scores.iter().map(|score| is_scored(score).map(|s| s > self.threshold)).collect();
        let scores: Float64Array = scores.iter().map(is_scored).collect();
        let keys = UInt32Array::from(vec![0; batch.num_rows()]);
        let model = DictionaryArray::new(keys, self.model_text.clone());
        let at = match self.rows {
            RowKind::Events => batch.num_columns(),
            RowKind::Windows { revision, .. } => revision,
        };
        let mut columns = batch.columns().to_vec();
        let added: [ArrayRef; 3] = [Arc::new(scores), Arc::new(flags), Arc::new(model)];
        columns.splice(at..at, added);
        let finder =
            Finder { detector: &self.name, model: &self.model, threshold: self.threshold, features: &self.features };
        Scored {
            batch: RecordBatch::try_new(self.schema.clone(), columns).expect(
                "the batch has the schema that was given at the start, and three columns of its length were added",
            ),
            anomalies: (!anomalies.is_empty()).then(|| anomalies::batch(&anomalies, &finder)),
            unscored,
        }
    }

    fn scores(&mut self, batch: &RecordBatch) -> Scores {
        let rows = batch.num_rows();
        let mut all = Scores { scores: Vec::with_capacity(rows), unscored: 0, anomalies: Vec::new() };
        for from in (0..rows).step_by(CHUNK_ROWS) {
            let count = CHUNK_ROWS.min(rows - from);
            let width = self.columns.len();
            let raw = self.detector.chunk(count);
            for (feature, column) in self.columns.iter().enumerate() {
                let cells = raw[feature..].iter_mut().step_by(width);
                match column {
                    Some(column) => read_numbers(batch.column(*column), from, cells),
                    None => cells.for_each(|cell| *cell = f64::NAN),
                }
            }
            all.scores.extend_from_slice(self.detector.run());
            for row in 0..count {
                let score = all.scores[from + row];
                if !score.is_finite() {
                    all.unscored += 1;
                } else if score > self.threshold {
                    let why = self.detector.explain(row);
                    let (place, key) = self.address(batch, from + row);
                    all.anomalies.push(Anomaly { place, key, score, why });
                }
            }
        }
        all
    }

    /// Where a row is found again, and whose it is.
    fn address(&self, batch: &RecordBatch, row: usize) -> (Place, String) {
        let time = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>().value(row);
        match self.rows {
            RowKind::Events => {
                let place = Place::Event {
                    time: time(EVENT_TIME),
                    partition: batch.column(PARTITION).as_primitive::<UInt64Type>().value(row),
                    offset: batch.column(OFFSET).as_primitive::<Int64Type>().value(row),
                };
                (place, text_of(batch.column(KEY), row))
            }
            RowKind::Windows { by_end, revision } => {
                let revision = batch.column(revision).as_primitive::<Int32Type>().value(row);
                let place = Place::Window { start: time(WINDOW_START), end: time(WINDOW_END), revision };
                (place, group_text(batch, FIRST_BY..by_end, row))
            }
        }
    }
}

/// Writes a column's values from row `from` into `cells`; NaN for null.
pub(crate) fn read_numbers<'a>(column: &ArrayRef, from: usize, cells: impl Iterator<Item = &'a mut f64>) {
    match column.data_type() {
        DataType::Float64 => {
            let values = &column.as_primitive::<Float64Type>().values()[from..];
            read(values.iter().copied(), column, from, cells);
        }
        DataType::Int64 => {
            let values = &column.as_primitive::<Int64Type>().values()[from..];
            read(values.iter().map(|value| *value as f64), column, from, cells);
        }
        _ => {
            let values = column.as_boolean();
            read((from..values.len()).map(|row| f64::from(u8::from(values.value(row)))), column, from, cells);
        }
    }
}

fn read<'a>(
    values: impl Iterator<Item = f64>,
    column: &ArrayRef,
    from: usize,
    cells: impl Iterator<Item = &'a mut f64>,
) {
    match column.nulls() {
        None => cells.zip(values).for_each(|(cell, value)| *cell = value),
        Some(nulls) => {
            for (index, (cell, value)) in cells.zip(values).enumerate() {
                *cell = if nulls.is_null(from + index) { f64::NAN } else { value };
            }
        }
    }
}

/// The column in which a detector says what is an anomaly.
pub(super) fn flag_column(detector: &str) -> String {
    format!("{detector}_is_anomaly")
}

/// The key of a window's anomaly: its group. Where the group has several columns, a `/` stands between them; one inside of a value is
/// written `\/`, so that two groups never have one key.
pub(super) fn group_text(batch: &RecordBatch, by: Range<usize>, row: usize) -> String {
    let texts: Vec<String> = by.map(|column| text_of(batch.column(column), row)).collect();
    match &texts[..] {
        [text] => text.clone(),
        texts => texts.iter().map(|text| text.replace('\\', r"\\").replace('/', r"\/")).collect::<Vec<_>>().join("/"),
    }
}

/// A value as text, as the tables' readers would write it; nothing for null.
fn text_of(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_null("");
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options);
    formatter.map(|formatter| formatter.value(row).to_string()).unwrap_or_default()
}

/// Where each feature's column is.
fn columns_of(
    spec: &DetectorSpec,
    model: &RegisteredModel,
    input: &Schema,
) -> Result<Vec<Option<usize>>, ScoringError> {
    let column = |feature: &crate::models::features::Feature| {
        let (detector, version) = (spec.name.clone(), model.version.to_string());
        let (name, field) = (feature.name.clone(), feature.field.clone());
        match input.index_of(&feature.field) {
            Ok(index) => match input.field(index).data_type() {
                DataType::Float64 | DataType::Int64 | DataType::Boolean => Ok(Some(index)),
                other => {
                    let found = other.to_string();
                    Err(ScoringError::ColumnType { detector, model: version, feature: name, field, found })
                }
            },
            Err(_) if feature.optional => Ok(None),
            Err(_) => {
                let columns = input.fields().iter().map(|field| field.name().clone()).collect();
                Err(ScoringError::ColumnMissing { detector, model: version, feature: name, field, columns })
            }
        }
    };
    model.model.features().iter().map(column).collect()
}

fn scored_schema(spec: &DetectorSpec, input: &Schema, at: usize) -> Result<SchemaRef, ScoringError> {
    let added = [
        Field::new(format!("{}_score", spec.name), DataType::Float64, true),
        Field::new(flag_column(&spec.name), DataType::Boolean, true),
        Field::new(format!("{}_model", spec.name), text_type(), true),
    ];
    if let Some(twice) = added.iter().find(|field| input.index_of(field.name()).is_ok()) {
        return Err(ScoringError::ColumnTwice { detector: spec.name.clone(), column: twice.name().clone() });
    }
    let mut fields = input.fields().to_vec();
    fields.splice(at..at, added.map(Arc::new));
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
#[path = "scorer_tests.rs"]
mod tests;
