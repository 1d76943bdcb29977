//! Which epochs are checkpoints: a function of the epoch's number alone, so that no worker needs to ask another.

use std::time::Duration;

use crate::domain::ids::Epoch;

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
    /// How often the registries of models are looked at.
    pub look_every: Duration,
}

impl Plan {
    /// A checkpoint every `checkpoint_every`, made of epochs of `epoch_every`.
    pub fn new(epoch_every: Duration, checkpoint_every: Duration) -> Plan {
        let epoch_every = epoch_every.max(Duration::from_millis(1));
        let checkpoint_epochs = (checkpoint_every.as_nanos() / epoch_every.as_nanos()).max(1) as u64;
        Plan {
            epoch_every,
            checkpoint_epochs,
            epoch_bytes_max: 64 << 20,
            epochs_ahead: 3,
            checkpoints_ahead: 2,
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
