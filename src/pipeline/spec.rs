//! What a run consists of: the parts' own specifications, put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::detector::DetectorSpec;
use crate::domain::schema::EventSchema;
use crate::domain::watermark::WatermarkSpec;
use crate::models::model::RegisteredModel;
use crate::pipeline::plan::Plan;
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
    pub detectors: Vec<LoadedDetector>,
    pub output: OutputSpec,
    pub plan: Plan,
    /// How long nothing may move before the process ends itself.
    pub watchdog: Duration,
    /// Of each window, on all workers together: with more the run ends.
    pub groups_max: usize,
    /// A hash by section of the configuration, of those sections that the state depends on.
    pub configuration: BTreeMap<String, String>,
}

/// Where events come from.
#[derive(Clone, Debug)]
pub enum SourceSpec {
    Kafka(KafkaSpec),
    Files(FilesSpec),
    Simulator(SimulatorSpec, Pace),
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
}

/// A detector with the version of its model that is in force.
#[derive(Clone, Debug)]
pub struct LoadedDetector {
    pub spec: DetectorSpec,
    pub model: Arc<RegisteredModel>,
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

impl PipelineSpec {
    /// Whose records an output holds: the same source gives the same text in every run.
    pub fn source_identity(&self) -> String {
        match (&self.source, self.until) {
            (SourceSpec::Kafka(kafka), Until::Closed) => format!("replay of kafka: {}", kafka.topics.join(", ")),
            (SourceSpec::Kafka(kafka), _) => format!("kafka: {}", kafka.topics.join(", ")),
            (SourceSpec::Files(files), _) => format!("files: {}", files.paths.join(", ")),
            // What the rest of it decides is told apart by the fingerprint.
            (SourceSpec::Simulator(simulator, _), _) => format!("simulator: {}", simulator.profile),
            (SourceSpec::Given(given), _) => format!("given: {}", given.name()),
        }
    }
}
