//! `evaluate` as a whole: a labelled recording and a model in, how well the model tells out.
//!
//! Rows are scored by the stage that scores them in the flow. What is kept of a row until all are ranked is 24 bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use crate::domain::detector::DetectorSpec;
use crate::domain::schema::KEY;
use crate::models::model::RegisteredModel;
use crate::scoring::scorer::Scorer;
use crate::training::bootstrap::{Intervals, intervals};
use crate::training::error::TrainingError;
use crate::training::input::{Input, InputSpec};
use crate::training::metrics::{Confusion, Judged, Measures, Ranking};
use crate::training::recording::RecordingSpec;
use crate::training::train::{News, Watch};

/// Labels that mean normal wherever none are named, capitals aside.
const NORMAL: [&str; 4] = ["benign", "normal", "0", "false"];
/// How many keys are told, those with the most flagged rows first.
const KEYS_MAX: usize = 20;

/// What the truth is, and how sure to be.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationSpec {
    /// The column of the labels.
    pub label: String,
    /// Labels of normal rows; none: those that are commonly so called.
    pub normal: Vec<String>,
    pub seed: u64,
}

/// How well a model tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    pub detector: String,
    pub model: String,
    pub threshold: f64,
    pub rows: u64,
    pub anomalies: u64,
    /// Rows without a label, and labelled rows without a finite score: no part of the measures.
    pub unlabelled: u64,
    pub unscored: u64,
    /// Records that were no events.
    pub rejected: u64,
    pub normal: Vec<String>,
    pub measures: Measures,
    pub intervals: Intervals,
    pub confusion: Confusion,
    pub labels: Vec<Tally>,
    pub keys: Vec<Tally>,
}

/// The rows of one label, or of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    pub name: String,
    pub rows: u64,
    pub flagged: u64,
    pub share_flagged: f64,
    pub mean_score: f64,
}

/// Every labelled row: its score, its label and its key.
#[derive(Default)]
struct Judgements {
    rows: Vec<(f64, u32, u32)>,
    labels: Names,
    keys: Names,
    unlabelled: u64,
    unscored: u64,
    rejected: u64,
}

/// Texts that are numbered as they come.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
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
    let judgements = judge(detector, model, input, recording, &spec.label, &mut watch)?;
    if judgements.labels.names.is_empty() {
        return Err(TrainingError::NoLabels { column: spec.label.clone() });
    }
    let normal = normal(&judgements.labels, &spec.normal)?;
    let is_normal: Vec<bool> = judgements.labels.names.iter().map(|label| normal.contains(label)).collect();
    let judged = judgements
        .rows
        .iter()
        .map(|(score, label, _)| Judged { score: *score, is_anomaly: !is_normal[*label as usize] });
    let ranking = Ranking::new(judged.collect(), threshold);
    let confusion = ranking.confusion();
    let mut labels = tallies(&judgements.labels, judgements.rows.iter().map(|row| (row.0, row.1)), threshold);
    labels.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.name.cmp(&b.name)));
    let mut keys = tallies(&judgements.keys, judgements.rows.iter().map(|row| (row.0, row.2)), threshold);
    keys.sort_by(|a, b| b.flagged.cmp(&a.flagged).then_with(|| a.name.cmp(&b.name)));
    keys.truncate(KEYS_MAX);
    Ok(Evaluation {
        detector: detector.name.clone(),
        model: version,
        threshold,
        rows: ranking.len() as u64,
        anomalies: confusion.true_positives + confusion.false_negatives,
        unlabelled: judgements.unlabelled,
        unscored: judgements.unscored,
        rejected: judgements.rejected,
        normal,
        measures: ranking.measures(),
        intervals: intervals(&ranking, spec.seed),
        confusion,
        labels,
        keys,
    })
}

fn judge(
    detector: &DetectorSpec,
    model: Arc<RegisteredModel>,
    input: &InputSpec,
    recording: &RecordingSpec,
    label: &str,
    watch: &mut Watch<'_>,
) -> Result<Judgements, TrainingError> {
    let schema = input.schema(recording)?;
    let missing = |_| TrainingError::ColumnMissing {
        column: label.to_owned(),
        purpose: "take labels from",
        columns: schema.fields().iter().map(|field| field.name().clone()).collect(),
    };
    let label = schema.index_of(label).map_err(missing)?;
    let keys: Vec<usize> = match input {
        InputSpec::Events => vec![KEY],
        InputSpec::Windows(window) => {
            let by = window.by.iter().filter_map(|name| schema.index_of(name).ok());
            by.filter(|column| *column != label).collect()
        }
    };
    let mut scorer = Scorer::new(detector, model, &schema).map_err(Box::new)?;
    let score = format!("{}_score", detector.name);
    let mut input = Input::open(input, recording, scorer.reach().as_slice())?;
    let mut all = Judgements::default();
    while let Some(rows) = input.next()? {
        let labels = all.labels.of(rows.column(label));
        let keys = all.keys.joined(&rows, &keys);
        let scored = scorer.score(rows, input.history()).batch;
        let scores = scored.column_by_name(&score).and_then(|column| column.as_primitive_opt::<Float64Type>());
        let scores = scores.expect("a scorer adds a column of scores");
        for ((score, label), key) in scores.iter().zip(labels).zip(keys) {
            match (score, label) {
                (_, None) => all.unlabelled += 1,
                (None, Some(_)) => all.unscored += 1,
                (Some(score), Some(label)) => all.rows.push((score, label, key)),
            }
        }
        watch.tell(News::Read { rows: all.rows.len() as u64, counts: input.counts() })?;
    }
    all.rejected = input.counts().rejected;
    Ok(all)
}

/// The labels that mean normal, of those that were seen.
fn normal(labels: &Names, named: &[String]) -> Result<Vec<String>, TrainingError> {
    let mut values = labels.names.clone();
    values.sort();
    if let Some(value) = named.iter().find(|value| !values.contains(value)) {
        return Err(TrainingError::LabelUnknown { value: value.clone(), values });
    }
    let is_normal = |label: &&String| match named {
        [] => NORMAL.contains(&label.trim().to_lowercase().as_str()),
        named => named.contains(label),
    };
    let normal: Vec<String> = values.iter().filter(is_normal).cloned().collect();
    if normal.is_empty() { Err(TrainingError::NormalUnknown { values }) } else { Ok(normal) }
}

fn tallies(names: &Names, rows: impl Iterator<Item = (f64, u32)>, threshold: f64) -> Vec<Tally> {
    let mut tallies: Vec<Tally> =
        names.names.iter().map(|name| Tally { name: name.clone(), ..Tally::default() }).collect();
    for (score, number) in rows {
        let tally = &mut tallies[number as usize];
        tally.rows += 1;
        tally.flagged += u64::from(score > threshold);
        tally.mean_score += (score - tally.mean_score) / tally.rows as f64;
    }
    tallies.retain(|tally| tally.rows > 0);
    tallies.iter_mut().for_each(|tally| tally.share_flagged = tally.flagged as f64 / tally.rows as f64);
    tallies
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The number of each row's text; none for null.
    fn of(&mut self, column: &ArrayRef) -> Vec<Option<u32>> {
        let Some(texts) = column.as_dictionary_opt::<UInt32Type>() else {
            return written(column).map(|text| text.map(|text| self.number(&text))).collect();
        };
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        let values: Vec<Option<String>> = written(texts.values()).collect();
        let number = |key: u32| {
            let text = values[key as usize].as_ref()?;
            Some(*numbers.entry(key).or_insert_with(|| self.number(text)))
        };
        let mut number = number;
        texts.keys().iter().map(|key| number(key?)).collect()
    }

    /// The number of each row's texts of several columns.
    fn joined(&mut self, rows: &RecordBatch, columns: &[usize]) -> Vec<u32> {
        if let [only] = columns {
            return self.of(rows.column(*only)).into_iter().map(|key| key.unwrap_or_else(|| self.number(""))).collect();
        }
        let columns: Vec<Vec<Option<String>>> =
            columns.iter().map(|column| written(rows.column(*column)).collect()).collect();
        let key =
            |row: usize| columns.iter().map(|texts| texts[row].as_deref().unwrap_or("")).collect::<Vec<_>>().join("/");
        (0..rows.num_rows()).map(|row| self.number(&key(row))).collect()
    }
}

/// Values as the tables' readers would write them.
fn written(column: &ArrayRef) -> impl Iterator<Item = Option<String>> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &OPTIONS).ok();
    (0..column.len()).map(move |row| {
        let text = formatter.as_ref().map(|formatter| formatter.value(row).to_string());
        text.filter(|_| column.is_valid(row))
    })
}
