//! Reads the configuration file with everything above it, and says all that is wrong with it.

use crate::settings::{Argument, Draft, Fault, Faults, Overrides, Settings};

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

/// The faults as a person reads them.
pub(super) fn told(options: &ConfigurationOptions, faults: &Faults) -> String {
    let count = match faults.0.len() {
        1 => "one fault".to_owned(),
        count => format!("{count} faults"),
    };
    let list: Vec<String> = faults.0.iter().map(Fault::to_string).collect();
    let indented = list.join("\n\n").replace('\n', "\n  ").replace("\n  \n", "\n\n");
    format!("{} has {count}\n\n  {indented}", options.config.display())
}

fn read(options: &ConfigurationOptions) -> anyhow::Result<(String, Overrides)> {
    let shown = options.config.display();
    let bytes = std::fs::read(&options.config)
        .map_err(|error| Refusal::new(format!("the configuration `{shown}` cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Refusal::new(format!("the configuration `{shown}` is not UTF-8 text; is it another file?")))?;
    let output = options.output.iter().map(|url| Argument {
        flag: "--output".to_owned(),
        key: "output.url".to_owned(),
        value: url.clone(),
    });
    let arguments = options.set.iter().cloned().chain(output).collect();
    let overrides =
        Overrides::from_process(arguments).map_err(|fault| Refusal::new(told(options, &Faults(vec![fault]))))?;
    // A byte-order mark is no part of the text.
    Ok((text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned), overrides))
}
