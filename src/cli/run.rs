//! `run`: live, until stopped.

use std::sync::Arc;

use anyhow::Context;

use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;

use super::arguments::RunOptions;
use super::configuration;
use super::engine::{self, Input, Job};
use super::placement::Placement;
use super::summary::Told;

pub(super) fn run(options: &RunOptions) -> anyhow::Result<()> {
    let settings = configuration::load(&options.configuration)?;
    let placement = Placement::read(&options.placement, settings.pipeline.workers)?;
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let input = if options.once { Input::Once } else { Input::Live };
    let metrics = Arc::new(Metrics::new(&settings.pipeline.name));
    let summary = engine::run(Job { settings, input, placement, models_of: None, stop, metrics })?;
    summary.tell(if options.json { Told::AsJson } else { Told::NotAtAll })
}
