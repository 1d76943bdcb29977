//! Reads one table of the configuration, key by key, and collects what is wrong.
//!
//! Promise: asking for a key is what makes it known; what nobody asked for is a fault that names the nearest key. One
//! fault never hides another.

use std::cell::RefCell;

use super::fault::{FaultList, Place, Wrong};
use super::tree::{Node, Table, Value};
use super::value::{Read, nearest_or_all, unfit};

/// A reader over one table.
pub(super) struct Reader<'t> {
    table: &'t Table,
    /// The table's full key, empty for the root.
    key: String,
    place: Place,
    faults: &'t FaultList,
    asked: RefCell<Vec<&'static str>>,
    faults_before: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn root(table: &'t Table, faults: &'t FaultList) -> Reader<'t> {
        Reader::at(table, String::new(), Place::Line(1), faults)
    }

    fn at(table: &'t Table, key: String, place: Place, faults: &'t FaultList) -> Reader<'t> {
        Reader { table, key, place, faults, asked: RefCell::default(), faults_before: faults.count() }
    }

    /// A value that may be left out; `None` also where it is at fault.
    pub(super) fn optional<T>(&self, name: &'static str, read: impl Fn(&Node) -> Read<T>) -> Option<T> {
        let node = self.node(name)?;
        self.judge(name, node, read(node))
    }

    /// A value that must be there.
    pub(super) fn required<T>(&self, name: &'static str, example: &str, read: impl Fn(&Node) -> Read<T>) -> Option<T> {
        match self.node(name) {
            Some(node) => self.judge(name, node, read(node)),
            None => {
                let cure = format!("add it, for example {name} = {example}");
                self.fault(name, Wrong::new("this key is required and missing", cure));
                None
            }
        }
    }

    /// A value with a default.
    pub(super) fn or<T>(&self, name: &'static str, default: T, read: impl Fn(&Node) -> Read<T>) -> T {
        self.optional(name, read).unwrap_or(default)
    }

    /// A table below this one.
    pub(super) fn section(&self, name: &'static str) -> Option<Reader<'t>> {
        let node = self.node(name)?;
        self.judge(name, node, self.below(&self.key_of(name), node))
    }

    /// The tables of a list; an item is known by its name where it has one, else by its index.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Reader<'t>> {
        let key = self.key_of(name);
        let Some(node) = self.node(name) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            let wrong = unfit(node, "a list of tables", &format!("write [[{key}]] in double brackets"));
            self.faults.add(&key, &node.place, wrong);
            return Vec::new();
        };
        let item_key = |index: usize, node: &Node| match &node.value {
            Value::Table(table) => match table.get("name").map(|name| &name.value) {
                Some(Value::Text(item)) => format!("{key}.{}", quoted(item)),
                _ => format!("{key}[{index}]"),
            },
            _ => format!("{key}[{index}]"),
        };
        let readers = items.iter().enumerate().filter_map(|(index, item)| {
            let key = item_key(index, item);
            self.below(&key, item).map_err(|wrong| self.faults.add(&key, &item.place, wrong)).ok()
        });
        readers.collect()
    }

    fn below(&self, key: &str, node: &'t Node) -> Read<Reader<'t>> {
        match &node.value {
            Value::Table(table) => Ok(Reader::at(table, key.to_owned(), node.place.clone(), self.faults)),
            _ => {
                let header = key.split_once('[').map_or(key.to_owned(), |(list, _)| format!("[{list}]"));
                Err(unfit(node, "a table", &format!("write [{header}] and its keys below it")))
            }
        }
    }

    /// Reads the value itself where it may be a table or something shorter.
    pub(super) fn node(&self, name: &'static str) -> Option<&'t Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&name) {
            asked.push(name);
        }
        self.table.get(name)
    }

    /// A reader over a node that is known to be worth reading as a table.
    pub(super) fn over(&self, name: &str, node: &'t Node) -> Option<Reader<'t>> {
        self.judge(name, node, self.below(&self.key_of(name), node))
    }

    /// Every entry, for tables whose names the user chooses.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t str, &'t Node)> + use<'t> {
        self.table.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// Keeps a good value, records what is wrong with a bad one.
    pub(super) fn judge<T>(&self, name: &str, node: &Node, read: Read<T>) -> Option<T> {
        read.map_err(|wrong| self.faults.add(&self.key_of(name), &node.place, wrong)).ok()
    }

    /// A fault of one key, at the key where it is written, else at the table.
    pub(super) fn fault(&self, name: &str, wrong: Wrong) {
        let place = self.table.get(name).map_or(&self.place, |node| &node.place);
        self.faults.add(&self.key_of(name), place, wrong);
    }

    /// Ends the reading of a table whose keys are ours: the rest is unknown. Whether the table is without fault.
    pub(super) fn finish(self) -> bool {
        self.refuse_unknown();
        self.is_sound()
    }

    /// A fault for each key that nobody asked for.
    pub(super) fn refuse_unknown(&self) {
        for (name, node) in &self.table.0 {
            let asked = self.asked.borrow();
            if !asked.contains(&name.as_str()) {
                let wrong = Wrong::new("there is no such key", nearest_or_all(name, &asked));
                self.faults.add(&self.key_of(name), &node.place, wrong);
            }
        }
    }

    /// Whether nothing at fault was found in this table, or in those read since it was opened.
    pub(super) fn is_sound(&self) -> bool {
        self.faults.count() == self.faults_before
    }

    /// The full key of a name in this table.
    pub(super) fn key_of(&self, name: &str) -> String {
        if name.is_empty() {
            return self.key.clone();
        }
        if self.key.is_empty() { quoted(name) } else { format!("{}.{}", self.key, quoted(name)) }
    }
}

/// A name as TOML would want it in a dotted key.
pub fn quoted(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { format!("{name:?}") }
}
