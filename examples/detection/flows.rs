//! Attacks in network flows: trained on a random half of the normal rows, judged by everything else, again and again.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tidewatch::training::spec::Method;

use crate::measured::{auc, false_alarms, judged, labels, settings, spread, trained};

const SPLITS: u64 = 20;
const LABEL: &str = "label_multiclass";
const NORMAL: &str = "Benign";

pub fn print(data: &Path) -> Result<()> {
    let flows = data.join("ciciot2023/flows.csv");
    let settings = settings(include_str!("flows.toml"))?;
    let text = fs::read_to_string(&flows).with_context(|| format!("`{}` cannot be read", flows.display()))?;
    let mut lines = text.lines();
    let header = lines.next().context("the file is empty")?;
    let label = header.split(',').position(|name| name == LABEL).context("there is no column of labels")?;
    let is_normal = |line: &&str| line.split(',').nth(label) == Some(NORMAL);
    let (normal, attacks): (Vec<&str>, Vec<&str>) = lines.partition(is_normal);
    println!("## Network flows: {} normal, {} of attacks; {SPLITS} splits\n", normal.len(), attacks.len());
    println!("| detector | AUC | found at 1 % FPR | flagged of the normal (1 % promised) |\n|---|---|---|---|");
    for section in &settings.detectors {
        let mut found = Vec::new();
        for seed in 0..SPLITS {
            let folder = tempfile::tempdir()?;
            let mut normal = normal.clone();
            normal.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            let (seen, unseen) = normal.split_at(normal.len() / 2);
            let [seen_file, unseen_file] = ["seen.csv", "unseen.csv"].map(|name| folder.path().join(name));
            let mut attacks = attacks.clone();
            attacks.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            // Only what is told of attacks may have seen some.
            let is_supervised = matches!(section.training.method, Method::Classifier { .. });
            let (told, untold) = attacks.split_at(if is_supervised { attacks.len() / 2 } else { 0 });
            write(&seen_file, header, &[seen, told].concat())?;
            write(&unseen_file, header, &[unseen, untold].concat())?;
            let model = trained(&settings, section, &seen_file, seed)?;
            found.push(judged(&settings, section, &model, &unseen_file, labels(LABEL, NORMAL))?);
        }
        let rate = spread(&found, 1, |found| 100.0 * found.judgement.measures.tpr_at_1_percent_fpr.unwrap_or(f64::NAN));
        let (auc, false_alarms) = (spread(&found, 3, auc), spread(&found, 1, false_alarms));
        println!("| `{}` | {auc} | {rate} % | {false_alarms} % |", section.spec.name);
    }
    Ok(())
}

fn write(path: &Path, header: &str, lines: &[&str]) -> Result<()> {
    Ok(fs::write(path, format!("{header}\n{}\n", lines.join("\n")))?)
}
