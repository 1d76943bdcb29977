//! Texts of a column, numbered as they come.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Texts by number and numbers by text.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    pub(super) fn all(&self) -> &[String] {
        &self.names
    }

    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The number of each row's text; none for null.
    pub(super) fn of(&mut self, column: &ArrayRef) -> Vec<Option<u32>> {
        let Some(texts) = column.as_dictionary_opt::<UInt32Type>() else {
            return written(column).map(|text| text.map(|text| self.number(&text))).collect();
        };
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        let values: Vec<Option<String>> = written(texts.values()).collect();
        let number = |key: u32| {
            let text = values[key as usize].as_ref()?;
            Some(*numbers.entry(key).or_insert_with(|| self.number(text)))
        };
        let mut number = number;
        texts.keys().iter().map(|key| number(key?)).collect()
    }

    /// The number of each row's texts of several columns.
    pub(super) fn joined(&mut self, rows: &RecordBatch, columns: &[usize]) -> Vec<u32> {
        if let [only] = columns {
            return self.of(rows.column(*only)).into_iter().map(|key| key.unwrap_or_else(|| self.number(""))).collect();
        }
        let columns: Vec<Vec<Option<String>>> =
            columns.iter().map(|column| written(rows.column(*column)).collect()).collect();
        let key =
            |row: usize| columns.iter().map(|texts| texts[row].as_deref().unwrap_or("")).collect::<Vec<_>>().join("/");
        (0..rows.num_rows()).map(|row| self.number(&key(row))).collect()
    }
}

/// Values as the tables' readers would write them.
fn written(column: &ArrayRef) -> impl Iterator<Item = Option<String>> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &OPTIONS).ok();
    (0..column.len()).map(move |row| {
        let text = formatter.as_ref().map(|formatter| formatter.value(row).to_string());
        text.filter(|_| column.is_valid(row))
    })
}
