//! Where the verbs meet the flow: what a verb has made of options and configuration is handed over here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checkpoint::CheckpointError;
use crate::checkpoint::decide::Identity;
use crate::checkpoint::manifest::{Checkpoint, Manifest, Outlook};
use crate::checkpoint::schedule::ModelSchedule;
use crate::domain::schema::EventSchema;
use crate::models::folder::ModelError;
use crate::models::import::{ImportOptions, ImportedModel};
use crate::models::model::ModelVersion;
use crate::models::{self, registry};
use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::pipeline::PipelineError;
use crate::pipeline::plan::Plan;
use crate::pipeline::redrive::{self, RedriveSpec, Survey};
use crate::pipeline::run;
use crate::pipeline::scored::EventsKept;
use crate::pipeline::spec::{Cluster, Detecting, OutputSpec, PipelineSpec, SourceSpec, Until, WithoutModel};
use crate::settings::{
    DetectorSection, EventFormat, EventSection, EventsStored, Fingerprint, KafkaOutputSection, KafkaSection, OnFailure,
    OnLost, OutputSection, PipelineSection, Properties, S3Section, Settings, SourceSection, Start, nearest,
};
use crate::sinks::kafka::KafkaOutputSpec;
use crate::sources::SourceError;
use crate::sources::files::{CellOptions, FileFormat, FilesSpec};
use crate::sources::kafka::{KafkaSpec, Lost, Start as KafkaStart};
use crate::sources::simulator::Pace;
use crate::storage::digest::Sha256;
use crate::storage::error::StorageError;
use crate::storage::patience::Patience;
use crate::storage::{S3Account, S3Options};

use super::Refusal;
use super::arguments::ErrorMeasure;
use super::http;
use super::placement::Placement;
use super::summary::Summary;
use super::versions::{self, NoModel};

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The configured source, until stopped.
    Live,
    /// The configured source as it stands now; open windows stay in the state.
    Once,
    /// The configured source as it stands now; every window is closed at the end.
    AsItStands,
    /// Recordings instead of the configured source; every window is closed at the end.
    Recordings(Vec<String>),
    /// What the output holds of quarantined records.
    Quarantine(Box<RedriveSpec>),
}

/// A flow to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) settings: Settings,
    pub(super) input: Input,
    pub(super) placement: Placement,
    /// Another output, whose rows were scored as those are to be.
    pub(super) models_of: Option<String>,
    pub(super) stop: StopSignal,
    pub(super) metrics: Arc<Metrics>,
}

/// A model to import.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) files: Vec<PathBuf>,
    pub(super) to: String,
    pub(super) error: Option<ErrorMeasure>,
    pub(super) threshold: Option<f64>,
}

/// Runs a flow to its end, and tells what was done.
pub(super) fn run(job: Job) -> anyhow::Result<Summary> {
    let Job { settings, input, placement, models_of, stop, metrics } = job;
    let checkpoint_every = settings.pipeline.checkpoint_every;
    let _server = http::serve(settings.http, &input, placement.index, checkpoint_every, &metrics)?;
    let cluster = Cluster { workers: placement.workers, process: placement.index, addresses: placement.hosts };
    let mut spec = pipeline(&settings, &input)?;
    if let Some(url) = models_of {
        spec.schedules = schedules_of(OutputSpec { url, ..spec.output.clone() })?;
    }
    let begun = Instant::now();
    run::run(spec, cluster, stop, Arc::clone(&metrics)).map_err(judged)?;
    let Settings {
        pipeline: PipelineSection { name: pipeline, .. }, output: OutputSection { url: output, .. }, ..
    } = settings;
    Ok(Summary { pipeline, output, took: begun.elapsed(), totals: metrics.totals(), refused: metrics.refused() })
}

/// By which versions of models the configured output was scored; nothing if there is none.
pub(super) fn schedules(settings: &Settings) -> anyhow::Result<Vec<ModelSchedule>> {
    let newest = redrive::newest(&output(&settings.pipeline.name, &settings.output)).map_err(judged)?;
    Ok(newest.as_ref().and_then(Manifest::checkpoint).map_or_else(Vec::new, |checkpoint| checkpoint.models.clone()))
}

/// The same of another output, which must be there.
fn schedules_of(output: OutputSpec) -> anyhow::Result<Vec<ModelSchedule>> {
    let newest = redrive::newest(&output).map_err(judged)?;
    let models = newest.as_ref().and_then(Manifest::checkpoint).map(|checkpoint| checkpoint.models.clone());
    models
        .ok_or_else(|| Refusal::new(format!("--models-of {}: there is no output with a checkpoint", output.url)).into())
}

/// What an output's quarantine holds, for a redrive of these reasons and partitions.
pub(super) struct Quarantined {
    pub(super) survey: Survey,
    /// As it was looked at.
    newest: Manifest,
    output: OutputSpec,
    pub(super) redrive: Box<RedriveSpec>,
}

impl Quarantined {
    /// None if nothing was ever committed there.
    pub(super) fn look(
        settings: &Settings,
        reasons: BTreeSet<String>,
        partitions: BTreeSet<String>,
    ) -> anyhow::Result<Option<Quarantined>> {
        let output = output(&settings.pipeline.name, &settings.output);
        let Some(newest) = redrive::newest(&output).map_err(judged)? else { return Ok(None) };
        let Some(checkpoint) = newest.checkpoint() else { return Ok(None) };
        known_partitions(checkpoint, &partitions)?;
        let files = recordings(settings, &newest.source);
        let redrive = Box::new(RedriveSpec { source: newest.source.clone(), reasons, partitions, files });
        // No model has a part in what can be read.
        let spec = Settings { detectors: Vec::new(), ..settings.clone() };
        let spec = pipeline(&spec, &Input::Quarantine(redrive.clone()))?;
        match redrive::survey(&spec, &redrive, checkpoint) {
            Ok(survey) => Ok(Some(Quarantined { survey, newest, output, redrive })),
            // A checkpoint sweeps what the one before it named.
            Err(error) => match redrive::newest(&output).map_err(judged)? {
                Some(now) if now.sequence != newest.sequence => Err(Refusal::new(busy(&output.url)).into()),
                _ => Err(judged(error)),
            },
        }
    }

    /// Whether every window is closed: a replay has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.newest.checkpoint().is_some_and(|checkpoint| checkpoint.outlook == Outlook::Closed)
    }

    /// Whether somebody is at work there; waits for the next checkpoint if that cannot be seen at once.
    pub(super) fn is_written(&self, patience: Duration) -> anyhow::Result<bool> {
        redrive::is_written(&self.output, &self.newest, patience).map_err(judged)
    }
}

/// What is said of an output that somebody is writing.
pub(super) fn busy(url: &str) -> String {
    format!("a process is writing {url}: stop it first, and start it again afterwards")
}

/// Each partition that was asked for was read from once.
fn known_partitions(checkpoint: &Checkpoint, asked: &BTreeSet<String>) -> Result<(), Refusal> {
    let known = checkpoint.partitions.iter().filter(|partition| partition.id == partition.id.original());
    let known: Vec<&str> = known.map(|partition| partition.name.as_str()).collect();
    match asked.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let cure = nearest(name, &known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(Refusal::new(format!("nothing was ever read from a partition `{name}`{cure}")))
        }
    }
}

/// Where the recordings are that an output was made of; none if it was made of anything else.
fn recordings(settings: &Settings, source: &str) -> Option<FilesSpec> {
    let named = source.strip_prefix("files: ")?;
    let paths = match &settings.source {
        SourceSection::Files(section) => section.paths.clone(),
        SourceSection::Kafka(_) | SourceSection::Simulator(_) => named.split(", ").map(str::to_owned).collect(),
    };
    Some(files(paths, &settings.event, store_of_recordings(Some(&settings.source), Some(&settings.output))))
}

/// A failure that another command or configuration would spare is a refusal.
fn judged(error: PipelineError) -> anyhow::Error {
    use SourceError::{BadUrl, CompressedColumns, HeaderGone, NothingMatches, Pattern, SameName};
    let is_refusal = matches!(
        error,
        PipelineError::Checkpoint(CheckpointError::Conflict(_))
            | PipelineError::Source(
                NothingMatches { .. }
                    | Pattern { .. }
                    | CompressedColumns { .. }
                    | SameName { .. }
                    | BadUrl { .. }
                    | HeaderGone { .. }
            )
            | PipelineError::Storage(StorageError::BadUrl { .. })
            | PipelineError::Scoring(_)
            | PipelineError::Model(_)
            | PipelineError::Finished { .. }
            | PipelineError::NothingToRedrive
    );
    let error = anyhow::Error::from(error);
    if is_refusal { Refusal::new(told(&error)).into() } else { error }
}

/// An error with its causes.
pub(super) fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
}

/// The pipeline of a configuration.
fn pipeline(settings: &Settings, input: &Input) -> anyhow::Result<PipelineSpec> {
    let events: EventSchema = settings.event.schema.clone();
    let store = store_of_recordings(Some(&settings.source), Some(&settings.output));
    let source = match (input, &settings.source) {
        (Input::Quarantine(redrive), _) => SourceSpec::Quarantine(RedriveSpec::clone(redrive)),
        (Input::Recordings(paths), _) => SourceSpec::Files(files(paths.clone(), &settings.event, store)),
        (_, SourceSection::Files(section)) => SourceSpec::Files(files(section.paths.clone(), &settings.event, store)),
        (_, SourceSection::Kafka(section)) => SourceSpec::Kafka(kafka(section)),
        (Input::Live, SourceSection::Simulator(section)) => {
            SourceSpec::Simulator(section.spec.clone(), section.pace.unwrap_or(Pace::Times(1.0)))
        }
        (_, SourceSection::Simulator(section)) => SourceSpec::Simulator(section.spec.clone(), Pace::Unbounded),
    };
    let until = match input {
        // A simulation has an end, and a live run ends with it.
        Input::Live if matches!(source, SourceSpec::Simulator(..)) => Until::CaughtUp,
        Input::Live => Until::Stopped,
        Input::Once => Until::CaughtUp,
        Input::AsItStands | Input::Recordings(_) => Until::Closed,
        Input::Quarantine(_) => Until::Redriven,
    };
    Ok(PipelineSpec {
        name: settings.pipeline.name.clone(),
        source,
        until,
        events,
        watermark: settings.watermark.clone(),
        windows: settings.windows.clone(),
        detectors: settings.detectors.iter().map(|section| detecting(section, settings)).collect::<Result<_, _>>()?,
        schedules: Vec::new(),
        output: output(&settings.pipeline.name, &settings.output),
        plan: Plan::new(settings.pipeline.epoch, settings.pipeline.checkpoint_every, settings.output.file_size),
        watchdog: settings.pipeline.watchdog,
        groups_max: settings.pipeline.groups_max,
        configuration: Fingerprint::of(settings).0,
    })
}

/// The store of recordings that are on one: their own where it is configured, else that of the output.
pub(super) fn store_of_recordings(source: Option<&SourceSection>, output: Option<&OutputSection>) -> S3Options {
    let own = match source {
        Some(SourceSection::Files(files)) => files.s3.as_ref(),
        _ => None,
    };
    own.or(output.map(|output| &output.s3)).map(s3).unwrap_or_default()
}

pub(super) fn files(paths: Vec<String>, event: &EventSection, store: S3Options) -> FilesSpec {
    FilesSpec {
        paths,
        s3: Arc::new(store),
        patience: Patience::default(),
        format: match event.format {
            EventFormat::Json => FileFormat::Ndjson,
            EventFormat::Csv => FileFormat::Csv,
            EventFormat::Parquet => FileFormat::Parquet,
        },
        cells: CellOptions {
            separator: event.csv.separator,
            comment: event.csv.comment,
            header: event.csv.header.clone(),
            decimal_comma: event.csv.decimal_comma,
        },
        wanted: event.schema.paths().map(<[String]>::to_vec).collect(),
        record_bytes_max: event.schema.record_bytes_max,
        block_bytes: FilesSpec::BLOCK_BYTES,
        open_files_max: FilesSpec::OPEN_FILES_MAX,
    }
}

pub(super) fn kafka(section: &KafkaSection) -> KafkaSpec {
    KafkaSpec {
        brokers: section.brokers.clone(),
        topics: section.topics.clone(),
        start: match section.start {
            Start::Earliest => KafkaStart::Earliest,
            Start::Latest => KafkaStart::Latest,
            Start::At(micros) => KafkaStart::At(micros),
        },
        on_lost: match section.on_lost {
            OnLost::Stop => Lost::Stop,
            OnLost::Continue => Lost::Record,
        },
        group: section.group.clone(),
        properties: revealed(&section.librdkafka),
        queue_bytes: usize::try_from(section.queue_size).unwrap_or(usize::MAX),
    }
}

fn revealed(properties: &Properties) -> BTreeMap<String, String> {
    properties.iter().map(|(name, property)| (name.clone(), property.reveal().to_owned())).collect()
}

fn detecting(section: &DetectorSection, settings: &Settings) -> anyhow::Result<Detecting> {
    // Before anything is written. A version that is there but cannot be used is judged at the start, where an earlier one may stand in.
    match versions::in_force(section, &settings.event.schema, &settings.windows) {
        Err(error @ NoModel::Sequence { .. }) => {
            return Err(Refusal::new(format!("detector `{}`: {error}", section.spec.name)).into());
        }
        Err(NoModel::Folder(error @ ModelError::NotFound { .. })) if section.on_failure == OnFailure::Stop => {
            let what = format!("the model of detector `{}` cannot be loaded", section.spec.name);
            return Err(Refusal::new(told(&anyhow::Error::from(error).context(what))).into());
        }
        _ => {}
    }
    let versions = versions::versions(section, &settings.event.schema, &settings.windows)
        .map_err(|error| Refusal::new(told(&anyhow::Error::from(error))))?;
    Ok(Detecting {
        spec: section.spec.clone(),
        versions,
        without_model: match section.on_failure {
            OnFailure::Stop => WithoutModel::Stop,
            OnFailure::Continue => WithoutModel::GoOn,
        },
    })
}

/// Where the store is, and the account for it.
pub(super) fn s3(section: &S3Section) -> S3Options {
    let account = match (&section.access_key_id, &section.secret_access_key) {
        (Some(access_key_id), Some(secret_access_key)) => Some(S3Account {
            access_key_id: access_key_id.reveal().to_owned(),
            secret_access_key: secret_access_key.reveal().to_owned(),
            session_token: section.session_token.as_ref().map(|token| token.reveal().to_owned()),
        }),
        _ => None,
    };
    S3Options {
        endpoint: section.endpoint.clone(),
        region: section.region.clone(),
        virtual_hosted: section.virtual_hosted,
        account,
    }
}

fn output(pipeline: &str, section: &OutputSection) -> OutputSpec {
    OutputSpec {
        url: section.url.clone(),
        s3: s3(&section.s3),
        events: match section.events {
            EventsStored::All => EventsKept::All,
            EventsStored::Anomalies => EventsKept::Anomalies,
            EventsStored::None => EventsKept::None,
        },
        publish_every: section.publish_every,
        file_size: section.file_size,
        partition_by: section.partition_by,
        kafka: section.kafka.as_ref().map(|kafka| kafka_output(pipeline, &section.url, kafka)),
    }
}

/// `url` is that of the tables.
pub(super) fn kafka_output(pipeline: &str, url: &str, section: &KafkaOutputSection) -> KafkaOutputSpec {
    KafkaOutputSpec {
        brokers: section.brokers.clone(),
        topic: section.topic.clone(),
        progress_topic: None,
        properties: revealed(&section.librdkafka),
        // The same in every run into this output, and no other output's: a replay elsewhere must not end the live run's producer.
        transactional_id: format!("tidewatch-{pipeline}-{}", Sha256::of(url.as_bytes()).short()),
    }
}

/// Whose output a run of these settings would write.
pub(super) fn identity(settings: &Settings, input: &Input) -> anyhow::Result<Identity> {
    // No model has a part in it.
    let spec = pipeline(&Settings { detectors: Vec::new(), ..settings.clone() }, input)?;
    Ok(Identity::from(&spec))
}

/// Makes a model version.
pub(super) fn import(import: Import) -> anyhow::Result<(ImportedModel, ModelVersion)> {
    let Import { files, to, error, threshold } = import;
    let error = error.map(|error| match error {
        ErrorMeasure::Mae => models::estimator::ErrorMeasure::Mae,
        ErrorMeasure::Mse => models::estimator::ErrorMeasure::Mse,
    });
    let imported = models::import::import(&files, &ImportOptions { error, threshold })?;
    let version = registry::save(Path::new(&to), &imported.model)?;
    Ok((imported, version))
}
