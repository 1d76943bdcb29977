//! A worker's share of the source: records in; accepted events, refused records, accounts and watermarks out.
//!
//! Promise: every offset that is passed over is in exactly one account, under exactly one heading.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::decode::admission::Admission;
use crate::decode::{Decode, Decoded, refused};
use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::RawBatch;
use crate::domain::reject::Reject;
use crate::domain::table::{Rows, Table};
use crate::domain::time::EventTime;
use crate::domain::watermark::WatermarkSpec;
use crate::observe::metrics::Tally;
use crate::pipeline::account::PartitionReport;
use crate::pipeline::parcel::Item;
use crate::pipeline::pool::{DecodeJob, DecodePool};
use crate::pipeline::spec::Until;
use crate::pipeline::watermarks::Mark;
use crate::sources::{Partition, Read, Reader, SourceError};

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is more to read, or it is not known yet whether there is.
    Behind,
    /// All was read at this instant; idle when nothing comes for a while.
    CaughtUp {
        at: Instant,
    },
    /// Found while running: holds nothing back until it speaks.
    New,
    Ended,
}

#[derive(Debug)]
struct State {
    report: PartitionReport,
    /// The name that its events know.
    known_as: String,
    admission: Admission,
    phase: Phase,
    /// A file's watermark before it is read is the one that its first event will give it.
    first: EventTime,
    is_paused: bool,
    /// Batches of it that were read and not taken yet.
    batches_ahead: usize,
    /// An event was accepted in this run.
    has_spoken: bool,
    /// It has ended, and its last account was closed.
    is_settled: bool,
}

/// Where a partition begins: from the manifest, or at its beginning.
#[derive(Clone, Debug)]
pub struct Begin {
    pub partition: Partition,
    /// The name that its events know: its own, or that of the partition whose records it plays again.
    pub known_as: String,
    pub next: Offset,
    /// The greatest event time accepted before; `MIN` at the beginning.
    pub seen: EventTime,
    /// The time of the first event that will come, where it is known before reading; else `MIN`.
    pub first: EventTime,
}

/// What was read and not taken yet.
enum Ahead {
    Records(Arc<DecodeJob>),
    /// Whatever is not records.
    News(Box<Read>),
}

/// See the module.
pub struct Intake {
    worker: usize,
    reader: Box<dyn Reader>,
    decoder: Box<dyn Decode>,
    pool: Arc<DecodePool>,
    spec: WatermarkSpec,
    partitions: BTreeMap<PartitionId, State>,
    until: Until,
    /// In the order in which it was read.
    ahead: VecDeque<Ahead>,
    /// The batches of records among them.
    batches_ahead: usize,
    /// What nobody may run further ahead of than `max_drift`, as of the last look.
    slowest: EventTime,
    /// Records and bytes handed on, for progress.
    pub records: u64,
    pub bytes: u64,
    /// What became of them, since it was last taken.
    tally: Tally,
}

impl Intake {
    pub fn new(
        worker: usize,
        reader: Box<dyn Reader>,
        (decoder, pool): (Box<dyn Decode>, Arc<DecodePool>),
        spec: WatermarkSpec,
        begins: Vec<Begin>,
        until: Until,
    ) -> Intake {
        let partitions = begins.into_iter().map(|begin| {
            let id = begin.partition.id;
            let state = State {
                report: PartitionReport::open(id, begin.partition.name, begin.next),
                known_as: begin.known_as,
                admission: Admission::new(&spec, begin.seen),
                phase: Phase::Behind,
                first: begin.first,
                is_paused: false,
                batches_ahead: 0,
                has_spoken: false,
                is_settled: false,
            };
            (id, state)
        });
        let partitions = partitions.collect();
        let (ahead, batches_ahead) = (VecDeque::new(), 0);
        Intake {
            worker,
            reader,
            decoder,
            pool,
            spec,
            partitions,
            until,
            ahead,
            batches_ahead,
            slowest: EventTime::MIN,
            records: 0,
            bytes: 0,
            tally: Tally::default(),
        }
    }

    /// What became of the records since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Where each partition goes on.
    pub fn standing(&self) -> impl Iterator<Item = (PartitionId, &str, Offset)> {
        self.partitions.iter().map(|(id, state)| {
            let account = &state.report.account;
            (*id, account.partition.as_str(), account.to)
        })
    }

    /// The newest event time accepted; `MIN` before the first.
    pub fn newest(&self) -> EventTime {
        self.partitions.values().map(|state| state.admission.seen()).max().unwrap_or(EventTime::MIN)
    }

    /// Records that the reader has and was not asked for yet.
    pub fn waiting(&self) -> usize {
        self.reader.waiting()
    }

    /// Reads what is there, in batches of up to about `rows_max` records, and takes what was read first. `None`: nothing is there now.
    pub fn read(&mut self, rows_max: usize, now: Instant) -> Result<Option<Vec<Item>>, SourceError> {
        let is_all = self.read_ahead(rows_max)?;
        if self.ahead.is_empty() {
            return Ok(None);
        }
        // What others may still be decoding can wait while there is more.
        let left = if is_all { 0 } else { self.pool.ahead() / 2 };
        let mut items = Vec::new();
        while self.batches_ahead > left || self.batches_ahead == 0 {
            match self.ahead.pop_front() {
                Some(Ahead::Records(job)) => {
                    self.batches_ahead -= 1;
                    let (raw, decoded) = job.finish(self.decoder.as_mut());
                    self.state(raw.partition).batches_ahead -= 1;
                    self.records(&raw, decoded, &mut items);
                }
                Some(Ahead::News(read)) => {
                    self.batches_ahead -= usize::from(matches!(*read, Read::Refused(..)));
                    self.take(*read, now, &mut items);
                }
                None => break,
            }
        }
        Ok(Some(items))
    }

    /// Reads so far ahead that others have something to decode; once, if there are none. Whether that is all to be taken now.
    fn read_ahead(&mut self, rows_max: usize) -> Result<bool, SourceError> {
        let mut reads = Vec::new();
        while self.batches_ahead < self.pool.ahead() {
            if let Some(behind) = self.furthest_behind() {
                self.reader.prefer(behind);
            }
            self.reader.read(rows_max, &mut reads)?;
            if reads.is_empty() {
                return Ok(true);
            }
            for read in reads.drain(..) {
                match read {
                    Read::Records(raw) if raw.is_empty() => {}
                    Read::Records(raw) => {
                        let state = self.state(raw.partition);
                        state.batches_ahead += 1;
                        let name = state.known_as.clone();
                        self.ahead.push_back(Ahead::Records(self.pool.post(raw, name)));
                        self.batches_ahead += 1;
                    }
                    Read::Found(partition) => {
                        self.begin(&partition);
                        self.ahead.push_back(Ahead::News(Box::new(Read::Found(partition))));
                    }
                    Read::Refused(raw, rejects) => {
                        self.ahead.push_back(Ahead::News(Box::new(Read::Refused(raw, rejects))));
                        self.batches_ahead += 1;
                    }
                    news => self.ahead.push_back(Ahead::News(Box::new(news))),
                }
            }
            if self.pool.ahead() == 1 || self.may_overshoot() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what was read ahead may take a partition beyond `max_drift`: how far it does is known when it is decoded.
    fn may_overshoot(&self) -> bool {
        let near = self.slowest.after(self.spec.max_drift / 2);
        let is_near = |watermark: EventTime| watermark != EventTime::MIN && watermark <= near;
        let mut ahead = self.partitions.values().filter(|state| state.batches_ahead > 0);
        ahead.any(|state| !is_near(state.watermark(&self.spec, false)))
    }

    /// A partition that was not there before.
    fn begin(&mut self, partition: &Partition) {
        let state = State {
            report: PartitionReport::open(partition.id, partition.name.clone(), Offset(0)),
            known_as: partition.name.clone(),
            admission: Admission::new(&self.spec, EventTime::MIN),
            phase: Phase::New,
            first: EventTime::MIN,
            is_paused: false,
            batches_ahead: 0,
            has_spoken: false,
            is_settled: false,
        };
        self.partitions.insert(partition.id, state);
    }

    /// How far reading has come in what progress is measured by.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read().unwrap_or(self.bytes)
    }

    /// The partition that holds back the watermark.
    fn furthest_behind(&self) -> Option<PartitionId> {
        let open = self.partitions.iter().filter(|(_, state)| state.phase != Phase::Ended && !state.is_paused);
        open.min_by_key(|(id, state)| (state.watermark(&self.spec, false), **id)).map(|(id, _)| *id)
    }

    fn take(&mut self, read: Read, now: Instant, items: &mut Vec<Item>) {
        match read {
            Read::Records(_) => unreachable!("records are ahead as jobs, never as news"),
            Read::Refused(raw, rejects) => self.refused(&raw, &rejects, items),
            Read::CaughtUp { partition, next } => {
                let state = self.state(partition);
                state.report.skip_to(next);
                state.phase = match state.phase {
                    Phase::New => Phase::New,
                    Phase::CaughtUp { at } => Phase::CaughtUp { at },
                    _ => Phase::CaughtUp { at: now },
                };
            }
            Read::Ended { partition, next } => {
                let state = self.state(partition);
                state.report.skip_to(next);
                state.phase = Phase::Ended;
            }
            Read::Found(partition) => {
                items.push(Item::Found { target: self.worker, id: partition.id, name: partition.name });
            }
            Read::Lost { partition, from, to } => {
                let report = &mut self.state(partition).report;
                report.skip_to(from);
                let account = &mut report.account;
                // Retention may have moved on between two looks.
                let lost = (to.0 - account.to.0).max(0) as u64;
                account.counts.lost += lost;
                account.to = account.to.max(to);
                self.tally.lost += lost;
            }
        }
    }

    fn state(&mut self, partition: PartitionId) -> &mut State {
        self.partitions.get_mut(&partition).expect("a reader speaks of its own partitions only")
    }

    fn records(&mut self, raw: &RawBatch, Decoded { events, rejects }: Decoded, items: &mut Vec<Item>) {
        self.records += raw.len() as u64;
        self.bytes += raw.bytes.len() as u64;
        let state = self.partitions.get_mut(&raw.partition).expect("a reader speaks of its own partitions only");
        let admitted = state.admission.admit(events, raw);
        self.tally.accepted += admitted.accepted.len() as u64;
        self.tally.late += admitted.late as u64;
        self.tally.too_late += admitted.too_late.len() as u64;
        for reject in rejects.iter().chain(&admitted.early) {
            *self.tally.quarantined.entry(reject.reason.name()).or_default() += 1;
        }
        state.count(raw, admitted.accepted.len(), admitted.too_late.len(), rejects.len() + admitted.early.len());
        let trace = &mut state.report.account.trace;
        (0..raw.len()).for_each(|record| trace.record(raw.offset(record), raw.payload(record).len()));
        let accepted = admitted.accepted.offsets().iter().zip(admitted.accepted.times());
        accepted.for_each(|(offset, time)| trace.event(Offset(*offset), *time));
        // What is refused does not move the watermark: a partition that brings nothing else must not hold back the others.
        if !admitted.accepted.is_empty() {
            state.phase = Phase::Behind;
            state.has_spoken = true;
        }
        for refused in [&rejects, &admitted.early].into_iter().filter(|rejects| !rejects.is_empty()) {
            items.push(Item::Rows(Rows { table: Table::Quarantine, batch: refused::quarantine(raw, refused) }));
        }
        if !admitted.too_late.is_empty() {
            items.push(Item::Rows(Rows { table: Table::Late, batch: refused::late(raw, &admitted.too_late) }));
        }
        if !admitted.accepted.is_empty() {
            items.push(Item::Events(admitted.accepted.into_columns()));
        }
    }

    /// Records that nobody looks into: each stays quarantined for its reason.
    fn refused(&mut self, raw: &RawBatch, rejects: &[Reject], items: &mut Vec<Item>) {
        self.records += raw.len() as u64;
        self.bytes += raw.bytes.len() as u64;
        for reject in rejects {
            *self.tally.quarantined.entry(reject.reason.name()).or_default() += 1;
        }
        let state = self.state(raw.partition);
        state.count(raw, 0, 0, rejects.len());
        let trace = &mut state.report.account.trace;
        (0..raw.len()).for_each(|record| trace.record(raw.offset(record), raw.payload(record).len()));
        items.push(Item::Rows(Rows { table: Table::Quarantine, batch: refused::quarantine(raw, rejects) }));
    }

    /// This worker's mark at the end of an epoch.
    pub fn mark(&self, now: Instant) -> Mark {
        if self.until == Until::Redriven {
            return Mark::silent(self.worker);
        }
        let (mut live, mut idle) = (None, None);
        let mut newest = EventTime::MIN;
        let lower = |least: &mut Option<EventTime>, watermark: EventTime| {
            *least = Some(least.map_or(watermark, |least| least.min(watermark)));
        };
        for state in self.partitions.values() {
            let watermark = state.watermark(&self.spec, self.until == Until::Closed);
            let is_idle = watermark != EventTime::MAX && state.is_idle(now, self.spec.idle_after);
            lower(if is_idle { &mut idle } else { &mut live }, watermark);
            newest = newest.max(state.admission.seen()).max(state.first);
        }
        Mark { live, idle, reading: self.reading(now), newest, ..Mark::silent(self.worker) }
    }

    /// The least watermark of the partitions that still have something to read; none where none has, or none moves a watermark.
    fn reading(&self, now: Instant) -> Option<EventTime> {
        let is_reading = |state: &&State| state.phase != Phase::Ended && !state.is_idle(now, self.spec.idle_after);
        let reading = self.partitions.values().filter(is_reading).map(|state| state.watermark(&self.spec, false));
        reading.min().filter(|_| self.until != Until::Redriven)
    }

    /// Closes the accounts at a checkpoint. One that has ended has a last one, and no more.
    pub fn close_accounts(&mut self) -> Vec<PartitionReport> {
        let spec = &self.spec;
        let close = |state: &mut State| {
            if state.phase == Phase::Ended && state.is_settled {
                return None;
            }
            state.is_settled = state.phase == Phase::Ended;
            let watermark = state.watermark(spec, false);
            Some(state.report.close(state.admission.seen(), watermark, state.phase == Phase::Ended))
        };
        self.partitions.values_mut().filter_map(close).collect()
    }

    /// Pauses partitions that ran further ahead of the slowest one than `max_drift`, and lets go on those that no longer are. `others` is
    /// the slowest of the other workers' partitions as their last marks told it: those go on meanwhile, so that it errs by holding too
    /// soon. `MIN` is that of a partition of which nobody knows yet where it begins: nobody reads more than a first batch before it is known.
    pub fn align(&mut self, others: EventTime, now: Instant) -> Result<(), SourceError> {
        self.slowest = self.reading(now).map_or(others, |own| own.min(others));
        let ahead = self.slowest.after(self.spec.max_drift);
        let near = self.slowest.after(self.spec.max_drift / 2);
        for (partition, state) in &mut self.partitions {
            let watermark = state.watermark(&self.spec, false);
            if !state.is_paused && state.phase != Phase::Ended && watermark > ahead {
                self.reader.pause(*partition)?;
                state.is_paused = true;
            } else if state.is_paused && watermark <= near {
                self.reader.resume(*partition)?;
                state.is_paused = false;
            }
        }
        Ok(())
    }

    /// Whether a partition waits for others to catch up.
    pub fn is_held(&self) -> bool {
        self.partitions.values().any(|state| state.is_paused)
    }

    /// Whether all that will ever come is there already, so that silence never means waiting.
    pub fn is_recorded(&self) -> bool {
        self.until == Until::Closed
    }

    /// Whether nothing will ever come any more.
    pub fn is_exhausted(&self) -> bool {
        self.until != Until::Stopped && self.partitions.values().all(|state| state.phase == Phase::Ended)
    }
}

impl State {
    fn watermark(&self, spec: &WatermarkSpec, closes_at_end: bool) -> EventTime {
        if self.phase == Phase::Ended && closes_at_end {
            return EventTime::MAX;
        }
        self.admission.seen().max(self.first).before(spec.out_of_orderness)
    }

    fn is_idle(&self, now: Instant, idle_after: Duration) -> bool {
        match self.phase {
            // Nobody listens to it, so its silence means nothing.
            _ if self.is_paused => false,
            Phase::Behind => false,
            // Nothing was ever said here: waiting for it would hold back everything from the start.
            Phase::CaughtUp { .. } if self.admission.seen() == EventTime::MIN => true,
            // One that had nothing new in this run may have been silent for long.
            Phase::Ended => !self.has_spoken,
            Phase::CaughtUp { at } => now.saturating_duration_since(at) >= idle_after,
            Phase::New => true,
        }
    }

    fn count(&mut self, raw: &RawBatch, accepted: usize, too_late: usize, quarantined: usize) {
        assert_eq!(raw.len(), accepted + too_late + quarantined, "every record is an event or a refused one");
        self.report.skip_to(raw.offset(0));
        assert_eq!(self.report.account.to, raw.offset(0), "no offset is read twice");
        // Offsets between records hold none.
        let holes = raw.offset(raw.len() - 1).0 - raw.offset(0).0 + 1 - raw.len() as i64;
        self.report.account.to = raw.offset(raw.len() - 1).next();
        let counts = &mut self.report.account.counts;
        counts.skipped += holes as u64;
        counts.read += raw.len() as u64;
        counts.accepted += accepted as u64;
        counts.too_late += too_late as u64;
        counts.quarantined += quarantined as u64;
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
