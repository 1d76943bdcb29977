//! The start: what the output holds, what the source has, and where each partition goes on.
//!
//! Worker 0 decides once for the cluster; every worker builds its share from the same `Start`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::decide::Identity;
use crate::checkpoint::log::CheckpointLog;
use crate::checkpoint::manifest::{PartitionState, Sequence, StagedRows, StateObject};
use crate::checkpoint::places::Generation;
use crate::decode::Decode;
use crate::decode::json::JsonDecoder;
use crate::domain::ids::{Epoch, Offset, PartitionId};
use crate::domain::time::EventTime;
use crate::pipeline::PipelineError;
use crate::pipeline::committer::Committer;
use crate::pipeline::intake::{Begin, Intake};
use crate::pipeline::shared::Shared;
use crate::pipeline::spec::{PipelineSpec, SourceSpec, Until};
use crate::sinks::kafka::AnomalyProducer;
use crate::sinks::ledger::LedgerSink;
use crate::sinks::parquet::Writer;
use crate::sources::files::{FilePartition, FileReader, FilesSpec, discover, first_records};
use crate::sources::kafka::{self, KafkaClient, KafkaReader};
use crate::sources::{Partition, Reader, Wake};
use crate::storage::Storage;
use crate::storage::patience::Patience;

/// What a process holds before its workers start.
pub struct Process {
    pub storage: Storage,
    pub source: Source,
}

/// The source as a process sees it.
pub enum Source {
    Kafka(Arc<KafkaClient>),
    Files(FilesSpec, Vec<FilePartition>),
}

impl Process {
    pub fn open(spec: &PipelineSpec, shared: &Shared) -> Result<Process, PipelineError> {
        let source = match &spec.source {
            SourceSpec::Kafka(kafka) => Source::Kafka(KafkaClient::connect(kafka)?),
            SourceSpec::Files(files) => {
                let found = discover(&files.paths)?;
                shared.progress.expect_bytes(found.iter().map(|file| file.bytes).sum());
                Source::Files(files.clone(), found)
            }
        };
        let storage = Storage::open(&spec.output.url, &spec.output.s3, Patience::at_start())?;
        Ok(Process { storage, source })
    }

    /// Whether the output can be written, and written once.
    fn probe(&self, spec: &PipelineSpec) -> Result<(), PipelineError> {
        let unusable = |source| PipelineError::Output { url: spec.output.url.clone(), source };
        self.storage.probe(&spec.name).map_err(unusable)
    }
}

/// What worker 0 decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    pub generation: u64,
    pub first_epoch: Epoch,
    /// Where the last checkpoint left the partitions, by name.
    pub partitions: BTreeMap<String, PartitionState>,
    pub state: Vec<StateObject>,
    pub staged: Vec<StagedRows>,
    /// The time of each file's first event, by name, where there is one.
    pub firsts: BTreeMap<String, i64>,
    /// Where a bounded run of Kafka ends, by partition id.
    pub ends: Option<BTreeMap<u64, i64>>,
}

impl Start {
    pub fn generation(&self) -> Generation {
        Generation(Sequence(self.generation))
    }
}

/// How many records of a file are looked at for its first event.
const FIRST_RECORDS: usize = 256;

/// Claims the output and decides. Blocks; for worker 0 alone.
pub fn decide(spec: &PipelineSpec, process: &Process) -> Result<(Start, Committer), PipelineError> {
    process.probe(spec)?;
    let identity = Identity {
        pipeline: spec.name.clone(),
        source: spec.source_identity(),
        configuration: spec.configuration.clone(),
    };
    let opened = CheckpointLog::open(process.storage.clone(), identity)?;
    // Once running, a store that is away is waited for.
    let storage = process.storage.with_patience(Patience::default());
    let generation = opened.log.generation();
    let resume = opened.resume;
    let (producer, sent) = match &spec.output.kafka {
        Some(output) => AnomalyProducer::open(output.clone()).map(|(producer, sent)| (Some(producer), sent))?,
        None => (None, None),
    };
    let writer = Writer { generation, worker: 0 };
    let partitions: BTreeMap<String, PartitionState> = resume
        .iter()
        .flat_map(|checkpoint| checkpoint.partitions.clone())
        .map(|partition| (partition.name.clone(), partition))
        .collect();
    let mut committer = Committer {
        log: opened.log,
        storage,
        ledger: LedgerSink::new(writer, spec.output.publish_every, resume.as_deref()),
        configuration: spec.configuration.clone(),
        models: Vec::new(),
        partitions: partitions.clone(),
        producer,
        group: match &process.source {
            Source::Kafka(client) if spec.until != Until::Closed => Some(client.clone()),
            _ => None,
        },
    };
    if let Some(checkpoint) = resume.as_ref().filter(|checkpoint| sent.is_none_or(|sent| sent < checkpoint.epoch.0)) {
        committer.send(checkpoint)?;
    }
    let start = Start {
        generation: generation.0.0,
        first_epoch: Epoch(resume.as_ref().map_or(1, |checkpoint| checkpoint.epoch.0 + 1)),
        partitions,
        state: resume.as_ref().map_or_else(Vec::new, |checkpoint| checkpoint.state.clone()),
        staged: resume.as_ref().map_or_else(Vec::new, |checkpoint| checkpoint.staged.clone()),
        firsts: firsts(spec, process)?,
        ends: ends(spec, process)?,
    };
    Ok((start, committer))
}

fn ends(spec: &PipelineSpec, process: &Process) -> Result<Option<BTreeMap<u64, i64>>, PipelineError> {
    match &process.source {
        Source::Kafka(client) if spec.until != Until::Stopped => {
            Ok(Some(client.ends()?.into_iter().map(|(id, end)| (id.0, end.0)).collect()))
        }
        _ => Ok(None),
    }
}

/// The time of each file's first event: its watermark before it is read follows from it.
fn firsts(spec: &PipelineSpec, process: &Process) -> Result<BTreeMap<String, i64>, PipelineError> {
    let Source::Files(files, found) = &process.source else { return Ok(BTreeMap::new()) };
    let mut decoder = JsonDecoder::new(&spec.events)?;
    let mut firsts = BTreeMap::new();
    for file in found {
        let raw = first_records(files, file, FIRST_RECORDS)?;
        let decoded = decoder.decode(&raw, &file.partition.name);
        if let Some(first) = decoded.events.times().first() {
            firsts.insert(file.partition.name.clone(), *first);
        }
    }
    Ok(firsts)
}

/// This worker's intake.
pub fn intake(
    spec: &PipelineSpec,
    process: &Process,
    start: &Start,
    (worker, workers): (usize, usize),
    wake: Wake,
) -> Result<Intake, PipelineError> {
    let next_of = |name: &str| start.partitions.get(name).map(|partition| partition.next);
    let (reader, mine): (Box<dyn Reader>, Vec<(Partition, Offset)>) = match &process.source {
        Source::Kafka(client) => {
            let start_of = |id: PartitionId| next_of(&client.name(id));
            let ends = start.ends.as_ref();
            let ends = ends.map(|ends| ends.iter().map(|(id, end)| (PartitionId(*id), Offset(*end))).collect());
            let reader = KafkaReader::new(client.clone(), worker, workers, &start_of, ends.as_ref(), wake)?;
            let partitions = client.partitions().into_iter();
            let mine = partitions.filter(|partition| kafka::worker_of(partition.id, workers) == worker);
            let begins = reader.begins().clone();
            let mine = mine.map(|partition| {
                let begin = begins.get(&partition.id).copied().unwrap_or(Offset(0));
                let next = next_of(&partition.name).unwrap_or(begin);
                (partition, next)
            });
            let mine = mine.collect();
            (Box::new(reader), mine)
        }
        Source::Files(files, found) => {
            let first = |file: &FilePartition| start.firsts.get(&file.partition.name).copied().unwrap_or(i64::MIN);
            let mut ordered: Vec<&FilePartition> = found.iter().collect();
            ordered.sort_by_key(|file| (first(file), file.partition.id));
            let mine = ordered.into_iter().enumerate().filter(|(index, _)| index % workers == worker);
            let mine: Vec<FilePartition> = mine.map(|(_, file)| file.clone()).collect();
            let begins: BTreeMap<PartitionId, (Partition, Offset)> = mine
                .iter()
                .map(|file| {
                    let next = next_of(&file.partition.name).unwrap_or(Offset(0));
                    (file.partition.id, (file.partition.clone(), next))
                })
                .collect();
            let start_of = |id: PartitionId| begins.get(&id).map(|(_, next)| *next);
            let reader = FileReader::new(files, mine, &start_of);
            (Box::new(reader), begins.into_values().collect())
        }
    };
    let begin = |(partition, next): (Partition, Offset)| {
        let seen = start.partitions.get(&partition.name).and_then(|state| state.max_event_time);
        let first = start.firsts.get(&partition.name).copied();
        let time = |time: Option<i64>| time.map_or(EventTime::MIN, EventTime);
        Begin { partition, next, seen: time(seen), first: time(first) }
    };
    let begins = mine.into_iter().map(begin).collect();
    let decoder: Box<dyn Decode> = Box::new(JsonDecoder::new(&spec.events)?);
    Ok(Intake::new(worker, reader, decoder, spec.watermark.clone(), begins, spec.until))
}
