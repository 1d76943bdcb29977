//! `evaluate`: how well the detectors' models tell what is labelled.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context;
use indicatif::HumanCount;
use serde_json::json;

use crate::models::model::{ModelVersion, RegisteredModel};
use crate::observe::stop::StopSignal;
use crate::settings::DetectorSection;
use crate::training::bootstrap::Interval;
use crate::training::error::TrainingError;
use crate::training::evaluate::{self, Evaluation, EvaluationSpec};
use crate::training::input::InputSpec;
use crate::training::judgement::{Judgement, KeyFigures, Tally};
use crate::training::recording::RecordingSpec;
use crate::training::spec::{FeatureSpec, Method, TrainingSpec};
use crate::training::train::{self, Watch};
use crate::training::truth::{LabelledSpans, Truth};

use super::Refusal;
use super::arguments::EvaluateOptions;
use super::configuration;
use super::engine;
use super::learning::Learning;
use super::print;
use super::probes::shown;
use super::recorded;
use super::versions;

/// How many keys are told, those with the most flagged rows first.
const KEYS_MAX: usize = 20;

pub(super) fn evaluate(options: &EvaluateOptions, is_quiet: bool) -> anyhow::Result<()> {
    let settings = configuration::load(&options.configuration)?;
    let recording = recorded::recording(&settings, &options.recorded)?;
    let detectors = recorded::detectors(&settings, &options.recorded)?;
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let spec = EvaluationSpec { truth: truth(options)?, seed: options.seed };
    let mut all = Vec::new();
    for (section, input) in detectors {
        let name = &section.spec.name;
        let model = versions::in_force(section, &settings.event.schema, &settings.windows).map_err(|error| {
            let what = format!("the model of detector `{name}` cannot be loaded; `tidewatch train` makes one");
            Refusal::new(engine::told(&anyhow::Error::from(error).context(what)))
        })?;
        let mut models = vec![model];
        let is_stopped = || stop.is_requested();
        if !options.baseline.is_empty() {
            let seen = recorded::of_paths(&settings, &options.baseline)?;
            let mut learning = Learning::new(name, 0, is_quiet);
            let watch = Watch { told: &mut |news| learning.take(news), is_stopped: &is_stopped };
            models.push(baseline(section, &input, &seen, watch).map_err(|error| recorded::judged(error, name))?);
        }
        for model in models {
            let mut learning = Learning::new(name, 0, is_quiet);
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
    }
    if options.recorded.json {
        print(
            format!("{:#}\n", json!({ "label": options.label, "ranges": options.ranges, "detectors": all })).as_bytes(),
        )?;
    }
    Ok(())
}

/// An isolation forest of the detector's own rows and features, as scikit-learn has it by default.
fn baseline(
    section: &DetectorSection,
    input: &InputSpec,
    seen: &RecordingSpec,
    watch: Watch<'_>,
) -> Result<Arc<RegisteredModel>, TrainingError> {
    let TrainingSpec { features, condition, labels, rows_min, seed, memory_bytes, .. } = section.training.clone();
    let plain = |feature: FeatureSpec| FeatureSpec { transforms: None, ..feature };
    let features = features.map(|features| features.into_iter().map(plain).collect());
    let method = Method::IsolationForest { trees: 100, sample_rows: 256 };
    let own = TrainingSpec { method, features, condition, labels, ..TrainingSpec::default() };
    let spec = TrainingSpec { rows_min, seed, memory_bytes, ..own };
    let model = train::train(&spec, input, seen, watch)?.model;
    let version = ModelVersion { name: "isolation_forest".to_owned(), version: 1 };
    Ok(Arc::new(RegisteredModel { version, model }))
}

/// Labels in a column, or a file of ranges.
fn truth(options: &EvaluateOptions) -> anyhow::Result<Truth> {
    match (&options.label, &options.ranges) {
        (Some(column), _) => Ok(Truth::Labels { column: column.clone(), normal: options.normal.clone() }),
        (None, Some(file)) => LabelledSpans::read(file)
            .map(Truth::Spans)
            .map_err(|error| Refusal::new(engine::told(&anyhow::Error::from(error))).into()),
        (None, None) => Err(Refusal::new("say where the truth is, with --label or --ranges".to_owned()).into()),
    }
}

fn as_text(found: &Evaluation) -> String {
    let judgement = &found.judgement;
    let mut text =
        format!("{}\n  {:<22}{}, threshold {}\n", found.detector, "model", found.model, shown(judgement.threshold));
    let mut line = |what: &str, words: String| {
        let _ = writeln!(text, "  {what:<22}{words}");
    };
    let (rows, anomalies, normal) =
        (HumanCount(judgement.rows), HumanCount(judgement.anomalies), found.normal.join(", "));
    line("rows", format!("{rows}, {anomalies} of them anomalies (normal: {normal})"));
    let left_out = [
        (found.unlabelled, "rows without a label"),
        (judgement.unscored, "rows without a finite score"),
        (found.rejected, "records that are no events"),
        (found.ranges_without_rows, "ranges in which no row lies"),
    ];
    for (count, what) in left_out.iter().filter(|(count, _)| *count > 0) {
        line("left out", format!("{} {what}", HumanCount(*count)));
    }
    for (name, value) in figures(judgement) {
        line(name, value);
    }
    let confusion = &judgement.confusion;
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
    labels(&mut text, &judgement.labels);
    keys(&mut text, &judgement.keys);
    text
}

/// What is told of a set of scores, each in a few words.
fn figures(judgement: &Judgement) -> Vec<(&'static str, String)> {
    let Judgement { measures, intervals, ranges, nab, .. } = judgement;
    let ranged = |value: Option<f64>| measure(value, None);
    let best = match (nab.best_score, nab.best_threshold) {
        (Some(best), Some(threshold)) => format!("{best:.2}, at {}", shown(threshold)),
        _ => measure(None, None),
    };
    vec![
        ("ROC AUC", measure(measures.auc, intervals.auc)),
        ("average precision", measure(measures.average_precision, intervals.average_precision)),
        ("found at 1 % FPR", measure(measures.tpr_at_1_percent_fpr, intervals.tpr_at_1_percent_fpr)),
        ("found at 0.1 % FPR", measure(measures.tpr_at_01_percent_fpr, intervals.tpr_at_01_percent_fpr)),
        ("precision", measure(measures.precision, intervals.precision)),
        ("recall", measure(measures.recall, intervals.recall)),
        ("F1", measure(measures.f1, intervals.f1)),
        ("ranges", format!("{} labelled, {} flagged", HumanCount(ranges.labelled), HumanCount(ranges.flagged))),
        ("precision of ranges", ranged(ranges.precision)),
        ("recall of ranges", ranged(ranges.recall)),
        ("F1 of ranges", ranged(ranges.f1)),
        ("NAB score", nab.score.map_or_else(|| measure(None, None), |score| format!("{score:.2}"))),
        ("best threshold's NAB", best),
    ]
}

/// With the interval that holds 95 % of resamples.
fn measure(value: Option<f64>, interval: Interval) -> String {
    match (value, interval) {
        (Some(value), Some([from, to])) => format!("{value:.4}  [{from:.4}, {to:.4}]"),
        (Some(value), None) => format!("{value:.4}"),
        (None, _) => "cannot be told".to_owned(),
    }
}

fn labels(text: &mut String, tallies: &[Tally]) {
    let width = width("label", tallies.iter());
    let _ = writeln!(text, "\n  {:<width$}  {}", "label", TALLY);
    for tally in tallies {
        let _ = writeln!(text, "  {:<width$}  {}", tally.name, tally_words(tally));
    }
}

/// Those with the most flagged rows; `--json` has them all.
fn keys(text: &mut String, keys: &[KeyFigures]) {
    const TITLE: &str = "most flagged keys";
    let shown = &keys[..keys.len().min(KEYS_MAX)];
    let width = width(TITLE, shown.iter().map(|key| &key.tally));
    let _ = writeln!(text, "\n  {TITLE:<width$}  {TALLY} {:>12} {:>7} {:>7}", "anomalies", "AUC", "F1");
    let told = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    for key in shown {
        let (auc, f1, anomalies) = (told(key.auc), told(key.f1), HumanCount(key.anomalies).to_string());
        let tally = tally_words(&key.tally);
        let _ = writeln!(text, "  {:<width$}  {tally} {anomalies:>12} {auc:>7} {f1:>7}", key.tally.name);
    }
    if keys.len() > shown.len() {
        let _ = writeln!(text, "  and {} more: --json tells all", HumanCount((keys.len() - shown.len()) as u64));
    }
    text.push('\n');
}

const TALLY: &str = "        rows      flagged     share   mean score";

fn tally_words(tally: &Tally) -> String {
    let (rows, flagged) = (HumanCount(tally.rows).to_string(), HumanCount(tally.flagged).to_string());
    let share = format!("{:.2} %", 100.0 * tally.share_flagged);
    format!("{rows:>12} {flagged:>12} {share:>9} {:>12}", shown(tally.mean_score))
}

fn width<'t>(title: &str, tallies: impl Iterator<Item = &'t Tally>) -> usize {
    tallies.map(|tally| tally.name.chars().count()).chain([title.len()]).max().unwrap_or(0)
}
