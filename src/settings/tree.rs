//! The configuration as a tree of values, each of which knows where it was written.
//!
//! Promise: names keep the order of the file, and broken text gives faults with lines, never a panic and never a piece of
//! the text itself (it may hold a secret).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{FaultList, Place, Wrong};
use super::secret::Secret;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or time, as TOML writes it.
    Time(String),
    List(Vec<Node>),
    Table(Table),
    /// From the environment only.
    Secret(Secret),
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// The text of an override: `name=123` means the name "123" where a text is wanted.
    pub(super) raw: Option<String>,
}

/// Named values in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<(String, Node)>);

impl Table {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, node)| node)
    }
}

/// Reads a whole file. What cannot be read at all leaves an empty table behind its faults.
pub(super) fn parse(text: &str, faults: &FaultList) -> Table {
    let (root, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text);
    let mut told = Vec::new();
    for error in &errors {
        let line = lines.of(error.span().map_or(0, |span| span.start));
        // One slip makes the parser stumble several times; the first tells what it is.
        if !told.contains(&line) {
            told.push(line);
            let message = error.message().lines().next().unwrap_or("this is no TOML").to_owned();
            faults.add("", &Place::Line(line), Wrong::new(message, "correct the TOML; nothing else was looked at"));
        }
    }
    if errors.is_empty() {
        table(root.into_inner(), &mut |at| Place::Line(lines.of(at)), faults)
    } else {
        Table::default()
    }
}

/// Reads the value of an override: TOML where it is, else a text.
pub(super) fn parse_override(text: &str, place: &Place, faults: &FaultList) -> Node {
    let value = match DeValue::parse(text) {
        Ok(parsed) => value_of(parsed.into_inner(), &mut |_| place.clone(), place, faults),
        Err(_) => Value::Text(text.to_owned()),
    };
    Node { value, place: place.clone(), raw: Some(text.to_owned()) }
}

fn table(parsed: DeTable<'_>, place_at: &mut dyn FnMut(usize) -> Place, faults: &FaultList) -> Table {
    let mut entries: Vec<_> = parsed.into_iter().collect();
    // The parser sorts by name; the order of the file is the order of the columns.
    entries.sort_by_key(|(name, _)| name.span().start);
    Table(
        entries
            .into_iter()
            .map(|(name, value)| {
                let at = place_at(name.span().start);
                let value = value_of(value.into_inner(), place_at, &at, faults);
                (name.into_inner().into_owned(), Node { value, place: at, raw: None })
            })
            .collect(),
    )
}

fn value_of(parsed: DeValue<'_>, place_at: &mut dyn FnMut(usize) -> Place, place: &Place, faults: &FaultList) -> Value {
    match parsed {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(time) => Value::Time(time.to_string()),
        DeValue::Integer(written) => i64::from_str_radix(written.as_str(), written.radix())
            .map_or_else(|_| unreadable(place, faults, "64 bits"), Value::Integer),
        DeValue::Float(written) => {
            written.as_str().parse().map_or_else(|_| unreadable(place, faults, "a double"), Value::Float)
        }
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node(item, place_at, faults)).collect()),
        DeValue::Table(entries) => Value::Table(table(entries, place_at, faults)),
    }
}

fn node(item: Spanned<DeValue<'_>>, place_at: &mut dyn FnMut(usize) -> Place, faults: &FaultList) -> Node {
    let place = place_at(item.span().start);
    let value = value_of(item.into_inner(), place_at, &place, faults);
    Node { value, place, raw: None }
}

fn unreadable(place: &Place, faults: &FaultList, bound: &str) -> Value {
    faults.add("", place, Wrong::new(format!("this number does not fit into {bound}"), "write a smaller number"));
    Value::Integer(0)
}

/// Which line a byte stands on.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        Lines(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn of(&self, at: usize) -> usize {
        self.0.partition_point(|newline| *newline < at) + 1
    }
}
