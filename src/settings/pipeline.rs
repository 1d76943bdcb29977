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
    /// A process in which nothing moves for so long ends itself. In a cluster, longer than an outage of the store that is to be waited for.
    pub watchdog: Duration,
    /// How many groups each window may hold: what bounds memory where keys are made up.
    pub groups_max: usize,
    /// Workers of each process; `-w` overrides. `None`: one for each core.
    pub workers: Option<usize>,
}

/// Longer than one request to the store is repeated.
const WATCHDOG: Duration = Duration::from_secs(15 * 60);

/// Some gigabytes with a few aggregates each.
const GROUPS_MAX: i64 = 1_000_000;

pub(super) fn read(reader: Reader<'_>) -> Option<PipelineSection> {
    let name = reader.required("name", "\"iomt\"", folder_name);
    let checkpoint_every = reader.or("checkpoint_every", Duration::from_secs(10), positive_duration);
    let epoch = reader.or("epoch", Duration::from_millis(250), positive_duration);
    let watchdog = reader.or("watchdog", WATCHDOG, positive_duration);
    let groups_max = reader.or("groups_max", GROUPS_MAX, integer_in(1, 1_000_000_000));
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
    if watchdog <= epoch * 3 {
        reader.fault(
            "watchdog",
            Wrong::new(
                format!("{watchdog:?} is no time to wait for an epoch of {epoch:?}"),
                "leave it out (15m), or make it minutes: it ends a process in which nothing moves",
            ),
        );
    }
    let is_sound = reader.finish();
    let section = PipelineSection {
        name: name?,
        checkpoint_every,
        epoch,
        watchdog,
        groups_max: groups_max.unsigned_abs() as usize,
        workers: workers.map(|workers| workers.unsigned_abs() as usize),
    };
    is_sound.then_some(section)
}
