//! The scores of a sample: do they look like those of a model that fits?

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use serde_json::json;

use crate::domain::batch::EventBatch;
use crate::domain::detector::DetectorInput;
use crate::models::registry;
use crate::scoring::scorer::Scorer;
use crate::settings::{DetectorSection, quoted};

use super::Finding;

/// More anomalies than this are no anomalies.
const ANOMALIES_SHARE_MAX: f64 = 0.5;

/// Scores the sample with every detector of events whose model can be used; of the others the models' probe tells.
pub(super) fn score(detectors: &[DetectorSection], batches: &[EventBatch]) -> Vec<Finding> {
    let over_events = detectors.iter().filter(|section| section.spec.input == DetectorInput::Events);
    over_events.filter_map(|section| Some(judge(section, scores(section, batches)?))).flatten().collect()
}

/// What a detector gave the sample.
struct Scores {
    model: String,
    threshold: f64,
    /// Ascending.
    finite: Vec<f64>,
    unscored: usize,
}

fn scores(section: &DetectorSection, batches: &[EventBatch]) -> Option<Scores> {
    let model = Arc::new(registry::load(Path::new(&section.spec.model)).ok()?);
    let (version, threshold) = (model.version.to_string(), model.model.threshold().value);
    let mut all = Scores { model: version, threshold, finite: Vec::new(), unscored: 0 };
    let mut scorer = Scorer::new(&section.spec, model, &batches.first()?.columns().schema()).ok()?;
    let column = format!("{}_score", section.spec.name);
    for batch in batches {
        let scored = scorer.score(batch.columns().clone(), None);
        all.unscored += scored.unscored;
        let column = scored.batch.column_by_name(&column)?;
        all.finite.extend(column.as_primitive_opt::<Float64Type>()?.iter().flatten());
        debug_assert_eq!(column.null_count(), scored.unscored);
    }
    all.finite.sort_by(f64::total_cmp);
    Some(all)
}

fn judge(section: &DetectorSection, scores: Scores) -> Vec<Finding> {
    let Scores { model, threshold, finite, unscored } = scores;
    let name = &section.spec.name;
    let key = format!("detectors.{}.model", quoted(name));
    let rows = finite.len() + unscored;
    let [Some(least), Some(median), Some(greatest)] = [finite.first(), finite.get(finite.len() / 2), finite.last()]
    else {
        let problem = format!("{model} gives none of the sample's {rows} events a finite score");
        return vec![Finding::warning(
            key,
            problem,
            "look whether these are the fields and units that it was trained on",
        )];
    };
    let anomalies = finite.iter().filter(|score| **score > threshold).count();
    let share = anomalies as f64 / rows as f64;
    let text = format!(
        "{name}: {rows} events by {model}, {anomalies} anomalies ({:.1} %); least {}, median {}, greatest {}, threshold {}",
        100.0 * share,
        shown(*least),
        shown(*median),
        shown(*greatest),
        shown(threshold)
    );
    let data = json!({
        "detector": name, "model": model, "rows": rows, "unscored": unscored, "anomalies": anomalies, "share": share,
        "least": least, "median": median, "greatest": greatest, "threshold": threshold,
    });
    let mut findings = vec![Finding::seen("scores", text, data)];
    if share > ANOMALIES_SHARE_MAX {
        let problem = format!(
            "{:.0} % of the sample would be anomalies: the model does not know events like these",
            100.0 * share
        );
        findings.push(Finding::warning(
            &key,
            problem,
            "look whether these are the fields and units that it was trained on",
        ));
    }
    if unscored > 0 {
        let problem = format!("{unscored} of the sample's {rows} events have no finite score");
        findings.push(Finding::warning(&key, problem, "look for values far beyond what it was trained on"));
    }
    findings
}

/// Four digits that count.
pub(in crate::cli) fn shown(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    match magnitude {
        -4..=5 => format!("{value:.*}", usize::try_from(3 - magnitude).unwrap_or(0)),
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_number_is_shown_with_four_digits_that_count() {
        let values = [0.0, 0.000123456, 1.23456, 123456.7, 1.5e9, -0.0271828];
        assert_eq!(values.map(shown), ["0.000", "0.0001235", "1.235", "123457", "1.500e9", "-0.02718"]);
    }
}
