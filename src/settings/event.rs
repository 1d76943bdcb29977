//! `[event]`: how a record becomes an event; its time, its key and its fields.

use std::time::Duration;

use chrono::format::{Fixed, Item, Numeric, Pad, StrftimeItems};

use crate::domain::schema::{EventSchema, FieldKind, KeySource, TimeFormat, TimeSource};
use crate::domain::time::micros;

use super::fault::Wrong;
use super::fields::{self, Fields};
use super::reader::Reader;
use super::source::SourceSection;
use super::tree::{Node, Value};
use super::value::{
    Read, distinct_texts, instant, listed, nearest_or_all, one_of, positive_duration, shown, size, text, texts,
};

/// `[event]` of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSection {
    pub format: EventFormat,
    pub csv: CsvSection,
    pub schema: EventSchema,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// One object a message or line.
    Json,
    /// Rows of cells below a header.
    Csv,
    /// Columns.
    Parquet,
}

/// `[event.csv]`: what a delimited file does not say itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvSection {
    /// None: the most frequent of `,`, `;`, tab and `|` in the header.
    pub separator: Option<u8>,
    /// Lines before the header that begin with it are passed over.
    pub comment: Option<u8>,
    /// The columns' names, where the files have no header.
    pub header: Option<Vec<String>>,
    /// `decimal = ","`: numbers have a comma where others have a dot.
    pub decimal_comma: bool,
}

impl Default for CsvSection {
    fn default() -> CsvSection {
        CsvSection { separator: None, comment: Some(b'#'), header: None, decimal_comma: false }
    }
}

/// Kafka's own default limit for a record.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// The section, and the fields' names even where something else is at fault, so that windows can be checked against them.
pub(super) fn read(reader: Reader<'_>, source: Option<&SourceSection>) -> (Option<EventSection>, Fields) {
    let format = reader.or("format", EventFormat::Json, format);
    let csv = reader.section("csv").map(csv).unwrap_or_default();
    let fields = reader.section("fields").map(fields::read).unwrap_or_default();
    let time = time(&reader, &fields);
    let key = reader.required("key", "\"device\"", |node| key(node, &fields));
    let record_bytes_max = reader.or("record_bytes_max", RECORD_BYTES_MAX, size);
    if matches!(source, Some(SourceSection::Files(_))) {
        refuse_kafka_only(&reader, time.as_ref(), key.as_ref());
    }
    if matches!(source, Some(SourceSection::Kafka(_))) && format != EventFormat::Json {
        let cure = "write \"json\"; recordings given with --from are read by what their names end in";
        reader.fault("format", Wrong::new("records of Kafka are read as JSON only", cure));
    }
    let is_sound = reader.finish();
    let section = match (time, key) {
        (Some(time), Some(key)) if is_sound => Some(EventSection {
            format,
            csv,
            schema: EventSchema {
                time,
                key,
                fields: fields.specs(),
                record_bytes_max: usize::try_from(record_bytes_max).unwrap_or(usize::MAX),
            },
        }),
        _ => None,
    };
    (section, fields)
}

fn format(node: &Node) -> Read<EventFormat> {
    one_of(&[("json", EventFormat::Json), ("csv", EventFormat::Csv), ("parquet", EventFormat::Parquet)])(node)
}

fn csv(reader: Reader<'_>) -> CsvSection {
    let separator = reader.optional("separator", separator);
    let comment = reader.optional("comment", comment);
    let header = reader.optional("header", distinct_texts);
    let decimal_comma = reader.or("decimal", false, one_of(&[(".", false), (",", true)]));
    if decimal_comma && separator == Some(b',') {
        let cure = "leave `separator` out, or name the other one";
        reader.fault("decimal", Wrong::new("a comma cannot separate both cells and digits", cure));
    }
    reader.finish();
    CsvSection { separator, comment: comment.unwrap_or(CsvSection::default().comment), header, decimal_comma }
}

fn separator(node: &Node) -> Read<u8> {
    const CURE: &str = "write one character such as \",\", \";\", \"\\t\" or \"|\", or leave it out";
    let text = text(node)?;
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n.+-".contains(byte) => Ok(*byte),
        _ => Err(Wrong::new(format!("{} cannot separate cells", shown(&text)), CURE)),
    }
}

/// An empty text: there are no comments.
fn comment(node: &Node) -> Read<Option<u8>> {
    let text = text(node)?;
    match text.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii_graphic() => Ok(Some(*byte)),
        _ => Err(Wrong::new(format!("{} cannot begin a comment", shown(&text)), "write one character, or none")),
    }
}

fn refuse_kafka_only(reader: &Reader<'_>, time: Option<&TimeSource>, key: Option<&KeySource>) {
    if matches!(time, Some(TimeSource::Received)) {
        let cure = "name the field that holds the time, or count with { from = \"…\", every = \"…\" }";
        reader.fault("time", Wrong::new("files hold no Kafka timestamps", cure));
    }
    if matches!(key, Some(KeySource::Record)) {
        reader.fault("key", Wrong::new("files hold no Kafka keys", "name a field, or \"$file\""));
    }
}

fn key(node: &Node, fields: &Fields) -> Read<KeySource> {
    const SOURCES: [&str; 3] = ["$file", "$partition", "$kafka_key"];
    match text(node)?.as_str() {
        "$file" | "$partition" => Ok(KeySource::Partition),
        "$kafka_key" => Ok(KeySource::Record),
        other if other.starts_with('$') => {
            Err(Wrong::new(format!("{} is no source of keys", shown(other)), nearest_or_all(other, &SOURCES)))
        }
        field => Ok(KeySource::Field(fields.path_of(field))),
    }
}

fn time(event: &Reader<'_>, fields: &Fields) -> Option<TimeSource> {
    let example = "{ field = \"ts\", format = \"unix_ms\" }";
    let Some(node) = event.node("time") else {
        event.required::<()>("time", example, |_| Ok(()));
        return None;
    };
    match &node.value {
        Value::Text(word) if word == "kafka" => Some(TimeSource::Received),
        Value::Table(table) if table.get("from").is_some() || table.get("every").is_some() => {
            let reader = event.over("time", node)?;
            let from = reader.required("from", "\"2026-01-01T00:00:00Z\"", instant);
            let every = reader.required("every", "\"10ms\"", positive_duration);
            let is_sound = reader.finish();
            is_sound.then_some(TimeSource::Counted { from: from?, every: micros(every.unwrap_or(Duration::ZERO)) })
        }
        Value::Table(_) => named_time(event.over("time", node)?, fields),
        _ => {
            let cure = format!("write \"kafka\", or time = {example}");
            event.fault("time", Wrong::new("this names no time", cure));
            None
        }
    }
}

fn named_time(reader: Reader<'_>, fields: &Fields) -> Option<TimeSource> {
    let one = reader.optional("field", text);
    let several = reader.optional("fields", texts);
    let format = reader.or("format", TimeFormat::Rfc3339, time_format);
    let names = match (one, several) {
        (Some(_), Some(_)) => {
            let wrong = Wrong::new("`field` and `fields` are both given", "leave the one that holds the time");
            reader.fault("fields", wrong);
            None
        }
        (Some(one), None) => Some(vec![one]),
        (None, Some(several)) if several.is_empty() => {
            reader.fault("fields", Wrong::new("the list is empty", "name the fields that hold the time"));
            None
        }
        (None, several) => several,
    };
    if names.is_none() && reader.is_sound() {
        reader.required::<()>("field", "\"ts\"", |_| Ok(()));
    }
    let is_sound = reader.finish();
    let paths = names?.iter().map(|name| fields.path_of(name)).collect();
    is_sound.then_some(TimeSource::Fields { paths, format })
}

fn time_format(node: &Node) -> Read<TimeFormat> {
    const WORDS: [&str; 4] = ["rfc3339", "unix_s", "unix_ms", "unix_us"];
    match text(node)?.as_str() {
        "rfc3339" => Ok(TimeFormat::Rfc3339),
        "unix_s" => Ok(TimeFormat::UnixSeconds),
        "unix_ms" => Ok(TimeFormat::UnixMillis),
        "unix_us" => Ok(TimeFormat::UnixMicros),
        pattern if pattern.contains('%') => strptime(pattern),
        other => Err(Wrong::new(
            format!("{} is no format of times", shown(other)),
            format!("write {}, or a strptime pattern such as \"%d/%m/%Y %H:%M:%S\"", listed(&WORDS, "or")),
        )),
    }
}

/// A pattern that says of a time what its writer means. `%f` is a fraction to Python and nanoseconds to others, and the names that `%Z` stands for tell no
/// offset.
fn strptime(pattern: &str) -> Read<TimeFormat> {
    let has = |wanted: fn(&Item<'_>) -> bool| StrftimeItems::new(pattern).any(|item| wanted(&item));
    let wrong = |problem: &str, cure: &str| Err(Wrong::new(format!("{} {problem}", shown(pattern)), cure));
    if has(|item| *item == Item::Error) {
        let cure = "write it as strptime has it, such as \"%Y-%m-%d %H:%M:%S%.f\"";
        return wrong("is not a pattern of strptime", cure);
    }
    if has(|item| *item == Item::Numeric(Numeric::Nanosecond, Pad::Zero)) {
        let cure = "write `%S%.f` for seconds with a point and any digits behind it, or `%3f`, `%6f`, `%9f` for so many digits";
        return wrong("has `%f`, which means a count of nanoseconds", cure);
    }
    if has(|item| *item == Item::Fixed(Fixed::TimezoneName)) {
        let cure = "write `%z` for an offset such as +01:00; a time without one is UTC";
        return wrong("has `%Z`, and a zone's name tells no offset", cure);
    }
    Ok(TimeFormat::Pattern(pattern.to_owned()))
}

/// A kind as the configuration names it.
pub(super) fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Float => "float",
        FieldKind::Int => "int",
        FieldKind::Bool => "bool",
        FieldKind::Text => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_does_not_mean_what_it_seems_to_is_refused_with_one_that_does() {
        for (pattern, cure) in
            [("%H:%M:%S,%f", "`%3f`"), ("%S.%f", "`%S%.f`"), ("%F %T %Z", "`%z`"), ("%Q", "strptime")]
        {
            let wrong = strptime(pattern).unwrap_err();
            assert!(wrong.cure.contains(cure), "{pattern}: {}", wrong.cure);
        }
        for pattern in ["%Y-%m-%d %H:%M:%S%.f", "%d.%m.%Y %H:%M:%S,%3f", "%F %T%z", "%d-%b-%y %H:%M"] {
            assert_eq!(strptime(pattern), Ok(TimeFormat::Pattern(pattern.to_owned())), "{pattern}");
        }
    }
}
