//! TON_IoT's devices: trained on the first 60 % of the normal windows, judged by everything after them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::NaiveDateTime;
use tidewatch::training::evaluate::Evaluation;

use crate::measured::{auc, f1, false_alarms, forest, judged, labels, settings, spread, trained};

const SEEDS: u64 = 10;
const WINDOW_SECONDS: i64 = 10;

/// The detectors of the configuration, and whose files they score.
const DEVICES: [(&str, &str); 4] =
    [("fridge", "Fridge"), ("garage_door", "Garage_Door"), ("thermostat", "Thermostat"), ("weather", "Weather")];

pub fn print(data: &Path) -> Result<()> {
    let settings = settings(include_str!("ton_iot.toml"))?;
    println!("## TON_IoT, by {WINDOW_SECONDS} s windows; means over {SEEDS} seeds\n");
    println!(
        "| device (normal windows, attacks) | detector | AUC | F1 | flagged of the normal |\n|---|---|---|---|---|"
    );
    for (detector, device) in DEVICES {
        let section = settings.detectors.iter().find(|section| section.spec.name == detector);
        let section = section.context("each device has a detector")?;
        let folder = tempfile::tempdir()?;
        let [seen, unseen] = ["seen.csv", "unseen.csv"].map(|name| folder.path().join(name));
        let file = data.join(format!("ton_iot/Train_Test_IoT_{device}.csv"));
        let text = fs::read_to_string(&file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        let (before, after) = parted(text.trim_start_matches('\u{feff}'))?;
        fs::write(&seen, before)?;
        fs::write(&unseen, after)?;
        let (mut own, mut forests) = (Vec::new(), Vec::new());
        for seed in 0..SEEDS {
            let truth = || labels("label_max", "0.0");
            let model = trained(&settings, section, &seen, seed)?;
            own.push(judged(&settings, section, &model, &unseen, truth())?);
            let model = forest(&settings, section, &seen, seed)?;
            forests.push(judged(&settings, section, &model, &unseen, truth())?);
        }
        let judgement = &own[0].judgement;
        let (normal, attacks) = (judgement.rows - judgement.anomalies, judgement.anomalies);
        let line = |name: &str, found: &[Evaluation]| {
            let (auc, f1, flagged) = (spread(found, 3, auc), spread(found, 3, f1), spread(found, 1, false_alarms));
            println!("| {device} ({normal}, {attacks}) | {name} | {auc} | {f1} | {flagged} % |");
        };
        line("k-means", &own);
        line("isolation forest", &forests);
    }
    Ok(())
}

/// Rows before the end of the first 60 % of the windows that hold normal rows, and the others.
fn parted(text: &str) -> Result<(String, String)> {
    let header = text.lines().next().context("the file is empty")?;
    let label = header.split(',').position(|name| name.trim() == "label").context("there is no column of labels")?;
    let window = |line: &str| -> Result<i64> {
        let mut cells = line.split(',').map(str::trim);
        let (date, time) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let at = NaiveDateTime::parse_from_str(&format!("{date} {time}"), "%d-%b-%y %H:%M:%S");
        Ok(at.with_context(|| format!("`{line}` has no time"))?.and_utc().timestamp().div_euclid(WINDOW_SECONDS))
    };
    let rows: Vec<(i64, &str)> =
        text.lines().skip(1).map(|line| Ok((window(line)?, line))).collect::<Result<Vec<_>>>()?;
    let is_normal = |line: &str| line.split(',').nth(label).map(str::trim) == Some("0");
    let normal: BTreeSet<i64> = rows.iter().filter(|(_, line)| is_normal(line)).map(|(window, _)| *window).collect();
    let boundary = *normal.iter().nth(normal.len() * 6 / 10).context("there are no normal rows")?;
    let file = |is_of: &dyn Fn(i64) -> bool| {
        let lines = rows.iter().filter(|(window, _)| is_of(*window)).map(|(_, line)| *line);
        [header].into_iter().chain(lines).collect::<Vec<_>>().join("\n") + "\n"
    };
    Ok((file(&|window| window < boundary), file(&|window| window >= boundary)))
}
