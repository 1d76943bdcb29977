//! The ledger against the source itself: reads again what was read, and decides again what became of it.
//!
//! Promise: for each stretch of offsets between two checkpoints, the source holds as many records as were read, of the same lengths, of which
//! as many are accepted, too late and quarantined, with the same event times. What values they hold is not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{Thread, current, park_timeout};
use std::time::{Duration, Instant};

use crate::audit::AuditError;
use crate::audit::verify::accounts::{Placed, partition_of};
use crate::audit::verify::finding::{Finding, Remark};
use crate::checkpoint::manifest::{Counts, PartitionAccount, Sequence};
use crate::decode::admission::Admission;
use crate::decode::{Decode, Decoder};
use crate::domain::ids::{Offset, PartitionId, redriven_of};
use crate::domain::raw::RawBatch;
use crate::domain::schema::EventSchema;
use crate::domain::time::EventTime;
use crate::domain::trace::Trace;
use crate::domain::watermark::WatermarkSpec;
use crate::sources::files::{FileReader, FilesSpec, discover};
use crate::sources::kafka::{KafkaClient, KafkaReader, KafkaSpec};
use crate::sources::{Partition, Read, Reader};

/// Where the records are, and how they become events.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    pub origin: Origin,
    pub events: EventSchema,
    pub watermark: WatermarkSpec,
}

#[derive(Clone, Debug)]
pub enum Origin {
    Files(FilesSpec),
    Kafka(KafkaSpec),
}

/// So many records at a time.
const READ_ROWS: usize = 8192;
/// How long a broker may give nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A partition while it is read again.
struct Again<'a> {
    name: String,
    /// In the order of offsets.
    stretches: Vec<(Sequence, &'a PartitionAccount)>,
    /// The stretch that is being read, and what was found in it so far.
    at: usize,
    counts: Counts,
    trace: Trace,
    admission: Admission,
    next: Offset,
    is_done: bool,
}

/// Compares what the ledger says with what the source holds.
pub fn compare(
    spec: &SourceSpec,
    rows: &[Placed<'_>],
    findings: &mut Vec<Finding>,
    remarks: &mut Vec<Remark>,
) -> Result<(), AuditError> {
    let mut accounts: BTreeMap<String, Vec<(Sequence, &PartitionAccount)>> = BTreeMap::new();
    for placed in rows {
        if let Some(account) = partition_of(placed.row) {
            accounts.entry(account.partition.clone()).or_default().push((placed.row.sequence, account));
        }
    }
    // What was played again is no partition of the source.
    let names: BTreeSet<String> = accounts.keys().cloned().collect();
    accounts.retain(|name, _| redriven_of(name).is_none_or(|original| !names.contains(original)));
    let begins: BTreeMap<&str, (Offset, Offset)> = accounts
        .iter()
        .filter_map(|(name, stretches)| Some((name.as_str(), (stretches.first()?.1.from, stretches.last()?.1.to))))
        .collect();
    let (mut reader, partitions) = open(spec, &begins)?;
    let mut again: BTreeMap<PartitionId, Again> = BTreeMap::new();
    for Partition { id, name } in partitions {
        let Some(stretches) = accounts.remove(&name) else { continue };
        let next = stretches[0].1.from;
        let is_done = stretches.last().is_none_or(|(_, last)| last.to <= next);
        let (counts, trace) = (Counts::default(), Trace::default());
        let admission = Admission::new(&spec.watermark, EventTime::MIN);
        again.insert(id, Again { name, stretches, at: 0, counts, trace, admission, next, is_done });
    }
    findings.extend(accounts.into_keys().map(|partition| Finding::SourceMissing { partition }));
    let mut decoder = Decoder::new(&spec.events)?;
    let mut heard = Instant::now();
    while again.values().any(|partition| !partition.is_done) {
        let mut reads = Vec::new();
        if let Some((id, _)) = again.iter().find(|(_, partition)| !partition.is_done) {
            reader.prefer(*id);
        }
        reader.read(READ_ROWS, &mut reads)?;
        match reads.is_empty() {
            false => heard = Instant::now(),
            true if heard.elapsed() > SILENCE_MAX => return Err(AuditError::Silent { waited: SILENCE_MAX }),
            true => park_timeout(Duration::from_millis(50)),
        }
        for read in reads {
            take(read, &mut again, &mut decoder, findings, remarks);
        }
    }
    Ok(())
}

type Opened = (Box<dyn Reader>, Vec<Partition>);

/// A reader that begins where the output began, and ends where it stands.
fn open(spec: &SourceSpec, begins: &BTreeMap<&str, (Offset, Offset)>) -> Result<Opened, AuditError> {
    match &spec.origin {
        Origin::Files(files) => {
            let mut found = discover(files)?;
            found.retain(|file| begins.contains_key(file.partition.name.as_str()));
            let partitions = found.iter().map(|file| file.partition.clone()).collect();
            Ok((Box::new(FileReader::new(files, found, &|_| None)), partitions))
        }
        Origin::Kafka(kafka) => {
            let client = KafkaClient::connect(kafka)?;
            let partitions = client.partitions();
            let names: BTreeMap<PartitionId, &(Offset, Offset)> = partitions
                .iter()
                .filter_map(|partition| Some((partition.id, begins.get(partition.name.as_str())?)))
                .collect();
            let ends = client.ends()?;
            let until = names.iter().map(|(id, (_, to))| (*id, ends.get(id).map_or(*to, |end| *to.min(end)))).collect();
            let reading: Thread = current();
            let wake = Box::new(move || reading.unpark());
            let start_of = |id| Some(names.get(&id).map_or(Offset(0), |(from, _)| *from));
            let reader = KafkaReader::new(Arc::clone(&client), 0, 1, &start_of, Some(&until), wake)?;
            Ok((Box::new(reader), partitions))
        }
    }
}

fn take(
    read: Read,
    again: &mut BTreeMap<PartitionId, Again>,
    decoder: &mut Decoder,
    findings: &mut Vec<Finding>,
    remarks: &mut Vec<Remark>,
) {
    match read {
        Read::Records(raw) => {
            if let Some(partition) = again.get_mut(&raw.partition).filter(|partition| !partition.is_done) {
                partition.records(&raw, decoder, findings);
            }
        }
        Read::CaughtUp { partition, next } | Read::Ended { partition, next } => {
            if let Some(partition) = again.get_mut(&partition).filter(|partition| !partition.is_done) {
                partition.end(next, findings);
            }
        }
        Read::Lost { partition, to, .. } => {
            if let Some(partition) = again.get_mut(&partition) {
                partition.is_done = true;
                remarks.push(Remark::SourceDeleted { partition: partition.name.clone(), from: to.0 });
            }
        }
        // A source refuses nothing itself.
        Read::Found(_) | Read::Refused(..) => {}
    }
}

impl Again<'_> {
    fn last(&self) -> Offset {
        self.stretches.last().map_or(self.next, |(_, last)| last.to)
    }

    /// Closes the stretches that end at or before this offset.
    fn close(&mut self, upto: Offset, findings: &mut Vec<Finding>) {
        while let Some((sequence, account)) = self.stretches.get(self.at).filter(|(_, account)| account.to <= upto) {
            let (found, trace) = (std::mem::take(&mut self.counts), std::mem::take(&mut self.trace));
            let wanted = account.counts;
            let pairs = |counts: Counts| [counts.read, counts.accepted, counts.too_late, counts.quarantined];
            let what = if pairs(found) != pairs(wanted) {
                let told = |counts: Counts| {
                    let [read, accepted, too_late, quarantined] = pairs(counts);
                    format!("{read} records, {accepted} accepted, {too_late} too late, {quarantined} quarantined")
                };
                Some(format!("{}, not {}", told(found), told(wanted)))
            } else {
                (trace != account.trace).then(|| "as many records, of other lengths or times".to_owned())
            };
            if let Some(what) = what {
                let (partition, from, to) = (self.name.clone(), account.from.0, account.to.0);
                findings.push(Finding::SourceDiffers { partition, from, to, sequence: *sequence, what });
            }
            self.at += 1;
        }
        self.is_done |= self.at == self.stretches.len();
    }

    fn end(&mut self, next: Offset, findings: &mut Vec<Finding>) {
        if next < self.last() {
            let (partition, found, wanted) = (self.name.clone(), next.0, self.last().0);
            findings.push(Finding::SourceEnds { partition, found, wanted });
        } else {
            self.close(self.last(), findings);
        }
        self.is_done = true;
    }

    fn records(&mut self, raw: &RawBatch, decoder: &mut Decoder, findings: &mut Vec<Finding>) {
        let decoded = decoder.decode(raw, &self.name);
        let mut refused: Vec<Offset> = decoded.rejects.iter().map(|reject| reject.offset).collect();
        let admitted = self.admission.admit(decoded.events, raw);
        refused.extend(admitted.early.iter().map(|reject| reject.offset));
        refused.sort_unstable();
        let too_late: Vec<Offset> = admitted.too_late.iter().map(|event| event.offset).collect();
        let accepted: Vec<(Offset, i64)> = {
            let offsets = admitted.accepted.offsets().iter().map(|offset| Offset(*offset));
            offsets.zip(admitted.accepted.times().iter().copied()).collect()
        };
        for record in 0..raw.len() {
            let offset = raw.offset(record);
            self.close(offset, findings);
            if self.is_done {
                return;
            }
            self.counts.read += 1;
            self.trace.record(offset, raw.payload(record).len());
            if let Ok(event) = accepted.binary_search_by_key(&offset, |(offset, _)| *offset) {
                self.counts.accepted += 1;
                self.trace.event(offset, accepted[event].1);
            } else if too_late.binary_search(&offset).is_ok() {
                self.counts.too_late += 1;
            } else if refused.binary_search(&offset).is_ok() {
                self.counts.quarantined += 1;
            }
            self.next = offset.next();
        }
        if self.next >= self.last() {
            self.close(self.last(), findings);
        }
    }
}
