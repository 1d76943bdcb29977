//! SKAB's testbed: the first 400 rows of each experiment are normal and trained on, the rest is judged.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measured::{auc, f1, false_alarms, judged, labels, settings, trained};

/// Rows of each experiment that the benchmark gives as normal.
const NORMAL_ROWS: usize = 400;

pub fn print(data: &Path) -> Result<()> {
    let settings = settings(include_str!("skab.toml"))?;
    let folder = tempfile::tempdir()?;
    let [seen, all] = ["seen", "all"].map(|name| folder.path().join(name));
    fs::create_dir_all(&seen)?;
    fs::create_dir_all(&all)?;
    let files = data.join("skab/valve1");
    for file in fs::read_dir(&files).with_context(|| format!("`{}` cannot be read", files.display()))? {
        let path = file?.path();
        let name = path.file_name().context("a file has a name")?;
        let (normal, judged) = parted(&fs::read_to_string(&path)?)?;
        fs::write(seen.join(name), normal)?;
        fs::write(all.join(name), judged)?;
    }
    println!("## SKAB, valve1: sixteen experiments, the first {NORMAL_ROWS} rows of each as normal\n");
    println!("| detector | F1 | AUC | flagged of the normal | missed of the anomalies |\n|---|---|---|---|---|");
    for section in &settings.detectors {
        let model = trained(&settings, section, &seen, 0)?;
        let found = judged(&settings, section, &model, &all, labels("anomaly_last", "0.0"))?;
        let (name, f1, auc, false_alarms) = (&section.spec.name, f1(&found), auc(&found), false_alarms(&found));
        let missed = 100.0 * (1.0 - found.judgement.measures.recall.unwrap_or(f64::NAN));
        println!("| `{name}` | {f1:.3} | {auc:.3} | {false_alarms:.1} % | {missed:.1} % |");
        let mut keys = found.judgement.keys;
        keys.sort_by(|a, b| a.tally.name.len().cmp(&b.tally.name.len()).then_with(|| a.tally.name.cmp(&b.tally.name)));
        let told = |f1: Option<f64>| f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.2}"));
        let each: Vec<String> =
            keys.iter().map(|key| format!("{} {}", key.tally.name.trim_end_matches(".csv"), told(key.f1))).collect();
        println!("\nF1 by experiment: {}.", each.join(", "));
    }
    Ok(())
}

/// The normal rows alone; and all rows, where those have no label: they are looked back on, and not judged.
fn parted(text: &str) -> Result<(String, String)> {
    let header = text.lines().next().context("the file is empty")?;
    let label = header.split(';').position(|name| name == "anomaly").context("there is no column of labels")?;
    let blank = |line: &str| {
        let mut cells: Vec<&str> = line.split(';').collect();
        cells[label] = "";
        cells.join(";")
    };
    let normal: Vec<&str> = text.lines().take(1 + NORMAL_ROWS).collect();
    let mut all = vec![header.to_owned()];
    all.extend(normal.iter().skip(1).map(|line| blank(line)));
    all.extend(text.lines().skip(1 + NORMAL_ROWS).map(str::to_owned));
    Ok((normal.join("\n") + "\n", all.join("\n") + "\n"))
}
