//! The ledger's table read back into the rows that were written.
//!
//! Promise: a batch of any columns and values is rows of the ledger or an error, never a panic; what `ledger` wrote comes back as it was.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::errors::ParquetError;

use crate::checkpoint::chain::Link;
use crate::checkpoint::manifest::{Account, Counts, FileAccount, LedgerRow, PartitionAccount, Sequence, TableAccount};
use crate::domain::ids::{Epoch, Offset};
use crate::domain::membership::Memberships;
use crate::domain::trace::Trace;
use crate::sinks::ledger::{MEMBERSHIPS, PARTITION_COUNTS, TABLE_COUNTS};
use crate::sinks::writer::decode;
use crate::storage::digest::{Sha256, unhex};
use crate::storage::key::ObjectKey;

/// Why a file holds no rows of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    #[error("it is no Parquet file that can be read")]
    Parquet(#[from] ParquetError),
    #[error("its rows cannot be read")]
    Arrow(#[from] ArrowError),
    #[error("it has no usable column `{column}`")]
    Column { column: &'static str },
    #[error("its row {row} has no usable `{column}`")]
    Value { row: usize, column: &'static str },
}

/// The rows of a file of the ledger, in their order.
pub fn read(bytes: Bytes) -> Result<Vec<LedgerRow>, LedgerFault> {
    let mut rows = Vec::new();
    for batch in decode(bytes)? {
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            rows.push(columns.row(row)?);
        }
    }
    Ok(rows)
}

/// The columns of a batch.
struct Columns<'b> {
    sequence: &'b Int64Array,
    epoch: &'b Int64Array,
    partition: &'b StringArray,
    partition_counts: Vec<&'b Int64Array>,
    trace: &'b StringArray,
    watermark: &'b TimestampMicrosecondArray,
    table: &'b StringArray,
    memberships: Vec<&'b Int64Array>,
    table_counts: Vec<&'b Int64Array>,
    files: Files<'b>,
    link: &'b StringArray,
}

/// The column of lists of files.
struct Files<'b> {
    lists: &'b arrow::array::ListArray,
    paths: &'b StringArray,
    rows: &'b Int64Array,
    sizes: &'b Int64Array,
    digests: &'b StringArray,
}

fn number<'b>(column: Option<&'b ArrayRef>, name: &'static str) -> Result<&'b Int64Array, LedgerFault> {
    column.and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or(LedgerFault::Column { column: name })
}

fn text<'b>(column: Option<&'b ArrayRef>, name: &'static str) -> Result<&'b StringArray, LedgerFault> {
    column.and_then(|column| column.as_string_opt::<i32>()).ok_or(LedgerFault::Column { column: name })
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Result<Columns<'b>, LedgerFault> {
        let column = |name: &'static str| batch.column_by_name(name);
        let numbers = |names: &[&'static str]| {
            names.iter().map(|name| number(column(name), name)).collect::<Result<Vec<_>, LedgerFault>>()
        };
        let watermark = column("watermark").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        Ok(Columns {
            sequence: number(column("sequence"), "sequence")?,
            epoch: number(column("epoch"), "epoch")?,
            partition: text(column("partition"), "partition")?,
            partition_counts: numbers(&PARTITION_COUNTS)?,
            trace: text(column("trace"), "trace")?,
            watermark: watermark.ok_or(LedgerFault::Column { column: "watermark" })?,
            table: text(column("table"), "table")?,
            memberships: numbers(&MEMBERSHIPS)?,
            table_counts: numbers(&TABLE_COUNTS)?,
            files: Files::of(column("files"))?,
            link: text(column("chain"), "chain")?,
        })
    }

    fn row(&self, row: usize) -> Result<LedgerRow, LedgerFault> {
        let account = match self.partition.is_valid(row) {
            true => Account::Partition(self.partition(row)?),
            false => Account::Table(self.table(row)?),
        };
        let link = valid(self.link, row, "chain").map(|link| self.link.value(link).to_owned())?;
        Ok(LedgerRow {
            sequence: Sequence(count(self.sequence, row, "sequence")?),
            epoch: Epoch(count(self.epoch, row, "epoch")?),
            account,
            link: Link::try_from(link).map_err(|_| LedgerFault::Value { row, column: "chain" })?,
        })
    }

    fn partition(&self, row: usize) -> Result<PartitionAccount, LedgerFault> {
        let counts = |place: usize| count(self.partition_counts[place], row, PARTITION_COUNTS[place]);
        let offset = |place: usize| {
            valid(self.partition_counts[place], row, PARTITION_COUNTS[place])
                .map(|row| Offset(self.partition_counts[place].value(row)))
        };
        let trace = self.trace.value(valid(self.trace, row, "trace")?);
        let trace = unhex(trace).map(u64::from_be_bytes).ok_or(LedgerFault::Value { row, column: "trace" })?;
        Ok(PartitionAccount {
            trace: Trace(trace),
            partition: self.partition.value(row).to_owned(),
            from: offset(0)?,
            to: offset(1)?,
            counts: Counts {
                read: counts(2)?,
                accepted: counts(3)?,
                too_late: counts(4)?,
                quarantined: counts(5)?,
                skipped: counts(6)?,
                lost: counts(7)?,
            },
            watermark: self.watermark.is_valid(row).then(|| self.watermark.value(row)),
        })
    }

    fn table(&self, row: usize) -> Result<TableAccount, LedgerFault> {
        let counts = |place: usize| count(self.table_counts[place], row, TABLE_COUNTS[place]);
        let members = |place: usize| count(self.memberships[place], row, MEMBERSHIPS[place]);
        let memberships = match self.memberships[0].is_valid(row) {
            false => None,
            true => Some(Memberships {
                events: members(0)?,
                given: members(1)?,
                refused: members(2)?,
                published: members(3)?,
                open: members(4)?,
            }),
        };
        Ok(TableAccount {
            table: self.table.value(valid(self.table, row, "table")?).to_owned(),
            memberships,
            rows: counts(0)?,
            published: counts(1)?,
            superseded: counts(2)?,
            open: counts(3)?,
            files: self.files.of_row(row)?,
        })
    }
}

impl<'b> Files<'b> {
    fn of(column: Option<&'b ArrayRef>) -> Result<Files<'b>, LedgerFault> {
        let missing = LedgerFault::Column { column: "files" };
        let Some(lists) = column.and_then(|column| column.as_list_opt::<i32>()) else { return Err(missing) };
        let Some(files) = lists.values().as_struct_opt() else { return Err(missing) };
        let field = |name: &str| files.column_by_name(name);
        Ok(Files {
            lists,
            paths: text(field("path"), "files.path")?,
            rows: number(field("rows"), "files.rows")?,
            sizes: number(field("size"), "files.size")?,
            digests: text(field("sha256"), "files.sha256")?,
        })
    }

    fn of_row(&self, row: usize) -> Result<Vec<FileAccount>, LedgerFault> {
        if self.lists.is_null(row) {
            return Ok(Vec::new());
        }
        let range = self.lists.value_offsets()[row]..self.lists.value_offsets()[row + 1];
        let file = |at: i32| {
            let at = usize::try_from(at).map_err(|_| LedgerFault::Value { row, column: "files" })?;
            let path = self.paths.value(valid(self.paths, at, "files.path")?).to_owned();
            let digest = self.digests.value(valid(self.digests, at, "files.sha256")?).to_owned();
            Ok(FileAccount {
                path: ObjectKey::try_from(path).map_err(|_| LedgerFault::Value { row, column: "files.path" })?,
                rows: count(self.rows, at, "files.rows")?,
                size: count(self.sizes, at, "files.size")?,
                sha256: Sha256::try_from(digest).map_err(|_| LedgerFault::Value { row, column: "files.sha256" })?,
            })
        };
        range.map(file).collect()
    }
}

/// The row, if there is a value in it.
fn valid(column: &dyn Array, row: usize, name: &'static str) -> Result<usize, LedgerFault> {
    let is_there = row < column.len() && column.is_valid(row);
    is_there.then_some(row).ok_or(LedgerFault::Value { row, column: name })
}

fn count(column: &Int64Array, row: usize, name: &'static str) -> Result<u64, LedgerFault> {
    let value = column.value(valid(column, row, name)?);
    u64::try_from(value).map_err(|_| LedgerFault::Value { row, column: name })
}
