//! Simulated devices as a source: seeded signals, seeded or listed faults, and the truth about them.
//!
//! Promise: what comes is a function of the specification alone, byte for byte, on every machine and in every version of
//! this format: no clock, no order of reading and no size of batches has a part in it. Each device has a ChaCha stream of its own,
//! so a fault changes its own device while it lasts, and nothing else. A partition is a fixed set of devices; its messages come in the order of their
//! arrival, one after another, in memory that depends on the number of devices and of messages held back, never on the duration.
//!
//! A device takes a reading every so often (a *tick*); the reading carries the time at which it was taken and arrives a moment
//! later, so that times within a partition are a little out of order even while nothing is wrong.
//!
//! ```
//! use tidewatch::sources::simulator::{Profile, Simulator, SimulatorSpec};
//!
//! let spec = SimulatorSpec { devices: 3, partitions: 1, ..SimulatorSpec::new(Profile::Fleet) };
//! let simulator = Simulator::new(spec)?;
//! let mut stream = simulator.partition(0);
//! let first = stream.next().expect("ten minutes hold a message");
//! let mut line = Vec::new();
//! first.write_json(&mut line);
//! assert!(line.starts_with(b"{\"ts\":17672256"));
//! assert!(simulator.truth().is_empty(), "no fault was asked for");
//! # Ok::<(), tidewatch::sources::simulator::SimulatorError>(())
//! ```

mod device;
mod event;
mod fault;
#[cfg(test)]
mod laws;
mod plan;
mod profile;
mod reader;
mod recording;
mod stream;
mod traffic;
mod truth;

use std::sync::Arc;
use std::time::Duration;

pub use device::Value;
pub use event::Event;
pub use fault::{FaultKind, FaultSpec};
pub use profile::{Field, FieldType, Profile};
pub use reader::{Pace, SimulatorReader};
pub use recording::{Recording, RecordingFormat};
pub use stream::PartitionStream;
pub use truth::Truth;

use crate::domain::ids::PartitionId;
use crate::domain::time::EventTime;
use crate::sources::Partition;
use plan::Plan;

/// What is to be simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatorSpec {
    pub profile: Profile,
    pub seed: u64,
    pub devices: u32,
    /// Device `n` is in partition `n % partitions`.
    pub partitions: u32,
    /// When the simulation begins; whole milliseconds.
    pub start: EventTime,
    pub duration: Duration,
    /// How often each device takes a reading; whole milliseconds.
    pub every: Duration,
    /// How long the rhythm of a day takes.
    pub day: Duration,
    pub seeded_faults: SeededFaults,
    /// Faults beside the seeded ones.
    pub faults: Vec<FaultSpec>,
    /// Whether every event says in a field `label` what is wrong with it: the name of a fault, or `normal`.
    pub labelled: bool,
}

/// Faults that the seed places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededFaults {
    pub count: u32,
    /// Taken in turn.
    pub kinds: Vec<FaultKind>,
    /// None begins before so much time has passed.
    pub calm: Duration,
}

impl SeededFaults {
    pub const NONE: SeededFaults = SeededFaults { count: 0, kinds: Vec::new(), calm: Duration::ZERO };

    /// So many, of every kind in turn.
    pub fn of_every_kind(count: u32, calm: Duration) -> SeededFaults {
        SeededFaults { count, kinds: FaultKind::ALL.to_vec(), calm }
    }
}

/// A reading arrives at most this much after it was taken.
const DISORDER_MS_MAX: i64 = 400;

impl SimulatorSpec {
    /// 2026-01-01T00:00:00Z.
    pub const START: EventTime = EventTime(1_767_225_600_000_000);
    pub const DURATION: Duration = Duration::from_secs(600);
    pub const EVERY: Duration = Duration::from_secs(1);
    pub const DAY: Duration = Duration::from_secs(86_400);
    pub const PARTITIONS: u32 = 4;
    /// Bounds that keep every number of ticks, milliseconds and messages far from overflow.
    pub const DEVICES_MAX: u32 = 1_000_000;
    pub const PARTITIONS_MAX: u32 = 1024;
    pub const FAULTS_MAX: u32 = 100_000;

    /// Ten minutes of the profile's usual number of devices, one reading a second, nothing wrong.
    pub fn new(profile: Profile) -> SimulatorSpec {
        SimulatorSpec {
            profile,
            seed: 7,
            devices: profile.devices_default(),
            partitions: SimulatorSpec::PARTITIONS,
            start: SimulatorSpec::START,
            duration: SimulatorSpec::DURATION,
            every: SimulatorSpec::EVERY,
            day: SimulatorSpec::DAY,
            seeded_faults: SeededFaults::NONE,
            faults: Vec::new(),
            labelled: false,
        }
    }

    fn every_ms(&self) -> i64 {
        millis(self.every).max(1)
    }

    fn disorder_ms(&self) -> i64 {
        DISORDER_MS_MAX.min(self.every_ms() / 2)
    }

    fn start_ms(&self) -> i64 {
        self.start.0.div_euclid(1000)
    }

    /// How many readings each device takes.
    fn ticks(&self) -> u64 {
        (millis(self.duration) / self.every_ms()) as u64
    }

    fn ticks_of_day(&self) -> u64 {
        (millis(self.day) / self.every_ms()).max(1) as u64
    }

    /// Readings a second of all devices while nothing is wrong, for those who choose a pace.
    pub fn events_per_second(&self) -> f64 {
        f64::from(self.devices) * 1000.0 / self.every_ms() as f64
    }

    fn check(&self) -> Result<(), SimulatorError> {
        let out_of_range = |what, max: u64| Err(SimulatorError::OutOfRange { what, max });
        match () {
            () if !(1..=SimulatorSpec::DEVICES_MAX).contains(&self.devices) => {
                out_of_range("devices", SimulatorSpec::DEVICES_MAX.into())
            }
            () if !(1..=SimulatorSpec::PARTITIONS_MAX).contains(&self.partitions) => {
                out_of_range("partitions", SimulatorSpec::PARTITIONS_MAX.into())
            }
            () if self.seeded_faults.count > SimulatorSpec::FAULTS_MAX => {
                out_of_range("seeded faults", SimulatorSpec::FAULTS_MAX.into())
            }
            () if self.every.is_zero() || !self.every.subsec_nanos().is_multiple_of(1_000_000) => {
                Err(SimulatorError::NoMilliseconds { every: self.every })
            }
            () if self.ticks() == 0 => Err(SimulatorError::TooShort { duration: self.duration, every: self.every }),
            () => Ok(()),
        }
    }
}

/// Whole milliseconds; a span beyond 292 million years is that long.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// What cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimulatorError {
    #[error("the number of {what} is not between 1 and {max}")]
    OutOfRange { what: &'static str, max: u64 },
    #[error("a reading every {every:?} is not a whole number of milliseconds above zero")]
    NoMilliseconds { every: Duration },
    #[error("in {duration:?} no device takes a reading, with one every {every:?}")]
    TooShort { duration: Duration, every: Duration },
    #[error("there is no device `{device}`; they are `{first}` to `{last}`")]
    UnknownDevice { device: String, first: String, last: String },
    #[error("a fault cannot befall the field `{field}`; it can befall {known}")]
    UnknownField { field: String, known: String },
    #[error("`{kind}` concerns whole messages, and no fields")]
    FieldsOfMessages { kind: &'static str },
    #[error("the {kind} of `{device}` begins behind the end of the simulation")]
    BehindTheEnd { kind: &'static str, device: String },
    #[error("the magnitude {magnitude} makes no `{kind}`; {wanted}")]
    Magnitude { kind: &'static str, magnitude: f64, wanted: &'static str },
    #[error("the {second} of `{device}` begins before its {first} is over, and a device has one fault at a time")]
    Overlap { device: String, first: &'static str, second: &'static str },
    #[error(
        "only {placed} of {wanted} seeded faults have room: take more devices, a longer duration, or a shorter calm"
    )]
    NoRoom { placed: u32, wanted: u32 },
}

/// A simulation that can be read, as often as one likes.
#[derive(Clone, Debug)]
pub struct Simulator {
    spec: Arc<SimulatorSpec>,
    plan: Arc<Plan>,
}

impl Simulator {
    /// Places the seeded faults and checks all.
    pub fn new(spec: SimulatorSpec) -> Result<Simulator, SimulatorError> {
        spec.check()?;
        let plan = Plan::new(&spec)?;
        Ok(Simulator { spec: Arc::new(spec), plan: Arc::new(plan) })
    }

    pub fn spec(&self) -> &SimulatorSpec {
        &self.spec
    }

    /// The partitions, whose ids are their places.
    pub fn partitions(&self) -> Vec<Partition> {
        let name = |index| format!("{}/{index}", self.spec.profile);
        (0..self.spec.partitions).map(|index| Partition { id: PartitionId(index.into()), name: name(index) }).collect()
    }

    /// The messages of one partition, from the first.
    pub fn partition(&self, index: u32) -> PartitionStream {
        PartitionStream::new(&self.spec, &self.plan, index)
    }

    /// How many messages there are in all.
    pub fn messages(&self) -> u64 {
        u64::from(self.spec.devices) * self.spec.ticks() + self.plan.more() - self.plan.fewer()
    }

    /// What was done to whom and when, in the order of time.
    pub fn truth(&self) -> Vec<Truth> {
        self.plan.truth(&self.spec)
    }
}
