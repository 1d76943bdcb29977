//! What a configured detector scores.

/// `[[detectors]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorSpec {
    /// Prefix of its columns: `<name>_score`, `<name>_is_anomaly`, `<name>_model`.
    pub name: String,
    /// The model's folder (`models/iomt`: the version in force; `models/iomt/3` pins one).
    pub model: String,
    pub input: DetectorInput,
}

/// Which rows a detector scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectorInput {
    Events,
    /// Rows of the window of this name.
    Windows(String),
}
