//! A worker's reader of its Kafka partitions.
//!
//! Invariant: `next` of a partition is the offset after the last record handed on, or behind the holes that an
//! end-of-partition event passed over; it never falls. librdkafka's own position is not asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::broker::{BrokerError, PATIENCE};
use crate::domain::ids::{Offset, PartitionId};
use crate::sources::kafka::Lost;
use crate::sources::kafka::client::{KafkaClient, Mailbox, News, Shared};
use crate::sources::kafka::columns::Columns;
use crate::sources::kafka::place_of;
use crate::sources::kafka::queue::{PartitionQueue, Scratch, Taken};
use crate::sources::{Partition, Read, Reader, SourceError, Wake};

/// Records of one partition in one batch.
const BATCH_ROWS_MAX: usize = 8192;
/// Where many partitions have records, each still gives a batch that is worth decoding.
const BATCH_ROWS_MIN: usize = 512;

/// How often all queues are looked at although none has called.
const SWEEP: Duration = Duration::from_secs(1);

/// Reads the partitions of one worker.
pub struct KafkaReader {
    partitions: Vec<Assigned>,
    places: HashMap<PartitionId, usize>,
    /// The place that is read first next time, so that no partition starves another.
    turn: usize,
    reach: Reach,
    wake: Arc<Wake>,
    mailbox: Arc<Mailbox>,
    /// Where each partition that was there at the start begins.
    begins: BTreeMap<PartitionId, Offset>,
    /// What the start found, before the first read.
    pending: Vec<Read>,
    scratch: Scratch,
    /// Room for the next batch.
    room: Columns,
    swept: Instant,
    /// Last, so that the queues are gone before their client.
    client: Arc<KafkaClient>,
}

/// How far to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Forever,
    /// To the ends that were given at the start; partitions added later are not read.
    Ends,
}

struct Assigned {
    id: PartitionId,
    queue: PartitionQueue,
    next: i64,
    end: Option<i64>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    Paused,
    /// Its offset is not there (any more); where it begins has been asked for.
    Astray {
        resumes: bool,
    },
    Ended,
}

impl KafkaReader {
    /// A reader of worker `worker` of `workers`. A partition begins at `start_of`; without one at its first offset if
    /// another partition of its topic has one (it was added meanwhile), else where the specification says. With `until`
    /// (see `KafkaClient::ends`) each partition ends there. Asks the broker, so it takes a moment.
    pub fn new(
        client: Arc<KafkaClient>,
        worker: usize,
        workers: usize,
        start_of: &dyn Fn(PartitionId) -> Option<Offset>,
        until: Option<&BTreeMap<PartitionId, Offset>>,
        wake: Wake,
    ) -> Result<KafkaReader, SourceError> {
        let wake = Arc::new(wake);
        let (mine, mailbox) = client.shared().register(worker, workers, Arc::clone(&wake));
        let mut reader = KafkaReader {
            partitions: Vec::with_capacity(mine.len()),
            places: HashMap::new(),
            turn: 0,
            reach: if until.is_some() { Reach::Ends } else { Reach::Forever },
            wake,
            mailbox,
            begins: BTreeMap::new(),
            pending: Vec::new(),
            scratch: Scratch::new(BATCH_ROWS_MAX),
            room: Columns::default(),
            swept: Instant::now(),
            client: Arc::clone(&client),
        };
        let shared = client.shared();
        let begin = begin_of(shared, &mine, start_of)?;
        let ranges = shared.ranges(&mine, PATIENCE)?;
        for id in mine {
            let (Some(wanted), Some((first, end))) = (begin.get(&id).copied(), ranges.get(&id).copied()) else {
                continue;
            };
            let (next, lost) = settle(shared, id, wanted, first, end)?;
            reader.pending.extend(lost);
            reader.begins.insert(id, next);
            reader.assign(id, next, until.map(|ends| ends.get(&id).copied().unwrap_or(next)))?;
        }
        Ok(reader)
    }

    /// Where each partition that was there at the start begins.
    pub fn begins(&self) -> &BTreeMap<PartitionId, Offset> {
        &self.begins
    }

    /// Splits the partition's queue off, then lets librdkafka fetch.
    fn assign(&mut self, id: PartitionId, next: Offset, end: Option<Offset>) -> Result<(), SourceError> {
        let shared = self.client.shared();
        if end.is_some_and(|end| next >= end) {
            self.pending.push(Read::Ended { partition: id, next });
            return Ok(());
        }
        let (topic, partition) = shared.address(id);
        let queue = PartitionQueue::split(&shared.consumer, topic, partition, Arc::clone(&self.wake));
        let queue = queue.ok_or_else(|| fault(shared, id, next.0, "librdkafka has no queue for it".into()))?;
        start_fetching(shared, id, next)?;
        self.places.insert(id, self.partitions.len());
        let end = end.map(|end| end.0);
        self.partitions.push(Assigned { id, queue, next: next.0, end, phase: Phase::Reading });
        Ok(())
    }

    fn take_news(&mut self, out: &mut Vec<Read>) -> Result<(), SourceError> {
        for news in self.mailbox.take() {
            match news {
                News::Gone { topic } => return Err(SourceError::TopicGone { topic }),
                News::Found { partition, first } => self.take_up(partition, first, out)?,
                News::Range { partition, first, end } => self.return_to_range(partition, first, end, out)?,
            }
        }
        Ok(())
    }

    fn take_up(&mut self, partition: Partition, first: Offset, out: &mut Vec<Read>) -> Result<(), SourceError> {
        if self.reach == Reach::Ends || self.places.contains_key(&partition.id) {
            return Ok(());
        }
        tracing::info!(partition = partition.name, offset = first.0, "partition found");
        self.assign(partition.id, first, None)?;
        out.push(Read::Found(partition));
        Ok(())
    }

    /// A partition's offset was out of range; this is its range.
    fn return_to_range(
        &mut self,
        id: PartitionId,
        first: Offset,
        end: Offset,
        out: &mut Vec<Read>,
    ) -> Result<(), SourceError> {
        let Some(&place) = self.places.get(&id) else { return Ok(()) };
        let shared = self.client.shared();
        let partition = &mut self.partitions[place];
        let Phase::Astray { resumes } = partition.phase else { return Ok(()) };
        let (next, lost) = settle(shared, id, Offset(partition.next), first, end)?;
        out.extend(lost);
        partition.next = next.0;
        let stopped =
            shared.list(&[(id, KafkaOffset::Invalid)]).and_then(|list| shared.consumer.incremental_unassign(&list));
        stopped.map_err(|error| fault(shared, id, next.0, error.to_string()))?;
        start_fetching(shared, id, next)?;
        partition.phase = if resumes { Phase::Reading } else { Phase::Paused };
        Ok(())
    }

    /// Hands on at most `rows_max` records of one partition. Returns how many.
    fn read_one(&mut self, place: usize, rows_max: usize, out: &mut Vec<Read>) -> Result<usize, SourceError> {
        let partition = &mut self.partitions[place];
        let (id, end) = (partition.id, partition.end.unwrap_or(i64::MAX));
        let mut columns = std::mem::take(&mut self.room);
        let mut next = partition.next;
        let mut reached = None;
        let mut faults = Vec::new();
        let mut handed_on = 0;
        let mut batches = Vec::new();
        partition.queue.take(&mut self.scratch, rows_max, |taken| match taken {
            // Already handed on, or beyond the end that was asked for.
            Taken::Record { offset, .. } if offset < next => {}
            Taken::Record { offset, .. } if offset >= end => next = end,
            Taken::Record { offset, stamped, key, payload } => {
                columns.push(offset, stamped, key, payload);
                next = offset + 1;
                handed_on += 1;
                if columns.is_full() {
                    batches.push(std::mem::take(&mut columns).finish(id));
                }
            }
            Taken::End { next: behind } => {
                next = next.max(behind).min(end);
                reached = Some(next);
            }
            Taken::Fault { code, offset, cause } => faults.push((code, offset, cause)),
        });
        if columns.len() > 0 {
            batches.push(std::mem::take(&mut columns).finish(id));
        }
        self.room = match batches.last() {
            Some(batch) => {
                self.client.shared().consumer.context().heard();
                Columns::like(batch.len(), batch.bytes.len())
            }
            None => columns,
        };
        out.extend(batches.into_iter().map(Read::Records));
        partition.next = next;
        if next >= end {
            self.end(place, out);
        } else if reached == Some(next) {
            out.push(Read::CaughtUp { partition: id, next: Offset(next) });
        }
        faults.into_iter().try_for_each(|(code, offset, cause)| self.judge(place, code, offset, cause))?;
        Ok(handed_on)
    }

    fn end(&mut self, place: usize, out: &mut Vec<Read>) {
        let partition = &mut self.partitions[place];
        if partition.phase == Phase::Ended {
            return;
        }
        partition.phase = Phase::Ended;
        out.push(Read::Ended { partition: partition.id, next: Offset(partition.next) });
        let shared = self.client.shared();
        // What lies behind the end need not be fetched; if this fails, it is only fetched for nothing.
        let _ = shared.list(&[(partition.id, KafkaOffset::Invalid)]).and_then(|list| shared.consumer.pause(&list));
    }

    /// What an error on a partition's queue means: wait, find where it begins, or stop.
    fn judge(&mut self, place: usize, code: RDKafkaErrorCode, offset: i64, cause: String) -> Result<(), SourceError> {
        let shared = self.client.shared();
        let partition = &mut self.partitions[place];
        match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                partition.phase = Phase::Astray { resumes: partition.phase == Phase::Reading };
                shared.ask_range(partition.id);
                Ok(())
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                let topic = shared.address(partition.id).0.to_string();
                let brokers = shared.consumer.context().brokers().to_string();
                Err(BrokerError::Forbidden { brokers, topic }.into())
            }
            RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::Fatal => Err(fault(shared, partition.id, offset.max(partition.next), cause)),
            // A topic that is gone is found by the watching thread, which looks twice. The rest passes.
            _ => {
                shared.consumer.context().trouble(code, &cause);
                Ok(())
            }
        }
    }
}

impl Reader for KafkaReader {
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        out.append(&mut self.pending);
        self.take_news(out)?;
        out.append(&mut self.pending);
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            self.partitions.iter().for_each(|partition| partition.queue.suspect());
        }
        let mut left = rows_max;
        while left > 0 {
            let count = self.partitions.len();
            let in_turn = (0..count).map(|step| (self.turn + step) % count);
            let ready: Vec<usize> = in_turn
                .filter(|place| {
                    let partition = &self.partitions[*place];
                    partition.phase == Phase::Reading && partition.queue.is_ready()
                })
                .collect();
            if ready.is_empty() {
                break;
            }
            let each = (left / ready.len()).clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX);
            for place in ready {
                left = left.saturating_sub(self.read_one(place, each.min(left), out)?);
                self.turn = (place + 1) % count;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(&place) = self.places.get(&partition) {
            let partition = &mut self.partitions[place];
            partition.phase = match partition.phase {
                Phase::Reading => Phase::Paused,
                Phase::Astray { .. } => Phase::Astray { resumes: false },
                other => other,
            };
        }
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(&place) = self.places.get(&partition) {
            let partition = &mut self.partitions[place];
            partition.phase = match partition.phase {
                Phase::Paused => Phase::Reading,
                Phase::Astray { .. } => Phase::Astray { resumes: true },
                other => other,
            };
            partition.queue.suspect();
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.partitions.iter().map(|partition| partition.queue.len()).sum()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.client.shared().unregister(&self.mailbox);
        // The same client may serve another reader: leave no partition assigned that nobody reads.
        let shared = self.client.shared();
        let mine: Vec<_> = self.partitions.iter().map(|partition| (partition.id, KafkaOffset::Invalid)).collect();
        let _ = shared.list(&mine).and_then(|list| shared.consumer.incremental_unassign(&list));
    }
}

/// Where the worker's partitions begin.
fn begin_of(
    shared: &Shared,
    mine: &[PartitionId],
    start_of: &dyn Fn(PartitionId) -> Option<Offset>,
) -> Result<BTreeMap<PartitionId, Offset>, SourceError> {
    let mut begin: BTreeMap<PartitionId, Offset> = mine.iter().filter_map(|id| Some((*id, start_of(*id)?))).collect();
    let is_resumed = |id: PartitionId| {
        let topic = place_of(id).0;
        shared.at_start_ids().into_iter().any(|other| place_of(other).0 == topic && start_of(other).is_some())
    };
    let unknown: Vec<PartitionId> = mine.iter().filter(|id| !begin.contains_key(id)).copied().collect();
    let (added, fresh): (Vec<_>, Vec<_>) = unknown.into_iter().partition(|id| is_resumed(*id));
    begin.extend(shared.ranges(&added, PATIENCE)?.into_iter().map(|(id, (first, _))| (id, first)));
    begin.extend(shared.start_offsets(&fresh)?);
    Ok(begin)
}

/// Where to read on, given where a partition begins and ends: the wanted offset, or its first with the loss, or an error.
fn settle(
    shared: &Shared,
    id: PartitionId,
    wanted: Offset,
    first: Offset,
    end: Offset,
) -> Result<(Offset, Option<Read>), SourceError> {
    let (topic, partition) = shared.address(id);
    // Only committed records move an offset, so none of ours was ever beyond this end.
    if wanted > end {
        return Err(SourceError::BeyondEnd { topic: topic.into(), partition, wanted, end });
    }
    if wanted >= first {
        return Ok((wanted, None));
    }
    match shared.on_lost {
        Lost::Stop => Err(SourceError::Deleted { topic: topic.into(), partition, wanted, first }),
        Lost::Record => {
            tracing::warn!(
                topic,
                partition,
                from = wanted.0,
                to = first.0,
                "records were deleted before they were read"
            );
            Ok((first, Some(Read::Lost { partition: id, from: wanted, to: first })))
        }
    }
}

fn start_fetching(shared: &Shared, id: PartitionId, next: Offset) -> Result<(), SourceError> {
    let assigned =
        shared.list(&[(id, KafkaOffset::Offset(next.0))]).and_then(|list| shared.consumer.incremental_assign(&list));
    assigned.map_err(|error: KafkaError| fault(shared, id, next.0, error.to_string()))
}

fn fault(shared: &Shared, id: PartitionId, offset: i64, cause: String) -> SourceError {
    let (topic, partition) = shared.address(id);
    SourceError::Partition { topic: topic.into(), partition, offset: Offset(offset), cause }
}
