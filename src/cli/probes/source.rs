//! Can the source be read, and does what it holds fit the configuration?

use serde_json::json;

use crate::broker::BrokerError;
use crate::settings::{Draft, KafkaSection, SimulatorSection, SourceSection};
use crate::sources::SourceError;
use crate::sources::files::{FilesSpec, discover};
use crate::sources::kafka::{KafkaSpec, inquire};
use crate::sources::simulator::Simulator;
use crate::storage::error::StorageError;

use super::super::engine::{self, Input};
use super::{Asked, Finding, HASTE, PATIENCE, cluster, compare, counted, sample, whole};

pub(super) fn probe(asked: &Asked) -> Vec<Finding> {
    match (&asked.input, &asked.draft.source) {
        (Input::Recordings(paths), _) => recordings("--from", paths, &asked.draft),
        (_, Some(SourceSection::Files(section))) => recordings("source.files.paths", &section.paths, &asked.draft),
        (_, Some(SourceSection::Kafka(section))) => topics(section, &asked.draft),
        (_, Some(SourceSection::Simulator(section))) => simulation(section, &asked.draft),
        (_, None) => Vec::new(),
    }
}

fn recordings(key: &str, paths: &[String], draft: &Draft) -> Vec<Finding> {
    let Some(event) = &draft.event else { return Vec::new() };
    let store = engine::store_of_recordings(draft.source.as_ref(), draft.output.as_ref());
    // All values, so that those which nothing names are seen too.
    let spec = |paths: &[String]| FilesSpec {
        wanted: Vec::new(),
        patience: HASTE,
        ..engine::files(paths.to_vec(), event, store.clone())
    };
    let unreadable = |error: &SourceError| unreadable(key, error, draft);
    // One by one, so that each path that is wrong is named; but a store that does not answer is waited for only once.
    let mut faults: Vec<Finding> = Vec::new();
    for path in paths {
        let Err(error) = discover(&spec(std::slice::from_ref(path))) else { continue };
        faults.push(unreadable(&error));
        if is_away(&error) {
            return faults;
        }
    }
    let found = match discover(&spec(paths)) {
        Ok(found) => found,
        Err(error) if faults.is_empty() => return vec![unreadable(&error)],
        Err(_) => return faults,
    };
    let bytes: u64 = found.iter().map(|file| file.bytes).sum();
    let size = bytesize::ByteSize::b(bytes).display().iec().to_string();
    let data = json!({ "files": found.len(), "bytes": bytes });
    faults.push(Finding::seen("recordings", format!("{}, {size}", counted(found.len(), "file")), data));
    match sample::of_files(&spec(paths), &found) {
        Ok(sample) => faults.extend(compare::judge(draft, key, &sample)),
        Err(error) => faults.push(unreadable(&error)),
    }
    faults
}

fn is_away(error: &SourceError) -> bool {
    matches!(error, SourceError::Store { source: StorageError::Unavailable { .. }, .. })
}

fn unreadable(key: &str, error: &SourceError, draft: &Draft) -> Finding {
    let cure = match error {
        SourceError::NothingMatches { .. } => "name a file, a folder, or a glob that matches something",
        SourceError::Pattern { .. } => "write * for any text, ** for any folders",
        SourceError::CompressedColumns { .. } => "unpack it: Parquet is compressed in itself",
        SourceError::Damaged { .. } => "look whether the file is whole",
        SourceError::SameName { .. } => "name the folder above them",
        SourceError::BadUrl { .. } => "write \"s3://bucket/prefix\"",
        SourceError::Store { source, .. } => return unreadable_store(key, error, source, draft),
        _ => "look whether the file is there and may be read",
    };
    Finding::fault(key, whole(error), cure)
}

/// What is wrong with a store is wrong with the section that says where it is, unless it answers.
fn unreadable_store(key: &str, error: &SourceError, cause: &StorageError, draft: &Draft) -> Finding {
    let section = match &draft.source {
        Some(SourceSection::Files(files)) if files.s3.is_some() => "source.files.s3",
        _ => "output.s3",
    };
    let variables = format!("TIDEWATCH__{}__", section.to_uppercase().replace('.', "__"));
    let account = format!(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or {variables}ACCESS_KEY_ID and {variables}SECRET_ACCESS_KEY"
    );
    match cause {
        StorageError::Unavailable { .. } => {
            let cure = format!("start the store, or name its address; and an account: {account}");
            Finding::fault(format!("{section}.endpoint"), whole(error), cure)
        }
        StorageError::CannotOpen { .. } => {
            Finding::fault(section, whole(error), format!("check [{section}] and the account: {account}"))
        }
        _ => {
            let cure =
                format!("name a bucket that is there, and give the account ({account}) the right to list and read it");
            Finding::fault(key, whole(error), cure)
        }
    }
}

/// There is nothing to reach, but what would come may not fit.
fn simulation(section: &SimulatorSection, draft: &Draft) -> Vec<Finding> {
    let key = "source.simulator";
    let cure = "change it in [source.simulator]";
    let simulator = match Simulator::new(section.spec.clone()) {
        Ok(simulator) => simulator,
        Err(error) => return vec![Finding::fault(key, error.to_string(), cure)],
    };
    let (messages, faults) = (simulator.messages(), simulator.truth().len());
    let data = json!({ "messages": messages, "faults": faults });
    let mut findings =
        vec![Finding::seen("simulation", format!("{messages} messages, {}", counted(faults, "fault")), data)];
    match sample::of_simulation(&simulator) {
        Ok(sample) if draft.event.is_some() => findings.extend(compare::judge(draft, key, &sample)),
        Ok(_) => {}
        Err(error) => findings.push(Finding::fault(key, whole(&error), cure)),
    }
    findings
}

fn topics(section: &KafkaSection, draft: &Draft) -> Vec<Finding> {
    let key = "source.kafka.topics";
    let fault = |error: &BrokerError| Finding::Fault(cluster::fault("source.kafka", key, error));
    let spec = engine::kafka(section);
    let counts = match inquire(&spec, PATIENCE) {
        Ok(counts) => counts,
        Err(error) => return vec![fault(&error)],
    };
    let mut findings = Vec::new();
    let mut there = Vec::new();
    for (topic, count) in spec.topics.iter().zip(counts) {
        match count {
            Ok(partitions) => {
                let data = json!({ "topic": topic, "partitions": partitions });
                let text = format!("{topic} at {}, {}", spec.brokers, counted(partitions, "partition"));
                findings.push(Finding::seen("topic", text, data));
                there.push(topic.clone());
            }
            Err(error) => findings.push(fault(&error)),
        }
    }
    if there.is_empty() || draft.event.is_none() {
        return findings;
    }
    match sample::of_topics(KafkaSpec { topics: there, ..spec }) {
        Ok(sample) => findings.extend(compare::judge(draft, key, &sample)),
        Err(SourceError::Broker(error)) => findings.push(fault(&error)),
        Err(error) => {
            findings.push(Finding::fault(key, whole(&error), "look whether the account may read these topics"))
        }
    }
    findings
}
