//! `[pipeline]`: its name and its rhythm.

use std::time::Duration;

use super::fault::Wrong;
use super::reader::Reader;
use super::value::{folder_name, integer_in, positive_duration};

/// `[pipeline]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineSection {
    pub name: String,
    /// How often state and output are committed.
    pub checkpoint_every: Duration,
    /// How often a live run ends an epoch.
    pub epoch: Duration,
    /// Workers of each process; `-w` overrides. `None`: one for each core.
    pub workers: Option<usize>,
}

pub(super) fn read(reader: Reader<'_>) -> Option<PipelineSection> {
    let name = reader.required("name", "\"iomt\"", folder_name);
    let checkpoint_every = reader.or("checkpoint_every", Duration::from_secs(10), positive_duration);
    let epoch = reader.or("epoch", Duration::from_millis(250), positive_duration);
    let workers = reader.optional("workers", integer_in(1, 1024));
    if epoch > checkpoint_every {
        reader.fault(
            "epoch",
            Wrong::new(
                format!("an epoch of {epoch:?} is longer than checkpoint_every, {checkpoint_every:?}"),
                "a checkpoint commits whole epochs: make the epoch shorter or the interval longer",
            ),
        );
    }
    let is_sound = reader.finish();
    let section = PipelineSection {
        name: name?,
        checkpoint_every,
        epoch,
        workers: workers.map(|workers| workers.unsigned_abs() as usize),
    };
    is_sound.then_some(section)
}
