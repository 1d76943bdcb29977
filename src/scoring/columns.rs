//! Where a model's features are found in rows of one schema, and how their numbers are read.
//!
//! Promise: training reads a feature by the same code as scoring.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, UInt32Type};

use crate::models::features::{Derivation, Feature};

/// The place of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FeatureColumn {
    Number(usize),
    Ratio {
        value: usize,
        over: usize,
    },
    OneHot {
        text: usize,
        equals: String,
    },
    /// Read as a number; what it was before is subtracted by who looks back.
    Change(usize),
    /// The column may be missing, and is.
    Absent,
}

/// Why a feature cannot be read from rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnFault {
    Missing {
        field: String,
    },
    /// `found` is the column's type; numbers, or a text, were wanted.
    Type {
        field: String,
        found: String,
        wanted: &'static str,
    },
}

impl FeatureColumn {
    /// Finds the columns that `feature` needs.
    pub(crate) fn find(feature: &Feature, schema: &Schema) -> Result<FeatureColumn, ColumnFault> {
        let place = |field: &str, wanted: &'static str, fits: fn(&DataType) -> bool| {
            let place = schema.index_of(field).map_err(|_| ColumnFault::Missing { field: field.to_owned() })?;
            match schema.field(place).data_type() {
                found if fits(found) => Ok(place),
                found => Err(ColumnFault::Type { field: field.to_owned(), found: found.to_string(), wanted }),
            }
        };
        let number = |field: &str| place(field, "numbers", is_number);
        let found = match &feature.derivation {
            Derivation::Value => number(&feature.field).map(FeatureColumn::Number),
            Derivation::Change => number(&feature.field).map(FeatureColumn::Change),
            Derivation::Ratio { over } => {
                number(&feature.field).and_then(|value| Ok(FeatureColumn::Ratio { value, over: number(over)? }))
            }
            Derivation::OneHot { equals } => place(&feature.field, "a text", is_text)
                .map(|text| FeatureColumn::OneHot { text, equals: equals.clone() }),
        };
        match found {
            Err(ColumnFault::Missing { .. }) if feature.optional => Ok(FeatureColumn::Absent),
            found => found,
        }
    }

    /// Writes the feature's values from row `from` into `cells`; NaN where one is missing.
    pub(crate) fn read<'a>(&self, rows: &RecordBatch, from: usize, cells: impl Iterator<Item = &'a mut f64>) {
        match self {
            FeatureColumn::Number(column) | FeatureColumn::Change(column) => {
                read_numbers(rows.column(*column), from, cells)
            }
            FeatureColumn::Absent => cells.for_each(|cell| *cell = f64::NAN),
            FeatureColumn::Ratio { value, over } => {
                let mut cells: Vec<&mut f64> = cells.collect();
                let mut below = vec![f64::NAN; cells.len()];
                read_numbers(rows.column(*value), from, cells.iter_mut().map(|cell| &mut **cell));
                read_numbers(rows.column(*over), from, below.iter_mut());
                for (cell, below) in cells.into_iter().zip(below) {
                    *cell = if below == 0.0 { f64::NAN } else { *cell / below };
                }
            }
            FeatureColumn::OneHot { text, equals } => read_equal(rows.column(*text), equals, from, cells),
        }
    }
}

fn is_number(kind: &DataType) -> bool {
    matches!(kind, DataType::Float64 | DataType::Int64 | DataType::Boolean)
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Dictionary(..))
}

/// Writes a column's values from row `from` into `cells`; NaN for null.
fn read_numbers<'a>(column: &ArrayRef, from: usize, cells: impl Iterator<Item = &'a mut f64>) {
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

/// 1 where a text equals `wanted`, else 0.
fn read_equal<'a>(column: &ArrayRef, wanted: &str, from: usize, cells: impl Iterator<Item = &'a mut f64>) {
    if let Some(texts) = column.as_dictionary_opt::<UInt32Type>()
        && let Some(values) = texts.values().as_string_opt::<i32>()
    {
        let is_wanted: Vec<bool> = values.iter().map(|text| text == Some(wanted)).collect();
        let keys = texts.keys().values()[from..].iter();
        // The key of a null means nothing, and may be beyond the texts.
        let equal = keys.map(|key| is_wanted.get(*key as usize).copied().unwrap_or(false));
        read(equal.map(|is_equal| f64::from(u8::from(is_equal))), column, from, cells);
    } else if let Some(texts) = column.as_string_opt::<i32>() {
        let equal = (from..texts.len()).map(|row| f64::from(u8::from(texts.value(row) == wanted)));
        read(equal, column, from, cells);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Float64Array, Int64Array, StringArray, UInt32Array};
    use arrow::datatypes::Field;

    use super::*;

    fn rows() -> RecordBatch {
        let texts = DictionaryArray::new(
            UInt32Array::from(vec![Some(1), Some(0), None]),
            Arc::new(StringArray::from(vec!["udp", "tcp"])),
        );
        let columns: Vec<ArrayRef> = vec![
            Arc::new(texts),
            Arc::new(Float64Array::from(vec![Some(6.0), Some(1.0), None])),
            Arc::new(Int64Array::from(vec![4, 0, 2])),
        ];
        let field = |name: &str, column: &ArrayRef| Field::new(name, column.data_type().clone(), true);
        let schema = Schema::new(vec![
            field("protocol", &columns[0]),
            field("bytes", &columns[1]),
            field("packets", &columns[2]),
        ]);
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn read(field: &str, derivation: Derivation) -> Vec<String> {
        let feature = Feature { derivation, ..Feature::of_field(field) };
        let mut cells = [9.0; 3];
        FeatureColumn::find(&feature, &rows().schema()).unwrap().read(&rows(), 0, cells.iter_mut());
        cells.map(|cell| cell.to_string()).to_vec()
    }

    #[test]
    fn a_ratio_is_missing_where_it_would_divide_by_zero_and_one_hot_where_the_text_is() {
        assert_eq!(read("bytes", Derivation::Ratio { over: "packets".into() }), ["1.5", "NaN", "NaN"]);
        assert_eq!(read("protocol", Derivation::OneHot { equals: "tcp".into() }), ["1", "0", "NaN"]);
        assert_eq!(read("bytes", Derivation::Value), ["6", "1", "NaN"]);
    }

    #[test]
    fn a_text_makes_no_number_and_a_missing_column_only_an_optional_feature() {
        let find = |feature: &Feature| FeatureColumn::find(feature, &rows().schema());
        assert!(matches!(find(&Feature::of_field("protocol")), Err(ColumnFault::Type { wanted: "numbers", .. })));
        let gone = Feature::of_field("gone");
        assert!(matches!(find(&gone), Err(ColumnFault::Missing { .. })));
        assert_eq!(find(&Feature { optional: true, ..gone }), Ok(FeatureColumn::Absent));
    }
}
