//! What a step of the flow is: a synchronous state machine over batches of columns.
//!
//! A stage knows no dataflow, no clock, no file and no network; `pipeline` gives it those from outside. So the same
//! input in the same epochs gives the same output anywhere, and a test drives it with plain calls.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::checkpoint::schedule::ModelFrom;
use crate::domain::ids::Epoch;
use crate::domain::membership::Memberships;
use crate::domain::table::Rows;
use crate::domain::time::EventTime;
use crate::models::model::RegisteredModel;

/// An epoch is over on every worker: nothing of it, or of an earlier one, will come any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEnd {
    pub epoch: Epoch,
    /// The state at this instant will be committed; `snapshot` is called right after.
    pub is_checkpoint: bool,
    /// Windows that end at or before this are complete: the least watermark of all partitions that are not idle.
    /// Never falls. `MAX` once every partition has ended.
    pub publish: EventTime,
    /// Windows whose end plus the allowed lateness is at or before this are final: the least watermark of all partitions,
    /// idle ones included up to a cap. Never above `publish`.
    pub retain: EventTime,
}

/// Rows on their way to the tables, in the order they were given.
#[derive(Debug, Default)]
pub struct Output(pub Vec<Rows>);

impl Output {
    pub fn push(&mut self, rows: Rows) {
        if rows.batch.num_rows() > 0 {
            self.0.push(rows);
        }
    }
}

/// How much a stage holds, for those who watch it grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Windows that hold events and are not final.
    pub windows: usize,
    /// Groups with events in any of them.
    pub groups: usize,
    pub bytes: usize,
}

/// Which keyed state belongs here: hash of the key, modulo the number of workers.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub worker: usize,
    pub workers: usize,
}

impl Share {
    /// Whether state with this hash lives on this worker. The exchange routes by the same function.
    pub fn holds(self, hash: u64) -> bool {
        Share::worker_of(hash, self.workers) == self.worker
    }

    /// The worker of a key's hash. Takes the high bits: maps and dictionaries use the low ones.
    pub fn worker_of(hash: u64, workers: usize) -> usize {
        ((u128::from(hash) * workers as u128) >> 64) as usize
    }
}

/// What a snapshot tells of a part of a stage's state, which is stored as an object of its own, so that a checkpoint writes what changed.
#[derive(Clone, Debug, PartialEq)]
pub enum PartState {
    /// The next batch of the part.
    Batch(RecordBatch),
    /// It is exactly as in the snapshot before.
    Unchanged,
}

/// Hears a snapshot. A part's name is unique within the stage and worker, and the same at each snapshot.
pub type Tell<'a> = &'a mut dyn FnMut(&str, PartState);

/// State that could not be taken back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the state of `{stage}` has no usable column `{column}`")]
    Column { stage: String, column: String },
    #[error("the state of `{stage}` is damaged: {fault}")]
    Damaged { stage: String, fault: String },
}

/// From an event time on another version of a detector's model is in force. It was checked against the rows of that detector.
#[derive(Clone, Debug)]
pub struct Takeover {
    pub detector: String,
    pub version: ModelFrom,
    pub model: Arc<RegisteredModel>,
}

/// A step of the flow.
pub trait Stage {
    /// Takes one batch of the current epoch.
    fn on_batch(&mut self, batch: RecordBatch, output: &mut Output);

    /// Ends the epoch. What leaves here must not depend on how the epoch was cut into batches.
    fn on_epoch_end(&mut self, end: EpochEnd, output: &mut Output);

    /// The state as keyed columns, right after the end of a checkpoint's epoch: part after part, and a part batch by batch, so that
    /// no more than a batch is in memory as columns. A part that is not told of is gone. Batches may differ in schema; each describes itself.
    fn snapshot(&mut self, tell: Tell);

    /// What became of the events since the last call. Called right after `snapshot`.
    fn memberships(&mut self) -> Memberships;

    /// Takes back what all parts of all workers held, keeping the keys of `share`. Called once, before the first batch.
    fn restore(&mut self, state: &[RecordBatch], share: Share) -> Result<(), RestoreError>;

    /// Between two epochs; nothing of the time from which it holds was given yet. For those that score.
    fn take_over(&mut self, _: &Takeover) {}

    /// Not for every batch: it may look at all of the state.
    fn size(&self) -> StateSize;

    /// How many groups it holds: what grows where keys are made up. Quick.
    fn groups(&self) -> usize;
}
