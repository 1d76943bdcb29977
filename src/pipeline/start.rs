//! The start: what the output holds, what the source has, and where each partition goes on.
//!
//! Worker 0 decides once for the cluster; every worker builds its share from the same `Start`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::decide::Identity;
use crate::checkpoint::log::{CheckpointLog, Opened as OpenedLog};
use crate::checkpoint::manifest::{
    Account, Checkpoint, Outlook, PartitionState, Sequence, StagedRows, StateObject, TableAccount,
};
use crate::checkpoint::places::Generation;
use crate::checkpoint::schedule::ModelSchedule;
use crate::decode::{Decode, Decoder};
use crate::domain::ids::{Epoch, Offset, PartitionId};
use crate::domain::time::{EventTime, micros};
use crate::pipeline::PipelineError;
use crate::pipeline::committer::Committer;
use crate::pipeline::intake::{Begin, Intake};
use crate::pipeline::pool::DecodePool;
use crate::pipeline::promotions::Promotions;
use crate::pipeline::redrive::Redrive;
use crate::pipeline::schedules;
use crate::pipeline::shared::Shared;
use crate::pipeline::shelf::Shelf;
use crate::pipeline::spec::{PipelineSpec, SourceSpec, Until};
use crate::sinks::ledger::LedgerSink;
use crate::sinks::parquet::Writer;
use crate::sources::files::{FilePartition, FileReader, FilesSpec, discover, first_records};
use crate::sources::kafka::{self, KafkaClient, KafkaReader};
use crate::sources::simulator::{Pace, Simulator, SimulatorReader};
use crate::sources::{GivenSource, Partition, Read, Reader, SourceError, Wake};
use crate::storage::digest::Sha256;
use crate::storage::{Storage, probe_name};

/// No probe takes so long: it has the patience of a first contact.
const PROBE_LONGEST: Duration = Duration::from_secs(600);

/// What a process holds before its workers start.
pub struct Process {
    pub storage: Storage,
    pub source: Source,
    pub shelf: Arc<Shelf>,
    pub promotions: Arc<Promotions>,
}

/// The source as a process sees it.
pub enum Source {
    Kafka(Arc<KafkaClient>),
    Files(FilesSpec, Vec<FilePartition>),
    Simulator(Simulator, Pace),
    Quarantine(Redrive),
    Given(Arc<dyn GivenSource>),
}

impl Process {
    pub fn open(spec: &PipelineSpec, shared: &Shared) -> Result<Process, PipelineError> {
        let source = match &spec.source {
            SourceSpec::Kafka(kafka) => Source::Kafka(KafkaClient::connect(kafka)?),
            SourceSpec::Files(files) => {
                let found = discover(files)?;
                shared.progress.expect_bytes(found.iter().map(|file| file.bytes).sum());
                Source::Files(files.clone(), found)
            }
            SourceSpec::Simulator(simulator, pace) => {
                let simulator = Simulator::new(simulator.clone()).map_err(SourceError::from)?;
                shared.progress.expect_rows(simulator.messages());
                Source::Simulator(simulator, *pace)
            }
            SourceSpec::Quarantine(redrive) => Source::Quarantine(Redrive::new(redrive.clone())),
            SourceSpec::Given(given) => Source::Given(Arc::clone(given)),
        };
        let storage = shared.surroundings.store(&spec.output)?;
        let shelf = Arc::<Shelf>::default();
        let promotions =
            Arc::new(Promotions::new(Arc::clone(&shelf), Arc::clone(&shared.metrics), spec.plan.look_every));
        Ok(Process { storage, source, shelf, promotions })
    }

    /// Claims the output, unless the models that would score cannot.
    fn claim(
        &self,
        spec: &PipelineSpec,
        identity: &Identity,
    ) -> Result<(OpenedLog, Vec<ModelSchedule>), PipelineError> {
        let mut models = Vec::new();
        let opened = CheckpointLog::open_unless(self.storage.clone(), identity.clone(), |resume| {
            models = schedules::schedules(spec, resume)?;
            self.shelf.begin_anew(spec, &models).map_err(PipelineError::from)
        })?;
        Ok((opened, models))
    }

    /// Whether the output can be written, and written once.
    fn probe(&self, spec: &PipelineSpec, shared: &Shared) -> Result<(), PipelineError> {
        let unusable = |source| PipelineError::Output { url: spec.output.url.clone(), source };
        self.storage.probe(&probe_name(shared.surroundings.wall().0)).map_err(unusable)
    }
}

/// What worker 0 decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// What every process has to agree with.
    pub terms: Terms,
    /// Every partition there is, in the order of ids: rows of any may come to any worker.
    pub sources: Vec<(PartitionId, String)>,
    pub generation: u64,
    pub first_epoch: Epoch,
    /// Where the last checkpoint left the partitions, by name.
    pub partitions: BTreeMap<String, PartitionState>,
    pub state: Vec<StateObject>,
    pub staged: Vec<StagedRows>,
    /// Of the detectors at work.
    pub models: Vec<ModelSchedule>,
    /// No event was accepted, and no window published, behind this time.
    pub newest: EventTime,
    /// The time of each file's first event, by name, where there is one.
    pub firsts: BTreeMap<String, i64>,
    /// Where a bounded run of Kafka ends, by partition id.
    pub ends: Option<BTreeMap<u64, i64>>,
}

/// What must be the same in all processes, or they would compute different things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    version: String,
    /// Of everything that decides what is computed and when.
    meaning: Sha256,
}

impl Terms {
    pub fn of(spec: &PipelineSpec) -> Terms {
        // Models are told apart by their digests, and which are in force process 0 alone says.
        let detectors: Vec<_> = spec.detectors.iter().map(|one| (&one.spec.name, &one.spec.input)).collect();
        // No account of a broker or a store is in these. The same build writes the same value the same way.
        let meaning = (&spec.name, spec.source_identity(), spec.until, &spec.events, &spec.watermark, &spec.windows);
        let meaning =
            format!("{meaning:?} {detectors:?} {:?} {:?} {:?}", spec.plan, spec.output.events, spec.configuration);
        Terms { version: env!("CARGO_PKG_VERSION").to_owned(), meaning: Sha256::of(meaning.as_bytes()) }
    }
}

impl Start {
    /// The newest time of an event that was accepted before; `MIN` where there is none.
    pub fn newest_event(&self) -> EventTime {
        let newest = self.partitions.values().filter_map(|partition| partition.max_event_time).max();
        newest.map_or(EventTime::MIN, EventTime)
    }

    pub fn generation(&self) -> Generation {
        Generation(Sequence(self.generation))
    }
}

/// Claims the output and decides. Blocks; for worker 0 alone.
pub fn decide(spec: &PipelineSpec, process: &Process, shared: &Shared) -> Result<(Start, Committer), PipelineError> {
    process.probe(spec, shared)?;
    let identity = Identity::from(spec);
    let (opened, models) = process.claim(spec, &identity)?;
    process.storage.sweep_probes(shared.surroundings.wall().0 - micros(PROBE_LONGEST))?;
    // Once running, a store that is away is waited for.
    let patience = shared.surroundings.patience();
    let (storage, log) = (process.storage.with_patience(patience), opened.log.with_patience(patience));
    let resume = opened.resume;
    // Whoever begins transactions ends those of the process before.
    log.confirm()?;
    if let Source::Quarantine(redrive) = &process.source {
        redrive.look(spec, &storage, resume.as_deref())?;
    }
    let opened = spec.output.kafka.as_ref().map(|output| shared.surroundings.anomalies(output)).transpose()?;
    let (anomalies, sent) = opened.map_or((None, None), |(topic, sent)| (Some(topic), sent));
    let writer = Writer { generation: log.generation(), worker: 0 };
    let partitions = resume.as_deref().map_or_else(BTreeMap::new, by_name);
    let mut committer = Committer {
        log,
        storage,
        ledger: LedgerSink::new(writer, spec.output.publish_every, resume.as_deref()),
        configuration: identity.kept(resume.as_deref()),
        until: spec.until,
        dropped: resume.as_deref().map_or_else(BTreeMap::new, |checkpoint| dropped(spec, checkpoint)),
        outlook: resume.as_ref().map_or(Outlook::Open, |checkpoint| checkpoint.outlook),
        models: schedules::kept(resume.as_deref(), &models),
        published: resume.as_ref().and_then(|checkpoint| checkpoint.published),
        promotions: spec.until.heeds_promotions().then(|| Arc::clone(&process.promotions)),
        partitions: partitions.clone(),
        anomalies,
        group: group(spec, process),
        vitals: Arc::clone(&shared.metrics.vitals),
        surroundings: Arc::clone(&shared.surroundings),
    };
    if let Some(checkpoint) = resume.as_ref().filter(|checkpoint| sent.is_none_or(|sent| sent < checkpoint.epoch.0)) {
        committer.send(checkpoint)?;
    }
    let sources = sources(process, &partitions);
    refuse_finished(spec, process, &partitions, &sources)?;
    let last = resume.as_ref().map_or(0, |checkpoint| checkpoint.epoch.0);
    let start = Start {
        terms: Terms::of(spec),
        sources,
        generation: writer.generation.0.0,
        // The topic of anomalies may have seen an output that is gone: what is sent now must not look like what was sent then.
        first_epoch: Epoch(last.max(sent.unwrap_or(0)) + 1),
        partitions,
        state: resume.as_ref().map_or_else(Vec::new, |checkpoint| checkpoint.state.clone()),
        staged: resume.as_ref().map_or_else(Vec::new, |checkpoint| checkpoint.staged.clone()),
        models,
        newest: resume.as_ref().map_or(EventTime::MIN, |checkpoint| checkpoint.newest()),
        firsts: firsts(spec, process)?,
        ends: ends(spec, process)?,
    };
    Ok((start, committer))
}

fn by_name(checkpoint: &Checkpoint) -> BTreeMap<String, PartitionState> {
    checkpoint.partitions.iter().map(|partition| (partition.name.clone(), partition.clone())).collect()
}

/// Whose group hears of offsets: a replay moves nobody's.
fn group(spec: &PipelineSpec, process: &Process) -> Option<Arc<KafkaClient>> {
    match &process.source {
        Source::Kafka(client) if spec.until != Until::Closed => Some(client.clone()),
        _ => None,
    }
}

/// The memberships that the last checkpoint left open in windows that are no longer configured.
fn dropped(spec: &PipelineSpec, checkpoint: &Checkpoint) -> BTreeMap<String, u64> {
    let is_gone = |table: &str| spec.windows.iter().all(|window| table != format!("windows/{}", window.name));
    let own = checkpoint.ledger.rows().iter().filter(|row| row.epoch == checkpoint.epoch);
    let open = own.filter_map(|row| match &row.account {
        Account::Table(TableAccount { table, memberships: Some(memberships), .. }) => {
            Some((table.clone(), memberships.open))
        }
        _ => None,
    });
    open.filter(|(table, open)| *open > 0 && is_gone(table)).collect()
}

/// Every partition with its id, in the order of ids. One that was met before keeps its id, for ties between equal times go by it;
/// new ones follow in their natural order.
fn sources(process: &Process, known: &BTreeMap<String, PartitionState>) -> Vec<(PartitionId, String)> {
    let mut sources: Vec<(PartitionId, String)> = match &process.source {
        Source::Quarantine(redrive) => {
            redrive.partitions().into_iter().map(|partition| (partition.id, partition.name)).collect()
        }
        Source::Kafka(client) => {
            client.place(places_of_topics(client, known));
            client.partitions().into_iter().map(|partition| (partition.id, partition.name)).collect()
        }
        Source::Simulator(simulator, _) => {
            simulator.partitions().into_iter().map(|partition| (partition.id, partition.name)).collect()
        }
        Source::Given(given) => {
            given.partitions().into_iter().map(|partition| (partition.id, partition.name)).collect()
        }
        Source::Files(_, found) => {
            let mut next = of_source(known).map(|partition| partition.id.0 + 1).max().unwrap_or(0);
            let mut number = |name: &str| match known.get(name) {
                Some(partition) => partition.id,
                None => {
                    next += 1;
                    PartitionId(next - 1)
                }
            };
            found.iter().map(|file| (number(&file.partition.name), file.partition.name.clone())).collect()
        }
    };
    sources.sort_unstable();
    sources
}

/// What was played again from the quarantine is no partition of the source.
fn of_source(known: &BTreeMap<String, PartitionState>) -> impl Iterator<Item = &PartitionState> {
    known.values().filter(|partition| partition.id.generation() == 0)
}

fn places_of_topics(client: &KafkaClient, known: &BTreeMap<String, PartitionState>) -> Vec<usize> {
    kafka::places(client.topics(), of_source(known).map(|partition| (partition.name.as_str(), partition.id)))
}

/// A replay that has ended has closed its windows: what comes after it cannot be counted into them.
fn refuse_finished(
    spec: &PipelineSpec,
    process: &Process,
    known: &BTreeMap<String, PartitionState>,
    sources: &[(PartitionId, String)],
) -> Result<(), PipelineError> {
    if spec.until != Until::Closed || known.is_empty() || !of_source(known).all(|partition| partition.ended) {
        return Ok(());
    }
    let ends = ends(spec, process)?.unwrap_or_default();
    let has_more =
        |id: &PartitionId, partition: &PartitionState| ends.get(&id.0).is_some_and(|end| *end > partition.next.0);
    let more = sources.iter().find(|(id, name)| known.get(name).is_none_or(|partition| has_more(id, partition)));
    let more = match (more, &process.source) {
        (Some((_, name)), _) => Some(name.clone()),
        (None, Source::Files(files, found)) => grown(files, found, known)?,
        (None, _) => None,
    };
    more.map_or(Ok(()), |partition| Err(PipelineError::Finished { partition }))
}

/// A file that has records behind those that were read of it.
fn grown(
    files: &FilesSpec,
    found: &[FilePartition],
    known: &BTreeMap<String, PartitionState>,
) -> Result<Option<String>, PipelineError> {
    for file in found {
        let Some(state) = known.get(&file.partition.name) else { continue };
        let mut reader = FileReader::new(files, vec![file.clone()], &|_| Some(state.next));
        let mut reads = Vec::new();
        reader.read_partition(file.partition.id, 1, &mut reads)?;
        if reads.iter().any(|read| matches!(read, Read::Records(_))) {
            return Ok(Some(file.partition.name.clone()));
        }
    }
    Ok(None)
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
    let mut decoder = Decoder::new(&spec.events)?;
    let mut firsts = BTreeMap::new();
    for file in found {
        let name = &file.partition.name;
        let records = first_records(files, file, FilesSpec::FIRST_RECORDS)?;
        firsts.extend(decoder.first_time(&records, name).map(|first| (name.clone(), first.0)));
    }
    Ok(firsts)
}

/// The files that process 0 found, as this process has them.
fn agreed(sources: &[(PartitionId, String)], found: &[FilePartition]) -> Result<Vec<FilePartition>, PipelineError> {
    let agree = |(id, name): &(PartitionId, String)| {
        let file = found.iter().find(|file| file.partition.name == *name);
        let mut file = file.cloned().ok_or_else(|| PipelineError::FileMissing { name: name.clone() })?;
        file.partition.id = *id;
        Ok(file)
    };
    sources.iter().map(agree).collect()
}

/// A reader, and where each of its partitions begins.
pub type Opened = (Box<dyn Reader>, Vec<(Partition, Offset)>);

/// This worker's intake.
pub fn intake(
    spec: &PipelineSpec,
    process: &Process,
    start: &Start,
    (worker, workers): (usize, usize),
    pool: Arc<DecodePool>,
    wake: Wake,
) -> Result<Intake, PipelineError> {
    let next_of = |name: &str| start.partitions.get(name).map(|partition| partition.next);
    let (reader, mine): Opened = match &process.source {
        Source::Quarantine(redrive) => redrive.open(worker, workers)?,
        Source::Kafka(client) => messages(client, start, (worker, workers), wake)?,
        Source::Files(files, found) => recordings(files, found, start, (worker, workers))?,
        Source::Simulator(simulator, pace) => {
            let mut mine = simulator.partitions();
            mine.retain(|partition| partition.id.0 as usize % workers == worker);
            simulated(simulator, *pace, mine, &next_of, wake)?
        }
        Source::Given(given) => {
            let mut mine = given.partitions();
            mine.retain(|partition| partition.id.0 as usize % workers == worker);
            let begins = mine.into_iter().map(|one| (next_of(&one.name).unwrap_or(Offset(0)), one));
            let begins: Vec<(Partition, Offset)> = begins.map(|(next, one)| (one, next)).collect();
            (given.open(&begins, wake)?, begins)
        }
    };
    let begin = |(partition, next): (Partition, Offset)| {
        let seen = start.partitions.get(&partition.name).and_then(|state| state.max_event_time);
        let first = start.firsts.get(&partition.name).copied();
        let time = |time: Option<i64>| time.map_or(EventTime::MIN, EventTime);
        let known_as = match &process.source {
            Source::Quarantine(redrive) => redrive.known_as(partition.id),
            _ => None,
        };
        let known_as = known_as.unwrap_or_else(|| partition.name.clone());
        Begin { partition, known_as, next, seen: time(seen), first: time(first) }
    };
    let begins = mine.into_iter().map(begin).collect();
    let decoder: Box<dyn Decode> = Box::new(Decoder::new(&spec.events)?);
    Ok(Intake::new(worker, reader, (decoder, pool), spec.watermark.clone(), begins, spec.until))
}

/// The reader of this worker's partitions of the topics.
fn messages(
    client: &Arc<KafkaClient>,
    start: &Start,
    (worker, workers): (usize, usize),
    wake: Wake,
) -> Result<Opened, PipelineError> {
    let next_of = |name: &str| start.partitions.get(name).map(|partition| partition.next);
    client.place(places_of_topics(client, &start.partitions));
    let start_of = |id: PartitionId| next_of(&client.name(id));
    let ends = start.ends.as_ref();
    let ends = ends.map(|ends| ends.iter().map(|(id, end)| (PartitionId(*id), Offset(*end))).collect());
    let reader = KafkaReader::new(client.clone(), worker, workers, &start_of, ends.as_ref(), wake)?;
    let mine = client.partitions().into_iter();
    let mine = mine.filter(|partition| kafka::worker_of(partition.id, workers) == worker);
    let begins = reader.begins().clone();
    let mine = mine.map(|partition| {
        let begin = begins.get(&partition.id).copied().unwrap_or(Offset(0));
        let next = next_of(&partition.name).unwrap_or(begin);
        (partition, next)
    });
    let mine = mine.collect();
    Ok((Box::new(reader), mine))
}

/// The reader of this worker's files: those that begin first come first.
fn recordings(
    files: &FilesSpec,
    found: &[FilePartition],
    start: &Start,
    (worker, workers): (usize, usize),
) -> Result<Opened, PipelineError> {
    let first = |file: &FilePartition| start.firsts.get(&file.partition.name).copied().unwrap_or(i64::MIN);
    let mut ordered = agreed(&start.sources, found)?;
    ordered.sort_by_key(|file| (first(file), file.partition.id));
    let mine = ordered.into_iter().enumerate().filter(|(index, _)| index % workers == worker);
    let mine: Vec<FilePartition> = mine.map(|(_, file)| file).collect();
    let begin = |file: &FilePartition| {
        let next = start.partitions.get(&file.partition.name).map_or(Offset(0), |partition| partition.next);
        (file.partition.id, (file.partition.clone(), next))
    };
    let begins: BTreeMap<PartitionId, (Partition, Offset)> = mine.iter().map(begin).collect();
    let start_of = |id: PartitionId| begins.get(&id).map(|(_, next)| *next);
    let reader = FileReader::new(files, mine, &start_of);
    Ok((Box::new(reader), begins.into_values().collect()))
}

/// The reader of these simulated partitions.
fn simulated(
    simulator: &Simulator,
    pace: Pace,
    mine: Vec<Partition>,
    next_of: &dyn Fn(&str) -> Option<Offset>,
    wake: Wake,
) -> Result<Opened, PipelineError> {
    let begin = |partition: &Partition| next_of(&partition.name).unwrap_or(Offset(0));
    let starts: BTreeMap<PartitionId, Offset> = mine.iter().map(|one| (one.id, begin(one))).collect();
    let reader = SimulatorReader::new(simulator, &mine, &|id| starts.get(&id).copied(), pace, wake);
    let reader = reader.map_err(SourceError::NoThread)?;
    Ok((Box::new(reader), mine.into_iter().map(|one| (one.clone(), begin(&one))).collect()))
}
