//! Kafka topics as a source: one client a process, one queue a partition, read by the worker the partition belongs to.
//!
//! Promise: every record of every partition once and in order, from the offset asked for; what retention deleted before it
//! was read stops the run or is recorded; a broker that is away is waited for.
//!
//! Each partition keeps librdkafka's queue of its own. So a partition is paused by not reading it: exact and free, where
//! librdkafka's pause throws away what it had fetched and, with batch reading, loses a record after an end-of-partition event.

mod client;
mod columns;
mod queue;
mod reader;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

pub use client::KafkaClient;
pub use reader::KafkaReader;

use crate::broker::inquiry::partition_counts;
use crate::broker::link::Link;
use crate::broker::{self, BrokerError, Reserved, Shown};
use crate::domain::ids::PartitionId;

/// Where a partition begins of which nothing is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// The first record stamped at or after this time, in microseconds.
    At(i64),
}

/// What to do when retention deleted records before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Stop,
    Record,
}

/// The topics of a pipeline.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSpec {
    pub brokers: String,
    /// Their order is that of the partitions' ids, until a run has given them their places: see `places`.
    pub topics: Vec<String>,
    pub start: Start,
    pub on_lost: Lost,
    /// Where offsets are also committed, for the usual tools to show lag. Nobody may subscribe with it.
    pub group: String,
    /// Anything else librdkafka understands.
    pub properties: BTreeMap<String, String>,
    /// Bound on what is fetched and not read yet, in this process.
    pub queue_bytes: usize,
}

impl KafkaSpec {
    pub const QUEUE_BYTES: usize = 64 << 20;
}

impl fmt::Debug for KafkaSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSpec")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("start", &self.start)
            .field("on_lost", &self.on_lost)
            .field("group", &self.group)
            .field("properties", &Shown(&self.properties))
            .field("queue_bytes", &self.queue_bytes)
            .finish()
    }
}

/// Properties whose values our promises rest on.
const RESERVED: [Reserved; 11] = [
    ("group.id", "set `group`"),
    ("group.instance.id", "partitions are assigned by us"),
    ("group.protocol", "partitions are assigned by us"),
    ("partition.assignment.strategy", "partitions are assigned by us"),
    ("enable.auto.commit", "offsets are committed with a checkpoint"),
    ("enable.auto.offset.store", "offsets are committed with a checkpoint"),
    ("auto.offset.reset", "set `start` and `on_lost`"),
    ("isolation.level", "only committed records are read"),
    ("enable.partition.eof", "the end of a partition must be seen"),
    ("queued.max.messages.kbytes", "set `queue_bytes`"),
    ("allow.auto.create.topics", "a source makes no topics"),
];

/// How many partitions each topic has, or why it cannot be read; nothing is begun.
pub fn inquire(spec: &KafkaSpec, patience: Duration) -> Result<Vec<Result<usize, BrokerError>>, BrokerError> {
    let mut config = broker::configure(&spec.brokers, &DEFAULTS, &spec.properties, &RESERVED)?;
    config.set("group.id", &spec.group);
    partition_counts(config, Link::new("source", &spec.brokers), &spec.topics, patience)
}

/// The name under which librdkafka and we look for changes of the topics.
const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// Measured defaults. `fetch.queue.backoff.ms` is 1 s in librdkafka, which slows a catch-up several times.
const DEFAULTS: [(&str, &str); 14] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
    ("fetch.queue.backoff.ms", "5"),
    ("queued.min.messages", "100000"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
    (REFRESH, "10000"),
];

/// The places of topics in the ids of their partitions. A topic that was read before keeps its place, for ties between equal times go
/// by ids; those that are new follow behind all that ever were. `known`: partitions that were read before.
pub fn places<'a>(topics: &[String], known: impl Iterator<Item = (&'a str, PartitionId)>) -> Vec<usize> {
    let topic_of = |(name, id): (&'a str, PartitionId)| Some((name.rsplit_once('/')?.0, place_of(id).0));
    let known: HashMap<&str, usize> = known.filter_map(topic_of).collect();
    let mut next = known.values().map(|place| place + 1).max().unwrap_or(0);
    let place = |topic: &String| match known.get(topic.as_str()) {
        Some(place) => *place,
        None => {
            next += 1;
            next - 1
        }
    };
    topics.iter().map(place).collect()
}

/// The id of a partition: the topic's place, then Kafka's number.
fn id_of(topic: usize, partition: i32) -> PartitionId {
    PartitionId((topic as u64) << 32 | u64::from(partition.unsigned_abs()))
}

/// The topic's place and Kafka's number.
fn place_of(id: PartitionId) -> (usize, i32) {
    ((id.0 >> 32) as usize, (id.0 & 0x7fff_ffff) as i32)
}

/// The worker that reads a partition. Does not move when partitions are added.
pub fn worker_of(id: PartitionId, workers: usize) -> usize {
    let (topic, partition) = place_of(id);
    (topic + partition.unsigned_abs() as usize) % workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gives_back_its_topic_and_partition_and_orders_by_them() {
        assert_eq!(place_of(id_of(3, 17)), (3, 17));
        assert!(id_of(0, 9) < id_of(1, 0));
    }

    #[test]
    fn a_topic_keeps_its_place_whatever_comes_goes_or_changes_its_order() {
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known = [("a/0", id_of(0, 0)), ("a/1", id_of(0, 1)), ("b.c/7", id_of(1, 7))];
        let placed = |names: &[&str]| places(&topics(names), known.into_iter());
        assert_eq!(places(&topics(&["x", "y"]), std::iter::empty()), [0, 1]);
        assert_eq!(placed(&["a", "b.c"]), [0, 1]);
        assert_eq!(placed(&["b.c", "a"]), [1, 0]);
        assert_eq!(placed(&["b.c"]), [1]);
        assert_eq!(placed(&["new", "a", "newer"]), [2, 0, 3], "the place of a topic that rests is its own");
    }

    #[test]
    fn added_partitions_move_no_other_partition_to_another_worker() {
        let before: Vec<usize> = (0..4).map(|partition| worker_of(id_of(1, partition), 3)).collect();
        let after: Vec<usize> = (0..9).map(|partition| worker_of(id_of(1, partition), 3)).collect();
        assert_eq!(before, after[..4]);
        assert_eq!(after, [1, 2, 0, 1, 2, 0, 1, 2, 0]);
    }
}
