//! A worker's reader of its share of the simulated partitions: records of JSON, stamped with their arrival, keyed by device.
//!
//! At a pace, a message is there once its time has come; without one, everything is there at once. The pace decides when, never what.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, Offsets, RawBatch};
use crate::sources::simulator::{PartitionStream, Simulator};
use crate::sources::{Partition, Read, Reader, SourceError, Wake};

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it is read.
    Unbounded,
    /// So many times as fast as the wall clock.
    Times(f64),
}

impl Pace {
    /// How much simulated time has passed after so much time.
    pub fn passed_ms(self, elapsed: Duration) -> Option<i64> {
        match self {
            Pace::Unbounded => None,
            // Saturates after more time than there is.
            Pace::Times(times) => Some((elapsed.as_secs_f64() * times * 1000.0) as i64),
        }
    }

    /// How long it takes until so much simulated time has passed.
    pub fn takes(self, passed_ms: i64) -> Duration {
        match self {
            Pace::Unbounded => Duration::ZERO,
            Pace::Times(times) => {
                let seconds = passed_ms.max(0) as f64 / 1000.0 / times;
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
        }
    }
}

/// See the module.
pub struct SimulatorReader {
    partitions: BTreeMap<PartitionId, Simulated>,
    pace: Pace,
    /// When the first message was looked for, and the simulated time at that moment.
    begun: Option<(Instant, i64)>,
    alarm: Alarm,
    preferred: Option<PartitionId>,
    /// The size of the last record, for room in the next batch.
    record_bytes: usize,
}

struct Simulated {
    stream: PartitionStream,
    is_paused: bool,
    /// Whether it was told since the last record that nothing is there, or ever will be.
    is_told: bool,
}

impl SimulatorReader {
    /// A reader of these partitions; one begins at the offset that `start_of` gives, else at its first message.
    pub fn new(
        simulator: &Simulator,
        partitions: &[Partition],
        start_of: &dyn Fn(PartitionId) -> Option<Offset>,
        pace: Pace,
        wake: Wake,
    ) -> std::io::Result<SimulatorReader> {
        let open = |partition: &Partition| {
            // The id is the partition's place, which is below 2^32.
            let mut stream = simulator.partition(partition.id.0 as u32);
            stream.skip_to(start_of(partition.id).unwrap_or(Offset(0)));
            (partition.id, Simulated { stream, is_paused: false, is_told: false })
        };
        Ok(SimulatorReader {
            partitions: partitions.iter().map(open).collect(),
            pace,
            begun: None,
            alarm: Alarm::start(wake)?,
            preferred: None,
            record_bytes: 256,
        })
    }

    /// Up to which simulated time messages have arrived; `None`: all have.
    fn horizon(&mut self, now: Instant) -> Option<i64> {
        let first = || self.partitions.values().filter_map(|one| one.stream.due_ms()).min();
        let (at, from) = match self.begun {
            Some(begun) => begun,
            None => {
                let begun = (now, first()?);
                *self.begun.insert(begun)
            }
        };
        self.pace.passed_ms(now.saturating_duration_since(at)).map(|passed| from.saturating_add(passed))
    }

    /// The partition to read next: the preferred one, else the one whose message comes first.
    fn choose(&mut self, horizon: Option<i64>) -> Option<PartitionId> {
        let is_ready = |one: &Simulated| {
            let due = one.stream.due_ms().filter(|_| !one.is_paused);
            due.is_some_and(|due| horizon.is_none_or(|horizon| due <= horizon))
        };
        let preferred = self.preferred.take().filter(|id| self.partitions.get(id).is_some_and(is_ready));
        let first = || {
            let ready = self.partitions.iter().filter(|(_, one)| is_ready(one));
            ready.min_by_key(|(_, one)| one.stream.due_ms()).map(|(id, _)| *id)
        };
        preferred.or_else(first)
    }

    /// Tells, once each, which partitions have ended, and which wait for their next message.
    fn tell(&mut self, horizon: Option<i64>, out: &mut Vec<Read>) {
        for (&partition, one) in self.partitions.iter_mut().filter(|(_, one)| !one.is_told && !one.is_paused) {
            let next = one.stream.offset();
            match (one.stream.due_ms(), horizon) {
                (None, _) => out.push(Read::Ended { partition, next }),
                (Some(due), Some(horizon)) if due > horizon => out.push(Read::CaughtUp { partition, next }),
                _ => continue,
            }
            one.is_told = true;
        }
    }

    /// Has itself woken when the next message comes.
    fn set_alarm(&self, now: Instant) {
        let waiting = self.partitions.values().filter(|one| !one.is_paused);
        if let (Some((at, from)), Some(due)) = (self.begun, waiting.filter_map(|one| one.stream.due_ms()).min()) {
            let takes = self.pace.takes(due.saturating_sub(from));
            self.alarm.set(at.checked_add(takes).unwrap_or(now + FAR));
        }
    }
}

/// Later than anything waits for.
const FAR: Duration = Duration::from_secs(86_400);

impl Reader for SimulatorReader {
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        let now = Instant::now();
        let horizon = self.horizon(now);
        let before = out.len();
        self.tell(horizon, out);
        if let Some(partition) = self.choose(horizon)
            && let Some(one) = self.partitions.get_mut(&partition)
        {
            let batch = records(partition, &mut one.stream, rows_max, self.record_bytes, horizon);
            self.record_bytes = batch.bytes.len().div_ceil(batch.len().max(1));
            one.is_told = one.is_told && batch.is_empty();
            out.push(Read::Records(batch));
        }
        if out.len() == before {
            self.set_alarm(now);
        }
        Ok(())
    }

    fn prefer(&mut self, partition: PartitionId) {
        self.preferred = Some(partition);
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.is_paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.is_paused = false;
        }
        Ok(())
    }
}

/// A batch is not larger than positions of 32 bits can tell.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// The next messages, as records.
fn records(
    partition: PartitionId,
    stream: &mut PartitionStream,
    rows_max: usize,
    record_bytes: usize,
    horizon: Option<i64>,
) -> RawBatch {
    let first = stream.offset();
    let mut bytes = Vec::with_capacity(rows_max.min(1 << 16) * (record_bytes + 16));
    let (mut starts, mut ends) = (Vec::with_capacity(rows_max), Vec::with_capacity(rows_max));
    let (mut received, mut keys) = (Vec::with_capacity(rows_max), Vec::with_capacity(rows_max));
    while starts.len() < rows_max && bytes.len() < BATCH_BYTES_MAX {
        if stream.due_ms().is_none_or(|due| horizon.is_some_and(|horizon| due > horizon)) {
            break;
        }
        let Some(event) = stream.next() else { break };
        starts.push(bytes.len() as u32);
        let (from, to) = event.write_json(&mut bytes);
        ends.push(bytes.len() as u32);
        received.push(event.arrival_ms * 1000);
        keys.push(Some((from as u32, to as u32)));
    }
    RawBatch {
        partition,
        form: Form::Objects,
        bytes,
        starts,
        ends,
        offsets: Offsets::Dense { first },
        received: Some(received),
        keys: Some(keys),
        tombstones: Vec::new(),
    }
}

/// Wakes at a time, from a thread that ends with it.
struct Alarm(Sender<Instant>);

impl Alarm {
    fn start(wake: Wake) -> std::io::Result<Alarm> {
        let (set, asked) = mpsc::channel();
        std::thread::Builder::new().name("simulator".to_owned()).spawn(move || {
            let mut due: Option<Instant> = None;
            loop {
                let wait = due.map_or(FAR, |due| due.saturating_duration_since(Instant::now()));
                match asked.recv_timeout(wait) {
                    Ok(asked) => due = Some(asked),
                    Err(RecvTimeoutError::Timeout) => {
                        if due.take().is_some() {
                            wake();
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Alarm(set))
    }

    fn set(&self, due: Instant) {
        // The thread lives as long as this sender.
        let _ = self.0.send(due);
    }
}
