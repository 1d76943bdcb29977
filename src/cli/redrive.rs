//! `redrive`: quarantined records again, once their cause is mended.
//!
//! What there is to do is said before anything is claimed; where there is nothing, nothing is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::HumanCount;
use serde_json::json;

use crate::domain::reject::RejectReason;
use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::pipeline::redrive::{Survey, Surveyed};
use crate::settings::nearest;

use super::arguments::ConfigurationOptions;
use super::configuration;
use super::engine::{self, Input, Job, Quarantined};
use super::placement::Placement;
use super::summary::Told;
use super::{Refusal, print};

/// Play quarantined records again, once their cause is mended
///
/// Reads the output's `quarantine` with the configuration as it is now. What can be read is counted as if it had just come, in partitions
/// of its own (redrive/1/…), each record once: windows that are not final are corrected, and the ledger shows it. What cannot be read
/// stays quarantined. A second time finds nothing to do. Needs the pipeline to be stopped.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch redrive pipeline.toml --dry-run            what would be played, and what still cannot be read
  tidewatch redrive pipeline.toml
  tidewatch redrive pipeline.toml --reason bad_time --partition flows/0
  tidewatch redrive pipeline.toml --set watermark.future_skew=1d --reason from_the_future")]
pub(super) struct RedriveOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    /// Play what was quarantined for this reason alone; may be repeated [default: any]
    #[arg(long, value_name = "REASON")]
    pub(super) reason: Vec<String>,
    /// Play records of this partition of the source alone; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) partition: Vec<String>,
    /// Say what would be played, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print what was found or done as one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// Workers [default: pipeline.workers, else one a core]
    #[arg(short = 'w', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) workers: Option<u16>,
}

pub(super) fn redrive(options: &RedriveOptions, is_quiet: bool) -> anyhow::Result<()> {
    let settings = configuration::load(&options.configuration)?;
    let reasons = reasons(&options.reason)?;
    let partitions: BTreeSet<String> = options.partition.iter().cloned().collect();
    let placement = Placement::alone(options.workers, settings.pipeline.workers);
    let Some(found) = Quarantined::look(&settings, reasons, partitions)? else {
        let url = &settings.output.url;
        return Err(
            Refusal::new(format!("{url} has no checkpoint of this pipeline, and so nothing to play again")).into()
        );
    };
    let is_nothing = found.survey.chosen() == 0;
    if options.json && (options.dry_run || is_nothing) {
        return print(format!("{:#}\n", as_json(&found.survey)).as_bytes());
    }
    if !options.json && !is_quiet {
        print(as_text(&found.survey, found.is_closed()).as_bytes())?;
    }
    if options.dry_run || is_nothing {
        return Ok(());
    }
    // A checkpoint may be under way; two come while nothing is amiss.
    let patience = 2 * settings.pipeline.checkpoint_every + Duration::from_secs(1);
    if found.is_written(patience)? {
        return Err(Refusal::new(engine::busy(&settings.output.url)).into());
    }
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let metrics = Arc::new(Metrics::new(&settings.pipeline.name));
    let input = Input::Quarantine(found.redrive);
    let summary = engine::run(Job { settings, input, placement, models_of: None, stop: stop.clone(), metrics })?;
    if stop.is_requested() {
        anyhow::bail!("interrupted; what was played is committed, and the same command goes on from there");
    }
    summary.tell(match (options.json, is_quiet) {
        (true, _) => Told::AsJson,
        (false, false) => Told::AsText,
        (false, true) => Told::NotAtAll,
    })
}

/// The reasons' names, each of which there is.
fn reasons(given: &[String]) -> Result<BTreeSet<String>, Refusal> {
    for name in given {
        if !RejectReason::NAMES.contains(&name.as_str()) {
            let all = RejectReason::NAMES.join(", ");
            let cure = nearest(name, &RejectReason::NAMES)
                .map_or(format!("there are {all}"), |near| format!("did you mean `{near}`?"));
            return Err(Refusal::new(format!("nothing is quarantined for `{name}`; {cure}")));
        }
    }
    Ok(given.iter().cloned().collect())
}

fn as_json(survey: &Survey) -> serde_json::Value {
    let one = |partition: &Surveyed| {
        json!({
            "partition": partition.original,
            "as": partition.redriven.partition.name,
            "chosen": partition.chosen,
            "still_refused": partition.still_refused,
            "not_asked_for": partition.unasked,
        })
    };
    json!({ "chosen": survey.chosen(), "partitions": survey.partitions.iter().map(one).collect::<Vec<_>>() })
}

fn as_text(survey: &Survey, is_closed: bool) -> String {
    let mut text = String::new();
    for Surveyed { original, redriven, chosen, still_refused, unasked, .. } in &survey.partitions {
        let mut parts = Vec::new();
        if !chosen.is_empty() {
            parts.push(format!("{} as {}", counted(chosen), redriven.partition.name));
        }
        if !still_refused.is_empty() {
            parts.push(format!("still refused: {}", counted(still_refused)));
        }
        if *unasked > 0 {
            parts.push(format!("{} not asked for", HumanCount(*unasked)));
        }
        if !parts.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{original:<12}{}", parts.join("; "));
        }
    }
    if survey.chosen() == 0 {
        let is_narrowed = survey.partitions.iter().any(|partition| partition.unasked > 0);
        text.push_str(match is_narrowed {
            true => "nothing to play again of what was asked for\n",
            false => "nothing to play again: what is quarantined still cannot be read, or was played before\n",
        });
    } else if is_closed {
        text.push_str(
            "every window is closed, for a replay has ended here: the records go to `events` and `anomalies`, and for their windows \
             to `late`\n",
        );
    }
    text
}

/// `12 (10 bad_time: ts, 2 no_key)`
fn counted(by_reason: &BTreeMap<String, u64>) -> String {
    let all: u64 = by_reason.values().sum();
    let parts: Vec<String> =
        by_reason.iter().map(|(reason, count)| format!("{} {reason}", HumanCount(*count))).collect();
    format!("{} ({})", HumanCount(all), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_there_is_not_is_refused_with_the_nearest() {
        let told = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            reasons(&names).map(|reasons| reasons.len()).map_err(|refusal| refusal.0)
        };
        assert_eq!(told(&["bad_time", "no_key"]), Ok(2));
        assert!(told(&["bad_tine"]).is_err_and(|told| told.ends_with("did you mean `bad_time`?")));
        assert!(told(&["window_final"]).is_err_and(|told| told.contains("there are empty, too_large")));
    }
}
