//! What a run gets from outside: clocks, turns of its threads, the store, the topic of anomalies.
//!
//! Promise: nothing in the flow asks the machine for these by itself, so that a simulation may stand in for the machine and play the
//! same run again, step by step. What is read and computed is left to others.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use timely::scheduling::Activator;

use crate::checkpoint::manifest::WallTime;
use crate::pipeline::spec::OutputSpec;
use crate::sinks::kafka::{AnomalyProducer, AnomalyTopic, KafkaOutputError, KafkaOutputSpec};
use crate::storage::Storage;
use crate::storage::error::StorageError;
use crate::storage::patience::Patience;

/// A topic of anomalies that was opened, and the last epoch whose rows it holds.
pub type OpenedTopic = (Box<dyn AnomalyTopic>, Option<u64>);

/// See the module.
pub trait Surroundings: fmt::Debug + Send + Sync {
    /// The clock by which epochs are cut and partitions fall idle.
    fn now(&self) -> Instant;

    /// The clock on the wall, which decides when rows become visible, never what they are.
    fn wall(&self) -> WallTime;

    /// The output's store, with the patience of a first contact.
    fn store(&self, output: &OutputSpec) -> Result<Storage, StorageError>;

    /// How long a running pipeline waits for a store that is away.
    fn patience(&self) -> Patience;

    /// Takes over the topic of anomalies.
    fn anomalies(&self, output: &KafkaOutputSpec) -> Result<OpenedTopic, KafkaOutputError>;

    /// The place of a thread among the run's threads. Taken by whoever starts the thread.
    fn seat(&self, thread: Thread) -> Box<dyn Seat>;

    /// Waits for another thread of the run, whose turn may have to come for that.
    fn aside(&self, wait: &mut dyn FnMut());

    /// Has an operator scheduled again after a while; gives how long that will be.
    fn wake_after(&self, activator: &Activator, wait: Duration) -> Duration;
}

/// A thread of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    Worker(usize),
    Committer,
}

/// Held by a thread for as long as it runs.
pub trait Seat: Send {
    /// Between two steps: gives the turn up, and comes back with the next one.
    fn pause(&mut self);

    /// How long the thread may sleep in its turn, of the time that it would.
    fn sleep(&self, longest: Duration) -> Duration;
}

/// The machine that the process runs on: its clocks, and threads that go as they please.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Surroundings for Machine {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn store(&self, output: &OutputSpec) -> Result<Storage, StorageError> {
        Storage::open(&output.url, &output.s3, Patience::at_start())
    }

    fn patience(&self) -> Patience {
        Patience::default()
    }

    fn anomalies(&self, output: &KafkaOutputSpec) -> Result<OpenedTopic, KafkaOutputError> {
        let (producer, sent) = AnomalyProducer::open(output.clone())?;
        Ok((Box::new(producer), sent))
    }

    fn seat(&self, _: Thread) -> Box<dyn Seat> {
        Box::new(Free)
    }

    fn aside(&self, wait: &mut dyn FnMut()) {
        wait();
    }

    fn wake_after(&self, activator: &Activator, wait: Duration) -> Duration {
        activator.activate_after(wait);
        wait
    }
}

/// The seat of a thread that waits for no turn.
struct Free;

impl Seat for Free {
    fn pause(&mut self) {}

    fn sleep(&self, longest: Duration) -> Duration {
        longest
    }
}
