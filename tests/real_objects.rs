//! Recordings on a real store: read there, they give what the same files on the disk give, to the bit; and what happens to an object is
//! told by its name.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use flow::events::{self, Partitions};
use flow::place::Place;
use flow::program::{Desk, configuration};
use flow::tables::{self, Row};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use testbed::variable;
use tidewatch::sources::files::{FileFormat, FileReader, FilesSpec, discover};
use tidewatch::sources::{Read, Reader, SourceError};
use tidewatch::storage::S3Options;
use tidewatch::storage::key::ObjectKey;

/// More than a first piece of each object, in each format.
const ROWS: usize = 12_000;
const PARTITIONS: usize = 2;

/// The flows of each partition as objects of JSON.
fn rows(partition: &[events::Event]) -> Vec<serde_json::Map<String, Value>> {
    partition.iter().map(|event| serde_json::from_str(&event.line).unwrap()).collect()
}

fn ndjson(partition: &[events::Event]) -> Vec<u8> {
    partition.iter().flat_map(|event| (event.line.clone() + "\n").into_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn csv(partition: &[events::Event]) -> Vec<u8> {
    let rows = rows(partition);
    let names: Vec<&String> = rows[0].keys().collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&names).unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.iter().for_each(|row| writer.write_record(names.iter().map(|name| text(&row[*name]))).unwrap());
    writer.into_inner().unwrap()
}

/// Several groups of rows, and a column that nobody reads.
fn parquet(partition: &[events::Event]) -> Vec<u8> {
    let rows = rows(partition);
    let column = |name: &String| -> ArrayRef {
        match &rows[0][name] {
            Value::String(_) => Arc::new(rows.iter().map(|row| row[name].as_str()).collect::<StringArray>()),
            Value::Number(number) if number.is_i64() && name == "ts" => {
                Arc::new(rows.iter().map(|row| row[name].as_i64()).collect::<Int64Array>())
            }
            _ => Arc::new(rows.iter().map(|row| row[name].as_f64()).collect::<Float64Array>()),
        }
    };
    let unread = StringArray::from_iter_values((0..rows.len()).map(|row| format!("{row:0500}")));
    let named = rows[0].keys().map(|name| (name.clone(), column(name)));
    let batch = RecordBatch::try_from_iter(named.chain([("unread".to_owned(), Arc::new(unread) as ArrayRef)])).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2500)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// What is on the store, and the same on the disk.
struct Twins {
    store: Place,
    folder: tempfile::TempDir,
}

impl Twins {
    fn new() -> Option<Twins> {
        Some(Twins { store: Place::on_store()?, folder: tempfile::tempdir().unwrap() })
    }

    fn write(&self, name: &str, bytes: Vec<u8>) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &bytes).unwrap();
        self.store.open().put(&ObjectKey::of(name.split('/')), &Bytes::from(bytes)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
        self.store.open().delete(&ObjectKey::of(name.split('/'))).unwrap();
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.store.url)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// `source.files.s3` or `output.s3`: where the store is.
fn endpoint(section: &str) -> String {
    format!("{section}.endpoint={}", variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap())
}

fn answers(place: &Place) -> (Vec<Row>, Vec<Row>) {
    let storage = place.open();
    (tables::newest(&storage, "by_label", "label"), tables::newest(&storage, "by_device", "device"))
}

fn replayed(from: &str, set: &str) -> (Vec<Row>, Vec<Row>) {
    let (desk, place) = (Desk::new(&configuration("localhost:1", "none", false)), Place::local());
    let words = ["replay", "tidewatch.toml", "--from", from, "-q", "-w", "2", "--set", set];
    desk.start(&place.with(&words)).end().well();
    let storage = place.open();
    let ledger = tables::rows(&storage, "ledger", &["partition", "read"]);
    let read: i64 =
        ledger.iter().filter(|row| row["partition"] != tables::Cell::Null).map(|row| row["read"].int()).sum();
    assert_eq!(read as usize, ROWS, "every record of {from} is in the ledger");
    answers(&place)
}

#[test]
fn a_recording_on_a_store_gives_the_windows_of_the_same_recording_on_the_disk() {
    let Some(twins) = Twins::new() else { return };
    let flows = events::flows(ROWS, PARTITIONS, 41);
    type Written = fn(&[events::Event]) -> Vec<u8>;
    let formats: [(&str, &str, Written); 4] = [
        ("lines", "ndjson", ndjson),
        ("gzip", "ndjson.gz", |flows| gzip(&ndjson(flows))),
        ("cells", "csv", csv),
        ("columns", "parquet", parquet),
    ];
    let set = endpoint("output.s3");
    let mut wanted = None;
    for (folder, ending, written) in formats {
        for (partition, flows) in flows.iter().enumerate() {
            twins.write(&format!("{folder}/day={partition}/flows.{ending}"), written(flows));
        }
        twins.write(&format!("{folder}/_staging/flows.{ending}"), b"{}".to_vec());
        let wanted = wanted.get_or_insert_with(|| replayed(&twins.path(folder), &set));
        assert!(wanted.0.len() > 20 && wanted.1.len() > 100, "there is something to compare");
        assert_eq!(&replayed(&twins.path(folder), &set), wanted, "{ending} on the disk");
        assert_eq!(&replayed(&twins.url(folder), &set), wanted, "{ending} below a prefix");
        let glob = twins.url(&format!("{folder}/day=*/flows.{ending}"));
        assert_eq!(&replayed(&glob, &set), wanted, "{ending} by a pattern");
    }
}

fn from_files(path: &str) -> String {
    let text = configuration("localhost:1", "none", false);
    let (from, to) = (text.find("[source.kafka]").unwrap(), text.find("[event]").unwrap());
    format!("{}[source.files]\npaths = [{path:?}]\n\n{}", &text[..from], &text[to..])
}

#[test]
fn a_run_goes_on_in_the_middle_of_an_object_and_tells_what_was_taken_away() {
    let Some(twins) = Twins::new() else { return };
    let flows: Partitions = events::flows(ROWS, PARTITIONS, 42);
    let name = |partition: usize| format!("flows-{partition}.ndjson");
    let write = |share: usize| {
        for (partition, flows) in flows.iter().enumerate() {
            twins.write(&name(partition), ndjson(&flows[..flows.len() * share / 3]));
        }
    };
    let (local, remote) = (Place::local(), Place::local());
    let (at_local, at_remote) = (Desk::new(&from_files(&twins.path(""))), Desk::new(&from_files(&twins.url(""))));
    let set = endpoint("source.files.s3");
    let once = ["run", "tidewatch.toml", "--once"];
    let run_remote = || at_remote.start(&remote.with(&[&once[..], &["--set", &set]].concat())).end();
    for share in [1, 2, 3] {
        write(share);
        at_local.start(&local.with(&once)).end().well();
        run_remote().well();
        let read: i64 = tables::accounts(&remote.open()).values().map(|account| account.read).sum();
        let written: usize = flows.iter().map(|flows| flows.len() * share / 3).sum();
        assert_eq!(read as usize, written, "each record is read once, whatever was read before");
    }
    assert_eq!(tables::accounts(&remote.open()), tables::accounts(&local.open()));
    assert_eq!(answers(&remote), answers(&local));

    twins.write(&name(0), ndjson(&flows[0][..flows[0].len() / 3]));
    run_remote().with(1, &[&twins.url(&name(0)), "was read up to record", "now ends after"]);
    (0..PARTITIONS).for_each(|partition| twins.remove(&name(partition)));
    run_remote().with(2, &["no file matches", &twins.url("")]);
}

/// Reads until the end or an error, after something was done behind the reader's back.
fn error_of(spec: &FilesSpec, behind: impl FnOnce()) -> SourceError {
    let mut reader = FileReader::new(spec, discover(spec).unwrap(), &|_| None);
    let mut reads = Vec::new();
    reader.read(10, &mut reads).unwrap();
    behind();
    loop {
        match reader.read(1000, &mut reads) {
            Ok(()) => assert!(!reads.iter().any(|read| matches!(read, Read::Ended { .. })), "nothing was noticed"),
            Err(error) => return error,
        }
    }
}

#[test]
fn an_object_that_changes_or_vanishes_while_it_is_read_is_an_error_that_names_it() {
    let Some(twins) = Twins::new() else { return };
    let flows = events::flows(ROWS, 1, 43).remove(0);
    let written: BTreeMap<&str, Vec<u8>> = [
        ("a.ndjson", ndjson(&flows)),
        ("b.ndjson.gz", gzip(&ndjson(&flows))),
        ("c.csv", csv(&flows)),
        ("d.parquet", parquet(&flows)),
    ]
    .into();
    for (name, bytes) in written {
        let s3 = Arc::new(S3Options { endpoint: variable("TIDEWATCH_TEST_S3_ENDPOINT"), ..S3Options::default() });
        let wanted = ["device", "ts"].map(|name| vec![name.to_owned()]).to_vec();
        let spec = FilesSpec { s3, wanted, ..FilesSpec::new(vec![twins.url(name)], FileFormat::Ndjson) };
        let size = bytes.len();
        twins.write(name, bytes.clone());
        let told = error_of(&spec, || twins.write(name, bytes[..size / 2].to_vec())).to_string();
        assert_eq!(told, format!("`{}` changed from {size} to {} bytes while it was read", twins.url(name), size / 2));
        twins.write(name, bytes.clone());
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        let told = error_of(&spec, || twins.write(name, other)).to_string();
        assert_eq!(told, format!("`{}` was written anew while it was read", twins.url(name)));
        twins.write(name, bytes);
        let gone = error_of(&spec, || twins.remove(name));
        assert_eq!(gone.to_string(), format!("cannot read `{}`", twins.url(name)));
        let cause = std::error::Error::source(&gone).unwrap().to_string();
        assert!(cause.ends_with("does not exist"), "{cause}");
    }
}

#[test]
fn check_tells_what_is_wrong_with_a_store_of_recordings_under_the_key_to_change() {
    let Some(twins) = Twins::new() else { return };
    twins.write("a.ndjson", ndjson(&events::flows(300, 1, 44)[0]));
    let check = |desk: &Desk, words: &[&str], environment: &[(&str, &str)]| {
        let place = Place::local();
        desk.start_with(&place.with(&[&["check", "tidewatch.toml"], words].concat()), environment).end()
    };
    let (own, shared) = (endpoint("source.files.s3"), endpoint("output.s3"));
    let files = Desk::new(&from_files(&twins.url("")));
    let kafka = Desk::new(&configuration("localhost:1", "none", false));
    check(&files, &["--set", &own], &[]).well();
    check(&files, &["--set", &shared], &[]).well();
    check(&kafka, &["--set", &shared, "--from", &twins.url("a.ndjson")], &[]).well();

    let nowhere = ["--set", "source.files.s3.endpoint=http://127.0.0.1:1"];
    check(&files, &nowhere, &[]).with(2, &["source.files.s3.endpoint\n", "did not answer", "start the store"]);
    let nowhere = ["--set", "output.s3.endpoint=http://127.0.0.1:1", "--from", "s3://b/x", "s3://b/y"];
    check(&kafka, &nowhere, &[]).with(2, &["output.s3.endpoint\n", "did not answer", "start the store"]);
    let no_bucket = ["--set", &own, "--set", "source.files.paths=s3://no-such-bucket/x"];
    check(&files, &no_bucket, &[]).with(2, &["source.files.paths", "NoSuchBucket", "name a bucket that is there"]);
    let nothing = ["--set", &own, "--from", &twins.url("*.csv")];
    check(&files, &nothing, &[]).with(2, &["--from", "no file matches"]);

    let account = [
        ("TIDEWATCH__SOURCE__FILES__S3__ACCESS_KEY_ID", "nobody-hunter2"),
        ("TIDEWATCH__SOURCE__FILES__S3__SECRET_ACCESS_KEY", "hunter2-secret"),
    ];
    let refused = check(&files, &["--set", &own], &account);
    refused.with(2, &["source.files.paths", "InvalidAccessKeyId", "TIDEWATCH__SOURCE__FILES__S3__ACCESS_KEY_ID"]);
    assert!(!refused.log.contains("hunter2"), "{}", refused.log);
    for words in [["--from", "s3://me:hunter2@b/x"], ["--set", "source.files.paths=s3://me:hunter2@b/x"]] {
        let refused = check(&files, &words, &[]);
        refused.with(2, &["an account does not belong in a URL", "AWS_ACCESS_KEY_ID"]);
        assert!(!refused.log.contains("hunter2"), "{}", refused.log);
    }
}
