//! How well do the detectors tell attacks in network flows? Trains on a random half of the normal rows and judges by everything else, again
//! and again; prints a table of means and deviations, in Markdown.
//!
//! `cargo run --release --example detection -- flows.csv`

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tidewatch::models::model::{ModelVersion, RegisteredModel};
use tidewatch::settings::{DetectorSection, Overrides, Settings};
use tidewatch::sources::files::{FileFormat, FilesSpec};
use tidewatch::training::evaluate::{Evaluation, EvaluationSpec, evaluate};
use tidewatch::training::input::InputSpec;
use tidewatch::training::recording::RecordingSpec;
use tidewatch::training::spec::Method;
use tidewatch::training::train::{Watch, train};
use tidewatch::training::truth::Truth;

const SPLITS: u64 = 20;
const LABEL: &str = "label_multiclass";
const NORMAL: &str = "Benign";

fn main() -> Result<()> {
    let flows = std::env::args().nth(1).context("name the file of flows")?;
    let settings = match Settings::parse(include_str!("detection/flows.toml"), &Overrides::default()) {
        Ok(settings) => settings,
        Err(faults) => anyhow::bail!("{faults}"),
    };
    let text = fs::read_to_string(&flows).with_context(|| format!("`{flows}` cannot be read"))?;
    let mut lines = text.lines();
    let header = lines.next().context("the file is empty")?;
    let label = header.split(',').position(|name| name == LABEL).context("there is no column of labels")?;
    let is_normal = |line: &&str| line.split(',').nth(label) == Some(NORMAL);
    let (normal, attacks): (Vec<&str>, Vec<&str>) = lines.partition(is_normal);
    println!(
        "{} normal flows, {} of attacks; means over {SPLITS} random halves of the normal ones\n",
        normal.len(),
        attacks.len()
    );
    println!("| detector | AUC | found at 1 % FPR | flagged of the normal (1 % promised) |\n|---|---|---|---|");
    for section in &settings.detectors {
        let mut found = Vec::new();
        for seed in 0..SPLITS {
            let folder = tempfile::tempdir()?;
            let mut normal = normal.clone();
            normal.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            let (seen, unseen) = normal.split_at(normal.len() / 2);
            let mut attacks = attacks.clone();
            attacks.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            // Only what is told of attacks may have seen some.
            let is_supervised = matches!(section.training.method, Method::Classifier { .. });
            let (told, untold) = attacks.split_at(if is_supervised { attacks.len() / 2 } else { 0 });
            write(&folder.path().join("seen.csv"), header, &[seen, told].concat())?;
            write(&folder.path().join("unseen.csv"), header, &[unseen, untold].concat())?;
            found.push(judged(&settings, section, folder.path(), seed)?);
        }
        let of = |what: fn(&Evaluation) -> f64| mean_and_deviation(&found.iter().map(what).collect::<Vec<_>>());
        let auc = of(|found| found.judgement.measures.auc.unwrap_or(f64::NAN));
        let rate = of(|found| 100.0 * found.judgement.measures.tpr_at_1_percent_fpr.unwrap_or(f64::NAN));
        let false_alarms = of(|found| {
            let confusion = found.judgement.confusion;
            100.0 * confusion.false_positives as f64 / (confusion.false_positives + confusion.true_negatives) as f64
        });
        println!(
            "| `{}` | {:.3} ± {:.3} | {:.1} ± {:.1} % | {:.1} ± {:.1} % |",
            section.spec.name, auc.0, auc.1, rate.0, rate.1, false_alarms.0, false_alarms.1
        );
    }
    Ok(())
}

fn write(path: &Path, header: &str, lines: &[&str]) -> Result<()> {
    Ok(fs::write(path, format!("{header}\n{}\n", lines.join("\n")))?)
}

fn judged(settings: &Settings, section: &DetectorSection, folder: &Path, seed: u64) -> Result<Evaluation> {
    let recording = |name: &str| RecordingSpec {
        files: FilesSpec {
            wanted: settings.event.schema.paths().map(<[String]>::to_vec).collect(),
            ..FilesSpec::new(vec![folder.join(name).display().to_string()], FileFormat::Csv)
        },
        events: settings.event.schema.clone(),
        watermark: settings.watermark.clone(),
    };
    let (mut told, is_stopped) = (|_| {}, || false);
    let spec = tidewatch::training::spec::TrainingSpec { seed, ..section.training.clone() };
    let watch = Watch { told: &mut told, is_stopped: &is_stopped };
    let model = train(&spec, &InputSpec::Events, &recording("seen.csv"), watch)?.model;
    let version = ModelVersion { name: section.spec.name.clone(), version: 1 };
    let model = Arc::new(RegisteredModel { version, model });
    let truth = Truth::Labels { column: LABEL.to_owned(), normal: vec![NORMAL.to_owned()] };
    let spec = EvaluationSpec { truth, seed };
    let watch = Watch { told: &mut told, is_stopped: &is_stopped };
    Ok(evaluate(&section.spec, model, &InputSpec::Events, &recording("unseen.csv"), &spec, watch)?)
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}
