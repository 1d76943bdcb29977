//! Can the source be read, and does what it holds fit the configuration?

use serde_json::json;

use crate::broker::BrokerError;
use crate::settings::{Draft, KafkaSection, SimulatorSection, SourceSection};
use crate::sources::SourceError;
use crate::sources::files::{FilesSpec, discover};
use crate::sources::kafka::{KafkaSpec, inquire};
use crate::sources::simulator::Simulator;

use super::super::engine::{self, Input};
use super::{Asked, Finding, PATIENCE, cluster, compare, counted, sample, whole};

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
    // All values, so that those which nothing names are seen too.
    let spec = |paths: &[String]| FilesSpec { wanted: Vec::new(), ..engine::files(paths.to_vec(), event) };
    // One by one, so that each path that is wrong is named.
    let alone = paths.iter().filter_map(|path| discover(&spec(std::slice::from_ref(path))).err());
    let mut faults: Vec<Finding> = alone.map(|error| unreadable(key, &error)).collect();
    let found = match discover(&spec(paths)) {
        Ok(found) => found,
        Err(error) if faults.is_empty() => return vec![unreadable(key, &error)],
        Err(_) => return std::mem::take(&mut faults),
    };
    let bytes: u64 = found.iter().map(|file| file.bytes).sum();
    let size = bytesize::ByteSize::b(bytes).display().iec().to_string();
    let data = json!({ "files": found.len(), "bytes": bytes });
    faults.push(Finding::seen("recordings", format!("{}, {size}", counted(found.len(), "file")), data));
    match sample::of_files(&spec(paths), &found) {
        Ok(sample) => faults.extend(compare::judge(draft, key, &sample)),
        Err(error) => faults.push(unreadable(key, &error)),
    }
    faults
}

fn unreadable(key: &str, error: &SourceError) -> Finding {
    let cure = match error {
        SourceError::NothingMatches { .. } => "name a file, a folder, or a glob that matches something",
        SourceError::Pattern { .. } => "write * for any text, ** for any folders",
        SourceError::CompressedColumns { .. } => "unpack it: Parquet is compressed in itself",
        SourceError::Damaged { .. } => "look whether the file is whole",
        SourceError::SameName { .. } => "name the folder above them",
        _ => "look whether the file is there and may be read",
    };
    Finding::fault(key, whole(error), cure)
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
