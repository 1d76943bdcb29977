//! Rows of one table on their way into files: grouped by hour, the newest revisions alone, sorted.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::errors::ParquetError;

use crate::sinks::tables::{Places, TableFault, TableShape, hours};
use crate::sinks::writer::{ROW_GROUP_ROWS, Reader, encode};

/// Why a file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    #[error(transparent)]
    Table(#[from] TableFault),
    #[error("rows of `{table}` cannot be sorted")]
    Sort { table: String, source: ArrowError },
    #[error("rows of `{table}` cannot be written as Parquet")]
    Write { table: String, source: ParquetError },
    #[error("staged rows of `{table}` cannot be read")]
    Read { table: String, source: ParquetError },
}

/// The rows of one hour as a Parquet file.
#[derive(Debug)]
pub(super) struct HourFile {
    pub(super) hour: i64,
    pub(super) bytes: Bytes,
    pub(super) rows: usize,
}

/// Files of all rows in `pieces`, one an hour and schema. (The schema changes with the configuration alone.)
pub(super) fn hour_files(shape: &TableShape, pieces: &[RecordBatch]) -> Result<Vec<HourFile>, FileFault> {
    let mut by_schema: Vec<(SchemaRef, Vec<&RecordBatch>)> = Vec::new();
    for piece in pieces {
        match by_schema.iter_mut().find(|(schema, _)| *schema == piece.schema()) {
            Some((_, same)) => same.push(piece),
            None => by_schema.push((piece.schema(), vec![piece])),
        }
    }
    let mut files = Vec::new();
    for (schema, pieces) in by_schema {
        let places = Places::of(shape, &schema)?;
        let sort = |source| FileFault::Sort { table: shape.name.clone(), source };
        let rows = concat_batches(&schema, pieces).and_then(|rows| newest_revisions(rows, &places)).map_err(sort)?;
        let hours = hours(&rows, &places.time);
        let order = sorted(&rows, &places, &hours).map_err(sort)?;
        for run in order.values().chunk_by(|a, b| hours[*a as usize] == hours[*b as usize]) {
            let groups = run.chunks(ROW_GROUP_ROWS).map(|rows_of_group| {
                take_record_batch(&rows, &UInt32Array::from(rows_of_group.to_vec())).map_err(sort)
            });
            let groups = groups.collect::<Result<Vec<_>, _>>()?;
            let bytes = encode(&schema, &groups, Reader::Anyone)
                .map_err(|source| FileFault::Write { table: shape.name.clone(), source })?;
            files.push(HourFile { hour: hours[run[0] as usize], bytes, rows: run.len() });
        }
    }
    Ok(files)
}

/// Of rows that are equal in the identity columns, those of the greatest revision.
fn newest_revisions(rows: RecordBatch, places: &Places) -> Result<RecordBatch, ArrowError> {
    let Some(revision) = places.revision else { return Ok(rows) };
    let revisions = rows.column(revision).as_primitive::<Int32Type>();
    // Revision 0 is given once to each row, so without others there is nothing to choose from.
    if revisions.values().iter().all(|revision| *revision == 0) {
        return Ok(rows);
    }
    let columns: Vec<ArrayRef> = places.identity.iter().map(|place| Arc::clone(rows.column(*place))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut newest: HashMap<&[u8], usize> = HashMap::with_capacity(rows.num_rows());
    let keys: Vec<_> = keys.iter().collect();
    let mut keep = vec![false; rows.num_rows()];
    for (row, key) in keys.iter().enumerate() {
        keep[row] = true;
        if let Some(other) = newest.insert(key.data(), row) {
            if revisions.value(other) > revisions.value(row) {
                newest.insert(key.data(), other);
                keep[row] = false;
            } else {
                keep[other] = false;
            }
        }
    }
    filter_record_batch(&rows, &BooleanArray::from(keep))
}

/// The order of rows by hour, then by the table's own order.
fn sorted(rows: &RecordBatch, places: &Places, hours: &[i64]) -> Result<UInt32Array, ArrowError> {
    let hours = Arc::new(Int64Array::from(hours.to_vec())) as ArrayRef;
    let columns = places.sort.iter().map(|place| Arc::clone(rows.column(*place)));
    let columns: Vec<SortColumn> =
        std::iter::once(hours).chain(columns).map(|values| SortColumn { values, options: None }).collect();
    lexsort_to_indices(&columns, None)
}

/// The bytes that rows hold in memory.
pub(super) fn memory_bytes(rows: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
    rows.columns().iter().map(of).sum()
}
