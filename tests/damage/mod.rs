//! Outputs of the built binary, copies of them to be damaged, and the ways to damage them.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;
use tempfile::TempDir;
use tidewatch::audit::verify::{self, Depth, Verification};
use tidewatch::checkpoint::seal::{seal, unseal};
use tidewatch::storage::S3Options;
use tidewatch::storage::digest::Sha256;

const TABLES: &str = r#"
[watermark]
out_of_orderness = "2s"
allowed_lateness = "20s"
[[windows]]
name = "tumbling"
size = "10s"
by = ["device"]
[windows.aggregates]
"value" = ["mean", "max"]
[[windows]]
name = "sliding"
size = "45s"
slide = "20s"
by = []
[windows.aggregates]
"value" = ["sum"]
[output]
url = "output"
events = "all"
publish_every = "1h"
"#;

/// Reads a folder of recordings. `{"device", "value", "ts"}` a line.
fn recordings() -> String {
    format!(
        r#"
[pipeline]
name = "proved"
[source.files]
paths = ["in"]
[event]
format = "json"
time = {{ field = "ts", format = "unix_ms" }}
key = "device"
[event.fields]
"device" = "text"
"value" = "float"
{TABLES}"#
    )
}

/// A simulated fleet that goes on for a day, two hundred times as fast as life.
fn live() -> String {
    format!(
        r#"
[pipeline]
name = "proved-live"
checkpoint_every = "100ms"
epoch = "20ms"
[source.simulator]
devices = 20
duration = "24h"
speed = 200.0
[event]
format = "json"
time = {{ field = "ts", format = "unix_ms" }}
key = "device"
[event.fields]
"device" = "text"
"temperature" = "float"
{}"#,
        TABLES.replace("\"value\"", "\"temperature\"")
    )
}

pub fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

pub fn well(folder: &Path, arguments: &[&str]) {
    let ended = program(folder, arguments).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// One file of seeded readings: some out of order, some too late, some broken.
pub fn record(path: &Path, begin_s: i64) {
    let mut lines = String::new();
    for index in 0..600i64 {
        let jitter = index * 7919 % 13 - 6;
        let late = if index % 97 == 96 {
            120
        } else if index % 41 == 40 {
            15
        } else {
            0
        };
        let at = (begin_s + index / 4 - late) * 1000 + jitter * 100;
        let _ = match index % 83 {
            82 => writeln!(lines, "{{\"device\": broken"),
            _ => writeln!(lines, r#"{{"device":"d{}","value":{}.5,"ts":{at}}}"#, index % 5, index % 50),
        };
    }
    std::fs::write(path, lines).unwrap();
}

/// Three runs up to what is there, on one, three and two workers: three files of the ledger, and windows that are still open.
pub fn of_recordings() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let desk = tempfile::tempdir().unwrap();
        std::fs::write(desk.path().join("tidewatch.toml"), recordings()).unwrap();
        std::fs::create_dir(desk.path().join("in")).unwrap();
        for (run, workers) in ["1", "3", "2"].into_iter().enumerate() {
            for file in 0..2 {
                let path = desk.path().join(format!("in/{run}-{file}.ndjson"));
                record(&path, 1_704_067_200 + 140 * run as i64 + file);
            }
            well(desk.path(), &["run", "tidewatch.toml", "--once", "-q", "-w", workers]);
        }
        desk
    });
    Box::leak(made.path().join("output").into_boxed_path())
}

/// A desk on which a pipeline can run live.
pub fn live_desk() -> TempDir {
    let desk = tempfile::tempdir().unwrap();
    std::fs::write(desk.path().join("tidewatch.toml"), live()).unwrap();
    desk
}

/// A pipeline that was killed: rows are staged, and nothing is visible.
pub fn of_killed() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let desk = live_desk();
        let mut running = program(desk.path(), &["run", "tidewatch.toml", "-q", "-w", "2"]).spawn().unwrap();
        let staged = || manifests(&desk.path().join("output")).len() > 12;
        while !staged() {
            assert!(running.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        running.kill().unwrap();
        running.wait().unwrap();
        desk
    });
    Box::leak(made.path().join("output").into_boxed_path())
}

/// A copy of an output that may be damaged.
pub fn copy(output: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_into(output, folder.path());
    folder
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

pub fn manifests(output: &Path) -> Vec<PathBuf> {
    let mut found = files(&output.join("_checkpoints"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    found
}

/// The name of a file as findings have it.
pub fn key(output: &Path, file: &Path) -> String {
    file.strip_prefix(output).unwrap().to_str().unwrap().to_owned()
}

pub fn verified(output: &Path, depth: Depth) -> Verification {
    verify::verify(output.to_str().unwrap(), &S3Options::default(), depth, None).unwrap()
}

/// The kinds of what is found, each once, and everything that is said.
pub fn told(found: &Verification) -> (Vec<String>, String) {
    let kind = |finding| serde_json::to_value(finding).unwrap()["kind"].as_str().unwrap().to_owned();
    let mut kinds: Vec<String> = found.findings.iter().map(kind).collect();
    kinds.dedup();
    let said: Vec<String> = found.findings.iter().map(ToString::to_string).collect();
    (kinds, said.join("\n"))
}

/// Damages a copy, which was whole, and sees that the damage is found and named.
pub fn check(output: &Path, depth: Depth, what: &str, damage: impl FnOnce(&Path) -> String, wanted: &str) {
    let copy = copy(output);
    let name = damage(copy.path());
    let (kinds, said) = told(&verified(copy.path(), depth));
    assert!(kinds.iter().any(|kind| kind == wanted), "{what}: {kinds:?}, not {wanted}\n{said}");
    assert!(said.contains(&name), "{what}: `{name}` is not named in\n{said}");
}

pub fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Edits a manifest so that its checksum is right again.
pub fn edit_manifest(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut manifest = serde_json::from_slice(&unseal(&std::fs::read(path).unwrap()).unwrap()).unwrap();
    edit(&mut manifest);
    std::fs::write(path, seal(serde_json::to_vec(&manifest).unwrap())).unwrap();
}

pub fn rows(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

pub fn write(path: &Path, rows: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

pub fn without_row(rows: &RecordBatch, row: usize) -> RecordBatch {
    let keep = (0..rows.num_rows()).map(|at| Some(at != row)).collect();
    filter_record_batch(rows, &keep).unwrap()
}

/// The rows with one more in a column of whole numbers, where it is not null.
pub fn edited(rows: &RecordBatch, row: usize, column: &str) -> RecordBatch {
    let place = rows.schema().index_of(column).unwrap();
    let numbers = rows.column(place).as_primitive::<Int64Type>();
    let more = numbers.iter().enumerate().map(|(at, number)| number.map(|number| number + i64::from(at == row)));
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns[place] = Arc::new(more.collect::<Int64Array>());
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// Gives a file the name that its bytes should have.
pub fn rename_to_digest(path: &Path) -> PathBuf {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let (front, _) = name.rsplit_once('-').unwrap();
    let digest = Sha256::of(&std::fs::read(path).unwrap()).short();
    let renamed = path.with_file_name(format!("{front}-{digest}.parquet"));
    std::fs::rename(path, &renamed).unwrap();
    renamed
}
