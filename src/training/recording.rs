//! The accepted events of recorded files, one batch after the other.
//!
//! Promise: the same events are accepted as by a replay, each once, and what is not accepted is counted. Files are read one after the
//! other in the order of their names, or the one with the least watermark first.

use std::collections::{BTreeMap, VecDeque};

use crate::decode::admission::Admission;
use crate::decode::{Decode, Decoder};
use crate::domain::batch::EventBatch;
use crate::domain::ids::PartitionId;
use crate::domain::raw::RawBatch;
use crate::domain::schema::EventSchema;
use crate::domain::time::EventTime;
use crate::domain::watermark::WatermarkSpec;
use crate::sources::files::{FilePartition, FileReader, FilesSpec, discover, first_records};
use crate::sources::{Read, Reader};
use crate::training::error::TrainingError;

const READ_ROWS: usize = 8192;

/// What is read, and how its records become events.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingSpec {
    pub files: FilesSpec,
    pub events: EventSchema,
    pub watermark: WatermarkSpec,
}

/// Which file is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One after the other.
    ByName,
    /// The one that is furthest behind.
    ByTime,
}

/// What became of the records so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    /// Records that are no events.
    pub rejected: u64,
    pub too_late: u64,
    pub bytes: u64,
    /// Of all files, as they were found.
    pub bytes_total: u64,
}

/// Recorded files while they are read.
pub(super) struct Recording {
    reader: FileReader,
    decoder: Decoder,
    files: BTreeMap<PartitionId, File>,
    order: Order,
    out_of_orderness: std::time::Duration,
    waiting: VecDeque<Read>,
    counts: Counts,
}

struct File {
    name: String,
    admission: Admission,
    /// Of its first event, where the order asks for it.
    first: EventTime,
    ended: bool,
}

impl Recording {
    pub(super) fn open(spec: &RecordingSpec, order: Order) -> Result<Recording, TrainingError> {
        let found = discover(&spec.files)?;
        let mut decoder = Decoder::new(&spec.events)?;
        let mut files = BTreeMap::new();
        for file in &found {
            let first = match order {
                Order::ByName => EventTime::MIN,
                Order::ByTime => first_event(spec, file, &mut decoder)?,
            };
            let admission = Admission::new(&spec.watermark, EventTime::MIN);
            files.insert(file.partition.id, File { name: file.partition.name.clone(), admission, first, ended: false });
        }
        Ok(Recording {
            counts: Counts { bytes_total: found.iter().map(|file| file.bytes).sum(), ..Counts::default() },
            reader: FileReader::new(&spec.files, found, &|_| None),
            decoder,
            files,
            order,
            out_of_orderness: spec.watermark.out_of_orderness,
            waiting: VecDeque::new(),
        })
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { bytes: self.reader.bytes_read().unwrap_or_default(), ..self.counts }
    }

    /// Up to where everything has been given; `MAX` at the end.
    pub(super) fn watermark(&self) -> EventTime {
        let open = self.files.values().filter(|file| !file.ended);
        open.map(|file| file.watermark(self.out_of_orderness)).min().unwrap_or(EventTime::MAX)
    }

    /// The next accepted events; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<EventBatch>, TrainingError> {
        loop {
            match self.waiting.pop_front() {
                Some(Read::Records(raw)) => {
                    let accepted = self.admit(&raw);
                    if !accepted.is_empty() {
                        return Ok(Some(accepted));
                    }
                }
                Some(Read::Ended { partition, .. }) => {
                    if let Some(file) = self.files.get_mut(&partition) {
                        file.ended = true;
                    }
                }
                // The rest does not happen to files.
                Some(_) => {}
                None if self.files.values().all(|file| file.ended) => return Ok(None),
                None => self.read()?,
            }
        }
    }

    fn read(&mut self) -> Result<(), TrainingError> {
        let mut reads = Vec::new();
        let open = self.files.iter().filter(|(_, file)| !file.ended);
        let next = match self.order {
            Order::ByName => open.map(|(id, _)| *id).next(),
            Order::ByTime => {
                open.min_by_key(|(id, file)| (file.watermark(self.out_of_orderness), **id)).map(|(id, _)| *id)
            }
        };
        if let Some(next) = next {
            self.reader.prefer(next);
        }
        self.reader.read(READ_ROWS, &mut reads)?;
        self.waiting.extend(reads);
        Ok(())
    }

    fn admit(&mut self, raw: &RawBatch) -> EventBatch {
        let Recording { decoder, files, counts, .. } = self;
        let file = files.get_mut(&raw.partition).expect("a reader hands on records of the files it was given");
        let decoded = decoder.decode(raw, &file.name);
        let admitted = file.admission.admit(decoded.events, raw);
        counts.rejected += (decoded.rejects.len() + admitted.early.len()) as u64;
        counts.too_late += admitted.too_late.len() as u64;
        counts.accepted += admitted.accepted.len() as u64;
        admitted.accepted
    }
}

impl File {
    fn watermark(&self, out_of_orderness: std::time::Duration) -> EventTime {
        self.admission.seen().max(self.first).before(out_of_orderness)
    }
}

/// The time of a file's first event; before everything where its first records hold none.
fn first_event(spec: &RecordingSpec, file: &FilePartition, decoder: &mut Decoder) -> Result<EventTime, TrainingError> {
    let records = first_records(&spec.files, file, FilesSpec::FIRST_RECORDS)?;
    Ok(decoder.first_time(&records, &file.partition.name).unwrap_or(EventTime::MIN))
}
