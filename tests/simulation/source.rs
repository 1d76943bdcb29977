//! Recorded partitions that come in random pieces and interleavings: seeded devices whose events are late, too late, poisoned, or from
//! the future, with holes between the offsets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tidewatch::domain::ids::{Offset, PartitionId};
use tidewatch::domain::raw::{Form, Offsets, RawBatch};
use tidewatch::sources::{GivenSource, Partition, Read, Reader, SourceError, Wake};

use crate::turnstile::Turnstile;

/// Event time of the first event, in milliseconds.
const BEGIN_MS: i64 = 1_767_225_600_000;

#[derive(Clone, Debug)]
pub struct Record {
    pub offset: i64,
    pub payload: String,
    /// Microseconds.
    received: i64,
    /// When it is there, after the beginning of a run that is live.
    due: Duration,
}

impl Record {
    pub fn received(&self) -> i64 {
        self.received
    }
}

/// Everything that will ever be there.
#[derive(Clone, Debug)]
pub struct Recording {
    pub partitions: Vec<Vec<Record>>,
}

fn name(partition: usize) -> String {
    format!("sim/{partition}")
}

impl Recording {
    pub fn new(random: &mut ChaCha8Rng) -> Recording {
        let partitions = random.random_range(1..5);
        let events = random.random_range(30..160);
        Recording {
            partitions: (0..partitions).map(|partition| Recording::partition(random, partition, events)).collect(),
        }
    }

    fn partition(random: &mut ChaCha8Rng, partition: usize, events: usize) -> Vec<Record> {
        // A partition may be far behind or ahead of the others.
        let (mut at, mut offset) = (BEGIN_MS + random.random_range(0..40_000), 0);
        let events = events * random.random_range(1..4) / 2;
        let record = |_| {
            offset += if random.random_range(0..20) == 0 { random.random_range(1..5) } else { 1 };
            at += random.random_range(0..1_200);
            let late = match random.random_range(0..20) {
                0 => random.random_range(0..60_000),
                1..4 => random.random_range(0..12_000),
                _ => 0,
            };
            // Some devices send to more than one partition.
            let device = if random.random_range(0..10) == 0 { 9 } else { partition * 3 + random.random_range(0..3) };
            let ts = at - late;
            let value = f64::from(random.random_range(-1000..1000)) / 7.0 * if device == 9 { 1e9 } else { 1.0 };
            let payload = match random.random_range(0..40) {
                0 => format!(r#"{{"ts":{ts},"device":"#),
                1 => format!(r#"{{"ts":{ts},"v":{value}}}"#),
                2 => format!(r#"{{"ts":{},"device":"d{device}","v":{value}}}"#, at + 3_600_000),
                3 => format!(r#"{{"ts":{ts},"device":"d{device}","v":null}}"#),
                _ => format!(r#"{{"ts":{ts},"device":"d{device}","v":{value},"n":{}}}"#, random.random_range(0..5)),
            };
            let due = Duration::from_millis((at - BEGIN_MS) as u64 / 20);
            Record { offset, payload, received: at * 1_000, due }
        };
        (0..events).map(record).collect()
    }

    pub fn offsets(&self) -> BTreeMap<String, Vec<i64>> {
        let offsets = |records: &Vec<Record>| records.iter().map(|record| record.offset).collect();
        self.partitions.iter().enumerate().map(|(partition, records)| (name(partition), offsets(records))).collect()
    }
}

/// The recording as one process has it.
pub struct Scripted {
    pub recording: Arc<Recording>,
    pub turnstile: Arc<Turnstile>,
    /// Records are there when they are due, and there may always be more.
    pub is_live: bool,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl GivenSource for Scripted {
    fn name(&self) -> String {
        "simulation".to_owned()
    }

    fn partitions(&self) -> Vec<Partition> {
        let partition = |index: usize| Partition { id: PartitionId(index as u64), name: name(index) };
        (0..self.recording.partitions.len()).map(partition).collect()
    }

    fn open(&self, begins: &[(Partition, Offset)], _: Wake) -> Result<Box<dyn Reader>, SourceError> {
        let place = |(partition, next): &(Partition, Offset)| {
            let records = &self.recording.partitions[partition.id.0 as usize];
            let next = records.iter().position(|record| record.offset >= next.0).unwrap_or(records.len());
            (partition.id, Place { next, is_paused: false, is_told: false })
        };
        Ok(Box::new(ScriptedReader {
            recording: Arc::clone(&self.recording),
            turnstile: Arc::clone(&self.turnstile),
            is_live: self.is_live,
            places: begins.iter().map(place).collect(),
        }))
    }
}

struct Place {
    next: usize,
    is_paused: bool,
    is_told: bool,
}

struct ScriptedReader {
    recording: Arc<Recording>,
    turnstile: Arc<Turnstile>,
    is_live: bool,
    places: BTreeMap<PartitionId, Place>,
}

impl ScriptedReader {
    /// The records of a partition that are there and not read.
    fn there(&self, partition: PartitionId) -> &[Record] {
        let rest = &self.recording.partitions[partition.0 as usize][self.places[&partition].next..];
        let now = self.turnstile.elapsed();
        let there = if self.is_live { rest.iter().take_while(|record| record.due <= now).count() } else { rest.len() };
        &rest[..there]
    }

    /// The offset behind what is there.
    fn end(&self, partition: PartitionId) -> Offset {
        let before = self.places[&partition].next.checked_sub(1);
        Offset(before.map_or(0, |last| self.recording.partitions[partition.0 as usize][last].offset + 1))
    }
}

impl Reader for ScriptedReader {
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        // Often there is nothing, as with a broker.
        if self.turnstile.roll(3) == 0 {
            return Ok(());
        }
        let open = self.places.iter().filter(|(_, place)| !place.is_paused);
        let open: Vec<PartitionId> = open.map(|(partition, _)| *partition).collect();
        let mut ready = open.clone();
        ready.retain(|partition| !self.there(*partition).is_empty());
        if !ready.is_empty() {
            let partition = ready[self.turnstile.roll(ready.len() as u32) as usize];
            let there = self.there(partition);
            let count = (self.turnstile.roll(24) as usize + 1).min(there.len()).min(rows_max);
            out.push(Read::Records(batch(partition, &there[..count])));
            if let Some(place) = self.places.get_mut(&partition) {
                (place.next, place.is_told) = (place.next + count, false);
            }
            return Ok(());
        }
        for partition in open.into_iter().filter(|partition| !self.places[partition].is_told) {
            let next = self.end(partition);
            out.push(match self.is_live {
                true => Read::CaughtUp { partition, next },
                false => Read::Ended { partition, next },
            });
        }
        self.places.values_mut().filter(|place| !place.is_paused).for_each(|place| place.is_told = true);
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.places.entry(partition).and_modify(|place| place.is_paused = true);
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.places.entry(partition).and_modify(|place| place.is_paused = false);
        Ok(())
    }
}

fn batch(partition: PartitionId, records: &[Record]) -> RawBatch {
    let (mut bytes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        starts.push(bytes.len() as u32);
        bytes.extend_from_slice(record.payload.as_bytes());
        ends.push(bytes.len() as u32);
    }
    RawBatch {
        partition,
        form: Form::Objects,
        bytes,
        starts,
        ends,
        offsets: Offsets::Sparse(records.iter().map(|record| record.offset).collect()),
        received: Some(records.iter().map(|record| record.received).collect()),
        keys: None,
        tombstones: Vec::new(),
    }
}
