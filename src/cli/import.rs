//! `import`: a model version of a trained Keras network.

use super::Refusal;
use super::arguments::ImportOptions;
use super::engine::{self, Import};

pub(super) fn import(options: &ImportOptions) -> anyhow::Result<()> {
    let missing: Vec<String> =
        options.files.iter().filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
    if !missing.is_empty() {
        return Err(Refusal::new(format!("no such file: {}", missing.join(", "))).into());
    }
    engine::import(Import {
        files: options.files.clone(),
        to: options.to.clone(),
        error: options.error,
        threshold: options.threshold,
    })
}
