//! The rows of a recording that are trained on, as they come: their times, keys and values, those that are known to be anomalies apart.

use arrow::array::RecordBatch;

use crate::training::error::TrainingError;
use crate::training::input::{Input, InputSpec, times};
use crate::training::keys::Keys;
use crate::training::labelled::{is_normal, normal};
use crate::training::names::Names;
use crate::training::recording::{Counts, RecordingSpec};
use crate::training::selection::Selection;
use crate::training::spec::{LabelSpec, Method, TrainingSpec};
use crate::training::store::Rows;
use crate::training::train::{News, Watch};

/// Everything that was read.
pub(super) struct Gathered {
    pub(super) normal: Kept,
    /// Empty where they are not trained on.
    pub(super) anomalous: Kept,
    pub(super) counts: Counts,
    pub(super) passed_over: u64,
    pub(super) cut_off: u64,
    /// Windows with too few before them to be compared with.
    pub(super) without_past: u64,
}

/// Rows in the order they came.
pub(super) struct Kept {
    pub(super) times: Rows<i64>,
    /// The numbers of their keys; empty where each row stands for itself.
    pub(super) keys: Rows<i64>,
    pub(super) values: Rows<f64>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Normal,
    Anomalous,
    /// Not trained on.
    Other,
}

/// Tells classes by labels.
struct Labels<'s> {
    spec: &'s LabelSpec,
    names: Names,
    /// By the number of a label.
    is_normal: Vec<bool>,
}

impl Kept {
    fn new(width: usize, memory_rows: u64) -> Kept {
        let (times, keys) = (Rows::new(1, memory_rows), Rows::new(1, memory_rows));
        Kept { times, keys, values: Rows::new(width, memory_rows) }
    }

    pub(super) fn len(&self) -> u64 {
        self.values.len()
    }

    fn push(&mut self, time: i64, key: Option<&i64>, values: &[f64]) -> Result<(), TrainingError> {
        self.times.push(&[time])?;
        if let Some(key) = key {
            self.keys.push(&[*key])?;
        }
        self.values.push(values)
    }
}

/// How many rows of so many numbers each of two copies may hold in memory; of normal rows and of anomalies, where both are trained on.
pub(super) fn memory_rows(spec: &TrainingSpec, width: usize) -> u64 {
    let of_key = if spec.steps > 1 { 8 } else { 0 };
    let classes = if matches!(spec.method, Method::Classifier { .. }) { 2 } else { 1 };
    spec.memory_bytes / classes / (8 + of_key + 16 * width as u64)
}

/// Reads the recording once.
pub(super) fn read(
    spec: &TrainingSpec,
    input: &InputSpec,
    recording: &RecordingSpec,
    selection: &Selection,
    watch: &mut Watch<'_>,
) -> Result<Gathered, TrainingError> {
    let mut input = Input::open(input, recording, selection.reach().as_slice())?;
    let width = selection.width();
    let memory = memory_rows(spec, width);
    let (mut kept, mut anomalous) = (Kept::new(width, memory), Kept::new(width, memory));
    let (mut passed_over, mut cut_off, mut without_past) = (0, 0, 0);
    let is_compared = selection.compared().is_some();
    let (mut keys, mut values) = (Keys::default(), Vec::new());
    let mut labels = spec.labels.as_ref().map(Labels::new);
    let takes_anomalies = matches!(spec.method, Method::Classifier { .. });
    while let Some(rows) = input.next()? {
        selection.read(&rows, input.history(), &mut values);
        let chosen = selection.chosen(&rows);
        let cut = input.cut_off(&rows);
        let classes = labels.as_mut().map(|labels| labels.of(&rows));
        let numbers = if spec.steps > 1 { keys.of(&rows) } else { Vec::new() };
        for (row, (time, values)) in times(&rows).iter().zip(values.chunks_exact(width)).enumerate() {
            let is_chosen = chosen.as_ref().is_none_or(|chosen| chosen.value(row));
            let is_cut = cut.as_ref().is_some_and(|cut| cut[row]);
            let has_past = !is_compared || values.iter().any(|value| !value.is_nan());
            match classes.as_ref().map_or(Class::Normal, |classes| classes[row]) {
                _ if !is_chosen => passed_over += 1,
                _ if is_cut => cut_off += 1,
                _ if !has_past => without_past += 1,
                Class::Normal => kept.push(*time, numbers.get(row), values)?,
                Class::Anomalous if takes_anomalies => anomalous.push(*time, numbers.get(row), values)?,
                Class::Anomalous | Class::Other => passed_over += 1,
            }
        }
        watch.tell(News::Read { rows: kept.len() + anomalous.len(), counts: input.counts() })?;
    }
    labels.map_or(Ok(()), Labels::check)?;
    Ok(Gathered { normal: kept, anomalous, counts: input.counts(), passed_over, cut_off, without_past })
}

impl<'s> Labels<'s> {
    fn new(spec: &'s LabelSpec) -> Labels<'s> {
        Labels { spec, names: Names::default(), is_normal: Vec::new() }
    }

    fn of(&mut self, rows: &RecordBatch) -> Vec<Class> {
        let column = rows.column_by_name(&self.spec.column).expect("the column was found in the schema");
        let numbers = self.names.of(column);
        let unseen = self.names.all()[self.is_normal.len()..].iter();
        self.is_normal.extend(unseen.map(|label| is_normal(label, &self.spec.normal)));
        let class = |label: Option<u32>| match label.map(|label| self.is_normal[label as usize]) {
            None => Class::Other,
            Some(true) => Class::Normal,
            Some(false) => Class::Anomalous,
        };
        numbers.into_iter().map(class).collect()
    }

    /// Whether the labels that were seen tell what is normal.
    fn check(self) -> Result<(), TrainingError> {
        if self.names.all().is_empty() {
            return Err(TrainingError::NoLabels { column: self.spec.column.clone() });
        }
        normal(self.names.all(), &self.spec.normal).map(|_| ())
    }
}
