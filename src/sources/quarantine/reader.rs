//! A worker's reader of its partitions of quarantined records.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::reject::{Reject, RejectReason};
use crate::sources::quarantine::{Entry, Quarantine, Redriven, Rows};
use crate::sources::{Read, Reader, SourceError};

/// Files whose rows are held at once. Offsets of a partition follow each other in few files, as they were written.
const FILES_HELD: usize = 4;

/// A batch is cut beyond this.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Reads file after file, in all partitions that are not paused.
pub struct QuarantineReader {
    quarantine: Arc<Quarantine>,
    lanes: Vec<Lane>,
    places: HashMap<PartitionId, usize>,
    /// The one that was needed last is at the end.
    held: VecDeque<(u32, Arc<Rows>)>,
}

struct Lane {
    redriven: Redriven,
    /// The entry that is read next.
    at: usize,
    is_paused: bool,
    has_ended: bool,
}

impl QuarantineReader {
    /// A reader of these partitions; one begins at the offset that `start_of` gives, else at its first record.
    pub fn new(
        quarantine: Arc<Quarantine>,
        partitions: Vec<Redriven>,
        start_of: &dyn Fn(PartitionId) -> Option<Offset>,
    ) -> QuarantineReader {
        let lane = |redriven: Redriven| {
            let start = start_of(redriven.partition.id).unwrap_or(Offset(i64::MIN));
            let at = redriven.entries.partition_point(|entry| entry.offset < start);
            Lane { redriven, at, is_paused: false, has_ended: false }
        };
        let lanes: Vec<Lane> = partitions.into_iter().map(lane).collect();
        let places = lanes.iter().enumerate().map(|(place, lane)| (lane.redriven.partition.id, place)).collect();
        QuarantineReader { quarantine, lanes, places, held: VecDeque::new() }
    }

    fn rows(&mut self, file: u32) -> Result<Arc<Rows>, SourceError> {
        if let Some(place) = self.held.iter().position(|(other, _)| *other == file)
            && let Some(found) = self.held.remove(place)
        {
            let rows = Arc::clone(&found.1);
            self.held.push_back(found);
            return Ok(rows);
        }
        let rows = Arc::new(self.quarantine.rows(file)?);
        if self.held.len() >= FILES_HELD {
            self.held.pop_front();
        }
        self.held.push_back((file, Arc::clone(&rows)));
        Ok(rows)
    }

    fn read_one(&mut self, place: usize, rows_max: usize) -> Result<Read, SourceError> {
        let Lane { redriven, at, .. } = &self.lanes[place];
        let (id, form, first) = (redriven.partition.id, redriven.form.clone(), redriven.entries[*at]);
        let rows = self.rows(first.file)?;
        let lane = &mut self.lanes[place];
        let was_stamped = rows.was_stamped(first.row as usize);
        let mut bytes = 0;
        let alike = lane.redriven.entries[lane.at..].iter().take(rows_max.max(1)).take_while(|entry| {
            let row = entry.row as usize;
            let is_alike = entry.file == first.file && entry.is_chosen == first.is_chosen;
            let fits = is_alike && rows.was_stamped(row) == was_stamped && bytes <= BATCH_BYTES_MAX;
            bytes += if fits { rows.bytes(row) } else { 0 };
            fits
        });
        let entries: Vec<Entry> = alike.copied().collect();
        lane.at += entries.len();
        let numbers: Vec<u32> = entries.iter().map(|entry| entry.row).collect();
        let raw = rows.raw(id, &numbers, &form);
        if first.is_chosen {
            return Ok(Read::Records(raw));
        }
        let rejects = entries.iter().map(|entry| {
            let text = rows.reason(entry.row as usize);
            let fault = || SourceError::Quarantine {
                file: self.quarantine.name(first.file),
                fault: format!("`{text}` is no reason that is known"),
            };
            Ok(Reject { offset: entry.offset, reason: RejectReason::parse(text).ok_or_else(fault)? })
        });
        Ok(Read::Refused(raw, rejects.collect::<Result<_, SourceError>>()?))
    }
}

impl Reader for QuarantineReader {
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.has_ended && !lane.is_paused) {
            if lane.at == lane.redriven.entries.len() {
                lane.has_ended = true;
                let next = lane.redriven.entries.last().map_or(Offset(0), |entry| entry.offset.next());
                out.push(Read::Ended { partition: lane.redriven.partition.id, next });
            }
        }
        let open = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.has_ended && !lane.is_paused);
        // So that each file is read about once, whoever it is about.
        let next = open.min_by_key(|(place, lane)| (lane.redriven.entries[lane.at].file, *place));
        if let Some((place, _)) = next {
            let read = self.read_one(place, rows_max)?;
            out.push(read);
        }
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(&place) = self.places.get(&partition) {
            self.lanes[place].is_paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(&place) = self.places.get(&partition) {
            self.lanes[place].is_paused = false;
        }
        Ok(())
    }
}
