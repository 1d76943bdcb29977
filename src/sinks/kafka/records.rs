//! Sends records to a topic, each to the partition it is meant for: simulated devices, or anything else that is made up here.
//!
//! Promise: once `finish` has returned, every record is in its partition once and in the order of sending; what could not be
//! delivered is an error that names the topic. Nothing waits without a limit.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::link::Link;
use crate::broker::{self, BrokerError, PATIENCE, Reserved, Shown};
use crate::sinks::kafka::topic::{self, NotMade};

/// A topic to write to.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordsSpec {
    pub brokers: String,
    pub topic: String,
    /// How many partitions there have to be at least; a topic that is missing is made with so many.
    pub partitions: u32,
    /// Anything else librdkafka understands.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for RecordsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsSpec")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("properties", &Shown(&self.properties))
            .finish()
    }
}

/// Why records did not get out.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot make the topic `{topic}`: {cause}")]
    NotMade { topic: String, cause: String },
    #[error("topic `{topic}` has {has} partitions, and {wanted} are wanted")]
    TooFewPartitions { topic: String, has: usize, wanted: u32 },
    #[error("a record for topic `{topic}` partition {partition} was not taken: {cause}")]
    NotTaken { topic: String, partition: u32, cause: String },
    /// Later records may be there all the same.
    #[error("records for topic `{topic}` were not delivered: {cause}")]
    Undelivered { topic: String, cause: String },
}

/// A record on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub partition: u32,
    pub key: &'a [u8],
    pub payload: &'a [u8],
    /// Milliseconds since 1970; none: when it is sent.
    pub stamp_ms: Option<i64>,
}

/// See the module.
pub struct RecordProducer {
    producer: BaseProducer<Link>,
    topic: String,
    /// Since the producer's callbacks were last served.
    unserved: u32,
}

const DEFAULTS: [(&str, &str); 8] = [
    ("enable.idempotence", "true"),
    ("compression.type", "lz4"),
    ("linger.ms", "20"),
    ("batch.size", "262144"),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "131072"),
    ("message.timeout.ms", "60000"),
    ("socket.nagle.disable", "true"),
];

const RESERVED: [Reserved; 2] =
    [("transactional.id", "records are sent without transactions"), ("enable.idempotence", "the order rests on it")];

/// How long a full queue is waited for, and all deliveries at the end.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// Callbacks are served after so many records.
const SERVED_EVERY: u32 = 4096;

impl RecordProducer {
    /// Connects, and makes the topic if it is missing.
    pub fn open(spec: &RecordsSpec) -> Result<RecordProducer, RecordsError> {
        let config = broker::configure(&spec.brokers, &DEFAULTS, &spec.properties, &RESERVED)?;
        let link = || Link::new("records", &spec.brokers);
        let producer: BaseProducer<Link> = config.create_with_context(link()).map_err(broker::creation)?;
        let found = match partitions(&producer, &spec.topic) {
            Err(BrokerError::UnknownTopic { .. }) => {
                make(&config, link(), spec)?;
                until_known(&producer, &spec.topic)?
            }
            found => found?,
        };
        if found < spec.partitions as usize {
            let topic = spec.topic.clone();
            return Err(RecordsError::TooFewPartitions { topic, has: found, wanted: spec.partitions });
        }
        Ok(RecordProducer { producer, topic: spec.topic.clone(), unserved: 0 })
    }

    /// How many partitions a topic has; none if it does not exist.
    pub fn partitions_of(spec: &RecordsSpec) -> Result<Option<usize>, RecordsError> {
        let config = broker::configure(&spec.brokers, &DEFAULTS, &spec.properties, &RESERVED)?;
        let link = Link::new("records", &spec.brokers);
        let producer: BaseProducer<Link> = config.create_with_context(link).map_err(broker::creation)?;
        match partitions(&producer, &spec.topic) {
            Err(BrokerError::UnknownTopic { .. }) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Hands a record over; it is delivered in the background. Waits while the queue is full.
    pub fn send(&mut self, record: Record<'_>) -> Result<(), RecordsError> {
        self.unserved += 1;
        if self.unserved == SERVED_EVERY {
            self.unserved = 0;
            self.producer.poll(Duration::ZERO);
            self.look()?;
        }
        let Record { partition, key, payload, stamp_ms } = record;
        // Kafka counts partitions with a sign, and there are never so many.
        let mut record = BaseRecord::to(&self.topic).partition(partition as i32).key(key).payload(payload);
        record.timestamp = stamp_ms;
        let mut until = None;
        loop {
            let error = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again))
                    if Instant::now() < *until.get_or_insert_with(|| Instant::now() + LIMIT) =>
                {
                    self.producer.poll(POLL);
                    self.look()?;
                    record = again;
                    continue;
                }
                Err((error, _)) => error,
            };
            let (topic, cause) = (self.topic.clone(), error.to_string());
            return Err(RecordsError::NotTaken { topic, partition, cause });
        }
    }

    /// Waits until everything is delivered.
    pub fn finish(self) -> Result<(), RecordsError> {
        let until = Instant::now() + LIMIT;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(POLL);
            self.look()?;
            if Instant::now() >= until {
                let cause = format!("{} wait for a broker that does not take them", self.producer.in_flight_count());
                return Err(RecordsError::Undelivered { topic: self.topic.clone(), cause });
            }
        }
        self.look()
    }

    fn look(&self) -> Result<(), RecordsError> {
        match self.producer.context().take_undelivered() {
            Some(cause) => Err(RecordsError::Undelivered { topic: self.topic.clone(), cause }),
            None => Ok(()),
        }
    }
}

fn partitions(producer: &BaseProducer<Link>, topic: &str) -> Result<usize, BrokerError> {
    let serve = || {
        producer.poll(POLL);
    };
    broker::partitions_of(producer.client(), serve, topic, PATIENCE).map(|ids| ids.len())
}

fn make(config: &ClientConfig, link: Link, spec: &RecordsSpec) -> Result<(), RecordsError> {
    // As many replicas as the cluster gives a topic by itself.
    let new = NewTopic::new(&spec.topic, spec.partitions.max(1) as i32, TopicReplication::Fixed(-1));
    topic::create(config, link, &new).map_err(|not_made| match not_made {
        NotMade::Client(error) => RecordsError::Broker(error),
        NotMade::Refused(cause) => RecordsError::NotMade { topic: spec.topic.clone(), cause },
    })
}

/// A topic that was just made is known to every broker a moment later.
fn until_known(producer: &BaseProducer<Link>, topic: &str) -> Result<usize, BrokerError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match partitions(producer, topic) {
            Err(BrokerError::UnknownTopic { .. }) if Instant::now() < until => {
                producer.poll(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::mock::MockBroker;

    fn spec(broker: &MockBroker, topic: &str, partitions: u32) -> RecordsSpec {
        RecordsSpec { brokers: broker.brokers(), topic: topic.to_owned(), partitions, properties: BTreeMap::new() }
    }

    #[test]
    fn a_topic_with_too_few_partitions_is_refused_by_name() {
        let broker = MockBroker::start().unwrap();
        broker.create_topic("few", 2).unwrap();
        let refused = RecordProducer::open(&spec(&broker, "few", 3)).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some("topic `few` has 2 partitions, and 3 are wanted"));
        assert_eq!(RecordProducer::partitions_of(&spec(&broker, "few", 0)).unwrap(), Some(2));
    }

    #[test]
    fn no_property_may_weaken_the_order() {
        let broker = MockBroker::start().unwrap();
        let properties = BTreeMap::from([("enable.idempotence".to_owned(), "false".to_owned())]);
        let refused = RecordProducer::open(&RecordsSpec { properties, ..spec(&broker, "t", 1) }).err();
        assert!(refused.is_some_and(|error| error.to_string().contains("the order rests on it")));
    }
}
