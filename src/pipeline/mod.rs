//! The dataflow: epochs in, commits out. The only place that holds timely.
//!
//! Promise: what is committed is a function of the partitions' contents and order and of the configuration alone; how
//! many workers there are, how epochs were cut and what was restarted does not show.

mod account;
mod agree;
mod assemble;
mod commit;
mod committer;
mod host;
mod ingest;
mod intake;
mod parcel;
pub mod plan;
mod route;
pub mod run;
pub mod scored;
mod shared;
pub mod spec;
mod staging;
mod start;
mod watermarks;

use crate::domain::ids::Epoch;

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Source(#[from] crate::sources::SourceError),
    #[error(transparent)]
    Decode(#[from] crate::decode::DecodeError),
    #[error(transparent)]
    Window(#[from] crate::windows::error::WindowError),
    #[error(transparent)]
    Scoring(#[from] crate::scoring::scorer::ScoringError),
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    #[error(transparent)]
    State(#[from] crate::checkpoint::state::StateFault),
    #[error(transparent)]
    Restore(#[from] crate::stage::RestoreError),
    #[error(transparent)]
    Storage(#[from] crate::storage::error::StorageError),
    #[error("the output `{url}` cannot be written")]
    Output { url: String, source: crate::storage::error::StorageError },
    #[error(transparent)]
    File(#[from] crate::sinks::pending::FileFault),
    #[error(transparent)]
    Anomalies(#[from] crate::sinks::kafka::KafkaOutputError),
    #[error(transparent)]
    MalformedAnomalies(#[from] crate::sinks::kafka::MalformedAnomalies),
    #[error("the anomalies of a checkpoint cannot be read back")]
    Outbox(#[source] arrow::error::ArrowError),
    #[error("the processes of the cluster cannot be connected: {0}")]
    Cluster(String),
    #[error("process 0 could not start: its log says why")]
    NoStart,
    #[error("what process 0 decided cannot be read: do all processes run the same version?")]
    Start(#[source] serde_json::Error),
    #[error("the thread that commits cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("a worker thread panicked")]
    Panicked,
    /// A bug of ours, met before anything was written down.
    #[error("epoch {epoch} has the reports of {reports} workers instead of {workers}")]
    Incomplete { epoch: Epoch, reports: usize, workers: usize },
    #[error("the thread that commits is gone")]
    CommitterGone,
}
