//! How well do the detectors tell what is labelled? Every table of `docs/detection.md`, in Markdown, by the product's own training, scoring
//! and judging; the configurations stand beside this file.
//!
//! `cargo run --release --example detection -- DATA_FOLDER [flows] [skab] [ton_iot] [nab]`: all of them where none is named. The folder holds
//! `ciciot2023/flows.csv`, `skab/valve1/*.csv`, `ton_iot/Train_Test_IoT_*.csv`,
//! and `nab/*/*.csv` with `nab/combined_windows.json`.

mod flows;
mod measured;
mod nab;
mod skab;
mod ton_iot;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A section of the page, and what prints it.
type Table = (&'static str, fn(&Path) -> Result<()>);

const TABLES: [Table; 4] =
    [("flows", flows::print), ("skab", skab::print), ("ton_iot", ton_iot::print), ("nab", nab::print)];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let data = PathBuf::from(arguments.next().context("name the folder of the data")?);
    let wanted: Vec<String> = arguments.collect();
    if let Some(unknown) = wanted.iter().find(|name| !TABLES.iter().any(|(table, _)| table == name)) {
        anyhow::bail!("there is no table `{unknown}`; there are {}", TABLES.map(|(table, _)| table).join(", "));
    }
    for (_, print) in TABLES.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name)) {
        print(&data)?;
        println!();
    }
    Ok(())
}
