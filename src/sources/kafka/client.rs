//! The process's Kafka client: finds partitions and where they begin and end, commits offsets, and watches for what no
//! event tells (added partitions, deleted topics, offsets that retention passed).
//!
//! One thread polls the client's own queue and asks the broker from time to time; readers never wait for a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Offset as KafkaOffset};

use crate::broker::link::Link;
use crate::broker::{self, BrokerError, PATIENCE};
use crate::domain::ids::{Offset, PartitionId};
use crate::sources::kafka::queue::end_as_fetched;
use crate::sources::kafka::{DEFAULTS, KafkaSpec, Lost, REFRESH, RESERVED, Start, id_of, place_of, worker_of};
use crate::sources::{Partition, SourceError, Wake};

/// How long the watching thread waits for an event, hence how soon it answers a reader and ends.
const POLL: Duration = Duration::from_millis(100);

/// A request of the watching thread; it tries again at its next round.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the start looks for the cause of a failure after each request.
const SERVE: Duration = Duration::from_millis(5);

/// Smallest fetch of a partition, however many share the budget.
const FETCH_BYTES_MIN: usize = 64 << 10;
const FETCH_BYTES_MAX: usize = 1 << 20;

/// The process's client. Ends its thread when dropped.
pub struct KafkaClient {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

/// What the watching thread tells a worker's reader.
pub(super) enum News {
    Found {
        partition: Partition,
        first: Offset,
    },
    /// The answer to `ask_range`.
    Range {
        partition: PartitionId,
        first: Offset,
        end: Offset,
    },
    Gone {
        topic: String,
    },
}

/// Where the watching thread leaves news for one worker.
pub(super) struct Mailbox {
    worker: usize,
    workers: usize,
    news: Mutex<Vec<News>>,
    is_full: AtomicBool,
    wake: Arc<Wake>,
}

impl Mailbox {
    pub(super) fn take(&self) -> Vec<News> {
        if !self.is_full.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *lock(&self.news))
    }

    fn put(&self, news: News) {
        lock(&self.news).push(news);
        self.is_full.store(true, Ordering::Release);
        (self.wake)();
    }
}

pub(super) struct Shared {
    pub(super) consumer: Arc<BaseConsumer<Link>>,
    pub(super) topics: Vec<String>,
    /// Each topic's place in the ids of its partitions.
    places: OnceLock<Vec<usize>>,
    pub(super) on_lost: Lost,
    start: Start,
    /// How many partitions each topic had at the start. The list of partitions is this, for the whole run.
    at_start: Vec<i32>,
    watch: Mutex<Watch>,
    /// The ends of all partitions as last seen.
    ends: Mutex<BTreeMap<PartitionId, Offset>>,
    stop: AtomicBool,
    refresh: Duration,
}

/// What the watching thread knows and is asked.
struct Watch {
    /// How many partitions each topic has, as far as readers were told.
    counts: Vec<i32>,
    /// How often in a row each topic was not there: after a broker's restart it may be missing for a moment.
    missing: Vec<u32>,
    mailboxes: Vec<Arc<Mailbox>>,
    asked: BTreeSet<PartitionId>,
}

impl KafkaClient {
    /// Connects, and checks that every topic is there. Fails with the true cause.
    pub fn connect(spec: &KafkaSpec) -> Result<Arc<KafkaClient>, SourceError> {
        let mut config = broker::configure(&spec.brokers, &DEFAULTS, &spec.properties, &RESERVED)?;
        config.set("group.id", &spec.group);
        let probe = consumer(&config, &spec.brokers)?;
        let mut at_start = Vec::with_capacity(spec.topics.len());
        for topic in &spec.topics {
            // With no time at all it would stop at the first log line, and the error stands behind it.
            let serve = || while probe.poll(SERVE).is_some() {};
            at_start.push(broker::partitions_of(probe.client(), serve, topic, PATIENCE)?.len() as i32);
        }
        // The bounds hold for each partition's queue, so they can only be set once their number is known.
        let share = spec.queue_bytes / at_start.iter().map(|count| count.unsigned_abs() as usize).sum::<usize>().max(1);
        config.set("queued.max.messages.kbytes", (share >> 10).clamp(1, 2_097_151).to_string());
        if !spec.properties.contains_key("fetch.message.max.bytes")
            && !spec.properties.contains_key("max.partition.fetch.bytes")
        {
            config.set("fetch.message.max.bytes", share.clamp(FETCH_BYTES_MIN, FETCH_BYTES_MAX).to_string());
        }
        let refresh = config.get(REFRESH).and_then(|millis| millis.parse().ok()).filter(|millis| *millis > 0);
        let shared = Arc::new(Shared {
            consumer: Arc::new(consumer(&config, &spec.brokers)?),
            topics: spec.topics.clone(),
            places: OnceLock::new(),
            on_lost: spec.on_lost,
            start: spec.start,
            watch: Mutex::new(Watch {
                counts: at_start.clone(),
                missing: vec![0; spec.topics.len()],
                mailboxes: Vec::new(),
                asked: BTreeSet::new(),
            }),
            at_start,
            ends: Mutex::new(BTreeMap::new()),
            stop: AtomicBool::new(false),
            refresh: refresh.map_or(Duration::from_secs(10), Duration::from_millis),
        });
        let watcher = thread::Builder::new().name("kafka-watch".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.watch()
        });
        let watcher = watcher.map_err(|fault| BrokerError::Client { fault: fault.to_string() })?;
        Ok(Arc::new(KafkaClient { shared, watcher: Some(watcher) }))
    }

    /// The topics, in the order of the configuration.
    pub fn topics(&self) -> &[String] {
        &self.shared.topics
    }

    /// Gives the topics their places in the ids of their partitions, before any partition is asked for. Where it was done, it stays.
    pub fn place(&self, places: Vec<usize>) {
        let is_as_configured = places.iter().enumerate().all(|(index, place)| index == *place);
        // The same topics and the same manifest give the same places to every worker.
        if self.shared.places.set(places).is_ok() && !is_as_configured {
            // What was looked at before has the ids of the configuration's order.
            self.shared.look_for_ends();
        }
    }

    /// All partitions as they were when the client connected; later ones are `Read::Found`.
    pub fn partitions(&self) -> Vec<Partition> {
        self.shared.at_start_ids().into_iter().map(|id| self.shared.partition(id)).collect()
    }

    /// `topic/3`.
    pub fn name(&self, partition: PartitionId) -> String {
        self.shared.partition(partition).name
    }

    /// Where every partition ends at the moment: behind the last record that a reader could be given.
    pub fn ends(&self) -> Result<BTreeMap<PartitionId, Offset>, SourceError> {
        Ok(self.shared.offsets_at(&self.shared.at_start_ids(), KafkaOffset::End, PATIENCE)?)
    }

    /// Where partitions end as far as is known, for lag: as last looked at (every few seconds), or as the last fetch told.
    /// Does not ask the broker.
    pub fn high_watermarks(&self) -> BTreeMap<PartitionId, Offset> {
        let mut ends = lock(&self.shared.ends).clone();
        for (id, end) in &mut ends {
            let (topic, partition) = self.shared.address(*id);
            if let Some(fetched) = end_as_fetched(&self.shared.consumer, topic, partition) {
                *end = (*end).max(Offset(fetched));
            }
        }
        ends
    }

    /// Tells the group where this pipeline is, for the usual tools. Returns at once; a failure is logged and nothing more,
    /// for the manifest is what a restart believes.
    pub fn commit(&self, next: &[(PartitionId, Offset)]) {
        if next.is_empty() {
            return;
        }
        let offsets: Vec<_> = next.iter().map(|(id, next)| (*id, KafkaOffset::Offset(next.0))).collect();
        let committed =
            self.shared.list(&offsets).and_then(|list| self.shared.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            tracing::warn!(%error, "offsets were not committed to the group");
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.take() {
            // A panic there has been reported by the panic hook.
            let _ = watcher.join();
        }
    }
}

impl Shared {
    /// The partitions of one worker that were there at the start, and a mailbox for what comes later.
    pub(super) fn register(&self, worker: usize, workers: usize, wake: Arc<Wake>) -> (Vec<PartitionId>, Arc<Mailbox>) {
        let mailbox =
            Arc::new(Mailbox { worker, workers, news: Mutex::default(), is_full: AtomicBool::new(false), wake });
        let mut watch = lock(&self.watch);
        watch.mailboxes.push(Arc::clone(&mailbox));
        // Whatever was found before this reader was there is found again.
        watch.counts.clone_from(&self.at_start);
        let mine = self.at_start_ids().into_iter().filter(|id| worker_of(*id, workers) == worker).collect();
        (mine, mailbox)
    }

    pub(super) fn unregister(&self, mailbox: &Arc<Mailbox>) {
        lock(&self.watch).mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
    }

    /// Asks for a partition's first offset and end; the answer comes as news.
    pub(super) fn ask_range(&self, partition: PartitionId) {
        lock(&self.watch).asked.insert(partition);
    }

    pub(super) fn partition(&self, id: PartitionId) -> Partition {
        let (topic, partition) = self.address(id);
        Partition { id, name: format!("{topic}/{partition}") }
    }

    /// The topic and Kafka's number.
    pub(super) fn address(&self, id: PartitionId) -> (&str, i32) {
        let (place, partition) = place_of(id);
        let index = match self.places.get() {
            Some(places) => places.iter().position(|other| *other == place),
            None => Some(place),
        };
        (index.and_then(|index| self.topics.get(index)).map_or("", String::as_str), partition)
    }

    /// The id of a partition of the topic that is named at `index`.
    fn id_of(&self, index: usize, partition: i32) -> PartitionId {
        let place = self.places.get().and_then(|places| places.get(index)).copied().unwrap_or(index);
        id_of(place, partition)
    }

    /// The partitions of the topics with so many each.
    fn ids_of(&self, counts: &[i32]) -> Vec<PartitionId> {
        let of_topic = |(index, count): (usize, &i32)| (0..*count).map(move |partition| self.id_of(index, partition));
        counts.iter().enumerate().flat_map(of_topic).collect()
    }

    pub(super) fn list(&self, at: &[(PartitionId, KafkaOffset)]) -> rdkafka::error::KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(at.len());
        for (id, offset) in at {
            let (topic, partition) = self.address(*id);
            list.add_partition_offset(topic, partition, *offset)?;
        }
        Ok(list)
    }

    /// Where each of these partitions begins and ends.
    pub(super) fn ranges(
        &self,
        ids: &[PartitionId],
        patience: Duration,
    ) -> Result<BTreeMap<PartitionId, (Offset, Offset)>, BrokerError> {
        let first = self.offsets_at(ids, KafkaOffset::Beginning, patience)?;
        let end = self.offsets_at(ids, KafkaOffset::End, patience)?;
        Ok(first.into_iter().filter_map(|(id, first)| Some((id, (first, *end.get(&id)?)))).collect())
    }

    /// Where partitions begin of which nothing is committed.
    pub(super) fn start_offsets(&self, ids: &[PartitionId]) -> Result<BTreeMap<PartitionId, Offset>, BrokerError> {
        match self.start {
            Start::Earliest => self.offsets_at(ids, KafkaOffset::Beginning, PATIENCE),
            Start::Latest => self.offsets_at(ids, KafkaOffset::End, PATIENCE),
            Start::At(micros) => {
                let millis = micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0);
                self.offsets_at(ids, KafkaOffset::Offset(millis.max(0)), PATIENCE)
            }
        }
    }

    /// The offsets at a time in milliseconds, or at the beginning or end, of many partitions in one request a broker. The
    /// end, as every reader of committed records sees it, lies before the first open transaction.
    fn offsets_at(
        &self,
        ids: &[PartitionId],
        at: KafkaOffset,
        patience: Duration,
    ) -> Result<BTreeMap<PartitionId, Offset>, BrokerError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let until = Instant::now() + patience;
        let unreachable = |cause: String| BrokerError::Unreachable { brokers: self.brokers(), cause };
        loop {
            let wanted: Vec<_> = ids.iter().map(|id| (*id, at)).collect();
            let answer = self
                .list(&wanted)
                .and_then(|list| self.consumer.offsets_for_times(list, patience.min(REQUEST_TIMEOUT)))
                .map_err(|error| error.to_string())
                .and_then(|list| offsets_of(ids, &list));
            match answer {
                Ok(found) => {
                    let late: Vec<PartitionId> =
                        found.iter().filter(|(_, offset)| offset.is_none()).map(|(id, _)| *id).collect();
                    // No record at or after that time yet: what comes next will be one.
                    let ends = match at {
                        KafkaOffset::Offset(_) => self.offsets_at(&late, KafkaOffset::End, patience)?,
                        _ => BTreeMap::new(),
                    };
                    let offset = |(id, offset): (PartitionId, Option<Offset>)| {
                        Some((id, offset.or_else(|| ends.get(&id).copied())?))
                    };
                    self.consumer.context().heard();
                    return Ok(found.into_iter().filter_map(offset).collect());
                }
                Err(cause) if Instant::now() >= until => return Err(unreachable(cause)),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn brokers(&self) -> String {
        self.consumer.context().brokers().to_string()
    }

    pub(super) fn at_start_ids(&self) -> Vec<PartitionId> {
        self.ids_of(&self.at_start)
    }

    /// The body of the watching thread.
    fn watch(&self) {
        self.look_for_ends();
        let mut due = Instant::now() + self.refresh;
        while !self.stop.load(Ordering::Acquire) {
            // Serves logs, errors, token refreshes and answers to commits. Records never come here.
            let _ = self.consumer.poll(POLL);
            self.answer();
            if Instant::now() >= due {
                self.look_for_partitions();
                self.look_for_ends();
                due = Instant::now() + self.refresh;
            }
        }
    }

    fn answer(&self) {
        let asked: Vec<PartitionId> = lock(&self.watch).asked.iter().copied().collect();
        if asked.is_empty() {
            return;
        }
        // A failure leaves them asked.
        if let Ok(ranges) = self.ranges(&asked, REQUEST_TIMEOUT) {
            let mut watch = lock(&self.watch);
            for (partition, (first, end)) in ranges {
                watch.asked.remove(&partition);
                tell(&watch.mailboxes, partition, || News::Range { partition, first, end });
            }
        }
    }

    fn look_for_ends(&self) {
        let ids = self.ids_of(&lock(&self.watch).counts);
        if let Ok(ends) = self.offsets_at(&ids, KafkaOffset::End, REQUEST_TIMEOUT) {
            *lock(&self.ends) = ends;
        }
    }

    fn look_for_partitions(&self) {
        for (index, topic) in self.topics.iter().enumerate() {
            let found = broker::partitions_of(self.consumer.client(), || {}, topic, Duration::from_millis(1000));
            let missing = matches!(found, Err(BrokerError::UnknownTopic { .. }));
            let known = {
                let mut watch = lock(&self.watch);
                watch.missing[index] = if missing { watch.missing[index] + 1 } else { 0 };
                if watch.missing[index] == 2 {
                    watch.mailboxes.iter().for_each(|mailbox| mailbox.put(News::Gone { topic: topic.clone() }));
                }
                watch.counts[index]
            };
            let count = found.map_or(known, |partitions| partitions.len() as i32);
            let added: Vec<PartitionId> = (known..count).map(|partition| self.id_of(index, partition)).collect();
            // Without their first offsets they are looked for again at the next round.
            if let Ok(first) = self.offsets_at(&added, KafkaOffset::Beginning, REQUEST_TIMEOUT) {
                self.announce(index, known, count, &first);
            }
        }
    }

    fn announce(&self, topic: usize, known: i32, count: i32, first: &BTreeMap<PartitionId, Offset>) {
        let mut watch = lock(&self.watch);
        // A reader that registered meanwhile wants them all: next round.
        if watch.counts[topic] != known || first.len() < (count - known).unsigned_abs() as usize {
            return;
        }
        for (id, first) in first {
            tell(&watch.mailboxes, *id, || News::Found { partition: self.partition(*id), first: *first });
        }
        watch.counts[topic] = count.max(known);
    }
}

/// Puts news into the mailbox of the worker that a partition belongs to.
fn tell(mailboxes: &[Arc<Mailbox>], partition: PartitionId, news: impl Fn() -> News) {
    for mailbox in mailboxes {
        if worker_of(partition, mailbox.workers) == mailbox.worker {
            mailbox.put(news());
        }
    }
}

/// The offsets that a list came back with, in the order of `ids`; none where there is no record at that time.
fn offsets_of(ids: &[PartitionId], list: &TopicPartitionList) -> Result<Vec<(PartitionId, Option<Offset>)>, String> {
    let elements = list.elements();
    let offset = |(id, element): (&PartitionId, &rdkafka::topic_partition_list::TopicPartitionListElem<'_>)| {
        element.error().map_err(|error| format!("`{}` partition {}: {error}", element.topic(), element.partition()))?;
        match element.offset() {
            KafkaOffset::Offset(offset) => Ok((*id, Some(Offset(offset)))),
            KafkaOffset::End => Ok((*id, None)),
            other => Err(format!("`{}` partition {}: no offset but {other:?}", element.topic(), element.partition())),
        }
    };
    ids.iter().zip(&elements).map(offset).collect()
}

fn consumer(config: &ClientConfig, brokers: &str) -> Result<BaseConsumer<Link>, BrokerError> {
    config.create_with_context(Link::new("source", brokers)).map_err(broker::creation)
}

/// The lock, whoever panicked while holding it: the panic ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
