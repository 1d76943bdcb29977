//! `replay`: the results of recorded events.

use std::sync::Arc;

use anyhow::Context;

use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::settings::SourceSection;

use super::Refusal;
use super::arguments::ReplayOptions;
use super::configuration;
use super::engine::{self, Input, Job};
use super::placement::Placement;
use super::progress::Shown;
use super::summary::Told;

pub(super) fn replay(options: &ReplayOptions, is_quiet: bool) -> anyhow::Result<()> {
    let settings = configuration::load(&options.configuration)?;
    let input = input(&options.from, Some(&settings.source))?;
    let placement = Placement::read(&options.placement, settings.pipeline.workers)?;
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let metrics = Arc::new(Metrics::new(&settings.pipeline.name));
    let shown = (!is_quiet)
        .then(|| Shown::start(metrics.progress.clone()))
        .transpose()
        .context("no thread for the progress")?;
    let done = engine::run(Job {
        settings,
        input,
        placement,
        models_of: options.models_of.clone(),
        stop: stop.clone(),
        metrics,
    });
    drop(shown);
    let summary = done?;
    if stop.is_requested() {
        anyhow::bail!("interrupted; what was read is committed, and the same command goes on from there");
    }
    summary.tell(match (options.json, is_quiet) {
        (true, _) => Told::AsJson,
        (false, false) => Told::AsText,
        (false, true) => Told::NotAtAll,
    })
}

/// What `--from` names. A source that is at fault itself is none.
pub(super) fn input(from: &[String], source: Option<&SourceSection>) -> Result<Input, Refusal> {
    let is_kafka = |path: &String| path == "kafka";
    match (from, source) {
        ([only], Some(SourceSection::Kafka(_)) | None) if is_kafka(only) => Ok(Input::AsItStands),
        ([only], Some(SourceSection::Simulator(_))) if only == "simulator" => Ok(Input::AsItStands),
        ([only], Some(SourceSection::Files(_) | SourceSection::Simulator(_))) if is_kafka(only) => Err(Refusal::new(
            "--from kafka needs [source.kafka] in the configuration; for a file of that name: ./kafka",
        )),
        (paths, _) if paths.iter().any(is_kafka) => {
            Err(Refusal::new("--from takes either `kafka` or paths, not both; for a file of that name: ./kafka"))
        }
        (paths, _) => Ok(Input::Recordings(paths.to_vec())),
    }
}
