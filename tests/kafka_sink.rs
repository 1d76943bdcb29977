//! Anomalies to a real Kafka: visible once, whoever else writes with the same id.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod testbed;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use testbed::{Cluster, Writer, fresh, kafka, variable};
use tidewatch::broker::mock::MockBroker;
use tidewatch::sinks::kafka::{AnomalyProducer, KafkaOutputError, KafkaOutputSpec, Message, Refusal, Sent};

fn spec(brokers: &str, topic: &str) -> KafkaOutputSpec {
    KafkaOutputSpec {
        brokers: brokers.into(),
        topic: topic.into(),
        progress_topic: None,
        properties: BTreeMap::new(),
        transactional_id: fresh("pipeline"),
    }
}

/// Rows of a checkpoint: key, value and idempotency key are made from their numbers.
struct Rows(Vec<[String; 3]>);

impl Rows {
    fn of(sequence: u64, count: usize) -> Rows {
        Rows(
            (0..count)
                .map(|row| [format!("k{row}"), format!("{sequence}:{row}"), format!("id {sequence}:{row}")])
                .collect(),
        )
    }
}

impl tidewatch::sinks::kafka::Rows for Rows {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn visit(&self, take: &mut dyn FnMut(Message<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.0.iter().try_for_each(|[key, value, id]| {
            take(Message { key: key.as_bytes(), value: value.as_bytes(), idempotency_key: id })
        })
    }
}

/// All committed records of a topic, sorted: key, value, idempotency key.
fn visible(brokers: &str, topic: &str, partitions: i32) -> Vec<[String; 3]> {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("group.id", "visible"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
    ] {
        config.set(name, value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    (0..partitions).for_each(|partition| {
        all.add_partition_offset(topic, partition, KafkaOffset::Beginning).unwrap();
    });
    consumer.assign(&all).unwrap();
    let (mut found, mut ended) = (Vec::new(), 0);
    while ended < partitions {
        match consumer.poll(Duration::from_secs(10)).expect("the topic can be read within 10 s") {
            Ok(message) => {
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                let id = message.headers().and_then(|headers| {
                    headers.iter().find(|header| header.key == "idempotency-key").and_then(|header| header.value)
                });
                found.push([text(message.key()), text(message.payload()), text(id)]);
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found.sort();
    found
}

fn sorted(rows: &[&Rows]) -> Vec<[String; 3]> {
    let mut all: Vec<_> = rows.iter().flat_map(|rows| rows.0.clone()).collect();
    all.sort();
    all
}

#[test]
fn a_checkpoint_is_visible_once_however_often_it_is_sent() {
    let Some(brokers) = kafka() else { return };
    let topic = Cluster::at(&brokers).topic("anomalies", 3);
    let spec = spec(&brokers, &topic);
    let (first, second, third) = (Rows::of(7, 500), Rows::of(8, 1), Rows::of(10, 20));
    let (mut producer, last) = AnomalyProducer::open(spec.clone()).unwrap();
    assert_eq!(last, None);
    assert_eq!(producer.send(7, &first).unwrap(), Sent::Committed { rows: 500 });
    assert_eq!(producer.send(7, &first).unwrap(), Sent::AlreadyThere);
    assert_eq!(producer.send(8, &second).unwrap(), Sent::Committed { rows: 1 });
    assert_eq!(producer.send(9, &Rows::of(9, 0)).unwrap(), Sent::Nothing);
    drop(producer);
    let (mut producer, last) = AnomalyProducer::open(spec).unwrap();
    assert_eq!(last, Some(8));
    assert_eq!(producer.send(8, &second).unwrap(), Sent::AlreadyThere);
    assert_eq!(producer.send(10, &third).unwrap(), Sent::Committed { rows: 20 });
    assert_eq!(visible(&brokers, &topic, 3), sorted(&[&first, &second, &third]));
}

/// The broker inside the process keeps no promise of Kafka's, but it shows what is sent when.
#[test]
fn progress_decides_what_is_sent() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("anomalies", 2).unwrap();
    broker.create_topic("anomalies-progress", 1).unwrap();
    let spec = spec(&broker.brokers(), "anomalies");
    let (mut producer, last) = AnomalyProducer::open(spec.clone()).unwrap();
    assert_eq!(last, None);
    assert_eq!(producer.send(3, &Rows::of(3, 10)).unwrap(), Sent::Committed { rows: 10 });
    drop(producer);
    let (mut producer, last) = AnomalyProducer::open(spec).unwrap();
    assert_eq!(last, Some(3));
    assert_eq!(producer.send(2, &Rows::of(2, 10)).unwrap(), Sent::AlreadyThere);
    assert_eq!(visible(&broker.brokers(), "anomalies", 2), sorted(&[&Rows::of(3, 10)]));
}

#[test]
fn a_second_producer_ends_the_first_and_what_that_had_begun_is_never_seen() {
    let Some(brokers) = kafka() else { return };
    let topic = Cluster::at(&brokers).topic("fenced", 1);
    let spec = spec(&brokers, &topic);
    let (mut first, _) = AnomalyProducer::open(spec.clone()).unwrap();
    first.send(1, &Rows::of(1, 3)).unwrap();
    let (mut second, last) = AnomalyProducer::open(spec.clone()).unwrap();
    assert_eq!(last, Some(1));
    let error = first.send(2, &Rows::of(2, 3)).unwrap_err();
    assert!(
        matches!(&error, KafkaOutputError::Fenced { transactional_id } if *transactional_id == spec.transactional_id),
        "{error}"
    );
    assert!(matches!(first.send(2, &Rows::of(2, 3)), Err(KafkaOutputError::Fenced { .. })));
    let by_second = Rows::of(2, 5);
    second.send(2, &by_second).unwrap();
    assert_eq!(visible(&brokers, &topic, 1), sorted(&[&Rows::of(1, 3), &by_second]));
}

#[test]
fn what_a_killed_process_left_open_is_rolled_back_before_progress_is_read() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("killed", 1);
    let spec = spec(&brokers, &topic);
    let (mut producer, _) = AnomalyProducer::open(spec.clone()).unwrap();
    producer.send(1, &Rows::of(1, 2)).unwrap();
    drop(producer);
    // As a process that was killed before its commit: all delivered, nothing committed.
    let killed = Writer::new(&brokers, &[("transactional.id", &spec.transactional_id)]);
    killed.0.init_transactions(Duration::from_secs(10)).unwrap();
    killed.0.begin_transaction().unwrap();
    killed.send(&topic, 0, Some(b"k"), Some(b"never seen"));
    let progress = spec.progress_topic();
    let id = spec.transactional_id.as_bytes();
    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&progress).key(id).payload(br#"{"sequence":2}"#);
    killed.0.send(record).map_err(|(error, _)| error).unwrap();
    killed.0.flush(Duration::from_secs(10)).unwrap();
    let (mut producer, last) = AnomalyProducer::open(spec).unwrap();
    assert_eq!(last, Some(1));
    producer.send(2, &Rows::of(2, 2)).unwrap();
    assert_eq!(visible(&brokers, &topic, 1), sorted(&[&Rows::of(1, 2), &Rows::of(2, 2)]));
}

#[test]
fn pipelines_may_share_topics_and_each_knows_its_own_progress() {
    let Some(brokers) = kafka() else { return };
    let topic = Cluster::at(&brokers).topic("shared", 1);
    let specs = [spec(&brokers, &topic), spec(&brokers, &topic)];
    for (sequence, spec) in [(40, &specs[0]), (3, &specs[1])] {
        AnomalyProducer::open(spec.clone()).unwrap().0.send(sequence, &Rows::of(sequence, 1)).unwrap();
    }
    let last = |spec: &KafkaOutputSpec| AnomalyProducer::open(spec.clone()).unwrap().1;
    assert_eq!((last(&specs[0]), last(&specs[1])), (Some(40), Some(3)));
}

#[test]
fn rows_reach_a_secured_cluster() {
    let Some(brokers) = kafka() else { return };
    let topic = Cluster::at(&brokers).topic("secured", 1);
    let Some(secure) = variable("TIDEWATCH_TEST_KAFKA_SECURE") else { return };
    let mut spec = spec(&secure, &topic);
    for (name, value) in [
        ("security.protocol", Some("SASL_SSL".to_string())),
        ("sasl.mechanisms", Some("SCRAM-SHA-512".to_string())),
        ("sasl.username", variable("TIDEWATCH_TEST_KAFKA_USER")),
        ("sasl.password", variable("TIDEWATCH_TEST_KAFKA_PASSWORD")),
        ("ssl.ca.location", variable("TIDEWATCH_TEST_KAFKA_CA")),
    ] {
        let Some(value) = value else { return };
        spec.properties.insert(name.into(), value);
    }
    let rows = Rows::of(1, 10);
    AnomalyProducer::open(spec.clone()).unwrap().0.send(1, &rows).unwrap();
    assert_eq!(visible(&brokers, &topic, 1), sorted(&[&rows]));
    spec.properties.insert("sasl.password".into(), "hunter2".into());
    let error = AnomalyProducer::open(spec).err().unwrap().to_string();
    assert!(error.contains("refuses the connection") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_topic_that_is_not_there_is_named_at_the_start() {
    let Some(brokers) = kafka() else { return };
    let error = AnomalyProducer::open(spec(&brokers, "no-such-topic")).err().unwrap().to_string();
    assert!(error.starts_with("topic `no-such-topic` does not exist on Kafka at"), "{error}");
}

#[test]
fn an_anomaly_that_is_too_large_is_told_at_once_and_nothing_of_its_checkpoint_is_seen() {
    let Some(brokers) = kafka() else { return };
    let topic = Cluster::at(&brokers).topic("large", 1);
    let spec = spec(&brokers, &topic);
    let (mut producer, _) = AnomalyProducer::open(spec).unwrap();
    let mut rows = Rows::of(1, 3);
    rows.0[2] = ["huge".into(), "x".repeat(2_000_000), "id".into()];
    let error = producer.send(1, &rows).unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, KafkaOutputError::TooLarge { bytes: 2_000_000, .. }), "{told}");
    assert!(told.contains("`huge`") && told.contains("message.max.bytes"), "{told}");
    assert_eq!(producer.send(1, &Rows::of(1, 2)).unwrap(), Sent::Committed { rows: 2 }, "it is of use still");
    assert_eq!(visible(&brokers, &topic, 1), sorted(&[&Rows::of(1, 2)]));
}
