//! The real broker that tests need, and what they do to it. Where none is named, they say that they were skipped.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use tidewatch::domain::ids::{Offset, PartitionId};
use tidewatch::sources::kafka::{KafkaSpec, Lost, Start};
use tidewatch::sources::{Read, Reader, SourceError, Wake};

/// The value of a variable of the testbed, or none after saying that the test is skipped.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(std::env::var("TIDEWATCH_TEST_REQUIRED").as_deref() != Ok("1"), "{name} is not set but required");
        println!("skipped: {name} is not set");
    }
    value
}

/// A program of this machine, or none after saying that the test is skipped.
pub fn tool(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("TIDEWATCH_TEST_REQUIRED").as_deref() != Ok("1"), "{name} is not installed but required");
        println!("skipped: {name} is not installed");
    }
    found
}

pub fn kafka() -> Option<String> {
    variable("TIDEWATCH_TEST_KAFKA")
}

/// A name that no other test and no earlier run has used.
pub fn fresh(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}-{}", since.as_millis(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A cluster that is changed from outside.
pub struct Cluster {
    pub brokers: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub fn at(brokers: &str) -> Cluster {
        let admin = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Cluster { brokers: brokers.into(), admin, runtime }
    }

    /// A new topic of this many partitions; its name begins with `name`.
    pub fn topic(&self, name: &str, partitions: i32) -> String {
        let topic = fresh(name);
        self.create(&topic, partitions);
        topic
    }

    pub fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = self.runtime.block_on(self.admin.create_topics([&new], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|made| assert!(made.is_ok(), "{made:?}"));
    }

    pub fn add_partitions(&self, topic: &str, count: usize) {
        let made = self
            .runtime
            .block_on(self.admin.create_partitions([&NewPartitions::new(topic, count)], &AdminOptions::new()));
        made.unwrap().into_iter().for_each(|made| assert!(made.is_ok(), "{made:?}"));
    }

    pub fn delete_topic(&self, topic: &str) {
        self.runtime.block_on(self.admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
    }

    /// As retention does it.
    pub fn delete_records_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, KafkaOffset::Offset(offset)).unwrap();
        self.runtime.block_on(self.admin.delete_records(&before, &AdminOptions::new())).unwrap();
    }

    pub fn writer(&self) -> Writer {
        Writer::new(&self.brokers, &[])
    }
}

/// Appends records.
pub struct Writer(pub BaseProducer);

impl Writer {
    pub fn new(brokers: &str, properties: &[(&str, &str)]) -> Writer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "1");
        properties.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        Writer(config.create().unwrap())
    }

    pub fn send(&self, topic: &str, partition: i32, key: Option<&[u8]>, payload: Option<&[u8]>) {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition);
        (record.key, record.payload) = (key, payload);
        while let Err((error, again)) = self.0.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            self.0.poll(Duration::from_millis(10));
            record = again;
        }
    }

    /// Appends the numbers as text.
    pub fn numbers(&self, topic: &str, partition: i32, numbers: std::ops::Range<i64>) {
        numbers.for_each(|number| self.send(topic, partition, None, Some(number.to_string().as_bytes())));
        self.0.flush(Duration::from_secs(10)).unwrap();
    }
}

/// A source with the usual settings and quick looks at the topics.
pub fn spec(brokers: &str, topic: &str) -> KafkaSpec {
    KafkaSpec {
        brokers: brokers.into(),
        topics: vec![topic.into()],
        start: Start::Earliest,
        on_lost: Lost::Stop,
        group: fresh("group"),
        properties: BTreeMap::from([("topic.metadata.refresh.interval.ms".into(), "200".into())]),
        queue_bytes: KafkaSpec::QUEUE_BYTES,
    }
}

/// Wakes the thread that made it.
pub fn wake() -> Wake {
    let thread = std::thread::current();
    Box::new(move || thread.unpark())
}

/// All that readers brought, by partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub records: BTreeMap<PartitionId, Vec<(i64, String)>>,
    pub caught_up: BTreeMap<PartitionId, Offset>,
    pub ended: BTreeMap<PartitionId, Offset>,
    pub found: Vec<String>,
    pub lost: Vec<(PartitionId, Offset, Offset)>,
}

impl Seen {
    pub fn take(&mut self, reads: Vec<Read>) {
        for read in reads {
            match read {
                Read::Records(batch) | Read::Refused(batch, _) => {
                    let texts = self.records.entry(batch.partition).or_default();
                    for index in 0..batch.len() {
                        let text = String::from_utf8_lossy(batch.payload(index)).into_owned();
                        texts.push((batch.offset(index).0, text));
                    }
                }
                Read::CaughtUp { partition, next } => {
                    self.caught_up.insert(partition, next);
                }
                Read::Ended { partition, next } => {
                    assert_eq!(self.ended.insert(partition, next), None, "a partition ends once");
                }
                Read::Found(partition) => self.found.push(partition.name),
                Read::Lost { partition, from, to } => self.lost.push((partition, from, to)),
            }
        }
    }

    pub fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }

    /// The offsets of one partition.
    pub fn offsets(&self, partition: PartitionId) -> Vec<i64> {
        self.records
            .get(&partition)
            .map(|records| records.iter().map(|(offset, _)| *offset).collect())
            .unwrap_or_default()
    }
}

/// Reads until enough was seen, for at most 30 s; parked while there is nothing.
pub fn read_until(reader: &mut dyn Reader, seen: &mut Seen, enough: impl Fn(&Seen) -> bool) -> Result<(), SourceError> {
    let begun = Instant::now();
    while !enough(seen) {
        let mut out = Vec::new();
        reader.read(1000, &mut out)?;
        if out.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing more came; so far {seen:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        seen.take(out);
    }
    Ok(())
}

/// The error that reading ends with.
pub fn read_to_error(reader: &mut dyn Reader) -> String {
    read_until(reader, &mut Seen::default(), |_| false).unwrap_err().to_string()
}
