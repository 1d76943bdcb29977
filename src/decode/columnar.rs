//! Rows of Arrow columns to event batches: what Parquet holds.
//!
//! A value that has a type is taken by it, exactly: integers of any width, floats (NaN is missing, infinity out of range), booleans, times of
//! any unit, which need no configured format. Text, and decimals through their digits, are read as they are elsewhere. Names of a path
//! lead through structs; a name with dots may be a column's own.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
    UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat};

use crate::decode::events::{Address, Events, Place};
use crate::decode::number::decimal::Window;
use crate::decode::number::integer::{Fraction, integer_of_token};
use crate::decode::text;
use crate::decode::value::{Misfit, Row, Value};
use crate::decode::{DecodeError, Decoded};
use crate::domain::raw::RawBatch;
use crate::domain::reject::Reject;
use crate::domain::schema::EventSchema;

/// Decodes batches of columns by one schema.
pub struct ColumnsDecoder {
    events: Events,
}

impl ColumnsDecoder {
    pub fn new(schema: &EventSchema) -> Result<ColumnsDecoder, DecodeError> {
        Ok(ColumnsDecoder { events: Events::new(schema)? })
    }

    /// One event or one reject for each row of `columns`, which are the records of `raw`.
    pub fn decode(&mut self, raw: &RawBatch, columns: &RecordBatch, partition_name: &str) -> Decoded {
        assert_eq!(raw.len(), columns.num_rows(), "a record is a row");
        let views: Vec<Option<View>> = self.events.places().iter().map(|path| View::of(columns, path)).collect();
        self.events.begin(raw, partition_name);
        let mut rejects = Vec::new();
        for index in 0..raw.len() {
            let row = ColumnRow { views: &views, index };
            if let Err(reason) = self.events.push(&row, Address { raw, index }) {
                rejects.push(Reject { offset: raw.offset(index), reason });
            }
        }
        Decoded { events: self.events.finish(raw), rejects }
    }
}

/// A wanted column, in one of the few types that values are read from.
struct View {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Float(Float64Array),
    Int(Int64Array),
    Unsigned(UInt64Array),
    Bool(BooleanArray),
    Text(StringArray),
    /// Microseconds since 1970.
    Time(Vec<i64>),
    /// Nothing that an event can be made of.
    Other,
}

impl View {
    fn of(batch: &RecordBatch, path: &[String]) -> Option<View> {
        let (column, nulls) = match batch.column_by_name(&path.join(".")) {
            Some(column) => (Arc::clone(column), column.logical_nulls()),
            None => {
                let (first, inner) = path.split_first()?;
                let mut column = Arc::clone(batch.column_by_name(first)?);
                let mut nulls = column.logical_nulls();
                for name in inner {
                    let parent: &StructArray = column.as_any().downcast_ref()?;
                    let child = Arc::clone(parent.column_by_name(name)?);
                    // What is in nothing is nothing, whatever its own column says.
                    nulls = NullBuffer::union(nulls.as_ref(), child.logical_nulls().as_ref());
                    column = child;
                }
                (column, nulls)
            }
        };
        Some(View { nulls, values: Values::of(&column) })
    }
}

impl Values {
    fn of(column: &ArrayRef) -> Values {
        // A conversion that fails is one that the type does not allow; none below loses anything.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let cast = |to: &DataType| cast_with_options(column, to, &options).ok();
        let values = match column.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                cast(&DataType::Float64).map(|cast| Values::Float(cast.as_primitive::<Float64Type>().clone()))
            }
            DataType::UInt64 => Some(Values::Unsigned(column.as_primitive::<UInt64Type>().clone())),
            kind if kind.is_integer() => {
                cast(&DataType::Int64).map(|cast| Values::Int(cast.as_primitive::<Int64Type>().clone()))
            }
            DataType::Boolean => Some(Values::Bool(column.as_boolean().clone())),
            DataType::Timestamp(unit, _) => {
                let raw = cast(&DataType::Int64).map(|cast| cast.as_primitive::<Int64Type>().clone());
                raw.map(|raw| Values::Time(raw.values().iter().map(|value| micros(*value, *unit)).collect()))
            }
            DataType::Dictionary(_, inner) => return cast(inner).map_or(Values::Other, |plain| Values::of(&plain)),
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => {
                cast(&DataType::Utf8).map(|cast| Values::Text(cast.as_string::<i32>().clone()))
            }
            _ => None,
        };
        values.unwrap_or(Values::Other)
    }
}

/// Fractions of a microsecond are cut towards the past; a time beyond what can be counted is one that no event may have.
fn micros(value: i64, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1_000_000),
        TimeUnit::Millisecond => value.saturating_mul(1_000),
        TimeUnit::Microsecond => value,
        TimeUnit::Nanosecond => value.div_euclid(1_000),
    }
}

struct ColumnRow<'a> {
    views: &'a [Option<View>],
    index: usize,
}

impl Row for ColumnRow<'_> {
    type Value<'v>
        = Cell<'v>
    where
        Self: 'v;

    fn value<'v>(&'v self, place: Place, _copy: &'v mut Window) -> Option<Cell<'v>> {
        let view = self.views[place].as_ref()?;
        let is_there = view.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(self.index));
        is_there.then_some(Cell { values: &view.values, index: self.index })
    }
}

/// A value that is not null.
#[derive(Clone, Copy)]
struct Cell<'a> {
    values: &'a Values,
    index: usize,
}

impl<'a> Value<'a> for Cell<'a> {
    fn float(self) -> Result<Option<f64>, Misfit> {
        match self.values {
            Values::Float(floats) => match floats.value(self.index) {
                value if value.is_nan() => Ok(None),
                value if value.is_infinite() => Err(Misfit::OutOfRange),
                // -0.0 + 0.0 is 0.0, and nothing else changes.
                value => Ok(Some(value + 0.0)),
            },
            Values::Int(ints) => Ok(Some(ints.value(self.index) as f64)),
            Values::Unsigned(ints) => Ok(Some(ints.value(self.index) as f64)),
            Values::Text(texts) => text::float(texts.value(self.index).as_bytes()),
            Values::Bool(_) | Values::Time(_) | Values::Other => Err(Misfit::WrongType),
        }
    }

    fn integer(self, power: u32, fraction: Fraction) -> Result<Option<i64>, Misfit> {
        let times = |value: i128| {
            let product = value.checked_mul(10i128.pow(power)).and_then(|product| i64::try_from(product).ok());
            product.map(Some).ok_or(Misfit::OutOfRange)
        };
        match self.values {
            Values::Int(ints) => times(i128::from(ints.value(self.index))),
            Values::Unsigned(ints) => times(i128::from(ints.value(self.index))),
            Values::Float(floats) => match floats.value(self.index) {
                value if value.is_nan() => Ok(None),
                value if value.is_infinite() => Err(Misfit::OutOfRange),
                value if value.fract() == 0.0 && value.abs() < 9e15 => times(value as i128),
                // By its digits, as it would be read where they are written.
                value => Ok(Some(integer_of_token(format!("{value:e}").as_bytes(), power, fraction)?)),
            },
            Values::Text(texts) => text::integer(texts.value(self.index).as_bytes(), power, fraction),
            Values::Bool(_) | Values::Time(_) | Values::Other => Err(Misfit::WrongType),
        }
    }

    fn boolean(self) -> Result<Option<bool>, Misfit> {
        let flag = |value: Option<u64>| match value {
            Some(0) => Ok(Some(false)),
            Some(1) => Ok(Some(true)),
            _ => Err(Misfit::WrongType),
        };
        match self.values {
            Values::Bool(flags) => Ok(Some(flags.value(self.index))),
            Values::Int(ints) => flag(u64::try_from(ints.value(self.index)).ok()),
            Values::Unsigned(ints) => flag(Some(ints.value(self.index))),
            Values::Text(texts) => text::boolean(texts.value(self.index).as_bytes()),
            Values::Float(_) | Values::Time(_) | Values::Other => Err(Misfit::WrongType),
        }
    }

    fn short_text(self) -> Option<([u8; 16], usize)> {
        let Values::Text(texts) = self.values else { return None };
        let text = texts.value(self.index).as_bytes();
        let mut bytes = [0; 16];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some((bytes, text.len()))
    }

    fn text<'b>(self, scratch: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, Misfit>
    where
        'a: 'b,
    {
        let spelling = match self.values {
            Values::Text(texts) => return Ok(Some(texts.value(self.index).as_bytes())),
            Values::Float(floats) if floats.value(self.index).is_nan() => return Ok(None),
            Values::Float(floats) => format!("{:?}", floats.value(self.index)),
            Values::Int(ints) => ints.value(self.index).to_string(),
            Values::Unsigned(ints) => ints.value(self.index).to_string(),
            Values::Bool(flags) => flags.value(self.index).to_string(),
            Values::Time(micros) => {
                let time = DateTime::from_timestamp_micros(micros[self.index]).ok_or(Misfit::OutOfRange)?;
                time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            }
            Values::Other => return Err(Misfit::WrongType),
        };
        scratch.clear();
        scratch.extend_from_slice(spelling.as_bytes());
        Ok(Some(scratch))
    }

    fn time(self) -> Option<i64> {
        match self.values {
            Values::Time(micros) => Some(micros[self.index]),
            _ => None,
        }
    }

    fn unix_time(self, power: u32) -> Result<Option<i64>, Misfit> {
        match self.time() {
            Some(micros) => Ok(Some(micros)),
            None => self.integer(power, Fraction::RoundDown),
        }
    }
}

/// A row as an object of JSON: the payload of one that is refused.
pub(super) fn row_as_json(columns: &RecordBatch, row: usize) -> Vec<u8> {
    let mut json = String::new();
    let schema = columns.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    write_object(&mut json, names.zip(columns.columns()), row);
    json.into_bytes()
}

fn write_object<'a>(json: &mut String, members: impl Iterator<Item = (&'a str, &'a ArrayRef)>, row: usize) {
    json.push('{');
    for (index, (name, column)) in members.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(json, "{comma}{}:", serde_json::Value::from(name));
        write_value(json, column, row);
    }
    json.push('}');
}

fn write_value(json: &mut String, column: &ArrayRef, row: usize) {
    if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return json.push_str("null");
    }
    if let Some(inner) = column.as_any().downcast_ref::<StructArray>() {
        let names = inner.fields().iter().map(|field| field.name().as_str());
        return write_object(json, names.zip(inner.columns()), row);
    }
    let shown = ArrayFormatter::try_new(column, &FormatOptions::default());
    let shown = shown.map_or_else(|_| "?".to_owned(), |shown| shown.value(row).to_string());
    let is_plain = column.data_type().is_numeric() || *column.data_type() == DataType::Boolean;
    if is_plain && serde_json::from_str::<serde_json::Value>(&shown).is_ok() {
        json.push_str(&shown);
    } else {
        let _ = write!(json, "{}", serde_json::Value::from(shown));
    }
}
