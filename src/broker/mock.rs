//! A Kafka broker inside the process, for what needs no promise of Kafka's: tests of reading, and demonstrations.
//!
//! It is librdkafka's mock cluster. It keeps about 5 MiB a partition and drops the oldest batches beyond, and it does
//! **not** isolate transactions or fence producers: nothing about exactly-once may be concluded from it.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::broker::BrokerError;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// A running broker; it ends when this is dropped.
pub struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    writer: BaseProducer,
}

impl MockBroker {
    pub fn start() -> Result<MockBroker, BrokerError> {
        let cluster = MockCluster::new(1).map_err(failed)?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "1");
        let writer = config.create().map_err(failed)?;
        Ok(MockBroker { cluster, writer })
    }

    /// What goes into `brokers`.
    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        self.cluster.create_topic(topic, partitions, 1).map_err(failed)
    }

    /// Appends a record; `None` as payload is a tombstone.
    pub fn append(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> Result<(), BrokerError> {
        self.append_at(topic, partition, key, payload, None)
    }

    /// The same with the record's timestamp, in milliseconds since 1970; now, where there is none.
    pub fn append_at(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<(), BrokerError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition);
        record.key = key;
        record.payload = payload;
        record.timestamp = timestamp_ms;
        loop {
            match self.writer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    self.writer.poll(Duration::from_millis(1));
                    record = again;
                }
                Err((error, _)) => return Err(failed(error)),
            }
        }
    }

    /// A reader of a topic with one partition, from its first record.
    pub fn reader(&self, topic: &str) -> Result<MockReader, BrokerError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set("group.id", "mock-reader");
        config.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().map_err(failed)?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
        consumer.assign(&partitions).map_err(failed)?;
        Ok(MockReader { consumer })
    }

    /// Waits until all that was appended is there.
    pub fn flush(&self) -> Result<(), BrokerError> {
        // The client's own flush looks every 100 ms.
        let begun = Instant::now();
        while self.writer.in_flight_count() > 0 {
            if begun.elapsed() > FLUSH_TIMEOUT {
                return Err(failed(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
            }
            self.writer.poll(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Takes the broker off the network; `up` brings it back with its data.
    pub fn down(&self) -> Result<(), BrokerError> {
        self.cluster.broker_down(1).map_err(failed)
    }

    pub fn up(&self) -> Result<(), BrokerError> {
        self.cluster.broker_up(1).map_err(failed)
    }
}

/// See `MockBroker::reader`.
pub struct MockReader {
    consumer: BaseConsumer,
}

impl MockReader {
    /// The payload of the next record, if one is there now.
    pub fn next(&self) -> Option<Vec<u8>> {
        match self.consumer.poll(Duration::ZERO)? {
            Ok(message) => Some(message.payload().unwrap_or_default().to_vec()),
            // What librdkafka tells of itself on the way; it goes on by itself.
            Err(_) => None,
        }
    }
}

fn failed(error: KafkaError) -> BrokerError {
    BrokerError::Client { fault: error.to_string() }
}
