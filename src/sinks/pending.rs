//! Rows of one table on their way into files: grouped by folder, the newest revisions alone, sorted.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, interleave_record_batch, lexsort_to_indices};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::errors::ParquetError;

use crate::sinks::tables::{PartitionBy, Places, TableFault, TableShape, folders};
use crate::sinks::writer::{Reader, encode};

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

/// The rows of one folder as a Parquet file.
#[derive(Debug)]
pub(super) struct FolderFile {
    /// The first hour of the folder.
    pub(super) hour: i64,
    pub(super) bytes: Bytes,
    pub(super) rows: usize,
}

/// Files of all rows in `pieces`, one a folder and schema. (The schema changes with the configuration alone.)
pub(super) fn folder_files(
    shape: &TableShape,
    pieces: &[RecordBatch],
    by: PartitionBy,
) -> Result<Vec<FolderFile>, FileFault> {
    let mut by_schema: Vec<(SchemaRef, Vec<&RecordBatch>)> = Vec::new();
    for piece in pieces {
        match by_schema.iter_mut().find(|(schema, _)| *schema == piece.schema()) {
            Some((_, same)) => same.push(piece),
            None => by_schema.push((piece.schema(), vec![piece])),
        }
    }
    let mut files = Vec::new();
    for (schema, pieces) in by_schema {
        files_of(shape, &schema, &pieces, by, &mut files)?;
    }
    Ok(files)
}

/// Files of rows of one schema. Only what decides their order is brought together; the rows themselves are picked from the
/// pieces a few at a time, so that making a file takes little more memory than the rows and the file.
fn files_of(
    shape: &TableShape,
    schema: &SchemaRef,
    pieces: &[&RecordBatch],
    by: PartitionBy,
    files: &mut Vec<FolderFile>,
) -> Result<(), FileFault> {
    let sort = |source| FileFault::Sort { table: shape.name.clone(), source };
    let deciding = Places::of(shape, schema)?.all();
    let keys = pieces.iter().map(|piece| piece.project(&deciding)).collect::<Result<Vec<_>, _>>().map_err(sort)?;
    let keys = concat_batches(&keys[0].schema(), &keys).map_err(sort)?;
    let places = Places::of(shape, &keys.schema())?;
    let folders = folders(&keys, &places.time, by);
    let order = sorted(&keys, &places, &folders).map_err(sort)?;
    let is_newest = newest_revisions(&keys, &places).map_err(sort)?;
    let order: Vec<u32> = order.values().iter().copied().filter(|row| is_newest[*row as usize]).collect();
    let piece_rows: Vec<usize> = pieces.iter().map(|piece| piece.num_rows()).collect();
    let addresses = addresses(&piece_rows);
    for run in order.chunk_by(|a, b| folders[*a as usize] == folders[*b as usize]) {
        let picked = run.chunks(PICKED_ROWS).map(|rows| {
            let rows: Vec<(usize, usize)> = rows.iter().map(|row| addresses[*row as usize]).collect();
            interleave_record_batch(pieces, &rows).map_err(ParquetError::from)
        });
        let bytes = encode(schema, picked, Reader::Anyone)
            .map_err(|source| FileFault::Write { table: shape.name.clone(), source })?;
        files.push(FolderFile { hour: folders[run[0] as usize], bytes, rows: run.len() });
    }
    Ok(())
}

/// Rows that are picked at a time.
const PICKED_ROWS: usize = 8192;

/// The piece of each row, and its place in it.
fn addresses(piece_rows: &[usize]) -> Vec<(usize, usize)> {
    piece_rows.iter().enumerate().flat_map(|(piece, rows)| (0..*rows).map(move |row| (piece, row))).collect()
}

/// Whether a row has the greatest revision of those that are equal in the identity columns.
fn newest_revisions(rows: &RecordBatch, places: &Places) -> Result<Vec<bool>, ArrowError> {
    let all = vec![true; rows.num_rows()];
    let Some(revision) = places.revision else { return Ok(all) };
    let revisions = rows.column(revision).as_primitive::<Int32Type>();
    // Revision 0 is given once to each row, so without others there is nothing to choose from.
    if revisions.values().iter().all(|revision| *revision == 0) {
        return Ok(all);
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
    Ok(keep)
}

/// The order of rows by folder, then by the table's own order.
fn sorted(rows: &RecordBatch, places: &Places, folders: &[i64]) -> Result<UInt32Array, ArrowError> {
    let folders = Arc::new(Int64Array::from(folders.to_vec())) as ArrayRef;
    let columns = places.sort.iter().map(|place| Arc::clone(rows.column(*place)));
    let columns: Vec<SortColumn> =
        std::iter::once(folders).chain(columns).map(|values| SortColumn { values, options: None }).collect();
    lexsort_to_indices(&columns, None)
}

/// The bytes that rows hold in memory.
pub(super) fn memory_bytes(rows: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
    rows.columns().iter().map(of).sum()
}
