//! `[[windows]]`: spans of event time, their groups and their aggregates.

use std::time::Duration;

use crate::domain::schema::FieldKind;
use crate::domain::time::micros;
use crate::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

use super::columns::{Columns, WINDOWS};
use super::fault::Wrong;
use super::fields::Fields;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::value::{Read, folder_name, nearest_or_all, positive_duration, shown, texts, unfit};

/// More panes than this a window would cost more memory and time than any slide is worth.
const PANES_MAX: u64 = 10_080;
/// A leap year.
const SIZE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A window as far as it could be read: detectors are checked against its name and its columns.
pub(super) struct Window {
    pub(super) name: Option<String>,
    pub(super) spec: Option<WindowSpec>,
    pub(super) columns: Columns,
}

pub(super) fn read(root: &Reader<'_>, fields: Option<&Fields>, allowed_lateness: Duration) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for reader in root.sections("windows") {
        let others: Vec<String> = windows.iter().filter_map(|window| window.name.clone()).collect();
        windows.push(window(reader, fields, allowed_lateness, &others));
    }
    windows
}

fn window(reader: Reader<'_>, fields: Option<&Fields>, allowed_lateness: Duration, others: &[String]) -> Window {
    let mut columns = Columns::new(WINDOWS);
    let name = reader.required("name", "\"by_device\"", folder_name);
    if let Some(name) = &name {
        check_name(&reader, name, others);
    }
    let size = reader.required("size", "\"10s\"", positive_duration);
    let slide = reader.optional("slide", positive_duration).or(size);
    if let (Some(size), Some(slide)) = (size, slide) {
        check_panes(&reader, size, slide);
    }
    let by = reader.or("by", Vec::new(), texts);
    check_groups(&reader, &by, fields, &mut columns);
    let aggregates = reader.section("aggregates").map(|below| aggregates(below, fields, &mut columns));
    // Before `finish`, which takes the reader; its own faults do not matter to what is checked against this window.
    let is_sound = reader.finish();
    let spec = match (&name, size, slide) {
        (Some(name), Some(size), Some(slide)) if is_sound => Some(WindowSpec {
            name: name.clone(),
            size,
            slide,
            by,
            aggregates: aggregates.unwrap_or_default(),
            allowed_lateness,
        }),
        _ => None,
    };
    Window { name, spec, columns }
}

fn check_name(reader: &Reader<'_>, name: &str, others: &[String]) {
    if others.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        let wrong = Wrong::new("another window has this name, capitals aside", "give each window a name of its own");
        reader.fault("name", wrong);
    }
    if name == "events" {
        let wrong = Wrong::new("`on = \"events\"` of a detector means the events themselves", "choose another name");
        reader.fault("name", wrong);
    }
}

fn check_panes(reader: &Reader<'_>, size: Duration, slide: Duration) {
    let (size_us, slide_us) = (micros(size).unsigned_abs(), micros(slide).unsigned_abs());
    let text = humantime::format_duration;
    if size > SIZE_MAX {
        reader.fault("size", Wrong::new("a window spans at most 366 days", "make it smaller"));
    }
    if slide > size {
        reader.fault(
            "slide",
            Wrong::new(
                format!("a slide of {} beyond a size of {} leaves events in no window", text(slide), text(size)),
                "make the slide the size or less",
            ),
        );
    }
    let pane_us = greatest_common_divisor(size_us, slide_us);
    let panes = size_us / pane_us;
    if slide <= size && panes > PANES_MAX {
        reader.fault(
            "slide",
            Wrong::new(
                format!(
                    "size {} and slide {} share no larger slice than {}, which makes {panes} slices a window",
                    text(size),
                    text(slide),
                    text(Duration::from_micros(pane_us))
                ),
                format!("choose a slide that divides the size into at most {PANES_MAX} slices"),
            ),
        );
    }
}

/// Both are above zero: durations of windows are positive and whole microseconds.
fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn check_groups(reader: &Reader<'_>, by: &[String], fields: Option<&Fields>, columns: &mut Columns) {
    for name in by {
        if let Some(Err(cure)) = fields.filter(|_| name != "key").map(|fields| fields.kind_of(name)) {
            let problem = format!("{} is neither a field nor \"key\"", shown(name));
            let cure = format!("{cure} (add it to [event.fields], or write \"key\" for the event's key)");
            reader.fault("by", Wrong::new(problem, cure));
        }
        if let Some(owner) = columns.claim(name, "a group") {
            let problem =
                format!("the group {} would be a second column of its name; the first is {owner}", shown(name));
            reader.fault("by", Wrong::new(problem, "name each group once; give the field another name and its path"));
        }
    }
}

fn aggregates(reader: Reader<'_>, fields: Option<&Fields>, columns: &mut Columns) -> Vec<AggregateSpec> {
    let mut specs = Vec::new();
    for (field, node) in reader.entries() {
        let kind = match fields.map(|fields| fields.kind_of(field)) {
            Some(Err(cure)) => {
                let wrong = Wrong::new(format!("{} is not a field of [event.fields]", shown(field)), cure);
                reader.judge::<()>(field, node, Err(wrong));
                continue;
            }
            Some(Ok(kind)) => kind,
            None => None,
        };
        for item in items(node) {
            let Some(aggregate) = reader.judge(field, item, aggregate(item, kind)) else { continue };
            let column = format!("{field}_{}", aggregate.name());
            if let Some(owner) = columns.claim(&column, "an aggregate") {
                let problem = format!("the column {} would stand twice; the first is {owner}", shown(&column));
                let wrong = Wrong::new(problem, "name each aggregate once; give the field another name and its path");
                reader.judge::<()>(field, item, Err(wrong));
            }
            specs.push(AggregateSpec { field: field.to_owned(), aggregate });
        }
    }
    specs
}

/// A single word is a list of one.
fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn aggregate(node: &Node, kind: Option<FieldKind>) -> Read<Aggregate> {
    let Value::Text(word) = &node.value else {
        return Err(unfit(node, "an aggregate", "write a list such as [\"mean\", \"stddev\"]"));
    };
    let Some(aggregate) = Aggregate::parse(word) else {
        let known: Vec<&str> = Aggregate::names().chain(["p95", "p99"]).collect();
        let cure = match word.strip_prefix('p').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
            true => "percentiles are p01 to p99, and p001 to p999 (99.9 %) where the third digit is not 0".to_owned(),
            false => nearest_or_all(word, &known),
        };
        return Err(Wrong::new(format!("{} is not an aggregate", shown(word)), cure));
    };
    let is_for_text = matches!(
        aggregate,
        Aggregate::Count | Aggregate::Distinct | Aggregate::Missing | Aggregate::First | Aggregate::Last
    );
    if kind == Some(FieldKind::Text) && !is_for_text {
        return Err(Wrong::new(
            format!("{word} needs numbers, and this field is text"),
            "texts have count, distinct, missing, first and last; or give the field another type",
        ));
    }
    Ok(aggregate)
}
