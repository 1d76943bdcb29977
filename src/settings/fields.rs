//! `[event.fields]`: the columns of an event, in the order of the file.

use crate::domain::schema::{Constant, FieldKind, FieldSpec};

use super::columns::{Columns, EVENTS};
use super::event::kind_name;
use super::fault::Wrong;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::value::{Read, boolean, nearest_or_all, one_of, shown, text, unfit};

/// The fields that could be read, and the names of all.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Option<FieldSpec>)>);

impl Fields {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn specs(&self) -> Vec<FieldSpec> {
        self.0.iter().filter_map(|(_, spec)| spec.clone()).collect()
    }

    /// The kind of a field; `Ok(None)` for one that is at fault itself, else what to do about an unknown name.
    pub(super) fn kind_of(&self, name: &str) -> Result<Option<FieldKind>, String> {
        match self.0.iter().find(|(own, _)| own == name) {
            Some((_, spec)) => Ok(spec.as_ref().map(|spec| spec.kind)),
            None => Err(nearest_or_all(name, &self.names().collect::<Vec<_>>())),
        }
    }

    /// Where a name used outside this table is found in a record: a configured field's path, else the name, parted at dots.
    pub(super) fn path_of(&self, name: &str) -> Vec<String> {
        let configured = self.0.iter().find(|(own, _)| own == name).and_then(|(_, spec)| spec.as_ref());
        configured.map_or_else(|| name.split('.').map(str::to_owned).collect(), |spec| spec.path.clone())
    }
}

const KINDS: [(&str, FieldKind); 4] =
    [("text", FieldKind::Text), ("float", FieldKind::Float), ("int", FieldKind::Int), ("bool", FieldKind::Bool)];

pub(super) fn read(reader: Reader<'_>) -> Fields {
    let mut columns = Columns::new(EVENTS);
    let fields = reader.entries().map(|(name, node)| {
        if let Some(owner) = columns.claim(name, "another field") {
            let problem = format!(
                "the column {} would stand twice in `events`, capitals aside; the first is {owner}",
                shown(name)
            );
            let cure = format!(
                "name it otherwise and say where it is found: other_name = {{ type = \"…\", path = [{name:?}] }}"
            );
            reader.fault(name, Wrong::new(problem, cure));
        }
        (name.to_owned(), field(&reader, name, node))
    });
    Fields(fields.collect())
}

fn field(fields: &Reader<'_>, name: &str, node: &Node) -> Option<FieldSpec> {
    if name.is_empty() || name.chars().any(char::is_control) {
        let wrong = Wrong::new("a column needs a name that can be printed", "name it, and give its path");
        return fields.judge(name, node, Err(wrong));
    }
    if let Value::Table(_) = &node.value {
        return detailed(fields.over(name, node)?, name);
    }
    let kind = fields.judge(name, node, one_of(&KINDS)(node))?;
    let path = vec![name.to_owned()];
    Some(FieldSpec { name: name.to_owned(), kind, path, default: None, required: false, missing_as: None })
}

fn detailed(reader: Reader<'_>, name: &str) -> Option<FieldSpec> {
    let kind = reader.required("type", "\"float\"", one_of(&KINDS));
    let path = reader.optional("path", path).unwrap_or_else(|| vec![name.to_owned()]);
    let constant = |node: &Node| kind.map(|kind| constant(kind, node)).transpose();
    let default = reader.optional("default", constant).flatten();
    let required = reader.or("required", false, boolean);
    let missing_as = reader.optional("missing_as", constant).flatten();
    if required && default.is_some() {
        let cure = "leave `required` to refuse records without it, or `default` to fill it in";
        reader.fault("required", Wrong::new("a required field never takes its default", cure));
    }
    let is_sound = reader.finish();
    let spec = FieldSpec { name: name.to_owned(), kind: kind?, path, default, required, missing_as };
    is_sound.then_some(spec)
}

/// `"a.b"`, or a list where a name holds a dot itself.
fn path(node: &Node) -> Read<Vec<String>> {
    let names: Vec<String> = match &node.value {
        Value::List(items) => items.iter().map(text).collect::<Read<_>>()?,
        _ => text(node)?.split('.').map(str::to_owned).collect(),
    };
    if names.is_empty() || names.iter().any(String::is_empty) {
        let cure = "write \"outer.inner\", or [\"outer\", \"in.ner\"] where a name holds a dot";
        return Err(Wrong::new("a name in this path is empty", cure));
    }
    Ok(names)
}

/// A value of a field's kind.
pub(super) fn constant(kind: FieldKind, node: &Node) -> Read<Constant> {
    let value = match (kind, &node.value) {
        (FieldKind::Float, Value::Float(value)) if value.is_finite() => Some(Constant::Float(*value)),
        // Exact up to 2^53; beyond, the nearest double is what the decoder makes of such a number too.
        (FieldKind::Float, Value::Integer(value)) => Some(Constant::Float(*value as f64)),
        (FieldKind::Int, Value::Integer(value)) => Some(Constant::Int(*value)),
        (FieldKind::Bool, Value::Boolean(value)) => Some(Constant::Bool(*value)),
        (FieldKind::Text, Value::Text(value)) => Some(Constant::Text(value.clone())),
        (FieldKind::Text, _) => node.raw.clone().map(Constant::Text),
        _ => None,
    };
    let wanted = kind_name(kind);
    value.ok_or_else(|| match (&node.value, kind) {
        (Value::Text(text), _) => Wrong::new(
            format!("{} is not a value of type {wanted}", shown(text)),
            "take the quotes off, or change `type`",
        ),
        _ => unfit(node, &format!("a value of type {wanted}"), "write a value of the field's type, or change `type`"),
    })
}
