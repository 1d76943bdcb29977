//! `[source.kafka]`, `[source.files]` or `[source.simulator]`: where records come from.

use super::fault::Wrong;
use super::kafka::{Properties, brokers, properties, topic_name};
use super::reader::Reader;
use super::s3::{self, S3Section};
use super::simulator::{self, SimulatorSection};
use super::tree::Node;
use super::value::{Read, distinct_texts, instant, nearest_or_all, one_of, size, text};

/// `[source]` of the configuration: exactly one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSection {
    Kafka(KafkaSection),
    Files(FilesSection),
    Simulator(SimulatorSection),
}

/// `[source.kafka]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSection {
    /// `host:port`, joined by commas.
    pub brokers: String,
    /// The order counts: a partition's identity holds its topic's index.
    pub topics: Vec<String>,
    pub start: Start,
    pub on_lost: OnLost,
    /// The consumer group that offsets are committed to.
    pub group: String,
    /// The bound on what is fetched and not read yet, in each process, in bytes.
    pub queue_size: u64,
    pub librdkafka: Properties,
}

/// `[source.files]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSection {
    /// Files, folders and globs, on this machine or as `s3://bucket/…`.
    pub paths: Vec<String>,
    /// `[source.files.s3]`: the store of those that are on one. None: it is the one of `[output.s3]`, with its account.
    pub s3: Option<S3Section>,
}

/// Where a partition begins when nothing is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// The first record at or after this time, microseconds since 1970.
    At(i64),
}

/// What happens when retention has deleted what was not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    Stop,
    /// The loss is recorded in the ledger, and the run goes on.
    Continue,
}

/// What can be read.
const KINDS: [&str; 3] = ["kafka", "files", "simulator"];

/// Enough for a fetch of each of many partitions; several times this is resident.
const QUEUE_SIZE: u64 = 64 << 20;

pub(super) fn read(root: &Reader<'_>, pipeline_name: Option<&str>) -> Option<SourceSection> {
    let Some(reader) = root.section("source") else {
        root.fault(
            "source",
            Wrong::new("there is no source", "add [source.kafka], [source.files] or [source.simulator]"),
        );
        return None;
    };
    let given: Vec<&str> = reader.entries().map(|(name, _)| name).filter(|name| KINDS.contains(name)).collect();
    if given.len() > 1 {
        let cure = "leave one of them; `replay --from PATH` reads recordings with a configuration for Kafka";
        reader.fault(given[1], Wrong::new("a pipeline reads one source, and this is the second", cure));
    }
    if given.is_empty() {
        let unknown = reader.entries().next().map(|(name, _)| name);
        let cure = unknown.map_or("add [source.kafka], [source.files] or [source.simulator]".to_owned(), |name| {
            nearest_or_all(name, &KINDS)
        });
        reader.fault(unknown.unwrap_or_default(), Wrong::new("this is no source that can be read", cure));
        return None;
    }
    let kafka = reader.section("kafka").map(|kafka| read_kafka(kafka, pipeline_name));
    let files = reader.section("files").map(read_files);
    let simulator = reader.section("simulator").map(simulator::read);
    let is_sound = reader.finish();
    let section = match (kafka, files, simulator) {
        (Some(kafka), _, _) => SourceSection::Kafka(kafka?),
        (None, Some(files), _) => SourceSection::Files(files?),
        (None, None, Some(simulator)) => SourceSection::Simulator(simulator?),
        (None, None, None) => return None,
    };
    is_sound.then_some(section)
}

fn read_kafka(reader: Reader<'_>, pipeline_name: Option<&str>) -> Option<KafkaSection> {
    let brokers = reader.required("brokers", "\"localhost:9092\"", brokers);
    let topics = reader.required("topics", "[\"iomt-flows\"]", |node| {
        let topics = distinct_texts(node)?;
        topics.iter().try_for_each(|topic| topic_name(topic))?;
        Ok(topics)
    });
    let start = reader.or("start", Start::Earliest, start);
    let on_lost = reader.or("on_lost", OnLost::Stop, one_of(&[("stop", OnLost::Stop), ("continue", OnLost::Continue)]));
    let group = reader.optional("group", text);
    let queue_size = reader.or("queue_size", QUEUE_SIZE, size);
    let librdkafka = reader.section("librdkafka").map(properties).unwrap_or_default();
    let is_sound = reader.finish();
    let group = group.unwrap_or_else(|| format!("tidewatch-{}", pipeline_name.unwrap_or_default()));
    is_sound.then_some(KafkaSection {
        brokers: brokers?,
        topics: topics?,
        start,
        on_lost,
        group,
        queue_size,
        librdkafka,
    })
}

fn start(node: &Node) -> Read<Start> {
    let words = [("earliest", Start::Earliest), ("latest", Start::Latest)];
    one_of(&words)(node).or_else(|_| instant(node).map(Start::At)).map_err(|wrong| {
        let problem = wrong.problem.replace("is not a time with its zone", "is no place to start");
        Wrong::new(problem, "write \"earliest\", \"latest\", or a time such as \"2026-01-31T12:00:00Z\"")
    })
}

fn read_files(reader: Reader<'_>) -> Option<FilesSection> {
    let paths = reader.required("paths", "[\"recordings/*.ndjson\"]", |node| {
        let paths = distinct_texts(node)?;
        paths.iter().try_for_each(|path| without_account(path))?;
        Ok(paths)
    });
    let s3 = reader.section("s3").map(s3::read);
    let is_sound = reader.finish();
    is_sound.then_some(FilesSection { paths: paths?, s3 })
}

/// A URL stands in manifests and logs.
fn without_account(path: &str) -> Read<()> {
    let authority = path.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    match authority {
        Some(authority) if authority.contains('@') => Err(Wrong::new(
            "an account does not belong in a URL",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
        )),
        _ => Ok(()),
    }
}
