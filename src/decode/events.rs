//! From a record's values to a row of the event batch: its time, its key, its fields, in this order. The first fault names the reason,
//! so that a record with several gets the same one wherever it is decoded.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;

use crate::decode::DecodeError;
use crate::decode::columns::{Column, Texts, Values};
use crate::decode::number::decimal::Window;
use crate::decode::number::integer::Fraction;
use crate::decode::time::{Pattern, TimeText, checked};
use crate::decode::value::{Misfit, Row, Value};
use crate::domain::batch::EventBatch;
use crate::domain::raw::RawBatch;
use crate::domain::reject::RejectReason;
use crate::domain::schema::{EventSchema, FieldSpec, KeySource, TimeFormat, TimeSource};

/// The number of a wanted path; several columns may take their values from one.
pub(super) type Place = usize;

/// Positions in a record are kept in 32 bits, one value of which means "none".
const RECORD_BYTES_MAX: usize = u32::MAX as usize - 1;
const FIELDS_MAX: usize = 65_536;

/// The event batch that is being filled.
pub(super) struct Events {
    schema: SchemaRef,
    time: Time,
    key: Key,
    fields: Vec<(Place, Column)>,
    places: Vec<Vec<String>>,
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

/// The address of a record, and what its source said of it.
#[derive(Clone, Copy)]
pub(super) struct Address<'a> {
    pub raw: &'a RawBatch,
    /// Of the record in the raw batch.
    pub index: usize,
}

impl Events {
    /// Columns for a schema.
    pub(super) fn new(schema: &EventSchema) -> Result<Events, DecodeError> {
        if schema.record_bytes_max > RECORD_BYTES_MAX {
            return Err(DecodeError::RecordBytes { bytes: schema.record_bytes_max, bytes_max: RECORD_BYTES_MAX });
        }
        if schema.fields.len() > FIELDS_MAX {
            return Err(DecodeError::TooManyFields { fields: schema.fields.len(), fields_max: FIELDS_MAX });
        }
        let mut places = Vec::new();
        let time = Time::new(&schema.time, &mut places)?;
        let key = match &schema.key {
            KeySource::Field(path) => Key::Field { place: add(&mut places, path, "the key")?, name: path.join(".") },
            KeySource::Partition => Key::Partition,
            KeySource::Record => Key::Record,
        };
        let mut field = |spec: &FieldSpec| {
            Ok((add(&mut places, &spec.path, &format!("field `{}`", spec.name))?, Column::new(spec)?))
        };
        Ok(Events {
            schema: schema.arrow(),
            time,
            key,
            fields: schema.fields.iter().map(&mut field).collect::<Result<_, DecodeError>>()?,
            places,
            times: Vec::new(),
            keys: Texts::new(),
            offsets: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// The path of each place: where in a record its value is found.
    pub(super) fn places(&self) -> &[Vec<String>] {
        &self.places
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
    pub(super) fn push(&mut self, row: &impl Row, address: Address<'_>) -> Result<(), RejectReason> {
        let at = self.times.len();
        match self.write(row, address, at) {
            Ok(time) => {
                self.times.push(time);
                self.offsets.push(address.raw.offset(address.index).0);
                Ok(())
            }
            Err(reason) => {
                self.forget(at);
                Err(reason)
            }
        }
    }

    /// Writes all of a row but its time and offset, whose columns say how many rows there are.
    #[inline(always)]
    fn write(&mut self, row: &impl Row, address: Address<'_>, at: usize) -> Result<i64, RejectReason> {
        let time = self.time.read(row, address, &mut self.scratch)?;
        self.write_key(row, address, at)?;
        let mut copy: Window = [0; 64];
        for (place, column) in &mut self.fields {
            let is_there = match row.value(*place, &mut copy) {
                Some(value) => match write_field(value, &mut column.values, at, &mut self.scratch) {
                    Ok(is_there) => is_there,
                    Err(misfit) => return Err(named(misfit, &column.name)),
                },
                None => false,
            };
            if !is_there {
                column.put_missing(at)?;
            }
        }
        Ok(time)
    }

    #[inline(always)]
    fn write_key(&mut self, row: &impl Row, address: Address<'_>, at: usize) -> Result<(), RejectReason> {
        match &self.key {
            Key::Field { place, name } => {
                let mut copy: Window = [0; 64];
                let value = row.value(*place, &mut copy).ok_or(RejectReason::NoKey)?;
                match value.short_text() {
                    Some((bytes, length)) => self.keys.put_short(at, bytes, length),
                    None => match value.text(&mut self.scratch) {
                        Ok(text) => self.keys.put(at, text.ok_or(RejectReason::NoKey)?),
                        Err(misfit) => return Err(named(misfit, name)),
                    },
                };
            }
            Key::Partition => {}
            Key::Record => {
                let key = address.raw.key(address.index).ok_or(RejectReason::NoKey)?;
                simdutf8::basic::from_utf8(key).map_err(|_| RejectReason::NotUtf8)?;
                self.keys.put(at, key);
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
fn write_field<'v>(
    value: impl Value<'v>,
    values: &mut Values,
    row: usize,
    scratch: &mut Vec<u8>,
) -> Result<bool, Misfit> {
    Ok(match values {
        Values::Float(floats) => value.float()?.is_some_and(|float| floats.put(row, float)),
        Values::Int(ints) => value.integer(0, Fraction::Refuse)?.is_some_and(|int| ints.put(row, int)),
        Values::Bool(bools) => value.boolean()?.is_some_and(|flag| bools.put(row, flag)),
        Values::Text(texts) => match value.short_text() {
            Some((bytes, length)) => texts.put_short(row, bytes, length),
            None => value.text(scratch)?.is_some_and(|text| texts.put(row, text)),
        },
    })
}

impl Time {
    fn new(source: &TimeSource, places: &mut Vec<Vec<String>>) -> Result<Time, DecodeError> {
        let (fields, format) = match source {
            TimeSource::Fields { paths, format } => (paths, format),
            TimeSource::Received => return Ok(Time::Received),
            TimeSource::Counted { from, every } => return Ok(Time::Counted { from: *from, every: *every }),
        };
        let mut parts = Vec::new();
        for path in fields {
            parts.push((add(places, path, "the time")?, path.join(".")));
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
    fn read(&mut self, row: &impl Row, address: Address<'_>, scratch: &mut Vec<u8>) -> Result<i64, RejectReason> {
        match self {
            Time::Unix { place, name, power } => {
                let mut copy: Window = [0; 64];
                let time = match row.value(*place, &mut copy) {
                    Some(value) => value.unix_time(*power),
                    None => Ok(None),
                };
                match time {
                    Ok(time) => time.and_then(checked).ok_or_else(|| RejectReason::BadTime(name.clone())),
                    Err(_) => Err(RejectReason::BadTime(name.clone())),
                }
            }
            Time::Text(text) => text.read(row, scratch),
            Time::Received => {
                let received = address.raw.received.as_ref().and_then(|received| received.get(address.index).copied());
                received.and_then(checked).ok_or_else(|| RejectReason::BadTime("received".into()))
            }
            Time::Counted { from, every } => {
                let time =
                    every.checked_mul(address.raw.offset(address.index).0).and_then(|span| from.checked_add(span));
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
    fn read(&mut self, row: &impl Row, scratch: &mut Vec<u8>) -> Result<i64, RejectReason> {
        let JoinedText { parts, format, name, joined } = self;
        joined.clear();
        if let [(place, _)] = parts.as_slice()
            && let Some(micros) = row.value(*place, &mut [0; 64]).and_then(Value::time)
        {
            return checked(micros).ok_or_else(|| RejectReason::BadTime(name.clone()));
        }
        for (place, name) in parts {
            let mut copy: Window = [0; 64];
            let bad = || RejectReason::BadTime(name.clone());
            let value = row.value(*place, &mut copy).ok_or_else(bad)?;
            let text = value.text(scratch).ok().flatten().ok_or_else(bad)?;
            if !joined.is_empty() {
                joined.push(b' ');
            }
            joined.extend_from_slice(text.trim_ascii());
        }
        format.read(joined).ok_or_else(|| RejectReason::BadTime(name.clone()))
    }
}

/// The place of a path, which must not be empty; a new one unless it is there already.
fn add(places: &mut Vec<Vec<String>>, path: &[String], what: &str) -> Result<Place, DecodeError> {
    if path.is_empty() {
        return Err(DecodeError::EmptyPath { what: what.to_owned() });
    }
    if let Some(place) = places.iter().position(|known| known == path) {
        return Ok(place);
    }
    places.push(path.to_vec());
    Ok(places.len() - 1)
}

#[cold]
fn named(misfit: Misfit, name: &str) -> RejectReason {
    match misfit {
        Misfit::WrongType => RejectReason::WrongType(name.to_owned()),
        Misfit::OutOfRange => RejectReason::OutOfRange(name.to_owned()),
        Misfit::LoneSurrogate => RejectReason::LoneSurrogate,
    }
}
