//! A configured detector in the flow: batches of events or window rows in; the same rows with their scores, and the anomalies, out.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::{
    DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::domain::detector::{DetectorInput, DetectorSpec};
use crate::domain::schema::{EVENT_TIME, KEY, OFFSET, PARTITION, text_type};
use crate::models::baseline::Baseline;
use crate::models::estimator::Estimator;
use crate::models::features::Feature;
use crate::models::model::RegisteredModel;
use crate::scoring::anomalies::{self, Anomaly, Finder, Place};
use crate::scoring::columns::{ColumnFault, FeatureColumn};
use crate::scoring::compared::{self, Compared};
use crate::scoring::detector::{Detector, has_clusters};
use crate::scoring::history::{History, Reach};
use crate::scoring::improbable::Improbable;
use crate::scoring::judge::{Judged, Rows};
use crate::scoring::look_back::Gather;
use crate::scoring::tail::TailSettings;

/// Places in a window row; the group's columns follow from `FIRST_BY` up to `count`.
pub(crate) const WINDOW_START: usize = 0;
pub(super) const WINDOW_END: usize = 1;
pub(crate) const FIRST_BY: usize = 2;

/// Why a detector cannot score the rows it is to score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoringError {
    #[error("detector `{detector}`: the model {model} needs the column `{field}` for its feature `{feature}`, and there is none; there are {}", columns.join(", "))]
    ColumnMissing { detector: String, model: String, feature: String, field: String, columns: Vec<String> },
    #[error(
        "detector `{detector}`: the column `{field}` is {found}, and the model {model} needs {wanted} for its feature `{feature}`"
    )]
    ColumnType {
        detector: String,
        model: String,
        feature: Box<str>,
        field: Box<str>,
        found: Box<str>,
        wanted: &'static str,
    },
    #[error(
        "detector `{detector}`: the model {model} looks back on earlier windows of a key, and events have none; say `on` which window"
    )]
    Past { detector: String, model: String },
    #[error(
        "detector `{detector}`: the model {model} looks back on earlier windows in another way than the one before"
    )]
    OtherReach { detector: String, model: String },
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
    score_max: Option<f64>,
    engine: Engine,
    features: Vec<Feature>,
    gather: Gather,
    rows: RowKind,
    schema: SchemaRef,
    /// The model's name as a dictionary of one text.
    model_text: ArrayRef,
}

/// What computes the scores.
enum Engine {
    Detector(Box<Detector>),
    Baseline(Baseline),
    Tail(TailSettings),
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
    /// One a row, where the model has clusters.
    clusters: Option<Vec<Option<i32>>>,
}

impl Engine {
    fn reach(&self, gather: &Gather) -> Option<Reach> {
        match self {
            Engine::Baseline(baseline) => Some(compared::reach(baseline)),
            Engine::Tail(_) => Some(Reach::Everything),
            Engine::Detector(_) => gather.reach(),
        }
    }
}

impl Scorer {
    /// Checks that the model can score rows of `input`.
    pub fn new(spec: &DetectorSpec, model: Arc<RegisteredModel>, input: &Schema) -> Result<Scorer, ScoringError> {
        let (detector, version) = (spec.name.clone(), model.version.to_string());
        let engine = match model.model.estimator() {
            Estimator::Baseline(baseline) => match TailSettings::of(baseline) {
                Some(settings) => Engine::Tail(settings),
                None => Engine::Baseline(baseline.clone()),
            },
            _ => Engine::Detector(Box::new(Detector::new(Arc::new(model.model.clone())))),
        };
        let gather = Gather { columns: columns_of(spec, &model, input)?, steps: model.model.layout().rows() };
        if spec.input == DetectorInput::Events && engine.reach(&gather).is_some() {
            return Err(ScoringError::Past { detector, model: version });
        }
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
        let schema = scored_schema(spec, &model, input, at)?;
        let model_text: ArrayRef = Arc::new(StringArray::from(vec![version.as_str()]));
        Ok(Scorer {
            name: detector,
            model: version,
            threshold: model.model.threshold().value,
            score_max: model.model.estimator().score_max(),
            features: model.model.features().to_vec(),
            engine,
            gather,
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

    /// How far back it looks, if it looks at more than the row that it scores.
    pub fn reach(&self) -> Option<Reach> {
        self.engine.reach(&self.gather)
    }

    /// Scores every row of a batch of the schema that `new` was given. Where this looks back, `history` remembers all rows that left
    /// before, and these.
    pub fn score(&mut self, batch: RecordBatch, history: Option<&mut History>) -> Scored {
        let Scores { scores, unscored, anomalies, clusters } = self.scores(&batch, history);
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
        let mut added: Vec<ArrayRef> = vec![Arc::new(scores), Arc::new(flags), Arc::new(model)];
        added.extend(clusters.map(|clusters| -> ArrayRef { Arc::new(Int32Array::from(clusters)) }));
        columns.splice(at..at, added);
        let names: Vec<&str> = self.features.iter().map(|feature| feature.name.as_str()).collect();
        let (threshold, greatest) = (self.threshold, self.score_max);
        let finder = Finder { detector: &self.name, model: &self.model, threshold, greatest, features: &names };
        Scored {
            batch: RecordBatch::try_new(self.schema.clone(), columns)
                .expect("the batch has the schema that was given at the start, and columns of its length were added"),
            anomalies: (!anomalies.is_empty()).then(|| anomalies::batch(&anomalies, &finder)),
            unscored,
        }
    }

    fn scores(&mut self, batch: &RecordBatch, history: Option<&mut History>) -> Scores {
        let mut judged = Vec::with_capacity(batch.num_rows());
        let Scorer { name, engine, gather, features, threshold, .. } = self;
        let mut clusters = None;
        match engine {
            Engine::Detector(detector) => {
                clusters = detector.has_clusters().then(Vec::new);
                Rows { batch, gather, history: history.as_deref(), threshold: *threshold }.each(
                    detector,
                    &mut judged,
                    &mut clusters,
                );
            }
            Engine::Tail(settings) => {
                let (columns, features) = (gather.columns.as_slice(), features.as_slice());
                let rows = Improbable { detector: name, settings, batch, columns, features };
                rows.judge(history, *threshold, &mut judged);
            }
            Engine::Baseline(baseline) => {
                let history = history.as_deref();
                let (columns, features) = (gather.columns.as_slice(), features.as_slice());
                Compared { baseline, batch, columns, features, history }.judge(*threshold, &mut judged);
            }
        }
        let unscored = judged.iter().filter(|one| !one.score.is_finite()).count();
        let mut all = Scores { scores: Vec::with_capacity(judged.len()), unscored, anomalies: Vec::new(), clusters };
        for (row, Judged { score, why }) in judged.into_iter().enumerate() {
            all.scores.push(score);
            if let Some(why) = why {
                let (place, key) = self.address(batch, row);
                all.anomalies.push(Anomaly { place, key, score, why });
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
) -> Result<Vec<FeatureColumn>, ScoringError> {
    let column = |feature: &Feature| {
        FeatureColumn::find(feature, input).map_err(|fault| {
            let (detector, version, feature) = (spec.name.clone(), model.version.to_string(), feature.name.clone());
            match fault {
                ColumnFault::Missing { field } => {
                    let columns = input.fields().iter().map(|field| field.name().clone()).collect();
                    ScoringError::ColumnMissing { detector, model: version, feature, field, columns }
                }
                ColumnFault::Type { field, found, wanted } => {
                    let [feature, field, found] = [feature, field, found].map(Box::from);
                    ScoringError::ColumnType { detector, model: version, feature, field, found, wanted }
                }
            }
        })
    };
    model.model.features().iter().map(column).collect()
}

fn scored_schema(
    spec: &DetectorSpec,
    model: &RegisteredModel,
    input: &Schema,
    at: usize,
) -> Result<SchemaRef, ScoringError> {
    let mut added = vec![
        Field::new(format!("{}_score", spec.name), DataType::Float64, true),
        Field::new(flag_column(&spec.name), DataType::Boolean, true),
        Field::new(format!("{}_model", spec.name), text_type(), true),
    ];
    if has_clusters(&model.model) {
        added.push(Field::new(format!("{}_cluster", spec.name), DataType::Int32, true));
    }
    if let Some(twice) = added.iter().find(|field| input.index_of(field.name()).is_ok()) {
        return Err(ScoringError::ColumnTwice { detector: spec.name.clone(), column: twice.name().clone() });
    }
    let mut fields = input.fields().to_vec();
    fields.splice(at..at, added.into_iter().map(Arc::new));
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
#[path = "scorer_tests.rs"]
mod tests;
