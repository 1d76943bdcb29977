//! The progress topic: one record a checkpoint, in the same transaction as its rows, keyed by the transactional id.
//!
//! It is compacted, so it stays short; several pipelines may share it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use crate::broker::link::Link;
use crate::broker::{self, PATIENCE};
use crate::sinks::kafka::topic::{self, NotMade};
use crate::sinks::kafka::{KafkaOutputError, KafkaOutputSpec, RESERVED};

/// The group that progress is read under; nothing is committed to it.
pub(super) fn group(spec: &KafkaOutputSpec) -> String {
    format!("{}-progress", spec.transactional_id)
}

/// How the record of a checkpoint is written.
pub(super) fn record(sequence: u64) -> String {
    format!(r#"{{"sequence":{sequence}}}"#)
}

fn sequence_in(record: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(record).ok()?.get("sequence")?.as_u64()
}

/// Makes the topic. That it is there already is as good.
pub(super) fn create(spec: &KafkaOutputSpec) -> Result<(), KafkaOutputError> {
    let topic = spec.progress_topic();
    let config = broker::configure(&spec.brokers, &[], &spec.properties, &RESERVED)?;
    // As many replicas as the cluster gives a topic by itself; short segments, for only closed ones are compacted.
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "3600000")
        .set("min.cleanable.dirty.ratio", "0.1");
    topic::create(&config, Link::new("anomalies output", &spec.brokers), &new).map_err(|not_made| match not_made {
        NotMade::Client(error) => KafkaOutputError::Broker(error),
        NotMade::Refused(cause) => KafkaOutputError::ProgressTopic { topic: topic.clone(), cause },
    })
}

/// The last checkpoint whose transaction was committed. Call it when no transaction of this id can be open any more.
pub(super) fn last(spec: &KafkaOutputSpec, partitions: &[i32], link: Link) -> Result<Option<u64>, KafkaOutputError> {
    let topic = spec.progress_topic();
    let failed = |cause: String| KafkaOutputError::Progress { topic: topic.clone(), cause };
    const READER: [(&str, &str); 5] = [
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("fetch.wait.max.ms", "20"),
    ];
    let mut config = broker::configure(&spec.brokers, &READER, &spec.properties, &RESERVED)?;
    config.set("group.id", group(spec));
    let consumer: BaseConsumer<Link> = config.create_with_context(link).map_err(broker::creation)?;
    let mut all = TopicPartitionList::new();
    for partition in partitions {
        all.add_partition_offset(&topic, *partition, KafkaOffset::Beginning)
            .map_err(|error| failed(error.to_string()))?;
    }
    consumer.assign(&all).map_err(|error| failed(error.to_string()))?;
    let mut open: BTreeSet<i32> = partitions.iter().copied().collect();
    let mut last = None;
    let mut until = Instant::now() + PATIENCE;
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                until = Instant::now() + PATIENCE;
                if message.key() == Some(spec.transactional_id.as_bytes()) {
                    let sequence = message.payload().and_then(sequence_in);
                    let offset = message.offset();
                    let sequence =
                        sequence.ok_or_else(|| failed(format!("the record at offset {offset} is none of ours")))?;
                    last = last.max(Some(sequence));
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            _ if Instant::now() >= until => {
                return Err(failed(format!("no answer: {:?}", consumer.context().state())));
            }
            _ => {}
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        assert_eq!(sequence_in(record(u64::MAX).as_bytes()), Some(u64::MAX));
        assert_eq!(sequence_in(b"{}"), None);
        assert_eq!(sequence_in(b"\xff"), None);
    }
}
