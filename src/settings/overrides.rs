//! What stands above the file: environment variables, and above those the command line.
//!
//! `TIDEWATCH__OUTPUT__URL=…` sets `output.url`: two underscores part the names, capitals do not matter, and a character
//! that a variable cannot hold is an underscore (`TOT_SUM` finds `Tot sum`). Below `librdkafka` an underscore is a dot:
//! `TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD` sets `sasl.password`. A list of tables is entered by an item's
//! name or index. A value is TOML where it parses, else a text. A variable of a secret may end in `_FILE` and name a file.

use super::fault::{Fault, FaultList, Place, Wrong};
use super::secret::{Secret, is_secret, misplaced};
use super::tree::{Node, Table, Value, parse_override};

/// A value given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// As the user typed it, for the place of a fault: `--set`, `--output`.
    pub flag: String,
    /// A dotted key; names that hold dots or blanks may be quoted.
    pub key: String,
    pub value: String,
}

impl Argument {
    /// Reads what follows `--set`: `key=value`.
    pub fn parse(text: &str) -> Result<Argument, String> {
        let mut is_quoted = false;
        let equals = text.char_indices().find(|(_, c)| {
            is_quoted ^= *c == '"';
            *c == '=' && !is_quoted
        });
        match equals {
            Some((at, _)) if !text[..at].trim().is_empty() => Ok(Argument {
                flag: format!("--set {}", text[..at].trim()),
                key: text[..at].trim().to_owned(),
                value: text[at + 1..].trim().to_owned(),
            }),
            _ => Err("write it as key=value, such as windows.by_label.size=20s".to_owned()),
        }
    }
}

/// Everything that overrides the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Variables by name; those that do not begin with `TIDEWATCH__` are passed over.
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<Argument>,
}

const PREFIX: &str = "TIDEWATCH__";
const LIBRDKAFKA: &str = "librdkafka";

impl Overrides {
    /// The variables of this process. One that is not Unicode is left out, unless it is meant for us: then it is a fault.
    pub fn from_process(arguments: Vec<Argument>) -> Result<Overrides, Fault> {
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => environment.push((name, value)),
                (Ok(name), Err(_)) if name.starts_with(PREFIX) => {
                    return Err(Fault {
                        key: String::new(),
                        place: Some(Place::Environment(name)),
                        problem: "the value is not UTF-8".to_owned(),
                        cure: "set it to UTF-8 text".to_owned(),
                    });
                }
                _ => {}
            }
        }
        environment.sort();
        Ok(Overrides { environment, arguments })
    }

    /// Puts every override into the tree.
    pub(super) fn apply(&self, root: &mut Table, faults: &FaultList) {
        for (variable, value) in &self.environment {
            if let Some(path) = variable.strip_prefix(PREFIX) {
                let place = Place::Environment(variable.clone());
                let names: Vec<&str> = path.split("__").collect();
                put(root, Target { names, place, value, is_variable: true }, faults);
            }
        }
        for argument in &self.arguments {
            let names = dotted(&argument.key);
            let place = Place::Argument(argument.flag.clone());
            let names = names.iter().map(String::as_str).collect();
            put(root, Target { names, place, value: &argument.value, is_variable: false }, faults);
        }
    }
}

/// One override on its way into the tree.
struct Target<'a> {
    names: Vec<&'a str>,
    place: Place,
    value: &'a str,
    is_variable: bool,
}

/// Splits a dotted key; quotes keep what is between them together.
fn dotted(key: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for c in key.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => names.push(String::new()),
            _ => names.last_mut().expect("it begins with one and only grows").push(c),
        }
    }
    names
}

fn put(root: &mut Table, target: Target<'_>, faults: &FaultList) {
    if target.names.iter().any(|name| name.is_empty()) {
        let wrong = Wrong::new("a name between the separators is empty", "write every part of the key");
        return faults.add(&target.names.join("."), &target.place, wrong);
    }
    let names = with_property_as_one(&target);
    let mut path = Vec::new();
    let placed = descend(root, &names, &target.place, &mut path).and_then(|(table, last)| {
        path.push(own_name(table, last));
        let node = value_for(&mut path, &target, faults)?;
        set(table, path.last().cloned().unwrap_or_default(), node);
        Ok(())
    });
    if let Err(wrong) = placed {
        faults.add(&path.join("."), &target.place, wrong);
    }
}

/// Properties of librdkafka are one name with dots, however they were parted.
fn with_property_as_one(target: &Target<'_>) -> Vec<String> {
    let at = target.names.iter().position(|name| name.eq_ignore_ascii_case(LIBRDKAFKA));
    let mut names: Vec<String> = target.names.iter().map(|name| (*name).to_owned()).collect();
    if let Some(at) = at.filter(|at| at + 1 < names.len()) {
        let property = names.split_off(at + 1).join(".");
        let property = if target.is_variable { as_property(&property) } else { property };
        names.push(property);
    }
    names
}

/// `SASL_PASSWORD_FILE` keeps the underscore of its ending, by which it is known.
fn as_property(variable: &str) -> String {
    let lower = variable.to_lowercase();
    match lower.strip_suffix("_file") {
        Some(name) => format!("{}_file", name.replace('_', ".")),
        None => lower.replace('_', "."),
    }
}

/// The table that holds the last of the names. Tables that are missing on the way are made.
fn descend<'t, 'n>(
    table: &'t mut Table,
    names: &'n [String],
    place: &Place,
    path: &mut Vec<String>,
) -> Result<(&'t mut Table, &'n str), Wrong> {
    let (name, rest) = names.split_first().ok_or_else(|| Wrong::new("the key is empty", "write key=value"))?;
    if rest.is_empty() {
        return Ok((table, name));
    }
    let own = own_name(table, name);
    path.push(own.clone());
    if table.get(&own).is_none() {
        set(table, own.clone(), Node { value: Value::Table(Table::default()), place: place.clone(), raw: None });
    }
    let node = table.0.iter_mut().find(|(existing, _)| *existing == own).map(|(_, node)| node);
    match node.map(|node| &mut node.value) {
        Some(Value::Table(inner)) => descend(inner, rest, place, path),
        Some(Value::List(items)) => {
            let (item, rest) = rest.split_first().ok_or_else(|| Wrong::new("an item is not named", "name one"))?;
            path.push(item.clone());
            let inner = item_table(items, item)?;
            match rest {
                [] => Err(Wrong::new("a whole item cannot be overridden", "override one key of it")),
                rest => descend(inner, rest, place, path),
            }
        }
        _ => Err(Wrong::new("this is a single value, it has no keys below it", "override it as a whole")),
    }
}

/// An item of a list of tables, by its `name` or its index.
fn item_table<'t>(items: &'t mut [Node], wanted: &str) -> Result<&'t mut Table, Wrong> {
    let names: Vec<String> = items.iter().filter_map(|item| item_name(item).map(str::to_owned)).collect();
    let by_name = |item: &Node| item_name(item).is_some_and(|name| folded(name) == folded(wanted));
    let at = items.iter().position(by_name).or_else(|| wanted.parse().ok());
    match at.and_then(|at| items.get_mut(at)).map(|item| &mut item.value) {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(Wrong::new(
            "the list has no item of this name or index",
            format!("there are: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        )),
    }
}

fn item_name(item: &Node) -> Option<&str> {
    let Value::Table(table) = &item.value else { return None };
    match table.get("name").map(|node| &node.value) {
        Some(Value::Text(name)) => Some(name),
        _ => None,
    }
}

/// A name as the table has it, capitals and odd characters aside; else the name in small letters.
fn own_name(table: &Table, name: &str) -> String {
    if table.get(name).is_some() {
        return name.to_owned();
    }
    let known = table.0.iter().find(|(own, _)| folded(own) == folded(name));
    known.map_or_else(|| name.to_lowercase(), |(own, _)| own.clone())
}

fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

fn set(table: &mut Table, name: String, node: Node) {
    match table.0.iter_mut().find(|(own, _)| *own == name) {
        Some((_, old)) => *old = node,
        None => table.0.push((name, node)),
    }
}

/// The node to put: a secret stays one from here on.
fn value_for(path: &mut [String], target: &Target<'_>, faults: &FaultList) -> Result<Node, Wrong> {
    let secret = |value: Secret| Node { value: Value::Secret(value), place: target.place.clone(), raw: None };
    if is_secret(path) {
        return match target.is_variable {
            true => Ok(secret(Secret::new(target.value))),
            false => Err(misplaced(&path.join("."))),
        };
    }
    let last = path.last().cloned().unwrap_or_default();
    if let Some(stripped) = last.strip_suffix("_file").filter(|_| target.is_variable) {
        let mut of_secret = path.to_vec();
        if let Some(name) = of_secret.last_mut() {
            *name = stripped.to_owned();
        }
        if is_secret(&of_secret) {
            path.clone_from_slice(&of_secret);
            return read_secret(target.value).map(secret);
        }
    }
    Ok(parse_override(target.value, &target.place, faults))
}

/// A secret that stands in a file, as orchestrators mount them; the line's end is not part of it.
fn read_secret(path: &str) -> Result<Secret, Wrong> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text.trim_end_matches(['\r', '\n']))),
        Err(error) => Err(Wrong::new(
            format!("the file `{path}` that should hold the secret cannot be read: {error}"),
            "name a readable file",
        )),
    }
}
