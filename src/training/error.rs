//! Why nothing was trained, or nothing could be judged.

use std::io;
use std::path::PathBuf;

use crate::decode::DecodeError;
use crate::models::estimator::EstimatorFault;
use crate::models::model::ModelFault;
use crate::models::network::NetworkFault;
use crate::scoring::scorer::ScoringError;
use crate::sources::SourceError;
use crate::windows::error::WindowError;

#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("records cannot be decoded by this configuration")]
    Decode(#[from] DecodeError),
    #[error("the windows cannot be computed")]
    Windows(#[from] WindowError),
    #[error("the rows beyond the memory limit cannot be kept in `{}`; TMPDIR names another folder", path.display())]
    Spill { path: PathBuf, source: io::Error },
    #[error("there is no column `{column}` to {purpose}; there are {}", columns.join(", "))]
    ColumnMissing { column: String, purpose: &'static str, columns: Vec<String> },
    #[error("the column `{column}` is {found}, and a feature needs {wanted}")]
    ColumnType { column: String, found: String, wanted: &'static str },
    #[error("there is no column of numbers that could be a feature; name some as `features`")]
    NoFeatures,
    #[error(
        "{usable} rows are too few to train on; at least {wanted} are needed ({events} events were accepted, {rejected} records were not, \
         {passed_over} rows did not meet the condition `where`, and {cut_off} windows were cut off by the recording's ends)"
    )]
    TooFewRows { usable: u64, wanted: u64, events: u64, rejected: u64, passed_over: u64, cut_off: u64 },
    #[error(
        "of {windows} windows there are {training} sequences of {steps} to train on and {validation} to judge by, which is too few: in \
         each of the two parts a key needs {steps} windows without a gap; train on a longer recording, or make `sequence` shorter or \
         `validation` greater"
    )]
    TooFewSequences { steps: usize, training: u64, validation: u64, windows: u64 },
    #[error(
        "by the column `{column}` {normal} rows are normal and {anomalous} are anomalies; a classifier needs both, and at least {wanted} anomalies"
    )]
    OneClass { column: String, normal: u64, anomalous: u64, wanted: u64 },
    #[error("a classifier needs `labels` that tell which rows are anomalies")]
    Unlabelled,
    #[error("a detector of this kind is trained on single rows, not on sequences of {steps}")]
    NoSequences { steps: usize },
    #[error("the feature `{feature}` has no finite value in any row of the training part; take it out of `features`")]
    FeatureWithoutValues { feature: String },
    #[error("the values of the feature `{feature}` are too large to be scaled")]
    FeatureRange { feature: String },
    #[error("the loss left all bounds in epoch {epoch}: a smaller `learning_rate` may help")]
    Diverged { epoch: usize },
    #[error("no validation row has a finite score")]
    Unscored,
    #[error("the network cannot be computed")]
    Compute(#[from] candle_core::Error),
    #[error("the weights are no network")]
    Network(#[from] NetworkFault),
    #[error(
        "a detector of this kind is not trained without a `model`: it compares each window with earlier ones of its key"
    )]
    Untrained,
    #[error("what was trained cannot compute a score")]
    Estimator(#[from] EstimatorFault),
    #[error("{0} is too few normal rows, or too even, to read a tail off; a percentile needs less")]
    Tail(u64),
    #[error("what was trained is no model")]
    Model(#[from] ModelFault),
    #[error(transparent)]
    Scoring(#[from] Box<ScoringError>),
    #[error("no row has a label in the column `{column}`")]
    NoLabels { column: String },
    #[error("which labels are normal? None of {} is known to be; name them with --normal", .values.join(", "))]
    NormalUnknown { values: Vec<String> },
    #[error("`{value}` is no label that was seen; there are {}", .values.join(", "))]
    LabelUnknown { value: String, values: Vec<String> },
    #[error("`{}` cannot be read", file.display())]
    RangesUnreadable { file: PathBuf, source: io::Error },
    #[error("`{}` cannot be understood: {fault}", file.display())]
    Ranges { file: PathBuf, fault: String },
    #[error(
        "none of the keys in `{}` was seen: it names {}, and the recording has {}", file.display(), named.join(", "), seen.join(", ")
    )]
    RangesOfOthers { file: PathBuf, named: Vec<String>, seen: Vec<String> },
    #[error("stopped before it was done")]
    Stopped,
}
