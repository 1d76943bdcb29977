//! A topic of the test's own on the real broker: events in, offsets of a group and committed records out.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::events::Partitions;
use super::until;
use crate::testbed::{Cluster, Writer};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Topic {
    pub brokers: String,
    pub name: String,
    partitions: usize,
    writer: Writer,
}

impl Topic {
    pub fn new(brokers: &str, partitions: usize) -> Topic {
        let cluster = Cluster::at(brokers);
        let name = cluster.topic("real", partitions as i32);
        // Where a broker dies, a record that is sent again must neither stand there twice nor change places.
        let writer = Writer::new(brokers, &[("enable.idempotence", "true")]);
        Topic { brokers: brokers.to_owned(), name, partitions, writer }
    }

    /// Adds partitions, up to this many, and waits until they can be written to.
    pub fn grow(&mut self, partitions: usize) {
        let cluster = Cluster::at(&self.brokers);
        cluster.add_partitions(&self.name, partitions);
        self.partitions = partitions;
        self.writer = until("a producer that knows the new partitions", || {
            let writer = cluster.writer();
            let known = writer.0.client().fetch_metadata(Some(&self.name), PATIENCE).unwrap();
            (known.topics()[0].partitions().len() == partitions).then_some(writer)
        });
    }

    /// As retention does it.
    pub fn delete_before(&self, partition: i32, offset: i64) {
        Cluster::at(&self.brokers).delete_records_before(&self.name, partition, offset);
    }

    pub fn send(&self, events: &Partitions) {
        for (partition, events) in events.iter().enumerate() {
            for event in events {
                self.writer.send(&self.name, partition as i32, None, Some(event.line.as_bytes()));
            }
            self.writer.0.flush(PATIENCE).unwrap();
        }
    }

    pub fn send_raw(&self, partition: i32, payload: Option<&[u8]>) {
        self.writer.send(&self.name, partition, None, payload);
        self.writer.0.flush(PATIENCE).unwrap();
    }

    /// How many records a group has not committed yet, as the usual tools show it.
    pub fn lag(&self, group: &str) -> i64 {
        let consumer = consumer(&self.brokers, group);
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions as i32 {
            all.add_partition(&self.name, partition);
        }
        let committed = consumer.committed_offsets(all, PATIENCE).unwrap();
        let lag = committed.elements().into_iter().map(|at| {
            let (_, end) = consumer.fetch_watermarks(&self.name, at.partition(), PATIENCE).unwrap();
            if let Offset::Offset(next) = at.offset() { end - next } else { end }
        });
        lag.sum()
    }

    /// Every committed record: its idempotency key and its payload.
    pub fn committed(&self) -> Vec<(String, String)> {
        let consumer = consumer(&self.brokers, "reader");
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions as i32 {
            all.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        while ended < self.partitions {
            match consumer.poll(PATIENCE).expect("the topic can be read") {
                Ok(message) => {
                    let headers = message.headers().unwrap();
                    let id = headers.iter().find(|header| header.key == "idempotency-key").unwrap().value.unwrap();
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    found.push((text(id), text(message.payload().unwrap())));
                }
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        found
    }
}

fn consumer(brokers: &str, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group);
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    config.set("enable.auto.commit", "false").create().unwrap()
}
