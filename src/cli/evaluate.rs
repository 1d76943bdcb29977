//! `evaluate`: how well the detectors' models tell what is labelled.

use std::fmt::Write as _;

use anyhow::Context;
use indicatif::HumanCount;
use serde_json::json;

use crate::observe::stop::StopSignal;
use crate::training::bootstrap::Interval;
use crate::training::evaluate::{self, Evaluation, EvaluationSpec, Tally};
use crate::training::train::Watch;

use super::Refusal;
use super::arguments::EvaluateOptions;
use super::configuration;
use super::engine;
use super::learning::Learning;
use super::print;
use super::probes::shown;
use super::recorded;
use super::versions;

pub(super) fn evaluate(options: &EvaluateOptions, is_quiet: bool) -> anyhow::Result<()> {
    let settings = configuration::load(&options.configuration)?;
    let recording = recorded::recording(&settings, &options.recorded)?;
    let detectors = recorded::detectors(&settings, &options.recorded)?;
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let spec = EvaluationSpec { label: options.label.clone(), normal: options.normal.clone(), seed: options.seed };
    let mut all = Vec::new();
    for (section, input) in detectors {
        let name = &section.spec.name;
        let model = versions::in_force(section, &settings.event.schema, &settings.windows).map_err(|error| {
            let what = format!("the model of detector `{name}` cannot be loaded; `tidewatch train` makes one");
            Refusal::new(engine::told(&anyhow::Error::from(error).context(what)))
        })?;
        let mut learning = Learning::new(name, 0, is_quiet);
        let is_stopped = || stop.is_requested();
        let watch = Watch { told: &mut |news| learning.take(news), is_stopped: &is_stopped };
        let found = evaluate::evaluate(&section.spec, model, &input, &recording, &spec, watch)
            .map_err(|error| recorded::judged(error, name))?;
        drop(learning);
        if options.recorded.json {
            all.push(found);
        } else {
            print(as_text(&found).as_bytes())?;
        }
    }
    if options.recorded.json {
        print(format!("{:#}\n", json!({ "label": options.label, "detectors": all })).as_bytes())?;
    }
    Ok(())
}

fn as_text(found: &Evaluation) -> String {
    let Evaluation { measures, intervals, confusion, .. } = found;
    let mut text =
        format!("{}\n  {:<20}{}, threshold {}\n", found.detector, "model", found.model, shown(found.threshold));
    let mut line = |what: &str, words: String| {
        let _ = writeln!(text, "  {what:<20}{words}");
    };
    let normal = found.normal.join(", ");
    line(
        "rows",
        format!("{}, {} of them anomalies (normal: {normal})", HumanCount(found.rows), HumanCount(found.anomalies)),
    );
    let left_out = [
        (found.unlabelled, "rows without a label"),
        (found.unscored, "rows without a finite score"),
        (found.rejected, "records that are no events"),
    ];
    for (count, what) in left_out.iter().filter(|(count, _)| *count > 0) {
        line("left out", format!("{} {what}", HumanCount(*count)));
    }
    let measured = [
        ("ROC AUC", measures.auc, intervals.auc),
        ("average precision", measures.average_precision, intervals.average_precision),
        ("found at 1 % FPR", measures.tpr_at_1_percent_fpr, intervals.tpr_at_1_percent_fpr),
        ("found at 0.1 % FPR", measures.tpr_at_01_percent_fpr, intervals.tpr_at_01_percent_fpr),
        ("precision", measures.precision, intervals.precision),
        ("recall", measures.recall, intervals.recall),
        ("F1", measures.f1, intervals.f1),
    ];
    for (name, value, interval) in measured {
        line(name, measure(value, interval));
    }
    line(
        "flagged",
        format!(
            "{} anomalies and {} normal rows; not flagged {} anomalies and {} normal rows",
            HumanCount(confusion.true_positives),
            HumanCount(confusion.false_positives),
            HumanCount(confusion.false_negatives),
            HumanCount(confusion.true_negatives)
        ),
    );
    table(&mut text, "label", &found.labels);
    table(&mut text, "most flagged keys", &found.keys);
    text
}

/// With the interval that holds 95 % of resamples.
fn measure(value: Option<f64>, interval: Interval) -> String {
    match (value, interval) {
        (Some(value), Some([from, to])) => format!("{value:.4}  [{from:.4}, {to:.4}]"),
        (Some(value), None) => format!("{value:.4}"),
        (None, _) => "cannot be told".to_owned(),
    }
}

fn table(text: &mut String, title: &str, tallies: &[Tally]) {
    let width = tallies.iter().map(|tally| tally.name.chars().count()).chain([title.len()]).max().unwrap_or(0);
    let _ = writeln!(text, "\n  {title:<width$}  {:>12} {:>12} {:>9} {:>12}", "rows", "flagged", "share", "mean score");
    for tally in tallies {
        let (rows, flagged) = (HumanCount(tally.rows).to_string(), HumanCount(tally.flagged).to_string());
        let share = format!("{:.2} %", 100.0 * tally.share_flagged);
        let score = shown(tally.mean_score);
        let _ = writeln!(text, "  {:<width$}  {rows:>12} {flagged:>12} {share:>9} {score:>12}", tally.name);
    }
    text.push('\n');
}
