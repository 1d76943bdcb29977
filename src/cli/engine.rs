//! Where the verbs meet the flow: what a verb has made of options and configuration is handed over here.

use std::path::PathBuf;
use std::sync::Arc;

use crate::observe::progress::Progress;
use crate::observe::stop::StopSignal;
use crate::settings::Settings;

use super::arguments::ErrorMeasure;
use super::placement::Placement;

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
}

/// A flow to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) settings: Settings,
    pub(super) input: Input,
    pub(super) placement: Placement,
    pub(super) stop: StopSignal,
    pub(super) progress: Arc<Progress>,
}

/// A model to import.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) files: Vec<PathBuf>,
    pub(super) to: String,
    pub(super) error: Option<ErrorMeasure>,
    pub(super) threshold: Option<f64>,
}

/// Runs a flow to its end.
pub(super) fn run(job: Job) -> anyhow::Result<()> {
    let Job { settings, input, placement, stop, progress } = job;
    tracing::debug!(pipeline = settings.pipeline.name, ?input, ?placement, ?stop, ?progress, "flow handed over");
    anyhow::bail!("this binary was built without the flow")
}

/// Makes a model version.
pub(super) fn import(import: Import) -> anyhow::Result<()> {
    let Import { files, to, error, threshold } = import;
    tracing::debug!(?files, to, ?error, ?threshold, "import handed over");
    anyhow::bail!("this binary was built without the import of models")
}
