//! How each table is written: its columns, the hour a row belongs to, the order of rows, and which rows a newer revision replaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use arrow::error::ArrowError;
use chrono::DateTime;

use crate::domain::ids::{Epoch, PartitionId};
use crate::domain::table::Table;
use crate::storage::key::ObjectKey;

/// What a sink has to know of `[[windows]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowTable {
    pub name: String,
    /// The columns of the group.
    pub by: Vec<String>,
}

/// Why rows cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TableFault {
    #[error("rows of `{table}` have no usable column `{column}`")]
    Column { table: String, column: String },
    #[error("rows of `{table}` come from partition {id}, which nobody named")]
    UnknownPartition { table: String, id: u64 },
    #[error("there is no table `{table}`")]
    UnknownTable { table: String },
    #[error("rows of `{table}` cannot be brought into their written form")]
    Arrow { table: String, source: ArrowError },
}

/// The names of partitions, as the tables have them.
pub type PartitionNames = BTreeMap<PartitionId, String>;

/// A table as a sink sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// `windows/by_label`: in manifests and in the ledger.
    pub name: String,
    pub folder: ObjectKey,
    /// A row's hour is that of the first of these columns that is not null.
    time: Vec<&'static str>,
    sort: Vec<String>,
    /// Rows that are equal in these are revisions of one row; empty where there are no revisions.
    identity: Vec<String>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

impl TableShape {
    /// The shape of a table of this run.
    ///
    /// A window number that was never configured is a bug of the caller.
    pub fn of(table: Table, windows: &[WindowTable]) -> Result<TableShape, TableFault> {
        match table {
            Table::Events => Ok(plain("events", vec!["event_time"], &["event_time", "partition", "offset"])),
            Table::Late => Ok(plain("late", vec!["event_time", "received"], &["partition", "offset"])),
            Table::Quarantine => Ok(plain("quarantine", vec!["event_time", "received"], &["partition", "offset"])),
            Table::Anomalies => Ok(TableShape {
                identity: owned(&["detector", "key", "window_start", "window_end", "partition", "offset"]),
                ..plain(
                    "anomalies",
                    vec!["time", "window_start"],
                    &["time", "window_start", "key", "detector", "revision"],
                )
            }),
            Table::Windows(index) => match windows.get(usize::from(index)) {
                Some(window) => Ok(window_shape(&window.name, &window.by)),
                None => Err(TableFault::UnknownTable { table: format!("windows/{index}") }),
            },
        }
    }

    /// The shape of a table by its name, for rows that an earlier run left behind. A window that is no longer configured is written
    /// like the others, only that all its revisions are.
    pub fn named(name: &str, windows: &[WindowTable]) -> Result<TableShape, TableFault> {
        let table = match name {
            "events" => Table::Events,
            "late" => Table::Late,
            "quarantine" => Table::Quarantine,
            "anomalies" => Table::Anomalies,
            _ => {
                let unknown = || TableFault::UnknownTable { table: name.to_string() };
                let window = name.strip_prefix("windows/").ok_or_else(unknown)?;
                return Ok(match windows.iter().find(|configured| configured.name == window) {
                    Some(configured) => window_shape(window, &configured.by),
                    None => TableShape { identity: Vec::new(), ..window_shape(window, &[]) },
                });
            }
        };
        TableShape::of(table, windows)
    }
}

fn plain(name: &str, time: Vec<&'static str>, sort: &[&str]) -> TableShape {
    TableShape { name: name.to_string(), folder: ObjectKey::of([name]), time, sort: owned(sort), identity: Vec::new() }
}

fn window_shape(name: &str, by: &[String]) -> TableShape {
    let start = || std::iter::once("window_start".to_string());
    TableShape {
        name: format!("windows/{name}"),
        folder: ObjectKey::of(["windows", name]),
        time: vec!["window_start"],
        sort: start().chain(by.iter().cloned()).chain(std::iter::once("revision".to_string())).collect(),
        identity: start().chain(by.iter().cloned()).collect(),
    }
}

impl TableShape {
    /// The columns that are equal in all revisions of a row.
    pub fn identity(&self) -> &[String] {
        &self.identity
    }
}

/// The written columns of rows: `partition` by name, texts plain, `epoch` at the end.
pub fn written_schema(memory: &Schema) -> SchemaRef {
    let written = memory.fields().iter().map(|field| match field.data_type() {
        DataType::UInt64 if field.name() == "partition" => Field::new("partition", DataType::Utf8, field.is_nullable()),
        DataType::Dictionary(_, value) => Field::new(field.name(), value.as_ref().clone(), field.is_nullable()),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(written.chain([Field::new("epoch", DataType::Int64, false)]).collect::<Vec<_>>()))
}

/// Brings rows of an epoch into their written form.
pub fn written(
    shape: &TableShape,
    batch: &RecordBatch,
    epoch: Epoch,
    names: &PartitionNames,
) -> Result<RecordBatch, TableFault> {
    let schema = written_schema(&batch.schema());
    let arrow = |source| TableFault::Arrow { table: shape.name.clone(), source };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        let is_partition = field.name() == "partition" && column.data_type() == &DataType::UInt64;
        columns.push(match column.data_type() {
            _ if is_partition => partition_names(shape, column, names)?,
            DataType::Dictionary(..) => cast(column, field.data_type()).map_err(arrow)?,
            _ => Arc::clone(column),
        });
    }
    // Epochs count up from 0 by a few a second.
    let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
    columns.push(Arc::new(Int64Array::from_value(epoch, batch.num_rows())));
    RecordBatch::try_new(schema, columns).map_err(arrow)
}

fn partition_names(shape: &TableShape, ids: &ArrayRef, names: &PartitionNames) -> Result<ArrayRef, TableFault> {
    let mut texts = StringBuilder::with_capacity(ids.len(), ids.len() * 8);
    // Rows of one partition come together.
    let mut last: Option<(u64, &str)> = None;
    for id in ids.as_primitive::<UInt64Type>() {
        let Some(id) = id else {
            texts.append_null();
            continue;
        };
        let name = match last {
            Some((at, name)) if at == id => name,
            _ => match names.get(&PartitionId(id)) {
                Some(name) => name,
                None => return Err(TableFault::UnknownPartition { table: shape.name.clone(), id }),
            },
        };
        last = Some((id, name));
        texts.append_value(name);
    }
    Ok(Arc::new(texts.finish()))
}

/// Where the columns that a shape names stand in a written schema.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) time: Vec<usize>,
    pub(super) sort: Vec<usize>,
    pub(super) identity: Vec<usize>,
    pub(super) revision: Option<usize>,
}

impl Places {
    pub(super) fn of(shape: &TableShape, written: &Schema) -> Result<Places, TableFault> {
        let missing = |column: &str| TableFault::Column { table: shape.name.clone(), column: column.to_string() };
        let find = |name: &str| written.index_of(name).map_err(|_| missing(name));
        let all = |names: &[String]| names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>();
        let time = shape.time.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
        for place in &time {
            if written.field(*place).data_type() != &crate::domain::schema::time_type() {
                return Err(missing(written.field(*place).name()));
            }
        }
        let revision = if shape.identity.is_empty() { None } else { Some(find("revision")?) };
        if revision.is_some_and(|place| written.field(place).data_type() != &DataType::Int32) {
            return Err(missing("revision"));
        }
        Ok(Places { time, sort: all(&shape.sort)?, identity: all(&shape.identity)?, revision })
    }

    /// Every column that decides about a row's place, once.
    pub(super) fn all(&self) -> Vec<usize> {
        let lists = [&self.time, &self.sort, &self.identity];
        let places: BTreeSet<usize> = lists.into_iter().flatten().copied().chain(self.revision).collect();
        places.into_iter().collect()
    }
}

const HOUR_MICROS: i64 = 3_600_000_000;

/// How much event time a folder of a table holds. Small folders prune well; large ones keep files few where events are sparse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// `date=2026-09-01/hour=03`
    Hour,
    /// `date=2026-09-01`
    Day,
}

impl PartitionBy {
    /// The first hour of the folder that this hour belongs to.
    fn first_hour(self, hour: i64) -> i64 {
        match self {
            PartitionBy::Hour => hour,
            PartitionBy::Day => hour.div_euclid(24) * 24,
        }
    }

    /// The folder that begins with this hour, segment by segment.
    pub(super) fn folder(self, first_hour: i64) -> Vec<String> {
        // Hours come from `folders`, whose bounds chrono can show.
        let time = DateTime::from_timestamp(first_hour * 3600, 0).unwrap_or(DateTime::UNIX_EPOCH);
        let date = format!("date={}", time.format("%Y-%m-%d"));
        match self {
            PartitionBy::Hour => vec![date, format!("hour={}", time.format("%H"))],
            PartitionBy::Day => vec![date],
        }
    }
}

/// For each row the first hour since 1970 of its folder; 0 where no time is known, and where the year has not four digits.
pub(super) fn folders(batch: &RecordBatch, time: &[usize], by: PartitionBy) -> Vec<i64> {
    let columns: Vec<_> =
        time.iter().map(|place| batch.column(*place).as_primitive::<TimestampMicrosecondType>()).collect();
    let hour = |row: usize| {
        let known = columns.iter().find(|column| column.is_valid(row)).map(|column| column.value(row));
        known.map_or(0, |micros| micros.div_euclid(HOUR_MICROS))
    };
    let shown = |hour: i64| if (FIRST_HOUR..=LAST_HOUR).contains(&hour) { by.first_hour(hour) } else { 0 };
    (0..batch.num_rows()).map(|row| shown(hour(row))).collect()
}

/// 0001-01-01T00 and 9999-12-31T23: a date beyond these would make readers take the folders for texts.
const FIRST_HOUR: i64 = -62_135_596_800 / 3600;
const LAST_HOUR: i64 = 253_402_300_799 / 3600;

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
