//! The Numenta benchmark's series: streaming, without training, one setting for all.

use std::path::Path;

use anyhow::{Context, Result};
use tidewatch::models::versions::Versions;
use tidewatch::training::truth::{LabelledSpans, Truth};
use tidewatch::training::untrained;

use crate::measured::{input, judged, settings};

pub fn print(data: &Path) -> Result<()> {
    let settings = settings(include_str!("nab.toml"))?;
    let truth = Truth::Spans(LabelledSpans::read(&data.join("nab/combined_windows.json"))?);
    println!("## NAB: the series that are here, streaming, without training, one setting for all\n");
    println!(
        "| detector | NAB score at its threshold | at the best one | windows of time | rows |\n|---|---|---|---|---|"
    );
    for section in &settings.detectors {
        let input = input(&settings, section)?;
        let given = untrained::model(&section.spec.name, &section.training, &input, &settings.event.schema)?;
        let given = given.context("it needs no training")?;
        let model = given.load(&given.in_force()?)?.model;
        let found = judged(&settings, section, &model, &data.join("nab/*/*.csv"), truth.clone())?;
        let nab = &found.judgement.nab;
        let told = |score: Option<f64>| score.map_or_else(|| "-".to_owned(), |score| format!("{score:.1}"));
        let best = nab.best_threshold.map_or_else(String::new, |threshold| format!(", at {threshold:.3}"));
        println!(
            "| `{}` | {}, at {} | {}{best} | {} | {} |",
            section.spec.name,
            told(nab.score),
            found.judgement.threshold,
            told(nab.best_score),
            nab.windows,
            found.judgement.rows
        );
    }
    Ok(())
}
