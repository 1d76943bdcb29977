//! What of `[[detectors]]` says how `train` makes the next model: the network, its features, and `[detectors.training]`.

use crate::domain::detector::DetectorInput;
use crate::domain::schema::FieldKind;
use crate::training::spec::{Condition, LabelSpec, Method, Scaling, ThresholdRule, TrainingSpec};

use super::fault::Wrong;
use super::features::{self, transforms};
use super::fields::{self, Fields};
use super::method;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::value::{Read, distinct_texts, integer_in, nearest_or_all, one_of, shown, size, text, unfit};
use super::windows::Window;

/// The columns that a detector's rows have.
pub(super) enum Rows<'a> {
    Events(&'a Fields),
    Windows(&'a Window, Option<&'a Fields>),
    /// What they have is at fault itself.
    Unknown,
}

pub(super) fn read(
    detector: &Reader<'_>,
    input: Option<&DetectorInput>,
    fields: Option<&Fields>,
    windows: &[Window],
) -> TrainingSpec {
    let rows = match (input, fields) {
        (Some(DetectorInput::Events), Some(fields)) => Rows::Events(fields),
        (Some(DetectorInput::Windows(name)), fields) => {
            let window = windows.iter().find(|window| window.name.as_ref() == Some(name));
            window.map_or(Rows::Unknown, |window| Rows::Windows(window, fields))
        }
        _ => Rows::Unknown,
    };
    let features = features::read(detector, &rows);
    let spec = TrainingSpec { method: method::read(detector), features, ..TrainingSpec::default() };
    let spec = match detector.section("training") {
        Some(reader) => training(&reader, spec, &rows),
        None => spec,
    };
    if matches!(spec.method, Method::Classifier { .. }) && spec.labels.is_none() {
        let problem = "a classifier learns from rows that are labelled as anomalies, and nothing tells which";
        detector.fault("kind", Wrong::new(problem, "write labels = { field = \"label\" } below [detectors.training]"));
    }
    spec
}

fn training(reader: &Reader<'_>, spec: TrainingSpec, rows: &Rows<'_>) -> TrainingSpec {
    let count = |name, default: usize, max| {
        let value = reader.optional(name, integer_in(1, max)).and_then(|value| usize::try_from(value).ok());
        value.unwrap_or(default)
    };
    let spec = TrainingSpec {
        scaling: reader.or(
            "scaling",
            spec.scaling,
            one_of(&[("standard", Scaling::Standard), ("min_max", Scaling::MinMax), ("none", Scaling::None)]),
        ),
        deviation_floor: reader.or("deviation_floor", spec.deviation_floor, number_in(0.0, 1e12)),
        method: with_floor(reader, spec.method),
        validation: reader.or("validation", spec.validation, number_in(0.01, 0.9)),
        rows_min: reader.optional("rows_min", integer_in(10, 1 << 30)).map_or(spec.rows_min, i64::unsigned_abs),
        epochs_max: count("epochs", spec.epochs_max, 100_000),
        epoch_rows: reader.optional("epoch_rows", integer_in(1, i64::MAX)).map(i64::unsigned_abs),
        batch_rows: reader.optional("batch", integer_in(1, 65_536)).map(|rows| rows.unsigned_abs() as usize),
        learning_rate: reader.or("learning_rate", spec.learning_rate, number_in(1e-8, 1.0)),
        patience: count("patience", spec.patience, 100_000),
        threshold: threshold(reader).unwrap_or(spec.threshold),
        transforms: reader.or("transforms", spec.transforms, transforms),
        seed: reader.optional("seed", integer_in(0, i64::MAX)).map_or(spec.seed, i64::unsigned_abs),
        memory_bytes: reader.or("memory", spec.memory_bytes, size),
        condition: reader.section("where").and_then(|below| condition(below, rows)),
        labels: reader.section("labels").and_then(|below| labels(below, rows)),
        ..spec
    };
    reader.refuse_unknown();
    spec
}

/// What of a method stands among the keys of its training.
fn with_floor(reader: &Reader<'_>, method: Method) -> Method {
    match method {
        Method::Pca { measure, components, variance_floor } => {
            let variance_floor = reader.or("variance_floor", variance_floor, number_in(0.0, 1e12));
            Method::Pca { measure, components, variance_floor }
        }
        other => other,
    }
}

/// One of the ways to say where the threshold is.
fn threshold(reader: &Reader<'_>) -> Option<ThresholdRule> {
    let percentile = reader.optional("percentile", number_in(0.0, 100.0)).map(ThresholdRule::Percentile);
    let share = reader.optional("contamination", number_in(0.0, 0.5));
    let contamination = share.map(|share| ThresholdRule::Percentile(100.0 * (1.0 - share)));
    let alarms = reader.optional("alarms_per_day", number_in(1e-6, 1e9)).map(ThresholdRule::AlarmsPerDay);
    let tail = reader.optional("tail", number_in(1e-12, 0.02)).map(ThresholdRule::Tail);
    let names = ["percentile", "contamination", "alarms_per_day", "tail"];
    let mut given =
        names.into_iter().zip([percentile, contamination, alarms, tail]).filter_map(|(name, rule)| Some((name, rule?)));
    let (first, rule) = given.next()?;
    if let Some((second, _)) = given.next() {
        let wrong = Wrong::new(format!("`{first}` says already where the threshold is"), "take one of them out");
        reader.fault(second, wrong);
    }
    Some(rule)
}

/// A column that says of rows what they are, with its kind where that is known.
fn column(reader: &Reader<'_>, rows: &Rows<'_>) -> Option<(String, Option<FieldKind>)> {
    let column = reader.required("field", "\"label\"", text)?;
    let kind = match rows.kind_of(&column) {
        Ok(kind) => kind,
        Err(cure) => {
            let wrong = Wrong::new(format!("{} is no column to choose rows by", shown(&column)), cure);
            reader.fault("field", wrong);
            None
        }
    };
    Some((column, kind))
}

fn labels(reader: Reader<'_>, rows: &Rows<'_>) -> Option<LabelSpec> {
    let column = column(&reader, rows);
    let normal = reader.or("normal", Vec::new(), distinct_texts);
    let is_sound = reader.finish();
    column.filter(|_| is_sound).map(|(column, _)| LabelSpec { column, normal })
}

fn condition(reader: Reader<'_>, rows: &Rows<'_>) -> Option<Condition> {
    let (column, kind) = column(&reader, rows).unzip();
    let kind = kind.flatten();
    let equals =
        reader.required("equals", "\"Benign\"", |node| kind.map(|kind| fields::constant(kind, node)).transpose());
    let is_sound = reader.finish();
    let condition = Condition { column: column?, equals: equals?? };
    is_sound.then_some(condition)
}

impl Rows<'_> {
    /// The kind of a column that rows can be chosen by; none where it is not known; else what to do about it.
    pub(super) fn kind_of(&self, column: &str) -> Result<Option<FieldKind>, String> {
        match self {
            Rows::Events(fields) => fields.kind_of(column),
            Rows::Windows(window, fields) => {
                let Some(spec) = &window.spec else { return Ok(None) };
                let by: Vec<&str> = spec.by.iter().map(String::as_str).collect();
                match (by.contains(&column), fields) {
                    (true, _) if column == "key" => Ok(Some(FieldKind::Text)),
                    (true, Some(fields)) => fields.kind_of(column),
                    (true, None) => Ok(None),
                    (false, _) => Err(format!(
                        "{} (rows of windows are chosen by what they are grouped by)",
                        nearest_or_all(column, &by)
                    )),
                }
            }
            Rows::Unknown => Ok(None),
        }
    }

    /// The names a feature may have; none where they are not known.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        match self {
            Rows::Events(fields) => Some(fields.names().map(str::to_owned).collect()),
            Rows::Windows(window, _) => {
                let spec = window.spec.as_ref()?;
                let aggregates = spec.aggregates.iter().map(|one| format!("{}_{}", one.field, one.aggregate.name()));
                Some(["count".to_owned()].into_iter().chain(aggregates).collect())
            }
            Rows::Unknown => None,
        }
    }
}

/// A number in a range, both ends included.
pub(super) fn number_in(from: f64, to: f64) -> impl Fn(&Node) -> Read<f64> {
    move |node| {
        let cure = format!("write a number from {from} to {to}");
        let value = match node.value {
            Value::Float(value) => value,
            // Small enough to be exact where it is in range.
            Value::Integer(value) => value as f64,
            _ => return Err(unfit(node, "a number", &cure)),
        };
        if (from..=to).contains(&value) { Ok(value) } else { Err(Wrong::new(format!("{value} is out of range"), cure)) }
    }
}
