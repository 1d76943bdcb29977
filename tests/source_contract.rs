//! What every source keeps: records in order, the same rest from any offset, nothing lost or repeated by pausing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod testbed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use testbed::{Seen, read_until};
use tidewatch::broker::mock::MockBroker;
use tidewatch::checkpoint::manifest::Checkpoint;
use tidewatch::domain::ids::{Offset, PartitionId};
use tidewatch::domain::raw::Form;
use tidewatch::sources::files::{Compression, FileFormat, FilePartition, FileReader, FilesSpec, Location, discover};
use tidewatch::sources::kafka::{KafkaClient, KafkaReader};
use tidewatch::sources::quarantine::{Entry, Quarantine, QuarantineReader, Redriven};
use tidewatch::sources::simulator::{Pace, Profile, SeededFaults, Simulator, SimulatorReader, SimulatorSpec};
use tidewatch::sources::{Partition, Reader};
use tidewatch::storage::Storage;
use tidewatch::storage::key::ObjectKey;

type Records = BTreeMap<PartitionId, Vec<(i64, String)>>;
type Starts<'a> = &'a dyn Fn(PartitionId) -> Option<Offset>;

/// `open` reads the whole source once, from the given offsets.
fn check(expected: &Records, open: impl Fn(Starts<'_>) -> Box<dyn Reader>) {
    all_records_come_in_order(expected, &open);
    any_offset_gives_the_same_rest(expected, &open);
    pausing_neither_loses_nor_repeats(expected, &open);
}

fn all_ended(expected: &Records) -> impl Fn(&Seen) -> bool {
    let count = expected.len();
    move |seen| seen.ended.len() == count
}

fn all_records_come_in_order(expected: &Records, open: &impl Fn(Starts<'_>) -> Box<dyn Reader>) {
    let mut seen = Seen::default();
    read_until(&mut *open(&|_| None), &mut seen, all_ended(expected)).unwrap();
    assert_eq!(&seen.records, expected);
    for (partition, next) in &seen.ended {
        assert!(next.0 > expected[partition].last().unwrap().0);
    }
}

fn any_offset_gives_the_same_rest(expected: &Records, open: &impl Fn(Starts<'_>) -> Box<dyn Reader>) {
    for cut in [1, 2, 7, 19] {
        let start = |partition: PartitionId| {
            let records = &expected[&partition];
            Some(Offset(records[(cut * (1 + partition.0 as usize)) % records.len()].0))
        };
        let mut seen = Seen::default();
        read_until(&mut *open(&start), &mut seen, all_ended(expected)).unwrap();
        for (partition, records) in expected {
            let from = start(*partition).unwrap().0;
            let rest: Vec<_> = records.iter().filter(|(offset, _)| *offset >= from).cloned().collect();
            assert_eq!(seen.records.get(partition), Some(&rest));
        }
    }
}

fn pausing_neither_loses_nor_repeats(expected: &Records, open: &impl Fn(Starts<'_>) -> Box<dyn Reader>) {
    let mut reader = open(&|_| None);
    let mut seen = Seen::default();
    let mut round = 0;
    while !all_ended(expected)(&seen) {
        let paused: Vec<PartitionId> =
            expected.keys().enumerate().filter(|(index, _)| (round + index) % 3 != 0).map(|(_, id)| *id).collect();
        paused.iter().for_each(|partition| reader.pause(*partition).unwrap());
        let before: Vec<usize> = paused.iter().map(|partition| seen.offsets(*partition).len()).collect();
        for _ in 0..3 {
            let mut out = Vec::new();
            reader.read(5, &mut out).unwrap();
            seen.take(out);
        }
        let after: Vec<usize> = paused.iter().map(|partition| seen.offsets(*partition).len()).collect();
        assert_eq!(before, after, "a paused partition hands on nothing");
        paused.iter().for_each(|partition| reader.resume(*partition).unwrap());
        std::thread::park_timeout(std::time::Duration::from_millis(1));
        round += 1;
        assert!(round < 20_000, "{seen:?}");
    }
    assert_eq!(&seen.records, expected);
}

fn files(paths: Vec<String>) -> FilesSpec {
    let spec = FilesSpec::new(paths, FileFormat::Ndjson);
    FilesSpec { record_bytes_max: 1000, block_bytes: 100, open_files_max: 2, ..spec }
}

/// Three partitions, and each as the text of a file.
fn lines() -> (Records, Vec<String>) {
    let partition = |file: u64| -> Vec<(i64, String)> {
        (0..40 + file as i64 * 25).map(|index| (index, format!("{file}:{index}"))).collect()
    };
    let expected: Records = (0..3).map(|file| (PartitionId(file), partition(file))).collect();
    let text = |records: &Vec<(i64, String)>| records.iter().map(|(_, text)| format!("{text}\n")).collect();
    let texts = expected.values().map(text).collect();
    (expected, texts)
}

#[test]
fn files_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, texts) = lines();
    for (file, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{file}.ndjson")), text).unwrap();
    }
    let paths = vec![folder.path().display().to_string()];
    let spec = files(paths);
    check(&expected, |starts| Box::new(FileReader::new(&spec, discover(&spec).unwrap(), starts)));
}

#[test]
fn objects_of_a_store_keep_the_contract() {
    let storage = Storage::in_memory().unwrap();
    let (expected, texts) = lines();
    let partition = |(file, text): (usize, &String)| {
        let name = format!("{file}.ndjson");
        let key = ObjectKey::of(["recordings", &name]);
        storage.put(&key, &text.clone().into()).unwrap();
        let found = storage.find(&key).unwrap().unwrap();
        FilePartition {
            partition: Partition { id: PartitionId(file as u64), name },
            bytes: found.size,
            location: Location::object(format!("memory://{key}"), storage.clone(), found),
            format: FileFormat::Ndjson,
            compression: Compression::None,
        }
    };
    let objects: Vec<FilePartition> = texts.iter().enumerate().map(partition).collect();
    let spec = files(Vec::new());
    check(&expected, |starts| Box::new(FileReader::new(&spec, objects.clone(), starts)));
}

#[test]
fn simulated_devices_keep_the_contract() {
    let seeded_faults = SeededFaults::of_every_kind(10, Duration::ZERO);
    let (devices, duration, partitions) = (9, Duration::from_secs(120), 3);
    let spec = SimulatorSpec { devices, duration, partitions, seeded_faults, ..SimulatorSpec::new(Profile::Fleet) };
    let simulator = Simulator::new(spec).unwrap();
    let mut expected = Records::new();
    for partition in 0..partitions {
        let mut stream = simulator.partition(partition);
        let records = expected.entry(PartitionId(partition.into())).or_default();
        while let Some(event) = stream.next() {
            let mut line = Vec::new();
            event.write_json(&mut line);
            records.push((records.len() as i64, String::from_utf8(line).unwrap()));
        }
    }
    for pace in [Pace::Unbounded, Pace::Times(100_000.0)] {
        check(&expected, |starts| {
            let partitions = simulator.partitions();
            Box::new(SimulatorReader::new(&simulator, &partitions, starts, pace, testbed::wake()).unwrap())
        });
    }
}

#[test]
fn kafka_keeps_the_contract() {
    let broker = MockBroker::start().unwrap();
    let mut expected = Records::new();
    broker.create_topic("t", 3).unwrap();
    for partition in 0..3 {
        let records: Vec<_> =
            (0..40 + i64::from(partition) * 25).map(|index| (index, format!("{partition}:{index}"))).collect();
        for (_, text) in &records {
            broker.append("t", partition, None, Some(text.as_bytes())).unwrap();
        }
        expected.insert(PartitionId(partition as u64), records);
    }
    broker.flush().unwrap();
    let spec = testbed::spec(&broker.brokers(), "t");
    check(&expected, |starts| {
        let client = KafkaClient::connect(&spec).unwrap();
        let ends = client.ends().unwrap();
        Box::new(KafkaReader::new(client, 0, 1, starts, Some(&ends), testbed::wake()).unwrap())
    });
}

/// A file of quarantined rows: partition, offset, payload.
fn quarantined(rows: &[(String, i64, String)]) -> Bytes {
    let column = |texts: Vec<String>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let bytes = rows.iter().map(|(_, _, payload)| payload.as_bytes());
    let columns = [
        ("partition", column(rows.iter().map(|(partition, _, _)| partition.clone()).collect())),
        ("offset", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, offset, _)| *offset)))),
        ("received", Arc::new(TimestampMicrosecondArray::from(vec![None::<i64>; rows.len()]).with_timezone("UTC"))),
        ("reason", column(vec!["syntax".to_owned(); rows.len()])),
        ("payload", Arc::new(BinaryArray::from_iter_values(bytes))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file.into()
}

#[test]
fn quarantined_records_keep_the_contract_wherever_their_rows_stand() {
    let storage = Storage::in_memory().unwrap();
    let (expected, _) = lines();
    // Rows of all partitions in turn over seven files, so that neither offsets nor partitions follow each other.
    let mut files = vec![Vec::new(); 7];
    let mut entries: BTreeMap<PartitionId, Vec<Entry>> = BTreeMap::new();
    for (id, records) in &expected {
        for (index, (offset, text)) in records.iter().enumerate() {
            let file = index * 5 % 7;
            let (offset, row) = (Offset(*offset), files[file].len() as u32);
            entries.entry(*id).or_default().push(Entry { offset, file: file as u32, row, is_chosen: true });
            files[file].push((format!("t/{}", id.0), offset.0, text.clone()));
        }
    }
    let key = |file: usize| ObjectKey::of(["quarantine", "date=2026-01-01", &format!("{file}.parquet")]);
    let staged = |file: usize| ObjectKey::of(["_staging", &format!("{file}")]);
    let sha256 = "0".repeat(64);
    let (mut waiting, mut due) = (Vec::new(), Vec::new());
    for (file, rows) in files.iter().enumerate() {
        let stored = if file < 4 { key(file) } else { staged(file) };
        storage.put(&stored, &quarantined(rows)).unwrap();
        let (table, size, rows) = ("quarantine", 1, rows.len());
        // The fifth is on its way, and so is one that has arrived; the others wait for a file.
        match file {
            3 | 4 => due.push(json!({ "table": table, "staged": staged(file), "target": key(file), "size": size, "sha256": sha256, "rows": rows })),
            5.. => waiting.push(json!({ "table": table, "key": staged(file), "size": size, "sha256": sha256, "rows": rows, "oldest": 0 })),
            _ => {}
        }
    }
    let checkpoint: Checkpoint = serde_json::from_value(json!({
        "epoch": 1, "at": 0, "configuration": {}, "partitions": [], "state": [], "staged": waiting, "publish": due,
        "ledger": { "open": [] }, "models": [],
    }))
    .unwrap();
    check(&expected, |starts| {
        (5..7).for_each(|file| storage.put(&staged(file), &quarantined(&files[file])).unwrap());
        let quarantine = Arc::new(Quarantine::open(storage.clone(), &checkpoint).unwrap());
        assert_eq!(quarantine.files(), 7);
        // Whoever writes the table makes files of them at any time, and then they go.
        (5..7).for_each(|file| storage.delete(&staged(file)).unwrap());
        let redriven = |(id, entries): (&PartitionId, &Vec<Entry>)| {
            let partition = Partition { id: *id, name: format!("redrive/1/t/{}", id.0) };
            Redriven { partition, form: Form::Objects, entries: entries.clone() }
        };
        Box::new(QuarantineReader::new(quarantine, entries.iter().map(redriven).collect(), starts))
    });
}
