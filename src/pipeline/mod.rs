//! The dataflow: epochs in, commits out. The only place that holds timely.
//!
//! Promise: what is committed is a function of the partitions' contents and order and of the configuration alone; how
//! many workers there are, how epochs were cut and what was restarted does not show.

mod account;
mod agree;
mod agreement;
mod assemble;
mod commit;
mod committer;
mod host;
mod ingest;
mod intake;
mod overseer;
mod parcel;
pub mod plan;
mod pool;
mod promotions;
pub mod redrive;
mod route;
pub mod run;
mod schedules;
pub mod scored;
mod shared;
mod shelf;
pub mod spec;
mod staging;
mod start;
pub mod surroundings;
mod viewed;
mod watch;
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
    #[error("{0}")]
    Scoring(Box<crate::scoring::scorer::ScoringError>),
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
    #[error("the processes of the cluster cannot be connected: {0}")]
    Cluster(String),
    #[error("process 0 could not start: its log says why")]
    NoStart,
    #[error("what process 0 decided cannot be read: do all processes run the same version?")]
    Start(#[source] serde_json::Error),
    #[error("this process was started with another version, configuration or models than process 0")]
    OtherTerms,
    #[error("process 0 reads `{name}`, which is not there for this process: all must see the same files")]
    FileMissing { name: String },
    /// For a person to solve: a matter of configuration.
    #[error(transparent)]
    Model(Box<shelf::Unusable>),
    /// For a person to solve.
    #[error(
        "the output holds a replay that has ended, with all its windows closed, and `{partition}` has more to read: \
         begin another output"
    )]
    Finished { partition: String },
    #[error("the output has no checkpoint, and so nothing to play again")]
    NothingToRedrive,
    #[error("what was quarantined is played again by one process alone")]
    RedriveAlone,
    /// For a person to solve.
    #[error(
        "window `{window}` holds {groups} groups on one of {workers} workers, more than a worker's share of \
         pipeline.groups_max = {groups_max}: if the keys are real, and there is memory for them, raise it"
    )]
    TooManyGroups { window: String, groups: usize, workers: usize, groups_max: usize },
    #[error("the last checkpoint was not committed within {} s of the stop; the next start goes on from the one before", waited.as_secs())]
    NotStopped { waited: std::time::Duration },
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("a worker thread panicked")]
    Panicked,
    /// A bug of ours, met before anything was written down.
    #[error("epoch {epoch} has the reports of {reports} workers instead of {workers}")]
    Incomplete { epoch: Epoch, reports: usize, workers: usize },
    #[error("the thread that commits is gone")]
    CommitterGone,
}

impl From<shelf::Unusable> for PipelineError {
    fn from(error: shelf::Unusable) -> PipelineError {
        PipelineError::Model(Box::new(error))
    }
}

impl From<crate::scoring::scorer::ScoringError> for PipelineError {
    fn from(error: crate::scoring::scorer::ScoringError) -> PipelineError {
        // By far the largest of them.
        PipelineError::Scoring(Box::new(error))
    }
}
