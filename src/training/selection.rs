//! Which columns of a detector's rows become features, and which of the rows are taken.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, UInt32Type};

use crate::domain::schema::{Constant, EventSchema, FIRST_FIELD, KeySource, TimeSource};
use crate::models::baseline::Baseline;
use crate::models::features::Feature;
use crate::scoring::columns::{ColumnFault, FeatureColumn};
use crate::scoring::compared::{Compared, reach};
use crate::scoring::history::{History, Reach};
use crate::scoring::look_back::Gather;
use crate::training::error::TrainingError;
use crate::training::input::InputSpec;
use crate::training::spec::{Condition, FeatureSpec, Method, TrainingSpec};
use crate::training::untrained::compared_features;

/// Columns of windows that tell which window it is, not what happened in it.
const OF_WINDOWS: [&str; 3] = ["window_start", "window_end", "revision"];

/// The chosen columns of rows of one schema.
#[derive(Debug)]
pub(super) struct Selection {
    features: Vec<FeatureSpec>,
    gather: Gather,
    condition: Option<(usize, Constant)>,
    /// Where rows are compared with earlier ones: how, and by what.
    compared: Option<(Baseline, Vec<Feature>)>,
}

impl Selection {
    pub(super) fn new(
        spec: &TrainingSpec,
        input: &InputSpec,
        events: &EventSchema,
        schema: &Schema,
    ) -> Result<Selection, TrainingError> {
        let condition = match &spec.condition {
            Some(Condition { column, equals }) => Some((place(schema, column, "choose rows by")?, equals.clone())),
            None => None,
        };
        let label = spec.labels.as_ref().map(|labels| place(schema, &labels.column, "take labels from")).transpose()?;
        let features = match &spec.features {
            Some(features) => features.clone(),
            None => {
                let chosen = condition.as_ref().map(|(column, _)| *column);
                let is_free = |column: &usize| Some(*column) != chosen && Some(*column) != label;
                let columns = defaults(input, events, schema).into_iter().filter(is_free);
                columns.map(|column| FeatureSpec::of_field(schema.field(column).name())).collect()
            }
        };
        if features.is_empty() {
            return Err(TrainingError::NoFeatures);
        }
        let columns = features.iter().map(|feature| find(feature, schema)).collect::<Result<_, _>>()?;
        let compared = match &spec.method {
            Method::Baseline { baseline, .. } => Some((baseline.clone(), compared_features(spec, &features))),
            _ => None,
        };
        Ok(Selection { features, gather: Gather { columns, steps: 1 }, condition, compared })
    }

    pub(super) fn features(&self) -> &[FeatureSpec] {
        &self.features
    }

    /// The features of a model whose rows are compared with earlier ones.
    pub(super) fn compared(&self) -> Option<&[Feature]> {
        self.compared.as_ref().map(|(_, features)| features.as_slice())
    }

    /// Numbers that `read` writes of a row.
    pub(super) fn width(&self) -> usize {
        self.features.len() * if self.compared.is_some() { 2 } else { 1 }
    }

    /// How far back the rows look, if at all.
    pub(super) fn reach(&self) -> Option<Reach> {
        self.compared.as_ref().map(|(baseline, _)| reach(baseline)).or_else(|| self.gather.reach())
    }

    /// Writes the features of all rows, one row after the other; NaN where a value is missing. Of rows that are compared with earlier ones,
    /// how far each feature is off, and how far one deviation is.
    pub(super) fn read(&self, rows: &RecordBatch, history: Option<&History>, values: &mut Vec<f64>) {
        values.clear();
        if let Some((baseline, features)) = &self.compared {
            let compared = Compared { baseline, batch: rows, columns: &self.gather.columns, features, history };
            compared.each(|distances| {
                for distance in distances {
                    values.extend(distance.map_or([f64::NAN; 2], |distance| [distance.off, distance.deviation]));
                }
            });
            return;
        }
        values.resize(rows.num_rows() * self.features.len(), f64::NAN);
        self.gather.fill(rows, (0, rows.num_rows()), history, values);
    }

    /// Which rows meet the condition; nothing where all do.
    pub(super) fn chosen(&self, rows: &RecordBatch) -> Option<BooleanArray> {
        let (column, equals) = self.condition.as_ref()?;
        Some(equal(rows.column(*column), equals))
    }
}

fn place(schema: &Schema, column: &str, purpose: &'static str) -> Result<usize, TrainingError> {
    schema.index_of(column).map_err(|_| missing(schema, column, purpose))
}

fn missing(schema: &Schema, column: &str, purpose: &'static str) -> TrainingError {
    let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
    TrainingError::ColumnMissing { column: column.to_owned(), purpose, columns }
}

fn find(spec: &FeatureSpec, schema: &Schema) -> Result<FeatureColumn, TrainingError> {
    let feature = Feature { derivation: spec.derivation.clone(), ..Feature::of_field(&spec.field) };
    FeatureColumn::find(&feature, schema).map_err(|fault| match fault {
        ColumnFault::Missing { field } => missing(schema, &field, "make a feature of"),
        ColumnFault::Type { field, found, wanted } => TrainingError::ColumnType { column: field, found, wanted },
    })
}

/// Every column of numbers that describes what happened: neither when, nor whose.
fn defaults(input: &InputSpec, events: &EventSchema, schema: &Schema) -> Vec<usize> {
    let is_number = |column: &usize| matches!(schema.field(*column).data_type(), DataType::Float64 | DataType::Int64);
    match input {
        InputSpec::Events => {
            let is_address = |path: &Vec<String>| {
                let of_time = matches!(&events.time, TimeSource::Fields { paths, .. } if paths.contains(path));
                of_time || matches!(&events.key, KeySource::Field(key) if key == path)
            };
            let fields = (FIRST_FIELD..schema.fields().len()).zip(&events.fields);
            fields.filter(|(_, field)| !is_address(&field.path)).map(|(column, _)| column).filter(is_number).collect()
        }
        InputSpec::Windows(window) => {
            let is_own = |column: &usize| {
                let name = schema.field(*column).name();
                OF_WINDOWS.contains(&name.as_str()) || window.by.contains(name)
            };
            (0..schema.fields().len()).filter(|column| is_number(column) && !is_own(column)).collect()
        }
    }
}

/// Which values equal a constant; null equals nothing.
fn equal(column: &ArrayRef, constant: &Constant) -> BooleanArray {
    let none = || BooleanArray::from(vec![false; column.len()]);
    match (column.data_type(), constant) {
        (DataType::Float64, Constant::Float(wanted)) => {
            column.as_primitive::<Float64Type>().iter().map(|value| Some(value == Some(*wanted))).collect()
        }
        (DataType::Int64, Constant::Int(wanted)) => {
            column.as_primitive::<Int64Type>().iter().map(|value| Some(value == Some(*wanted))).collect()
        }
        (DataType::Boolean, Constant::Bool(wanted)) => {
            column.as_boolean().iter().map(|value| Some(value == Some(*wanted))).collect()
        }
        (DataType::Dictionary(..), Constant::Text(wanted)) => {
            let Some(column) = column.as_dictionary_opt::<UInt32Type>() else { return none() };
            let Some(texts) = column.values().as_string_opt::<i32>() else { return none() };
            let is_wanted: Vec<bool> = texts.iter().map(|text| text == Some(wanted)).collect();
            column.keys().iter().map(|key| Some(key.is_some_and(|key| is_wanted[key as usize]))).collect()
        }
        (DataType::Utf8, Constant::Text(wanted)) => {
            column.as_string::<i32>().iter().map(|text| Some(text == Some(wanted))).collect()
        }
        _ => none(),
    }
}
