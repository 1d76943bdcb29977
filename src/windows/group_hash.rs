//! Which worker a group lives on: one hash for each row, by the values of the `by` columns.
//!
//! The same for equal groups on every process and however a column is encoded. The exchange in front of the windows and the
//! restoring of their state both go by it.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use crate::windows::dictionary::PerValue;
use crate::windows::error::WindowError;
use crate::windows::group_column::GroupColumn;
use crate::windows::hash;
use crate::windows::plan;
use crate::windows::spec::WindowSpec;

/// Hashes rows of events, or of snapshots, by their group.
#[derive(Debug)]
pub struct GroupHash {
    columns: Vec<(GroupColumn, PerValue<u64>)>,
    hashes: Vec<u64>,
}

impl GroupHash {
    pub fn new(spec: &WindowSpec, events: &Schema) -> Result<GroupHash, WindowError> {
        Ok(GroupHash::of_columns(plan::group_columns(spec, events)?))
    }

    pub(super) fn of_columns(columns: Vec<GroupColumn>) -> GroupHash {
        let columns = columns.into_iter().map(|column| (column, PerValue::default())).collect();
        GroupHash { columns, hashes: Vec::new() }
    }

    /// One hash a row. The batch may be any projection that kept the `by` columns.
    ///
    /// # Panics
    /// If a `by` column is not there with the type that `new` saw.
    pub fn of_rows(&mut self, batch: &RecordBatch) -> &[u64] {
        self.try_of_rows(batch).expect("the batch has the `by` columns of the schema that `new` checked")
    }

    pub(super) fn try_of_rows(&mut self, batch: &RecordBatch) -> Option<&[u64]> {
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), hash::ROW);
        for (column, known) in &mut self.columns {
            column.values(batch)?.hash_into(&mut self.hashes, known);
        }
        Some(&self.hashes)
    }
}
