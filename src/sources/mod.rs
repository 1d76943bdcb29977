//! Where records come from: partitions with offsets, read by the workers they are assigned to.

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::RawBatch;

/// A partition of the source. Every worker sees the same list in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: PartitionId,
    /// `topic/3`, or the file's path relative to what was named.
    pub name: String,
}

/// What reading brought.
#[derive(Debug)]
pub enum Read {
    /// Records of one partition, in offset order. Offsets that were passed over hold no record.
    Records(RawBatch),
    /// Nothing more is there at the moment, and everything below `next` has been handed on or holds no record.
    CaughtUp { partition: PartitionId, next: Offset },
    /// Nothing more will ever come of this partition.
    Ended { partition: PartitionId, next: Offset },
    /// A partition that was not there before; it begins at its first offset.
    Found(Partition),
    /// Retention deleted `from..to` before it was read, and the configuration says to go on.
    Lost { partition: PartitionId, from: Offset, to: Offset },
}

/// A worker's reader of its partitions. Never blocks.
pub trait Reader {
    /// Appends what is there, at most about `rows_max` records. Nothing appended: nothing is there now, `wake` will be called.
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError>;

    /// Stops handing on records of a partition, or goes on exactly where it stopped.
    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError>;
    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError>;
}

/// Called from any thread when a reader that had nothing has something again.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read `{path}`")]
    File { path: String, source: std::io::Error },
    #[error("no file matches `{pattern}`")]
    NothingMatches { pattern: String },
}
