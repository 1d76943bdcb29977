//! The columns of an event batch while it is filled, row by row.
//!
//! A row is written in place and counts only once it is committed, so a record that turns out to be bad leaves nothing behind.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};

use crate::decode::DecodeError;
use crate::decode::dictionary::Dictionary;
use crate::domain::reject::RejectReason;
use crate::domain::schema::{Constant, FieldKind, FieldSpec};

/// A configured field's column.
pub(super) struct Column {
    pub name: String,
    pub values: Values,
    is_required: bool,
    /// The rows without a value, ascending.
    null_rows: Vec<u32>,
}

/// Values by kind. Each is as long as the batch may become; rows from the committed ones on are scratch.
pub(super) enum Values {
    Float(Plain<f64>),
    Int(Plain<i64>),
    Bool(Plain<bool>),
    Text(Texts),
}

/// Values that are numbers or flags.
pub(super) struct Plain<T> {
    rows: Vec<T>,
    default: Option<T>,
    missing_as: Option<T>,
}

impl<T: Copy + Default + PartialEq> Plain<T> {
    fn new(default: Option<T>, missing_as: Option<T>) -> Plain<T> {
        Plain { rows: Vec::new(), default, missing_as }
    }

    /// Writes a row's value; false if it is the one that means "missing".
    #[inline(always)]
    pub(super) fn put(&mut self, row: usize, value: T) -> bool {
        self.rows[row] = value;
        self.missing_as != Some(value)
    }

    fn begin(&mut self, rows: usize) {
        self.rows = vec![T::default(); rows];
    }

    /// Writes the default, if there is one; else what a null row holds.
    fn put_missing(&mut self, row: usize) -> bool {
        self.rows[row] = self.default.unwrap_or_default();
        self.default.is_some()
    }

    fn take(&mut self, rows: usize) -> Vec<T> {
        self.rows.truncate(rows);
        std::mem::take(&mut self.rows)
    }
}

/// Values that are texts.
pub(super) struct Texts {
    codes: Vec<u32>,
    dictionary: Dictionary,
    default: Option<String>,
    missing_as: Option<String>,
}

impl Texts {
    pub(super) fn new() -> Texts {
        Texts { codes: Vec::new(), dictionary: Dictionary::new(), default: None, missing_as: None }
    }

    /// Writes a row's text, which is UTF-8; false if it is the one that means "missing".
    #[inline(always)]
    pub(super) fn put(&mut self, row: usize, text: &[u8]) -> bool {
        self.codes[row] = self.dictionary.code_of(text);
        !self.is_missing(text)
    }

    /// The same for the first `length` of 16 bytes.
    #[inline(always)]
    pub(super) fn put_short(&mut self, row: usize, bytes: [u8; 16], length: usize) -> bool {
        self.codes[row] = self.dictionary.code_of_short(bytes, length);
        !self.is_missing(&bytes[..length])
    }

    /// Writes the same text to all rows.
    pub(super) fn put_all(&mut self, text: &[u8]) {
        let code = self.dictionary.code_of(text);
        self.codes.fill(code);
    }

    #[inline(always)]
    fn is_missing(&self, text: &[u8]) -> bool {
        self.missing_as.as_ref().is_some_and(|missing| missing.as_bytes() == text)
    }

    pub(super) fn begin(&mut self, rows: usize) {
        self.dictionary.begin();
        self.codes = vec![0; rows];
    }

    fn put_missing(&mut self, row: usize) -> bool {
        self.codes[row] = self.default.as_ref().map_or(0, |default| self.dictionary.code_of(default.as_bytes()));
        self.default.is_some()
    }

    pub(super) fn finish(&mut self, rows: usize, nulls: Option<NullBuffer>) -> ArrayRef {
        self.codes.truncate(rows);
        let codes = std::mem::take(&mut self.codes);
        self.dictionary.column(codes, nulls)
    }
}

impl Column {
    pub(super) fn new(spec: &FieldSpec) -> Result<Column, DecodeError> {
        let wrong = |constant| DecodeError::Constant { field: spec.name.clone(), constant };
        let check = |constant: &Option<Constant>, name| match constant {
            Some(constant) if !fits(constant, spec.kind) => Err(wrong(name)),
            _ => Ok(()),
        };
        check(&spec.default, "default")?;
        check(&spec.missing_as, "missing_as")?;
        let (default, missing_as) = (spec.default.as_ref(), spec.missing_as.as_ref());
        let values = match spec.kind {
            FieldKind::Float => Values::Float(Plain::new(default.and_then(as_float), missing_as.and_then(as_float))),
            FieldKind::Int => Values::Int(Plain::new(default.and_then(as_int), missing_as.and_then(as_int))),
            FieldKind::Bool => Values::Bool(Plain::new(default.and_then(as_bool), missing_as.and_then(as_bool))),
            FieldKind::Text => Values::Text(Texts {
                default: default.and_then(as_text),
                missing_as: missing_as.and_then(as_text),
                ..Texts::new()
            }),
        };
        Ok(Column { name: spec.name.clone(), values, is_required: spec.required, null_rows: Vec::new() })
    }

    /// Room for so many rows.
    pub(super) fn begin(&mut self, rows: usize) {
        match &mut self.values {
            Values::Float(values) => values.begin(rows),
            Values::Int(values) => values.begin(rows),
            Values::Bool(values) => values.begin(rows),
            Values::Text(values) => values.begin(rows),
        }
        self.null_rows.clear();
    }

    /// The row has no value: its default, or null, or it is refused.
    #[inline(never)]
    pub(super) fn put_missing(&mut self, row: usize) -> Result<(), RejectReason> {
        let has_default = match &mut self.values {
            Values::Float(values) => values.put_missing(row),
            Values::Int(values) => values.put_missing(row),
            Values::Bool(values) => values.put_missing(row),
            Values::Text(values) => values.put_missing(row),
        };
        if has_default {
            return Ok(());
        }
        if self.is_required {
            return Err(RejectReason::Missing(self.name.clone()));
        }
        self.null_rows.push(row as u32);
        Ok(())
    }

    /// The row was begun and will not be committed.
    pub(super) fn forget(&mut self, row: usize) {
        self.null_rows.pop_if(|null| *null == row as u32);
    }

    /// The first `rows` rows.
    pub(super) fn finish(&mut self, rows: usize) -> ArrayRef {
        let nulls = (!self.null_rows.is_empty()).then(|| valid_but(&self.null_rows, rows));
        match &mut self.values {
            Values::Float(values) => Arc::new(Float64Array::new(ScalarBuffer::from(values.take(rows)), nulls)),
            Values::Int(values) => Arc::new(Int64Array::new(ScalarBuffer::from(values.take(rows)), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(values.take(rows)), nulls)),
            Values::Text(values) => values.finish(rows, nulls),
        }
    }
}

/// Validity of `rows` rows, of which `null_rows` are null.
fn valid_but(null_rows: &[u32], rows: usize) -> NullBuffer {
    let mut bits = BooleanBufferBuilder::new(rows);
    bits.append_n(rows, true);
    for row in null_rows {
        bits.set_bit(*row as usize, false);
    }
    NullBuffer::new(bits.finish())
}

fn fits(constant: &Constant, kind: FieldKind) -> bool {
    match (constant, kind) {
        (Constant::Float(value), FieldKind::Float) => value.is_finite(),
        (Constant::Int(_), FieldKind::Int)
        | (Constant::Bool(_), FieldKind::Bool)
        | (Constant::Text(_), FieldKind::Text) => true,
        _ => false,
    }
}

fn as_float(constant: &Constant) -> Option<f64> {
    // As in records, -0.0 is 0.0.
    if let Constant::Float(value) = constant { Some(value + 0.0) } else { None }
}

fn as_int(constant: &Constant) -> Option<i64> {
    if let Constant::Int(value) = constant { Some(*value) } else { None }
}

fn as_bool(constant: &Constant) -> Option<bool> {
    if let Constant::Bool(value) = constant { Some(*value) } else { None }
}

fn as_text(constant: &Constant) -> Option<String> {
    if let Constant::Text(value) = constant { Some(value.clone()) } else { None }
}
