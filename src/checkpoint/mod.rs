//! The row of manifests that is the truth about an output, and the one process that may add to it.
//!
//! Promises: a manifest is added by one process alone; what it names was durable before; files become visible only after the
//! manifest that names them, and once; a start finds out what the last process had done, whatever stopped it. What the state and the rows
//! mean is left to the stages and the sinks.

mod balance;
pub mod chain;
pub mod commit;
pub mod decide;
pub mod log;
pub mod manifest;
pub mod newest;
pub mod places;
pub mod schedule;
pub mod seal;
pub mod state;

use crate::checkpoint::decide::Conflict;
use crate::checkpoint::manifest::Sequence;
use crate::domain::ids::Epoch;
use crate::storage::error::StorageError;

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// For a person to solve: a matter of configuration.
    #[error("this output cannot be written")]
    Conflict(#[from] Conflict),
    /// Another process has taken over: this one has to end.
    #[error("manifest {sequence} is another process's: it has taken this output over")]
    Superseded { sequence: Sequence },
    /// The next start finds out.
    #[error("it is not known whether manifest {sequence} was written")]
    Unknown { sequence: Sequence, source: StorageError },
    /// A bug of ours, met before it was written down.
    #[error("the account of `{of}` at epoch {epoch} is wrong: {fault}")]
    Unbalanced { of: String, epoch: Epoch, fault: String },
    #[error("epoch {epoch} cannot be committed after epoch {last}")]
    Backwards { epoch: Epoch, last: Epoch },
    #[error("the machine has no random numbers to give")]
    NoRandomness,
}
