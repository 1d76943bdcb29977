//! Any bytes as records, one a line: the decoder accepts exactly what serde_json accepts as an object whose wanted values are of their kinds,
//! gives the same values, and all backends agree.

#![no_main]

use std::collections::HashMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, UInt32Type};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tidewatch::decode::json::{Backend, JsonDecoder};
use tidewatch::domain::ids::{Offset, PartitionId};
use tidewatch::domain::raw::{Form, Offsets, RawBatch};
use tidewatch::domain::reject::RejectReason;
use tidewatch::domain::schema::{EventSchema, FIRST_FIELD, FieldKind, FieldSpec, KeySource, TimeSource};

/// A float and a text: `None` for missing or null.
type Fields = (Option<u64>, Option<String>);

fn schema() -> EventSchema {
    let field = |name: &str, kind| FieldSpec {
        name: name.into(),
        kind,
        path: vec![name.into()],
        default: None,
        required: false,
        missing_as: None,
    };
    EventSchema {
        time: TimeSource::Counted { from: 0, every: 1 },
        key: KeySource::Partition,
        fields: vec![field("x", FieldKind::Float), field("t", FieldKind::Text)],
        record_bytes_max: 1 << 20,
    }
}

/// What serde_json and the standard library make of a record.
fn oracle(record: &[u8]) -> Option<Fields> {
    let members: HashMap<String, &RawValue> = serde_json::from_slice(record).ok()?;
    let wanted = |name: &str| members.get(name).map(|value| value.get()).filter(|value| *value != "null");
    let is_number = |text: &str| text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let float = match wanted("x") {
        None => None,
        Some(value) => {
            let float = match value.starts_with('"') {
                true => quoted(&serde_json::from_str::<String>(value).ok()?)?,
                // What serde_json takes for a value and begins like a number is one.
                false => Some(is_number(value).then(|| value.parse::<f64>().ok())??),
            };
            match float {
                Some(float) => Some(float.is_finite().then(|| (float + 0.0).to_bits())?),
                None => None,
            }
        }
    };
    let text = match wanted("t") {
        None => None,
        Some(value) if value.starts_with('"') => Some(serde_json::from_str(value).ok()?),
        Some(value) if value.starts_with(['{', '[']) => return None,
        Some(value) => Some(value.to_owned()),
    };
    Some((float, text))
}

/// The number in a string: `Some(None)` where it says that there is none.
fn quoted(text: &str) -> Option<Option<f64>> {
    let word = text.trim_matches([' ', '\t', '\n', '\r', '\x0c']).to_ascii_lowercase();
    if matches!(word.as_str(), "" | "nan" | "na" | "n/a" | "null" | "none") {
        return Some(None);
    }
    let is_plain = word.chars().all(|c| "0123456789.e+-".contains(c));
    is_plain.then(|| word.parse().ok()).flatten().map(Some)
}

fuzz_target!(|bytes: &[u8]| {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        let start = line.as_ptr() as usize - bytes.as_ptr() as usize;
        starts.push(start as u32);
        ends.push((start + line.len()) as u32);
    }
    let offsets = Offsets::Dense { first: Offset(0) };
    let (partition, bytes, tombstones) = (PartitionId(0), bytes.to_vec(), Vec::new());
    let raw = RawBatch { partition, form: Form::Objects, bytes, starts, ends, offsets, received: None, keys: None, tombstones };
    let mut reasons: Option<Vec<(i64, RejectReason)>> = None;
    for backend in Backend::available() {
        let mut decoder = JsonDecoder::with_backend(&schema(), backend).expect("the backend is available");
        let decoded = decoder.decode(&raw, "");
        let found: Vec<_> = decoded.rejects.iter().map(|reject| (reject.offset.0, reject.reason.clone())).collect();
        assert_eq!(reasons.get_or_insert_with(|| found.clone()), &found);
        let columns = decoded.events.columns();
        let floats = columns.column(FIRST_FIELD).as_primitive::<Float64Type>();
        let texts = columns.column(FIRST_FIELD + 1).as_dictionary::<UInt32Type>();
        let values = texts.values().as_string::<i32>();
        let mut rows = decoded.events.offsets().iter().enumerate().peekable();
        let mut rejects = found.iter().peekable();
        for index in 0..raw.len() {
            let wanted = oracle(raw.payload(index));
            if let Some((row, _)) = rows.next_if(|(_, offset)| **offset == index as i64) {
                let float = floats.is_valid(row).then(|| floats.value(row).to_bits());
                let text = texts.is_valid(row).then(|| values.value(texts.keys().value(row) as usize).to_owned());
                assert_eq!(wanted, Some((float, text)));
            } else {
                let (offset, reason) = rejects.next().expect("an event or a reject for each record");
                assert_eq!(*offset, index as i64);
                // serde_json skips what is not wanted without a limit of depth.
                assert!(wanted.is_none() || *reason == RejectReason::TooDeep, "{reason:?}");
            }
        }
    }
});
