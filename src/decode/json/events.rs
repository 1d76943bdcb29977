//! From a record's values to a row of the event batch: its time, its key, its fields, in this order. The first fault names the reason,
//! so that a record with several gets the same one wherever it is decoded.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;

use super::integer::Fraction;
use super::paths::{NONE, Paths, Place};
use super::record::Record;
use super::simd::Simd;
use super::value::{Misfit, Value};
use crate::decode::DecodeError;
use crate::decode::columns::{Column, Texts, Values};
use crate::decode::time::{Pattern, TimeText, checked};
use crate::domain::batch::EventBatch;
use crate::domain::raw::RawBatch;
use crate::domain::reject::RejectReason;
use crate::domain::schema::{EventSchema, FieldSpec, KeySource, TimeFormat, TimeSource};

/// The event batch that is being filled.
pub(super) struct Events {
    schema: SchemaRef,
    time: Time,
    key: Key,
    fields: Vec<(Place, Column)>,
    times: Vec<i64>,
    keys: Texts,
    offsets: Vec<i64>,
    scratch: Vec<u8>,
}

/// Where an event's time is found.
enum Time {
    /// A number of seconds divided by 10^6 / 10^power.
    Unix {
        place: Place,
        name: String,
        power: u32,
    },
    Text(JoinedText),
    Received,
    Counted {
        from: i64,
        every: i64,
    },
}

/// A time in one text or several, which are joined by a blank.
struct JoinedText {
    parts: Vec<(Place, String)>,
    format: TimeText,
    /// Of all parts.
    name: String,
    joined: Vec<u8>,
}

/// Where an event's key is found.
enum Key {
    Field { place: Place, name: String },
    Partition,
    Record,
}

/// A record that is to become a row, with all that its event may be made of.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub record: Record<'a>,
    /// For each place where its value starts in the record, or `NONE`.
    pub starts: &'a [u32],
    pub raw: &'a RawBatch,
    /// Of the record in the raw batch.
    pub index: usize,
}

impl<'a> Source<'a> {
    /// The value of a place, if there is one.
    #[inline(always)]
    fn value<'b>(self, place: Place, copy: &'b mut [u8; 64]) -> Option<Value<'b>>
    where
        'a: 'b,
    {
        let start = self.starts[place];
        (start != NONE).then(|| Value::new(self.record, start as usize, copy))
    }
}

impl Events {
    /// Columns for a schema; the paths they take their values from are added to `paths`.
    pub(super) fn new(schema: &EventSchema, paths: &mut Paths) -> Result<Events, DecodeError> {
        let time = Time::new(&schema.time, paths)?;
        let key = match &schema.key {
            KeySource::Field(path) => Key::Field { place: add(paths, path, "the key")?, name: path.join(".") },
            KeySource::Partition => Key::Partition,
            KeySource::Record => Key::Record,
        };
        let field =
            |spec: &FieldSpec| Ok((add(paths, &spec.path, &format!("field `{}`", spec.name))?, Column::new(spec)?));
        Ok(Events {
            schema: schema.arrow(),
            time,
            key,
            fields: schema.fields.iter().map(field).collect::<Result<_, DecodeError>>()?,
            times: Vec::new(),
            keys: Texts::new(),
            offsets: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Room for the records of `raw`.
    pub(super) fn begin(&mut self, raw: &RawBatch, partition_name: &str) {
        let rows = raw.len();
        self.times = Vec::with_capacity(rows);
        self.offsets = Vec::with_capacity(rows);
        self.keys.begin(rows);
        if matches!(self.key, Key::Partition) {
            self.keys.put_all(partition_name.as_bytes());
        }
        for (_, column) in &mut self.fields {
            column.begin(rows);
        }
    }

    /// Appends a row, or nothing.
    #[inline(always)]
    pub(super) fn push<S: Simd>(&mut self, simd: S, source: Source<'_>) -> Result<(), RejectReason> {
        let row = self.times.len();
        match self.write(simd, source, row) {
            Ok(time) => {
                self.times.push(time);
                self.offsets.push(source.raw.offset(source.index).0);
                Ok(())
            }
            Err(reason) => {
                self.forget(row);
                Err(reason)
            }
        }
    }

    /// Writes all of a row but its time and offset, whose columns say how many rows there are.
    #[inline(always)]
    fn write<S: Simd>(&mut self, simd: S, source: Source<'_>, row: usize) -> Result<i64, RejectReason> {
        let time = self.time.read(simd, source, &mut self.scratch)?;
        self.write_key(simd, source, row)?;
        let mut copy = [0; 64];
        for (place, column) in &mut self.fields {
            let is_there = match source.value(*place, &mut copy) {
                Some(value) => match write_field(simd, value, &mut column.values, row, &mut self.scratch) {
                    Ok(is_there) => is_there,
                    Err(misfit) => return Err(named(misfit, &column.name)),
                },
                None => false,
            };
            if !is_there {
                column.put_missing(row)?;
            }
        }
        Ok(time)
    }

    #[inline(always)]
    fn write_key<S: Simd>(&mut self, simd: S, source: Source<'_>, row: usize) -> Result<(), RejectReason> {
        match &self.key {
            Key::Field { place, name } => {
                let mut copy = [0; 64];
                let value = source.value(*place, &mut copy).ok_or(RejectReason::NoKey)?;
                match value.short_text(simd) {
                    Some((bytes, length)) => self.keys.put_short(row, bytes, length),
                    None => match value.text(&mut self.scratch) {
                        Ok(text) => self.keys.put(row, text.ok_or(RejectReason::NoKey)?),
                        Err(misfit) => return Err(named(misfit, name)),
                    },
                };
            }
            Key::Partition => {}
            Key::Record => {
                let key = source.raw.key(source.index).ok_or(RejectReason::NoKey)?;
                simdutf8::basic::from_utf8(key).map_err(|_| RejectReason::NotUtf8)?;
                self.keys.put(row, key);
            }
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self, row: usize) {
        for (_, column) in &mut self.fields {
            column.forget(row);
        }
    }

    /// The rows so far, as events of the raw batch's partition.
    pub(super) fn finish(&mut self, raw: &RawBatch) -> EventBatch {
        let rows = self.times.len();
        let times = TimestampMicrosecondArray::from(std::mem::take(&mut self.times)).with_timezone("UTC");
        let mut columns = vec![
            Arc::new(times) as _,
            self.keys.finish(rows, None),
            Arc::new(UInt64Array::from(vec![raw.partition.0; rows])) as _,
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))) as _,
        ];
        columns.extend(self.fields.iter_mut().map(|(_, column)| column.finish(rows)));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.expect("each column was made from the same field of the schema, and has all committed rows");
        EventBatch::try_from(batch)
            .expect("the schema of events begins with the events' own columns, which have no nulls")
    }
}

/// Writes a field's value; false if it is null, or the one that means "missing".
#[inline(always)]
fn write_field<S: Simd>(
    simd: S,
    value: Value<'_>,
    values: &mut Values,
    row: usize,
    scratch: &mut Vec<u8>,
) -> Result<bool, Misfit> {
    Ok(match values {
        Values::Float(floats) => value.float(simd)?.is_some_and(|float| floats.put(row, float)),
        Values::Int(ints) => value.integer(simd, 0, Fraction::Refuse)?.is_some_and(|int| ints.put(row, int)),
        Values::Bool(bools) => value.boolean()?.is_some_and(|flag| bools.put(row, flag)),
        Values::Text(texts) => match value.short_text(simd) {
            Some((bytes, length)) => texts.put_short(row, bytes, length),
            None => value.text(scratch)?.is_some_and(|text| texts.put(row, text)),
        },
    })
}

impl Time {
    fn new(source: &TimeSource, paths: &mut Paths) -> Result<Time, DecodeError> {
        let (fields, format) = match source {
            TimeSource::Fields { paths, format } => (paths, format),
            TimeSource::Received => return Ok(Time::Received),
            TimeSource::Counted { from, every } => return Ok(Time::Counted { from: *from, every: *every }),
        };
        let mut parts = Vec::new();
        for path in fields {
            parts.push((add(paths, path, "the time")?, path.join(".")));
        }
        if parts.is_empty() {
            return Err(DecodeError::EmptyPath { what: "the time".into() });
        }
        let power = match format {
            TimeFormat::UnixSeconds => 6,
            TimeFormat::UnixMillis => 3,
            TimeFormat::UnixMicros => 0,
            TimeFormat::Rfc3339 => return Ok(Time::Text(JoinedText::new(parts, TimeText::Rfc3339))),
            TimeFormat::Pattern(pattern) => {
                let read = Pattern::new(pattern).ok_or_else(|| DecodeError::Pattern { pattern: pattern.clone() })?;
                return Ok(Time::Text(JoinedText::new(parts, TimeText::Pattern(read))));
            }
        };
        match <[_; 1]>::try_from(parts) {
            Ok([(place, name)]) => Ok(Time::Unix { place, name, power }),
            Err(parts) => Err(DecodeError::JoinedUnixTime { fields: parts.len() }),
        }
    }

    #[inline(always)]
    fn read<S: Simd>(&mut self, simd: S, source: Source<'_>, scratch: &mut Vec<u8>) -> Result<i64, RejectReason> {
        match self {
            Time::Unix { place, name, power } => {
                let mut copy = [0; 64];
                let time = match source.value(*place, &mut copy) {
                    Some(value) => value.integer(simd, *power, Fraction::RoundDown),
                    None => Ok(None),
                };
                match time {
                    Ok(time) => time.and_then(checked).ok_or_else(|| RejectReason::BadTime(name.clone())),
                    Err(_) => Err(RejectReason::BadTime(name.clone())),
                }
            }
            Time::Text(text) => text.read(source, scratch),
            Time::Received => {
                let received = source.raw.received.as_ref().and_then(|received| received.get(source.index).copied());
                received.and_then(checked).ok_or_else(|| RejectReason::BadTime("received".into()))
            }
            Time::Counted { from, every } => {
                let time = every.checked_mul(source.raw.offset(source.index).0).and_then(|span| from.checked_add(span));
                time.and_then(checked).ok_or_else(|| RejectReason::BadTime("offset".into()))
            }
        }
    }
}

impl JoinedText {
    fn new(parts: Vec<(Place, String)>, format: TimeText) -> JoinedText {
        let names: Vec<&str> = parts.iter().map(|(_, name)| name.as_str()).collect();
        JoinedText { name: names.join(" "), parts, format, joined: Vec::new() }
    }

    #[inline(never)]
    fn read(&mut self, source: Source<'_>, scratch: &mut Vec<u8>) -> Result<i64, RejectReason> {
        let JoinedText { parts, format, name, joined } = self;
        joined.clear();
        for (place, name) in parts {
            let mut copy = [0; 64];
            let bad = || RejectReason::BadTime(name.clone());
            let value = source.value(*place, &mut copy).ok_or_else(bad)?;
            let text = value.text(scratch).ok().flatten().ok_or_else(bad)?;
            if !joined.is_empty() {
                joined.push(b' ');
            }
            joined.extend_from_slice(text.trim_ascii());
        }
        format.read(joined).ok_or_else(|| RejectReason::BadTime(name.clone()))
    }
}

/// The place of a path, which must not be empty.
fn add(paths: &mut Paths, path: &[String], what: &str) -> Result<Place, DecodeError> {
    if path.is_empty() {
        return Err(DecodeError::EmptyPath { what: what.to_owned() });
    }
    Ok(paths.add(path))
}

#[cold]
fn named(misfit: Misfit, name: &str) -> RejectReason {
    match misfit {
        Misfit::WrongType => RejectReason::WrongType(name.to_owned()),
        Misfit::OutOfRange => RejectReason::OutOfRange(name.to_owned()),
        Misfit::LoneSurrogate => RejectReason::LoneSurrogate,
    }
}
