//! The groups of window rows, numbered as they come.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};

use crate::scoring::scorer::FIRST_BY;

/// Numbers by group, from 0.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Of the group's columns; made when they are first seen.
    converter: Option<RowConverter>,
    numbers: HashMap<Box<[u8]>, i64>,
}

impl Keys {
    /// The number of each row's group: what the columns between the window's times and its count hold.
    pub(super) fn of(&mut self, rows: &RecordBatch) -> Vec<i64> {
        let schema = rows.schema_ref();
        let end = schema.index_of("count").expect("a window's row has a count");
        let fields = schema.fields()[FIRST_BY..end].iter().map(|field| SortField::new(field.data_type().clone()));
        let Keys { converter, numbers } = self;
        let converter = converter.get_or_insert_with(|| {
            RowConverter::new(fields.collect()).expect("windows are grouped by columns whose values have an order")
        });
        let columns: Vec<ArrayRef> = rows.columns()[FIRST_BY..end].to_vec();
        let groups = converter.convert_columns(&columns).expect("the group's columns are of the types that they had");
        let mut number = |group: &[u8]| match numbers.get(group) {
            Some(number) => *number,
            None => {
                // There are far fewer groups than 2^63.
                let number = numbers.len() as i64;
                numbers.insert(group.into(), number);
                number
            }
        };
        (0..rows.num_rows()).map(|row| number(groups.row(row).as_ref())).collect()
    }
}
