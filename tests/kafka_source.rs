//! Reading from a real Kafka: what only it can show. Outages and lost offsets are shown on the broker inside the process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod testbed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use testbed::{Cluster, Seen, Writer, fresh, kafka, read_to_error, read_until, spec, variable, wake};
use tidewatch::broker::mock::MockBroker;
use tidewatch::domain::ids::{Offset, PartitionId};
use tidewatch::domain::raw::Offsets;
use tidewatch::sources::kafka::{KafkaClient, KafkaReader, KafkaSpec, Lost, Start};
use tidewatch::sources::{Read, Reader};

const P0: PartitionId = PartitionId(0);
const P1: PartitionId = PartitionId(1);
const SHORT: Duration = Duration::from_secs(10);

fn reader(spec: &KafkaSpec) -> KafkaReader {
    KafkaReader::new(KafkaClient::connect(spec).unwrap(), 0, 1, &|_| None, None, wake()).unwrap()
}

fn reader_at(spec: &KafkaSpec, offset: i64) -> Result<KafkaReader, String> {
    let client = KafkaClient::connect(spec).unwrap();
    KafkaReader::new(client, 0, 1, &|_| Some(Offset(offset)), None, wake()).map_err(|error| error.to_string())
}

fn up_to(count: usize) -> impl Fn(&Seen) -> bool {
    move |seen| seen.count() >= count
}

#[test]
fn every_worker_reads_its_partitions_and_no_other() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("workers", 5);
    let writer = cluster.writer();
    (0..5).for_each(|partition| writer.numbers(&topic, partition, 0..100 + i64::from(partition)));
    let client = KafkaClient::connect(&spec(&brokers, &topic)).unwrap();
    let names: Vec<_> = client.partitions().into_iter().map(|partition| partition.name).collect();
    assert_eq!(names, (0..5).map(|partition| format!("{topic}/{partition}")).collect::<Vec<_>>());
    let ends = client.ends().unwrap();
    let mut seen = [Seen::default(), Seen::default()];
    for (worker, seen) in seen.iter_mut().enumerate() {
        let mut reader = KafkaReader::new(Arc::clone(&client), worker, 2, &|_| None, Some(&ends), wake()).unwrap();
        read_until(&mut reader, seen, |seen| seen.ended.len() == 3 - worker).unwrap();
    }
    assert_eq!(seen[0].records.keys().map(|id| id.0).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(seen[1].records.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(seen[0].count() + seen[1].count(), 510);
}

#[test]
fn keys_stamps_tombstones_and_empty_payloads_are_kept_apart() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("payloads", 1);
    let writer = cluster.writer();
    writer.send(&topic, 0, Some(b"pump"), Some(b"{}"));
    writer.send(&topic, 0, Some(b"gone"), None);
    writer.send(&topic, 0, None, Some(b""));
    writer.0.flush(SHORT).unwrap();
    let mut reader = reader(&spec(&brokers, &topic));
    let mut batch = None;
    while batch.is_none() {
        let mut out = Vec::new();
        reader.read(10, &mut out).unwrap();
        batch = out.into_iter().find_map(|read| if let Read::Records(batch) = read { Some(batch) } else { None });
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let batch = batch.unwrap();
    assert_eq!(batch.len(), 3);
    assert_eq!([batch.key(0), batch.key(1), batch.key(2)], [Some(&b"pump"[..]), Some(b"gone"), None]);
    assert_eq!([batch.payload(0), batch.payload(1), batch.payload(2)], [&b"{}"[..], b"", b""]);
    assert_eq!(batch.tombstones, [1]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    assert!(batch.received.unwrap().iter().all(|at| (now - at).abs() < 600_000_000));
}

#[test]
fn holes_of_transactions_are_passed_over_up_to_the_very_end() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("holes", 1);
    let writer = Writer::new(&brokers, &[("transactional.id", &fresh("holes"))]);
    writer.0.init_transactions(SHORT).unwrap();
    let transaction = |numbers: std::ops::Range<i64>, commits: bool| {
        writer.0.begin_transaction().unwrap();
        writer.numbers(&topic, 0, numbers);
        if commits { writer.0.commit_transaction(SHORT) } else { writer.0.abort_transaction(SHORT) }.unwrap();
    };
    transaction(0..3, true); // offsets 0-2, marker 3
    transaction(3..6, false); // offsets 4-6, marker 7
    transaction(6..8, true); // offsets 8-9, marker 10
    transaction(8..9, false); // offset 11, marker 12
    let spec = spec(&brokers, &topic);
    let mut seen = Seen::default();
    read_until(&mut reader(&spec), &mut seen, |seen| seen.caught_up.get(&P0) == Some(&Offset(13))).unwrap();
    assert_eq!(seen.offsets(P0), [0, 1, 2, 8, 9]);
    // To the end as it stands, from inside a hole.
    let client = KafkaClient::connect(&spec).unwrap();
    let ends = client.ends().unwrap();
    assert_eq!(ends[&P0], Offset(13));
    let mut reader = KafkaReader::new(client, 0, 1, &|_| Some(Offset(5)), Some(&ends), wake()).unwrap();
    let mut seen = Seen::default();
    read_until(&mut reader, &mut seen, |seen| !seen.ended.is_empty()).unwrap();
    assert_eq!((seen.offsets(P0), seen.ended[&P0]), (vec![8, 9], Offset(13)));
}

#[test]
fn an_open_transaction_is_beyond_the_end() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("open", 1);
    cluster.writer().numbers(&topic, 0, 0..5);
    let writer = Writer::new(&brokers, &[("transactional.id", &fresh("open"))]);
    writer.0.init_transactions(SHORT).unwrap();
    writer.0.begin_transaction().unwrap();
    writer.numbers(&topic, 0, 5..8);
    cluster.writer().numbers(&topic, 0, 8..9);
    let client = KafkaClient::connect(&spec(&brokers, &topic)).unwrap();
    let ends = client.ends().unwrap();
    let mut reader = KafkaReader::new(client, 0, 1, &|_| None, Some(&ends), wake()).unwrap();
    let mut seen = Seen::default();
    read_until(&mut reader, &mut seen, |seen| !seen.ended.is_empty()).unwrap();
    assert_eq!((seen.offsets(P0), seen.ended[&P0]), (vec![0, 1, 2, 3, 4], Offset(5)));
    writer.0.abort_transaction(SHORT).unwrap();
}

#[test]
fn what_is_written_after_the_end_was_taken_is_not_read() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("until", 2);
    cluster.writer().numbers(&topic, 0, 0..10);
    let client = KafkaClient::connect(&spec(&brokers, &topic)).unwrap();
    let ends = client.ends().unwrap();
    (0..2).for_each(|partition| cluster.writer().numbers(&topic, partition, 10..20));
    let mut reader = KafkaReader::new(client, 0, 1, &|_| None, Some(&ends), wake()).unwrap();
    let mut seen = Seen::default();
    read_until(&mut reader, &mut seen, |seen| seen.ended.len() == 2).unwrap();
    assert_eq!(seen.offsets(P0), (0..10).collect::<Vec<_>>());
    assert_eq!(seen.ended, BTreeMap::from([(P0, Offset(10)), (P1, Offset(0))]));
}

#[test]
fn a_start_at_the_end_or_at_a_time_begins_there() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("start", 1);
    let writer = cluster.writer();
    for millis in [1000, 2000, 3000] {
        let record = rdkafka::producer::BaseRecord::<'_, (), str>::to(&topic).payload("x").partition(0);
        writer.0.send(record.timestamp(1_700_000_000_000 + millis)).map_err(|(error, _)| error).unwrap();
    }
    writer.0.flush(SHORT).unwrap();
    for (start, first, written) in [
        (Start::Earliest, 0, 3),
        (Start::At(1_700_000_001_000_000), 0, 3),
        (Start::At(1_700_000_001_000_001), 1, 3),
        (Start::Latest, 3, 4),
        // After all of them: from the next on.
        (Start::At(4_000_000_000_000_000), 4, 5),
    ] {
        let mut reader = reader(&KafkaSpec { start, ..spec(&brokers, &topic) });
        if written > 3 {
            writer.numbers(&topic, 0, 0..1);
        }
        let mut seen = Seen::default();
        read_until(&mut reader, &mut seen, |seen| seen.offsets(P0).last() == Some(&(written - 1))).unwrap();
        assert_eq!(seen.offsets(P0), (first..written).collect::<Vec<_>>(), "{start:?}");
    }
}

#[test]
fn partitions_added_while_running_are_read_from_their_first_offset() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("added", 1);
    cluster.writer().numbers(&topic, 0, 0..10);
    let spec = KafkaSpec { start: Start::Latest, ..spec(&brokers, &topic) };
    let mut reader = reader(&spec);
    cluster.add_partitions(&topic, 3);
    (0..3).for_each(|partition| cluster.writer().numbers(&topic, partition, 100..105));
    let mut seen = Seen::default();
    read_until(&mut reader, &mut seen, up_to(15)).unwrap();
    seen.found.sort();
    assert_eq!(seen.found, [format!("{topic}/1"), format!("{topic}/2")]);
    assert_eq!(seen.offsets(P0), (10..15).collect::<Vec<_>>());
    assert_eq!(seen.offsets(P1), (0..5).collect::<Vec<_>>());
    // Added while nothing ran: from the first offset too, although the others begin where they stopped.
    drop(reader);
    let client = KafkaClient::connect(&spec).unwrap();
    let start = |id: PartitionId| (id == P0).then_some(Offset(12));
    let mut seen = Seen::default();
    let mut reader = KafkaReader::new(client, 0, 1, &start, None, wake()).unwrap();
    read_until(&mut reader, &mut seen, up_to(13)).unwrap();
    assert_eq!((seen.offsets(P0), seen.offsets(P1)), (vec![12, 13, 14], vec![0, 1, 2, 3, 4]));
}

#[test]
fn records_that_retention_deleted_stop_the_start_or_are_recorded() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("deleted", 1);
    cluster.writer().numbers(&topic, 0, 0..100);
    cluster.delete_records_before(&topic, 0, 40);
    let mut spec = spec(&brokers, &topic);
    let error = reader_at(&spec, 10).err().unwrap();
    assert!(error.contains(&format!("offset 10 of `{topic}` partition 0 was deleted")), "{error}");
    assert!(error.contains("the first there is 40") && error.contains("on_lost"), "{error}");
    spec.on_lost = Lost::Record;
    let mut seen = Seen::default();
    read_until(&mut reader_at(&spec, 10).unwrap(), &mut seen, up_to(60)).unwrap();
    assert_eq!(seen.lost, [(P0, Offset(10), Offset(40))]);
    assert_eq!(seen.offsets(P0), (40..100).collect::<Vec<_>>());
    // The end itself is a place to read on; beyond it is not.
    assert!(reader_at(&spec, 100).is_ok());
    let error = reader_at(&spec, 101).err().unwrap();
    assert!(error.contains("offset 101") && error.contains("beyond its end, 100"), "{error}");
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_is_an_error_that_names_it() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("gone", 1);
    let mut reader = reader(&spec(&brokers, &topic));
    cluster.delete_topic(&topic);
    assert_eq!(read_to_error(&mut reader), format!("topic `{topic}` was deleted while it was read"));
}

#[test]
fn pausing_under_writing_is_exact() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("pause", 2);
    let writer = cluster.writer();
    let mut reader = reader(&spec(&brokers, &topic));
    let (mut seen, mut written) = (Seen::default(), 0);
    for round in 0..100i64 {
        // To the end, so that its event is the last thing read before the pause.
        read_until(&mut reader, &mut seen, |seen| seen.offsets(P0).len() as i64 == written).unwrap();
        reader.pause(P0).unwrap();
        writer.numbers(&topic, 0, written..written + round % 4);
        written += round % 4;
        writer.numbers(&topic, 1, round..round + 1);
        let before = seen.offsets(P0).len();
        read_until(&mut reader, &mut seen, |seen| seen.offsets(P1).len() as i64 == round + 1).unwrap();
        assert_eq!(seen.offsets(P0).len(), before, "nothing comes out of a paused partition");
        reader.resume(P0).unwrap();
    }
    read_until(&mut reader, &mut seen, |seen| seen.offsets(P0).len() as i64 == written).unwrap();
    assert_eq!(seen.offsets(P0), (0..written).collect::<Vec<_>>());
    assert_eq!(seen.offsets(P1), (0..100).collect::<Vec<_>>());
}

#[test]
fn committed_offsets_and_ends_show_the_lag() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("lag", 2);
    (0..2).for_each(|partition| cluster.writer().numbers(&topic, partition, 0..50));
    let spec = spec(&brokers, &topic);
    let client = KafkaClient::connect(&spec).unwrap();
    client.commit(&[(P0, Offset(40)), (P1, Offset(7))]);
    let stranger: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", &spec.group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&topic, 0, 1);
    let committed = || -> Vec<KafkaOffset> {
        let committed = stranger.committed_offsets(list.clone(), SHORT).unwrap();
        committed.elements().iter().map(|element| element.offset()).collect()
    };
    let begun = std::time::Instant::now();
    while committed() != [KafkaOffset::Offset(40), KafkaOffset::Offset(7)] || client.high_watermarks().len() < 2 {
        assert!(begun.elapsed() < SHORT, "{:?} {:?}", committed(), client.high_watermarks());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(client.high_watermarks(), BTreeMap::from([(P0, Offset(50)), (P1, Offset(50))]));
}

fn secure(topic: &str) -> Option<KafkaSpec> {
    let mut spec = spec(&variable("TIDEWATCH_TEST_KAFKA_SECURE")?, topic);
    for (name, value) in [
        ("security.protocol", "SASL_SSL".to_string()),
        ("sasl.mechanisms", "SCRAM-SHA-512".to_string()),
        ("sasl.username", variable("TIDEWATCH_TEST_KAFKA_USER")?),
        ("sasl.password", variable("TIDEWATCH_TEST_KAFKA_PASSWORD")?),
        ("ssl.ca.location", variable("TIDEWATCH_TEST_KAFKA_CA")?),
    ] {
        spec.properties.insert(name.into(), value);
    }
    Some(spec)
}

#[test]
fn a_secured_cluster_is_read_with_the_properties_passed_through() {
    let Some(brokers) = kafka() else { return };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("secure", 2);
    (0..2).for_each(|partition| cluster.writer().numbers(&topic, partition, 0..50));
    let Some(spec) = secure(&topic) else { return };
    let mut seen = Seen::default();
    read_until(&mut reader(&spec), &mut seen, up_to(100)).unwrap();
    assert_eq!((seen.offsets(P0).len(), seen.offsets(P1).len()), (50, 50));
}

#[test]
fn a_connection_that_cannot_be_made_names_the_true_cause() {
    let Some(brokers) = kafka() else { return };
    let Some(good) = secure("any") else { return };
    let error = |change: &dyn Fn(&mut KafkaSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        KafkaClient::connect(&spec).err().unwrap().to_string()
    };
    let wrong = error(&|spec| {
        spec.properties.insert("sasl.password".into(), "hunter2".into());
    });
    assert!(wrong.contains("refuses the connection") && wrong.to_lowercase().contains("authentication"), "{wrong}");
    assert!(!wrong.contains("hunter2"));
    let untrusted = error(&|spec| {
        spec.properties.remove("ssl.ca.location");
    });
    assert!(untrusted.contains("refuses the connection") && untrusted.contains("certificate"), "{untrusted}");
    let missing = error(&|_| {});
    assert!(missing.starts_with("topic `any` does not exist"), "{missing}");
    let nobody = KafkaClient::connect(&spec("127.0.0.1:1", "any")).err().unwrap().to_string();
    assert!(nobody.contains("127.0.0.1:1` cannot be reached") && nobody.contains("refused"), "{nobody}");
    let reserved = BTreeMap::from([("auto.offset.reset".to_string(), "latest".to_string())]);
    let ours =
        KafkaClient::connect(&KafkaSpec { properties: reserved, ..spec(&brokers, "any") }).err().unwrap().to_string();
    assert_eq!(ours, "the librdkafka property `auto.offset.reset` is ours: set `start` and `on_lost`");
}

/// About 1 KiB each, so that the broker inside the process soon drops the oldest.
fn append_large(broker: &MockBroker, numbers: std::ops::Range<usize>) {
    for number in numbers {
        broker.append("t", 0, None, Some(format!("{number:01000}").as_bytes())).unwrap();
        if number % 500 == 0 {
            broker.flush().unwrap();
        }
    }
    broker.flush().unwrap();
}

#[test]
fn retention_that_passes_a_slow_reader_stops_it_or_is_recorded() {
    for on_lost in [Lost::Stop, Lost::Record] {
        let broker = MockBroker::start().unwrap();
        broker.create_topic("t", 1).unwrap();
        append_large(&broker, 0..3000);
        let spec = KafkaSpec { on_lost, queue_bytes: 64 << 10, ..spec(&broker.brokers(), "t") };
        let mut reader = reader(&spec);
        let mut seen = Seen::default();
        read_until(&mut reader, &mut seen, up_to(10)).unwrap();
        append_large(&broker, 3000..15_000);
        let read = read_until(&mut reader, &mut seen, |seen| seen.offsets(P0).last() == Some(&14_999));
        match on_lost {
            Lost::Stop => {
                let error = read.unwrap_err().to_string();
                let next = seen.offsets(P0).len();
                assert!(error.starts_with(&format!("offset {next} of `t` partition 0 was deleted")), "{error}");
            }
            Lost::Record => {
                read.unwrap();
                let (_, from, to) = seen.lost[0];
                let expected: Vec<i64> = (0..from.0).chain(to.0..15_000).collect();
                assert_eq!((seen.lost.len(), seen.offsets(P0)), (1, expected));
            }
        }
    }
}

#[test]
fn a_broker_that_goes_away_is_waited_for() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let append = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| broker.append("t", 0, None, Some(number.to_string().as_bytes())).unwrap());
    };
    append(0..100);
    broker.flush().unwrap();
    let mut reader = reader(&spec(&broker.brokers(), "t"));
    let mut seen = Seen::default();
    read_until(&mut reader, &mut seen, up_to(100)).unwrap();
    broker.down().unwrap();
    append(100..200);
    for _ in 0..50 {
        let mut out = Vec::new();
        reader.read(100, &mut out).unwrap();
        seen.take(out);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    broker.up().unwrap();
    read_until(&mut reader, &mut seen, up_to(200)).unwrap();
    assert_eq!(seen.offsets(P0), (0..200).collect::<Vec<_>>());
}

#[test]
fn batches_without_holes_say_so() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    (0..10).for_each(|_| broker.append("t", 0, None, Some(b"{}")).unwrap());
    broker.flush().unwrap();
    let mut reader = reader(&spec(&broker.brokers(), "t"));
    let mut batches = Vec::new();
    while batches.iter().map(|batch: &tidewatch::domain::raw::RawBatch| batch.len()).sum::<usize>() < 10 {
        let mut out = Vec::new();
        reader.read(100, &mut out).unwrap();
        batches.extend(
            out.into_iter().filter_map(|read| if let Read::Records(batch) = read { Some(batch) } else { None }),
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(batches.iter().all(|batch| matches!(batch.offsets, Offsets::Dense { .. }) && batch.keys.is_none()));
}
