//! `features` of a detector, and the transforms of each: a field's name, or a table where there is more to say.

use crate::domain::schema::FieldKind;
use crate::models::features::Derivation;
use crate::training::spec::{FeatureSpec, TransformSpec};

use super::fault::Wrong;
use super::reader::Reader;
use super::training::Rows;
use super::tree::{Node, Value};
use super::value::{Read, boolean, nearest_or_all, shown, text, unfit};

/// The features that are named; none where all columns of numbers are meant.
pub(super) fn read(detector: &Reader<'_>, rows: &Rows<'_>) -> Option<Vec<FeatureSpec>> {
    let node = detector.node("features")?;
    let items: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        Value::Text(_) => vec![node],
        _ => {
            let wrong = unfit(node, "a list of features", "write it as [\"one\", \"two\"]");
            return detector.judge("features", node, Err(wrong));
        }
    };
    if items.is_empty() {
        return detector.judge("features", node, Err(Wrong::new("the list is empty", "name at least one")));
    }
    let mut features: Vec<FeatureSpec> = Vec::new();
    for item in items {
        let feature = match &item.value {
            Value::Table(_) => detector.over("features", item).and_then(|reader| of_table(reader, rows)),
            _ => detector.judge("features", item, text(item).and_then(|field| number(&field, rows))),
        };
        let Some(feature) = feature else { continue };
        if features.iter().any(|other| other.name == feature.name) {
            let problem = format!("{} stands here twice", shown(&feature.name));
            detector.judge::<()>("features", item, Err(Wrong::new(problem, "name it once")));
            continue;
        }
        features.push(feature);
    }
    Some(features)
}

fn of_table(reader: Reader<'_>, rows: &Rows<'_>) -> Option<FeatureSpec> {
    let equals = reader.optional("equals", text);
    let field = match &equals {
        Some(_) => reader.required("field", "\"protocol\"", |node| words(&text(node)?, rows)),
        None => reader.required("field", "\"Rate\"", |node| Ok(number(&text(node)?, rows)?.field)),
    };
    let over = reader.optional("over", |node| Ok(number(&text(node)?, rows)?.field));
    let is_change = reader.or("change", false, boolean);
    let name = reader.optional("name", text);
    let transforms = reader.optional("transforms", transforms);
    if usize::from(equals.is_some()) + usize::from(over.is_some()) + usize::from(is_change) > 1 {
        let problem = "a feature is a ratio, a comparison or a change, one of them";
        reader.fault("field", Wrong::new(problem, "leave one of `over`, `equals` and `change`"));
    }
    let is_sound = reader.finish();
    let field = field.filter(|_| is_sound)?;
    let (derived, derivation) = match (equals, over) {
        (Some(equals), _) => (format!("{field}={equals}"), Derivation::OneHot { equals }),
        (None, Some(over)) => (format!("{field}/{over}"), Derivation::Ratio { over }),
        (None, None) if is_change => (format!("{field} change"), Derivation::Change),
        (None, None) => (field.clone(), Derivation::Value),
    };
    Some(FeatureSpec { name: name.unwrap_or(derived), field, derivation, transforms })
}

/// A column of numbers.
fn number(name: &str, rows: &Rows<'_>) -> Read<FeatureSpec> {
    known(name, rows)?;
    if let Rows::Events(fields) = rows
        && fields.kind_of(name) == Ok(Some(FieldKind::Text))
    {
        let problem = format!("{} is text, and a feature needs numbers", shown(name));
        return Err(Wrong::new(problem, format!("take it out, or write {{ field = {name:?}, equals = \"...\" }}")));
    }
    Ok(FeatureSpec::of_field(name))
}

/// A column of texts. What a window is grouped by is no column that it scores.
fn words(name: &str, rows: &Rows<'_>) -> Read<String> {
    match rows.kind_of(name) {
        Ok(Some(FieldKind::Text) | None) => Ok(name.to_owned()),
        Ok(Some(_)) => {
            Err(Wrong::new(format!("{} is no text", shown(name)), "leave `equals` out: it is a number already"))
        }
        Err(cure) => Err(Wrong::new(format!("{} is no column that is scored", shown(name)), cure)),
    }
}

fn known(name: &str, rows: &Rows<'_>) -> Read<()> {
    let Some(names) = rows.names() else { return Ok(()) };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(Wrong::new(format!("{} is no column that is scored", shown(name)), nearest_or_all(name, &names)))
}

/// A list of transforms, done in its order: words, and `{ clip = [low, high] }`.
pub(super) fn transforms(node: &Node) -> Read<Vec<TransformSpec>> {
    match &node.value {
        Value::List(items) => items.iter().map(transform).collect(),
        _ => Ok(vec![transform(node)?]),
    }
}

fn transform(node: &Node) -> Read<TransformSpec> {
    const CURE: &str = "write \"log1p\", \"signed_log\", \"quantile\" or { clip = [low, high] }";
    match &node.value {
        Value::Text(word) => match word.as_str() {
            "log1p" => Ok(TransformSpec::Log1p),
            "signed_log" => Ok(TransformSpec::SignedLog),
            "quantile" => Ok(TransformSpec::Quantile),
            word => {
                let known = ["log1p", "signed_log", "quantile", "clip"];
                Err(Wrong::new(format!("{} is no transform", shown(word)), nearest_or_all(word, &known)))
            }
        },
        Value::Table(table) => match table.0.as_slice() {
            [(name, ends)] if name == "clip" => clip(ends),
            _ => Err(unfit(node, "a transform", CURE)),
        },
        _ => Err(unfit(node, "a transform", CURE)),
    }
}

fn clip(node: &Node) -> Read<TransformSpec> {
    const CURE: &str = "write two numbers, the lesser first, such as { clip = [0.0, 1.0] }";
    let number = |node: &Node| match node.value {
        Value::Float(value) if value.is_finite() => Some(value),
        Value::Integer(value) => Some(value as f64),
        _ => None,
    };
    let ends = match &node.value {
        Value::List(items) => items.iter().map(number).collect::<Option<Vec<f64>>>(),
        _ => None,
    };
    match ends.as_deref() {
        Some([low, high]) if low < high => Ok(TransformSpec::Clip { low: *low, high: *high }),
        _ => Err(unfit(node, "the ends of a clip", CURE)),
    }
}
