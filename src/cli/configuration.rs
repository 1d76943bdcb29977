//! Reads the configuration file with everything above it, and says all that is wrong with it.

use std::path::Path;

use crate::settings::{Argument, Draft, Fault, Faults, Overrides, Settings, SimulatorSection, SourceSection};

use super::Refusal;
use super::arguments::ConfigurationOptions;

/// The settings, or every fault as one refusal.
pub(super) fn load(options: &ConfigurationOptions) -> anyhow::Result<Settings> {
    let (text, overrides) = read(options)?;
    Ok(Settings::parse(&text, &overrides).map_err(|faults| Refusal::new(told(options, &faults)))?)
}

/// What can be read of the settings, and every fault, for those who go on in spite of them.
pub(super) fn draft(options: &ConfigurationOptions) -> anyhow::Result<(Draft, Faults)> {
    let (text, overrides) = read(options)?;
    Ok(Draft::parse(&text, &overrides))
}

/// `[source.simulator]` of a configuration that may lack everything else, or be nothing but its overrides.
pub(super) fn simulator(config: Option<&Path>, arguments: Vec<Argument>) -> anyhow::Result<SimulatorSection> {
    // An empty section is one: everything in it has a default.
    let text = config.map_or_else(|| Ok("[source.simulator]\n".to_owned()), text_of)?;
    let shown = config.map_or_else(|| "the command line".to_owned(), |config| config.display().to_string());
    let overrides =
        Overrides::from_process(arguments).map_err(|fault| Refusal::new(listed(&shown, &Faults(vec![fault]))))?;
    let (draft, mut faults) = Draft::parse(&text, &overrides);
    faults.0.retain(|fault| fault.key.is_empty() || fault.key == "source" || fault.key.starts_with("source."));
    match draft.source {
        Some(SourceSection::Simulator(section)) => Ok(section),
        None if !faults.0.is_empty() => Err(Refusal::new(listed(&shown, &faults)).into()),
        _ => Err(Refusal::new(format!("{shown} has no [source.simulator]; add it, or leave the file out")).into()),
    }
}

/// The faults as a person reads them.
pub(super) fn told(options: &ConfigurationOptions, faults: &Faults) -> String {
    listed(&options.config.display().to_string(), faults)
}

fn listed(shown: &str, faults: &Faults) -> String {
    let count = match faults.0.len() {
        1 => "one fault".to_owned(),
        count => format!("{count} faults"),
    };
    let list: Vec<String> = faults.0.iter().map(Fault::to_string).collect();
    let indented = list.join("\n\n").replace('\n', "\n  ").replace("\n  \n", "\n\n");
    format!("{shown} has {count}\n\n  {indented}")
}

fn read(options: &ConfigurationOptions) -> anyhow::Result<(String, Overrides)> {
    let text = text_of(&options.config)?;
    let output = options.output.iter().map(|url| Argument {
        flag: "--output".to_owned(),
        key: "output.url".to_owned(),
        value: url.clone(),
    });
    let arguments = options.set.iter().cloned().chain(output).collect();
    let overrides =
        Overrides::from_process(arguments).map_err(|fault| Refusal::new(told(options, &Faults(vec![fault]))))?;
    Ok((text, overrides))
}

fn text_of(config: &Path) -> anyhow::Result<String> {
    let shown = config.display();
    let bytes = std::fs::read(config)
        .map_err(|error| Refusal::new(format!("the configuration `{shown}` cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Refusal::new(format!("the configuration `{shown}` is not UTF-8 text; is it another file?")))?;
    // A byte-order mark is no part of the text.
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}
