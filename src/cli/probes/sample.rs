//! Some records of the input, read without leaving a trace: no offset is committed, no group is joined.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::ids::PartitionId;
use crate::domain::raw::RawBatch;
use crate::sources::files::{FilePartition, FilesSpec, first_records};
use crate::sources::kafka::{KafkaClient, KafkaReader, KafkaSpec, Lost, Start};
use crate::sources::simulator::{Pace, Simulator, SimulatorReader};
use crate::sources::{Read, Reader, SourceError};

/// About how many records are looked at.
const RECORDS: usize = 1000;
/// Of how many files.
const FILES: usize = 16;
/// Enough for the sample, whatever the partitions' number.
const QUEUE_BYTES: usize = 4 << 20;
/// How long records may take to come.
const PATIENCE: Duration = Duration::from_secs(3);

/// Records with the name of their partition.
pub(super) type Sample = Vec<(String, RawBatch)>;

/// The first records of files spread over all.
pub(super) fn of_files(spec: &FilesSpec, found: &[FilePartition]) -> Result<Sample, SourceError> {
    let chosen = found.iter().step_by(found.len().div_ceil(FILES).max(1));
    let each = RECORDS.div_ceil(found.len().clamp(1, FILES));
    let mut sample = Sample::new();
    for file in chosen {
        let records = first_records(spec, file, each)?.into_iter();
        sample.extend(records.map(|batch| (file.partition.name.clone(), batch)));
    }
    Ok(sample)
}

/// The first records of the first simulated partitions.
pub(super) fn of_simulation(simulator: &Simulator) -> Result<Sample, SourceError> {
    let mut partitions = simulator.partitions();
    partitions.truncate(FILES);
    let each = RECORDS.div_ceil(partitions.len().max(1));
    let mut sample = Sample::new();
    for partition in partitions {
        let only = std::slice::from_ref(&partition);
        let reader = SimulatorReader::new(simulator, only, &|_| None, Pace::Unbounded, Box::new(|| {}));
        let mut reads = Vec::new();
        reader.map_err(SourceError::NoThread)?.read(each, &mut reads)?;
        sample.extend(reads.into_iter().filter_map(|read| match read {
            Read::Records(batch) => Some((partition.name.clone(), batch)),
            _ => None,
        }));
    }
    Ok(sample)
}

/// The first records of every partition that is there now.
pub(super) fn of_topics(spec: KafkaSpec) -> Result<Sample, SourceError> {
    // A pipeline that begins with what comes next reads nothing of what is there; its events look like these all the same.
    let start = if spec.start == Start::Latest { Start::Earliest } else { spec.start };
    let client = KafkaClient::connect(&KafkaSpec { start, on_lost: Lost::Record, queue_bytes: QUEUE_BYTES, ..spec })?;
    let ends = client.ends()?;
    let thread = std::thread::current();
    let wake = Box::new(move || thread.unpark());
    let mut reader = KafkaReader::new(client.clone(), 0, 1, &|_| None, Some(&ends), wake)?;
    let each = RECORDS.div_ceil(ends.len().max(1));
    let (mut sample, mut taken): (Sample, BTreeMap<PartitionId, usize>) = (Vec::new(), BTreeMap::new());
    let (mut done, until) = (0, Instant::now() + PATIENCE);
    while done < ends.len() && Instant::now() < until {
        let mut reads = Vec::new();
        reader.read(each, &mut reads)?;
        if reads.is_empty() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        for read in reads {
            match read {
                Read::Records(batch) => {
                    let (id, count) = (batch.partition, taken.entry(batch.partition).or_default());
                    let before = *count;
                    *count += batch.len();
                    sample.push((client.name(id), batch));
                    if before < each && *count >= each {
                        reader.pause(id)?;
                        done += 1;
                    }
                }
                // A partition that was paused for it has enough is counted already.
                Read::Ended { partition, .. } if taken.get(&partition).is_none_or(|count| *count < each) => done += 1,
                _ => {}
            }
        }
    }
    Ok(sample)
}
