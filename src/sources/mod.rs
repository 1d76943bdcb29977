//! Where records come from: partitions with offsets, read by the workers they are assigned to.
//!
//! Promise: a reader hands on every record of its partitions once, in offset order, from the offset it was given; what it
//! cannot hand on (deleted by retention, a file that shrank) is an error that names it, or a recorded loss, never silence.

pub mod files;
pub mod kafka;
pub mod quarantine;
pub mod simulator;

use crate::broker::BrokerError;
use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::RawBatch;
use crate::domain::reject::Reject;
use crate::sources::simulator::SimulatorError;
use crate::storage::error::StorageError;

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
    /// The same, of records that are passed over: each stays refused for its reason, and nobody looks into it.
    Refused(RawBatch, Vec<Reject>),
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

    /// Tells which partition holds back the others. A reader that chooses what it reads next chooses this one.
    fn prefer(&mut self, _partition: PartitionId) {}

    /// How many bytes of what progress is measured by have been read; none: those of the records.
    fn bytes_read(&self) -> Option<u64> {
        None
    }

    /// Stops handing on records of a partition, or goes on exactly where it stopped. A partition that is not this worker's is ignored.
    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError>;
    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError>;

    /// Records that were fetched ahead and not handed on yet, as far as that is known.
    fn waiting(&self) -> usize {
        0
    }
}

/// A source that is handed in rather than configured. Every process of a cluster is given the same.
pub trait GivenSource: std::fmt::Debug + Send + Sync {
    /// Whose records an output holds: the same source gives the same text in every run.
    fn name(&self) -> String;

    /// Every partition there is; the same list in every run, or a longer one.
    fn partitions(&self) -> Vec<Partition>;

    /// A reader of these partitions, each from the offset beside it.
    fn open(&self, begins: &[(Partition, Offset)], wake: Wake) -> Result<Box<dyn Reader>, SourceError>;
}

/// Called from any thread when a reader that had nothing has something again. It must return at once.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read `{path}`")]
    File { path: String, source: std::io::Error },
    #[error("no file matches `{pattern}`")]
    NothingMatches { pattern: String },
    #[error("`{pattern}` is not a usable pattern: {fault}")]
    Pattern { pattern: String, fault: String },
    #[error("`{path}` is Parquet in another compression: unpack it first")]
    CompressedColumns { path: String },
    #[error("`{path}` is damaged: nothing can be read from record {offset} on")]
    Damaged { path: String, offset: Offset, source: std::io::Error },
    #[error("`{first}` and `{second}` would both be partition `{name}`: name the folder above them instead")]
    SameName { name: String, first: String, second: String },
    #[error("`{path}` shrank from {had} to {has} bytes while it was read")]
    Shrank { path: String, had: u64, has: u64 },
    #[error("`{url}` names no recordings: {fault}")]
    BadUrl { url: String, fault: String },
    #[error("cannot read `{url}`")]
    Store { url: String, source: StorageError },
    #[error("`{url}` {}", changed(*had, *has))]
    Changed { url: String, had: u64, has: u64 },
    #[error("`{path}` was read up to record {offset} before, but now ends after {records} records")]
    BeforeOffset { path: String, offset: Offset, records: u64 },
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
    #[error("no thread for the pace of the simulator")]
    NoThread(#[source] std::io::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(
        "offset {wanted} of `{topic}` partition {partition} was deleted before it was read, the first there is {first}: \
         set `on_lost = \"continue\"` to go on and record the loss, or start anew with another output"
    )]
    Deleted { topic: String, partition: i32, wanted: Offset, first: Offset },
    #[error(
        "offset {wanted} of `{topic}` partition {partition} lies beyond its end, {end}: \
         the topic was made anew or truncated, or this is another cluster"
    )]
    BeyondEnd { topic: String, partition: i32, wanted: Offset, end: Offset },
    #[error("topic `{topic}` was deleted while it was read")]
    TopicGone { topic: String },
    #[error("the quarantined rows in `{file}` cannot be read: {fault}")]
    Quarantine { file: String, fault: String },
    #[error(
        "what cells of `{partition}` mean stands in the header of its file, which is not there any more: bring it back, or choose \
         other partitions (--partition)"
    )]
    HeaderGone { partition: String },
    #[error("cannot read `{topic}` partition {partition} at offset {offset}: {cause}")]
    Partition { topic: String, partition: i32, offset: Offset, cause: String },
}

fn changed(had: u64, has: u64) -> String {
    match had == has {
        true => "was written anew while it was read".to_owned(),
        false => format!("changed from {had} to {has} bytes while it was read"),
    }
}
