//! A sample against `[event]`: what becomes of its records, and which configured fields it does not have.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Fields};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::decode::{Decode, Decoder};
use crate::domain::batch::EventBatch;
use crate::domain::raw::{Form, RawBatch};
use crate::domain::reject::RejectReason;
use crate::domain::schema::{EventSchema, KeySource, TimeSource};
use crate::settings::{Draft, nearest, quoted};

use super::sample::Sample;
use super::{Finding, counted, scores};

/// Devices of this kind report times after this; a time before it is most likely in another unit.
const PLAUSIBLE_FROM: i64 = 946_684_800_000_000; // 2000-01-01

/// Names inside of names inside of names.
const DEPTH_MAX: usize = 8;

/// What is to be said of a sample that was read from what `key` names.
pub(super) fn judge(draft: &Draft, key: &str, sample: &Sample) -> Vec<Finding> {
    let Some(event) = &draft.event else { return Vec::new() };
    let schema = &event.schema;
    let records: usize = sample.iter().map(|(_, batch)| batch.len()).sum();
    if records == 0 {
        let cure = "check again once there are some, or give recordings with --from";
        return vec![Finding::warning(key, "there are no records yet to compare with [event]", cure)];
    }
    let mut decoder = match Decoder::new(schema) {
        Ok(decoder) => decoder,
        Err(error) => return vec![Finding::fault("event", error.to_string(), "change it in [event]")],
    };
    let (mut events, mut rejects): (Vec<EventBatch>, BTreeMap<(&str, String), Rejects>) = Default::default();
    for (partition, batch) in sample {
        let decoded = decoder.decode(batch, partition);
        for reject in decoded.rejects {
            let field = reject.reason.field().unwrap_or_default().to_owned();
            let first =
                || Rejects { count: 0, reason: reject.reason.clone(), at: format!("{partition} at {}", reject.offset) };
            rejects.entry((reject.reason.name(), field)).or_insert_with(first).count += 1;
        }
        if !decoded.events.is_empty() {
            events.push(decoded.events);
        }
    }
    let keys = Keys::of(sample);
    let mut findings = vec![summary(records, &events, &rejects)];
    let absent = absent(schema, &keys);
    findings.extend(rejects.values().map(|rejects| refused(key, rejects, records, !events.is_empty())));
    findings.extend(absent);
    findings.extend(implausible_times(&events));
    findings.extend(scores::score(draft.detectors.as_deref().unwrap_or_default(), &events));
    findings
}

/// Records that were refused for one reason.
struct Rejects {
    count: usize,
    reason: RejectReason,
    /// Where the first is.
    at: String,
}

fn summary(records: usize, events: &[EventBatch], rejects: &BTreeMap<(&str, String), Rejects>) -> Finding {
    let accepted: usize = events.iter().map(EventBatch::len).sum();
    let times = || events.iter().flat_map(|batch| batch.times().iter().copied());
    let (from, to) = (times().min().map(time), times().max().map(time));
    let reasons: Vec<Value> = rejects
        .values()
        .map(|one| json!({ "reason": one.reason.name(), "field": one.reason.field(), "count": one.count, "first": one.at }))
        .collect();
    let data = json!({ "records": records, "events": accepted, "rejects": reasons, "from": from, "to": to });
    let span = match (from, to) {
        (Some(from), Some(to)) => format!(", from {from} to {to}"),
        _ => String::new(),
    };
    let refused = match records - accepted {
        0 => "all are events".to_owned(),
        refused => format!("{accepted} are events, {refused} are refused"),
    };
    Finding::seen("sample", format!("{}, {refused}{span}", counted(records, "record")), data)
}

/// None of the records being an event is a fault; some of them not being one is life.
fn refused(source: &str, rejects: &Rejects, records: usize, is_some_accepted: bool) -> Finding {
    let (name, count) = (rejects.reason.name(), rejects.count);
    let (key, what, cure) = match &rejects.reason {
        RejectReason::BadTime(field) => (
            "event.time".to_owned(),
            format!("`{field}` is missing or not of the configured format"),
            "name the field that holds the time, and its format",
        ),
        RejectReason::NoKey => {
            ("event.key".to_owned(), "the key is missing".to_owned(), "name a field that every record has")
        }
        RejectReason::Missing(field) => (
            format!("event.fields.{}", quoted(field)),
            "the field is required and missing".to_owned(),
            "take `required` out, or give a `default`",
        ),
        RejectReason::WrongType(field) | RejectReason::OutOfRange(field) => (
            format!("event.fields.{}", quoted(field)),
            format!("the value is {}", name.replace('_', " ")),
            "give the field the type of its values",
        ),
        RejectReason::TooLarge => {
            ("event.record_bytes_max".to_owned(), "the record is too large".to_owned(), "allow more bytes")
        }
        _ => (
            source.to_owned(),
            format!("the record is {}", name.replace('_', " ")),
            "give records of one JSON object each, or rows with as many cells as the header",
        ),
    };
    let problem = format!(
        "{count} of {} would be quarantined as {name}: {what}; the first is {}",
        counted(records, "record"),
        rejects.at
    );
    match is_some_accepted {
        true => Finding::warning(key, problem, cure),
        false => Finding::fault(key, problem, cure),
    }
}

/// The names of values in a sample, and how many records have each.
#[derive(Default)]
struct Keys {
    counts: BTreeMap<Vec<String>, usize>,
    objects: usize,
}

impl Keys {
    fn of(sample: &Sample) -> Keys {
        let mut keys = Keys::default();
        for (_, batch) in sample {
            match &batch.form {
                Form::Objects => keys.add_objects(batch),
                Form::Cells(layout) => {
                    keys.objects += batch.len();
                    let paths = layout.names.iter().map(|name| vec![name.clone()]);
                    paths.for_each(|path| *keys.counts.entry(path).or_default() += batch.len());
                }
                Form::Columns(columns) => {
                    keys.objects += batch.len();
                    keys.add_columns(columns.schema().fields(), batch.len(), &mut Vec::new());
                }
            }
        }
        keys
    }

    fn add_objects(&mut self, batch: &RawBatch) {
        for index in 0..batch.len() {
            if let Ok(value @ Value::Object(_)) = serde_json::from_slice(batch.payload(index)) {
                self.objects += 1;
                self.add(&value, &mut Vec::new());
            }
        }
    }

    fn add_columns(&mut self, fields: &Fields, rows: usize, path: &mut Vec<String>) {
        for field in fields {
            path.push(field.name().clone());
            match field.data_type() {
                DataType::Struct(inner) if path.len() < DEPTH_MAX => self.add_columns(inner, rows, path),
                _ => *self.counts.entry(path.clone()).or_default() += rows,
            }
            path.pop();
        }
    }

    fn add(&mut self, value: &Value, path: &mut Vec<String>) {
        match value {
            Value::Object(inner) if path.len() < DEPTH_MAX => {
                for (name, value) in inner {
                    path.push(name.clone());
                    self.add(value, path);
                    path.pop();
                }
            }
            _ => *self.counts.entry(path.clone()).or_default() += 1,
        }
    }
}

/// What is configured by a path.
struct Wanted<'s> {
    key: String,
    path: &'s [String],
    /// Records without it are refused, which is told elsewhere.
    is_required: bool,
}

fn wanted(schema: &EventSchema) -> Vec<Wanted<'_>> {
    let mut all = Vec::new();
    let mut add = |key: String, path, is_required| all.push(Wanted { key, path, is_required });
    if let TimeSource::Fields { paths, .. } = &schema.time {
        paths.iter().for_each(|path| add("event.time".to_owned(), path.as_slice(), true));
    }
    if let KeySource::Field(path) = &schema.key {
        add("event.key".to_owned(), path, true);
    }
    for field in &schema.fields {
        add(format!("event.fields.{}", quoted(&field.name)), &field.path, field.required);
    }
    all
}

/// Configured names that no record has: misspelt where another one is near, else worth a look.
fn absent(schema: &EventSchema, keys: &Keys) -> Vec<Finding> {
    if keys.objects == 0 {
        return Vec::new();
    }
    let wanted = wanted(schema);
    let unused = keys.counts.iter().filter(|(path, _)| wanted.iter().all(|one| one.path != path.as_slice()));
    let unused: BTreeMap<String, usize> = unused.map(|(path, count)| (path.join("."), *count)).collect();
    let names: Vec<&str> = unused.keys().map(String::as_str).collect();
    // A cell's name is one, with its dots.
    let is_there =
        |path: &[String]| keys.counts.keys().any(|found| found.starts_with(path) || *found == [path.join(".")]);
    let judge = |one: &Wanted<'_>| {
        let name = one.path.join(".");
        let problem = format!("none of the sample's {} has `{name}`", counted(keys.objects, "record"));
        match nearest(&name, &names) {
            Some(near) => {
                let problem = format!("{problem}, and {} of them have `{near}`, which nothing names", unused[near]);
                Some(Finding::fault(
                    &one.key,
                    problem,
                    format!("did you mean `{near}`? A `path` finds a field by another name"),
                ))
            }
            None if one.is_required => None,
            None => {
                Some(Finding::warning(&one.key, problem, "take it out, or look whether its name or `path` is right"))
            }
        }
    };
    wanted.iter().filter(|one| !is_there(one.path)).filter_map(judge).collect()
}

/// Times that are most likely in another unit than the configured one.
fn implausible_times(events: &[EventBatch]) -> Option<Finding> {
    let mut times: Vec<i64> = events.iter().flat_map(|batch| batch.times().iter().copied()).collect();
    times.sort_unstable();
    let median = *times.get(times.len() / 2)?;
    let year = 366 * 86_400 * 1_000_000;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_micros();
    let latest = i64::try_from(now).ok()?.saturating_add(year);
    let problem = format!("the sample's events are of about {}", time(median));
    let cure = "look whether `format` has the right unit: unix_s, unix_ms or unix_us";
    (!(PLAUSIBLE_FROM..latest).contains(&median)).then(|| Finding::warning("event.time", problem, cure))
}

fn time(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros);
    time.map_or_else(|| format!("{micros} µs"), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
