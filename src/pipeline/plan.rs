//! The rhythm of a run, and how much of it may be under way. Which epochs are checkpoints is a function of the epoch's number alone, so that no
//! worker needs to ask another.
//!
//! Promise: memory has bounds of the configuration: with a store that is away, what is read and not committed does not grow with the input.

use std::time::Duration;

use crate::domain::ids::Epoch;

/// Shorter epochs than of so many bytes would make checkpoints come more often than they pay.
const EPOCH_BYTES_LEAST: usize = 8 << 20;
const EPOCH_BYTES_MOST: usize = 64 << 20;

/// The rhythm of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// An epoch ends after this time at the latest.
    pub epoch_every: Duration,
    /// Every so many epochs is a checkpoint.
    pub checkpoint_epochs: u64,
    /// An epoch also ends once a worker has read so many bytes of payload: what bounds a catch-up.
    pub epoch_bytes_max: usize,
    /// How many epochs a source may be ahead of the windows.
    pub epochs_ahead: u64,
    /// How many checkpoints may be under way: a slow upload does not stall the flow at once.
    pub checkpoints_ahead: u64,
    /// Bytes that may wait for the store before the source does, on all workers of a process together.
    pub held_bytes_max: usize,
    /// How often the registries of models are looked at.
    pub look_every: Duration,
}

impl Plan {
    /// A checkpoint every `checkpoint_every`, made of epochs of `epoch_every`. Files of `file_size` bytes may wait: what they measure is what
    /// else may.
    pub fn new(epoch_every: Duration, checkpoint_every: Duration, file_size: u64) -> Plan {
        let file_size = usize::try_from(file_size).unwrap_or(usize::MAX);
        let epoch_every = epoch_every.max(Duration::from_millis(1));
        let checkpoint_epochs = (checkpoint_every.as_nanos() / epoch_every.as_nanos()).max(1) as u64;
        Plan {
            epoch_every,
            checkpoint_epochs,
            epoch_bytes_max: (file_size / 2).clamp(EPOCH_BYTES_LEAST, EPOCH_BYTES_MOST),
            epochs_ahead: 3,
            checkpoints_ahead: 2,
            held_bytes_max: file_size.saturating_mul(2),
            look_every: Duration::from_secs(2),
        }
    }

    pub fn is_checkpoint(self, epoch: Epoch) -> bool {
        epoch.0.is_multiple_of(self.checkpoint_epochs)
    }

    /// The first checkpoint at or after `epoch`.
    pub fn checkpoint_at(self, epoch: Epoch) -> Epoch {
        Epoch(epoch.0.next_multiple_of(self.checkpoint_epochs))
    }
}
