//! What a run consists of: the parts' own specifications, put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::decide::{Identity, source_of_topics};
use crate::checkpoint::schedule::ModelSchedule;
use crate::domain::detector::DetectorSpec;
use crate::domain::schema::EventSchema;
use crate::domain::watermark::WatermarkSpec;
use crate::models::versions::Versions;
use crate::pipeline::plan::Plan;
use crate::pipeline::redrive::RedriveSpec;
use crate::pipeline::scored::EventsKept;
use crate::sinks::kafka::KafkaOutputSpec;
use crate::sinks::tables::PartitionBy;
use crate::sources::GivenSource;
use crate::sources::files::FilesSpec;
use crate::sources::kafka::KafkaSpec;
use crate::sources::simulator::{Pace, SimulatorSpec};
use crate::storage::S3Options;
use crate::windows::spec::WindowSpec;

/// A pipeline, ready to run.
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    pub name: String,
    pub source: SourceSpec,
    pub until: Until,
    pub events: EventSchema,
    pub watermark: WatermarkSpec,
    pub windows: Vec<WindowSpec>,
    pub detectors: Vec<Detecting>,
    /// Which versions score what, where that is given; else the version in force scores everything, and what is promoted later takes over.
    pub schedules: Vec<ModelSchedule>,
    pub output: OutputSpec,
    pub plan: Plan,
    /// How long nothing may move before the process ends itself.
    pub watchdog: Duration,
    /// Of each window, on all workers together: with more the run ends.
    pub groups_max: usize,
    /// The keys of the configuration that state and tables depend on, with their values.
    pub configuration: BTreeMap<String, String>,
}

/// Where events come from.
#[derive(Clone, Debug)]
pub enum SourceSpec {
    Kafka(KafkaSpec),
    Files(FilesSpec),
    Simulator(SimulatorSpec, Pace),
    /// The output's own quarantine.
    Quarantine(RedriveSpec),
    /// What a program that embeds this library hands in.
    Given(Arc<dyn GivenSource>),
}

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It is told to stop.
    Stopped,
    /// What was there at the start has been read; open windows stay in the state.
    CaughtUp,
    /// What was there at the start has been read; then every window closes.
    Closed,
    /// What was there at the start has been read. No watermark moves: these partitions are beside those of the source.
    Redriven,
}

/// A detector, and where the versions of its model are.
#[derive(Clone, Debug)]
pub struct Detecting {
    pub spec: DetectorSpec,
    pub versions: Arc<dyn Versions>,
    pub without_model: WithoutModel,
}

/// What becomes of a run whose detector has no model at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutModel {
    Stop,
    /// It goes on without the detector, and says so.
    GoOn,
}

/// Where rows go.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    pub url: String,
    pub s3: S3Options,
    pub events: EventsKept,
    pub publish_every: Duration,
    /// Bytes.
    pub file_size: u64,
    pub partition_by: PartitionBy,
    pub kafka: Option<KafkaOutputSpec>,
}

/// The worker threads and processes of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Worker threads of each process.
    pub workers: usize,
    /// This process.
    pub process: usize,
    /// `host:port` of every process, in their order; empty for one process.
    pub addresses: Vec<String>,
}

impl Until {
    /// Whether a version that is promoted meanwhile takes over. What was recorded is scored by the versions that it began with.
    pub fn heeds_promotions(self) -> bool {
        match self {
            Until::Stopped | Until::CaughtUp => true,
            Until::Closed | Until::Redriven => false,
        }
    }
}

impl PipelineSpec {
    /// Whose records an output holds: the same source gives the same text in every run.
    pub fn source_identity(&self) -> String {
        match (&self.source, self.until) {
            (SourceSpec::Kafka(kafka), until) => source_of_topics(&kafka.topics, until == Until::Closed),
            (SourceSpec::Files(files), _) => format!("files: {}", files.paths.join(", ")),
            (SourceSpec::Quarantine(redrive), _) => redrive.source.clone(),
            // What the rest of it decides is told apart by the fingerprint.
            (SourceSpec::Simulator(simulator, _), _) => format!("simulator: {}", simulator.profile),
            (SourceSpec::Given(given), _) => format!("given: {}", given.name()),
        }
    }
}

impl From<&PipelineSpec> for Identity {
    fn from(spec: &PipelineSpec) -> Identity {
        let (source, configuration) = (spec.source_identity(), spec.configuration.clone());
        Identity { pipeline: spec.name.clone(), source, configuration }
    }
}
