//! Records as a source hands them on: bytes with an address, not looked into yet.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::domain::ids::{Offset, PartitionId};

/// The offsets of a raw batch's records, ascending.
#[derive(Clone, Debug, PartialEq)]
pub enum Offsets {
    /// Record `i` has offset `first + i`.
    Dense { first: Offset },
    /// One a record; holes are normal (transaction markers, compaction).
    Sparse(Vec<i64>),
}

/// How the values of a batch's records are found.
#[derive(Clone, Debug)]
pub enum Form {
    /// Each payload is an object that names its values itself: JSON.
    Objects,
    /// Each payload is a row of delimited cells; what they are, stands above them: CSV.
    Cells(Arc<CellLayout>),
    /// The records were columns all along, and have no bytes: record `i` is row `i` of these, and every payload is empty.
    Columns(RecordBatch),
}

/// What a file of delimited cells says of itself before its first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellLayout {
    pub separator: u8,
    /// Numbers have a comma where others have a dot, and no dot.
    pub decimal_comma: bool,
    /// The columns' names, in the order of the cells.
    pub names: Vec<String>,
}

/// Records of one partition in the order of their offsets, their payloads in one buffer.
#[derive(Clone, Debug)]
pub struct RawBatch {
    pub partition: PartitionId,
    pub form: Form,
    pub bytes: Vec<u8>,
    /// Record `i` is `bytes[starts[i]..ends[i]]`: no newline, no separator.
    pub starts: Vec<u32>,
    pub ends: Vec<u32>,
    pub offsets: Offsets,
    /// When the broker (or the producer, if the topic says so) stamped each record, in microseconds; none for files without it.
    pub received: Option<Vec<i64>>,
    /// The records' keys, as (start, end) in `bytes`; `None` where a record has no key.
    pub keys: Option<Vec<Option<(u32, u32)>>>,
    /// The records that have no payload at all (Kafka's tombstones), ascending; an empty payload is not one.
    pub tombstones: Vec<u32>,
}

impl RawBatch {
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The payload of record `index`.
    pub fn payload(&self, index: usize) -> &[u8] {
        &self.bytes[self.starts[index] as usize..self.ends[index] as usize]
    }

    pub fn offset(&self, index: usize) -> Offset {
        match &self.offsets {
            Offsets::Dense { first } => Offset(first.0 + index as i64),
            Offsets::Sparse(offsets) => Offset(offsets[index]),
        }
    }

    /// The record at `offset`, if it is one of these.
    pub fn find(&self, offset: Offset) -> Option<usize> {
        match &self.offsets {
            Offsets::Dense { first } => usize::try_from(offset.0 - first.0).ok().filter(|index| *index < self.len()),
            Offsets::Sparse(offsets) => offsets.binary_search(&offset.0).ok(),
        }
    }

    /// The key of record `index`, if it has one.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.keys.as_ref()?.get(index)?)?;
        Some(&self.bytes[start as usize..end as usize])
    }
}
