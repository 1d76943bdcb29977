//! One field of a batch as the accumulators take it: typed values, and which rows have one.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};

use crate::domain::schema::{FieldKind, text_type};
use crate::windows::dictionary::PerValue;
use crate::windows::exact::ends::Place;
use crate::windows::hash;
use crate::windows::plan::FieldPlan;

/// Where the events of a batch stand in time and in their partitions.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub times: &'a [i64],
    pub partitions: &'a [u64],
    pub offsets: &'a [i64],
}

impl Places<'_> {
    pub fn at(&self, row: u32) -> Place {
        let row = row as usize;
        Place { time: self.times[row], partition: self.partitions[row], offset: self.offsets[row] }
    }
}

/// Values by row. Rows without one hold anything.
pub enum Values<'a> {
    Float(&'a [f64]),
    /// Booleans are 0 and 1.
    Integer(Cow<'a, [i64]>),
    Text {
        codes: &'a [u32],
        texts: &'a StringArray,
        hashes: &'a [u64],
    },
}

/// A field of a batch.
pub struct Input<'a> {
    pub values: Values<'a>,
    /// By row, whether it has a value; none if all have.
    pub present: Option<Vec<bool>>,
}

/// The field's column of the batch as this module reads it: texts as a dictionary.
pub fn column_of(field: &FieldPlan, batch: &RecordBatch) -> Option<ArrayRef> {
    let column = batch.column_by_name(&field.name)?;
    match field.kind {
        FieldKind::Text if column.as_dictionary_opt::<UInt32Type>().is_none() => {
            arrow::compute::cast(column, &text_type()).ok()
        }
        _ => Some(column.clone()),
    }
}

impl<'a> Input<'a> {
    /// Reads a column that `column_of` gave. `hashes` keeps those of a dictionary's values between batches.
    pub fn read(field: &FieldPlan, column: &'a ArrayRef, hashes: &'a mut PerValue<u64>) -> Option<Input<'a>> {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut present = nulls.map(|nulls| nulls.iter().collect::<Vec<bool>>());
        let values = match field.kind {
            FieldKind::Float => {
                let values: &[f64] = column.as_primitive_opt::<Float64Type>()?.values();
                if !are_finite(values) {
                    let present = present.get_or_insert_with(|| vec![true; values.len()]);
                    present.iter_mut().zip(values).for_each(|(present, value)| *present &= value.is_finite());
                }
                Values::Float(values)
            }
            FieldKind::Int => Values::Integer(Cow::Borrowed(column.as_primitive_opt::<Int64Type>()?.values())),
            FieldKind::Bool => {
                Values::Integer(column.as_boolean_opt()?.values().iter().map(i64::from).collect::<Vec<_>>().into())
            }
            FieldKind::Text => {
                let coded = column.as_dictionary_opt::<UInt32Type>()?;
                let texts = coded.values().as_string_opt::<i32>()?;
                let codes: &[u32] = coded.keys().values();
                if texts.null_count() > 0 {
                    let present = present.get_or_insert_with(|| vec![true; codes.len()]);
                    let has_text = |code: u32| texts.len() > code as usize && texts.is_valid(code as usize);
                    present.iter_mut().zip(codes).for_each(|(present, code)| *present &= has_text(*code));
                }
                let hashes = if field.needs.distinct { hash_texts(coded.values(), texts, hashes) } else { &[] };
                Values::Text { codes, texts, hashes }
            }
        };
        Some(Input { values, present })
    }
}

/// Whether there is neither an infinity nor a NaN: either times zero is NaN, and stays so in a sum. In lanes, for there hardly ever is one.
fn are_finite(values: &[f64]) -> bool {
    let mut lanes = [0.0; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value * 0.0);
    }
    rest.iter().all(|value| value.is_finite()) && lanes.iter().all(|lane| !lane.is_nan())
}

fn hash_texts<'a>(values: &ArrayRef, texts: &StringArray, hashes: &'a mut PerValue<u64>) -> &'a [u64] {
    const UNKNOWN: u64 = 0;
    let hashes = hashes.entries(values, UNKNOWN);
    for (index, hash) in hashes.iter_mut().enumerate().filter(|(_, hash)| **hash == UNKNOWN) {
        *hash = if texts.is_valid(index) { hash::of_bytes(texts.value(index).as_bytes()) } else { hash::NULL };
    }
    hashes
}
