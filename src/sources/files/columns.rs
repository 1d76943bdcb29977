//! Recordings that are columns: Parquet, read a few thousand rows at a time, and only the columns that are wanted.
//!
//! A row's offset is its index in the file. Memory holds the pages that are open, not the file.

use std::io;
use std::ops::Range;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::types::SchemaDescriptor;

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, Offsets, RawBatch};
use crate::sources::files::location::Chunks;

const BATCH_ROWS: usize = 4096;

/// See the module.
pub(super) struct Rows {
    batches: ParquetRecordBatchReader,
    /// The part of the last batch that was not handed on.
    rest: Option<RecordBatch>,
    next: i64,
    rows: u64,
}

impl Rows {
    /// Opens at row `next`. `wanted` are the paths of the columns to read; none: all.
    pub(super) fn open(mut file: Chunks, next: i64, wanted: &[Vec<String>]) -> io::Result<Rows> {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default()).map_err(failed)?;
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mask = projection(metadata.parquet_schema(), wanted);
        let (groups, skipped) = groups_from(metadata.metadata().row_groups(), next);
        let read = groups.clone().map(|group| &metadata.metadata().row_groups()[group]);
        let streams = (0..metadata.parquet_schema().num_columns()).filter(|leaf| mask.leaf_included(*leaf)).count();
        file.expect(read.flat_map(|group| ranges(group, &mask)).collect(), streams);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_projection(mask);
        let builder = builder.with_batch_size(BATCH_ROWS).with_row_groups(groups.collect()).with_offset(skipped);
        Ok(Rows { batches: builder.build().map_err(failed)?, rest: None, next, rows })
    }

    /// How many rows the file has.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn next_row(&self) -> i64 {
        self.next
    }

    /// The next rows, at most `rows_max`; none at the end.
    pub(super) fn next(&mut self, partition: PartitionId, rows_max: usize) -> io::Result<Option<RawBatch>> {
        let whole = match self.rest.take() {
            Some(rest) => rest,
            None => match self.batches.next().transpose().map_err(io::Error::other)? {
                Some(batch) => batch,
                None => return Ok(None),
            },
        };
        let taken = whole.slice(0, whole.num_rows().min(rows_max.max(1)));
        if taken.num_rows() < whole.num_rows() {
            self.rest = Some(whole.slice(taken.num_rows(), whole.num_rows() - taken.num_rows()));
        }
        let (rows, first) = (taken.num_rows(), Offset(self.next));
        self.next += rows as i64;
        Ok(Some(RawBatch {
            partition,
            form: Form::Columns(taken),
            bytes: Vec::new(),
            starts: vec![0; rows],
            ends: vec![0; rows],
            offsets: Offsets::Dense { first },
            received: None,
            keys: None,
            tombstones: Vec::new(),
        }))
    }
}

/// The groups of rows from that which holds row `next` on, and how many rows of the first come before it.
fn groups_from(groups: &[RowGroupMetaData], next: i64) -> (Range<usize>, usize) {
    let (mut first, mut skipped) = (0, next.max(0));
    while let Some(group) = groups.get(first).filter(|group| group.num_rows() <= skipped) {
        skipped -= group.num_rows();
        first += 1;
    }
    (first..groups.len(), usize::try_from(skipped).unwrap_or(usize::MAX))
}

/// Where the columns that are read stand in the file.
fn ranges<'g>(group: &'g RowGroupMetaData, mask: &'g ProjectionMask) -> impl Iterator<Item = Range<u64>> + 'g {
    let read = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
    read.map(|(_, column)| {
        let (begin, length) = column.byte_range();
        begin..begin + length
    })
}

/// The columns that some wanted path begins with, or names with its dots.
fn projection(schema: &SchemaDescriptor, wanted: &[Vec<String>]) -> ProjectionMask {
    if wanted.is_empty() {
        return ProjectionMask::all();
    }
    let is_wanted = |name: &str| wanted.iter().any(|path| path[0] == name || path.join(".") == name);
    let roots = schema.root_schema().get_fields().iter().enumerate();
    let roots = roots.filter(|(_, field)| is_wanted(field.name())).map(|(index, _)| index);
    ProjectionMask::roots(schema, roots)
}

fn failed(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
