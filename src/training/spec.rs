//! What a detector is trained to be, and how: `[[detectors]]` and `[detectors.training]` of the configuration.

use serde::Serialize;

use crate::domain::schema::Constant;
use crate::models::baseline::Baseline;
use crate::models::features::Derivation;
use crate::models::subspace::SubspaceMeasure;

/// How a detector's next model is made.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSpec {
    pub method: Method,
    /// Rows that make one input: more than 1 for sequences of a key's windows.
    pub steps: usize,
    /// What becomes features, in this order; none: every column of numbers.
    pub features: Option<Vec<FeatureSpec>>,
    /// What is done to the features that say nothing of their own.
    pub transforms: Vec<TransformSpec>,
    pub scaling: Scaling,
    /// A feature's deviation, or range, counts as at least this when it is scaled, or told from what is usual.
    pub deviation_floor: f64,
    /// The share of the rows, the last in time, that the model is judged and calibrated by. Above 0 and below 1.
    pub validation: f64,
    /// Fewer rows than this are refused: they say little about anything. At least 2.
    pub rows_min: u64,
    pub epochs_max: usize,
    /// Rows, or sequences, of an epoch, others each time; none: all rows, or 65,536 sequences.
    pub epoch_rows: Option<u64>,
    /// Rows, or sequences, between two steps of the weights; none: 256 rows or 64 sequences, fewer where the training part is small.
    pub batch_rows: Option<usize>,
    pub learning_rate: f64,
    /// Epochs without a better validation loss after which training ends.
    pub patience: usize,
    pub threshold: ThresholdRule,
    pub seed: u64,
    /// The rows to train on; none: all.
    pub condition: Option<Condition>,
    /// What tells anomalies. A classifier learns from them, what learns the normal leaves them out.
    pub labels: Option<LabelSpec>,
    /// Rows beyond this are kept in a temporary file.
    pub memory_bytes: u64,
}

impl Default for TrainingSpec {
    fn default() -> TrainingSpec {
        TrainingSpec {
            method: Method::Autoencoder(Architecture::lstm()),
            steps: 1,
            features: None,
            transforms: Vec::new(),
            scaling: Scaling::Standard,
            deviation_floor: 0.0,
            validation: 0.2,
            rows_min: 50,
            epochs_max: 100,
            epoch_rows: None,
            batch_rows: None,
            learning_rate: 0.001,
            patience: 5,
            threshold: ThresholdRule::Percentile(99.0),
            seed: 0,
            condition: None,
            labels: None,
            memory_bytes: 1 << 30,
        }
    }
}

impl TrainingSpec {
    /// A small training part still takes about a hundred steps an epoch, in batches of 32 at least.
    pub(super) fn batch_rows_for(&self, training_rows: u64) -> usize {
        let few = usize::try_from(training_rows / 100).unwrap_or(usize::MAX);
        let most = if self.steps > 1 { 64 } else { 256 };
        self.batch_rows.unwrap_or(few.clamp(32, most).next_power_of_two())
    }

    /// Sequences overlap, so that an epoch of all would show each row once a step.
    pub(super) fn epoch_rows_for(&self) -> u64 {
        self.epoch_rows.unwrap_or(if self.steps > 1 { 1 << 16 } else { u64::MAX })
    }
}

/// What is trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    Autoencoder(Architecture),
    Pca {
        measure: SubspaceMeasure,
        components: Components,
        /// The variance along a direction counts as at least this.
        variance_floor: f64,
    },
    IsolationForest {
        trees: usize,
        /// Rows that each tree is grown from.
        sample_rows: usize,
    },
    KMeans {
        clusters: usize,
    },
    /// A supervised network that tells anomalies from normal rows; without layers it is a logistic regression.
    Classifier {
        /// Units of each layer between the features and the one output.
        layers: Vec<usize>,
    },
    /// Floors under the deviations from earlier windows.
    Baseline {
        baseline: Baseline,
        /// Deviations beyond which a window is an anomaly. Where it is given nothing is trained: the model is what the configuration says.
        threshold: Option<f64>,
    },
}

/// How many principal components are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Components {
    Count(usize),
    /// As many as explain this share of the variance. Above 0 and below 1.
    Share(f64),
}

/// One feature of the next model.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    pub name: String,
    pub field: String,
    pub derivation: Derivation,
    /// None: those of the whole model.
    pub transforms: Option<Vec<TransformSpec>>,
}

impl FeatureSpec {
    /// A feature that is named as its field.
    pub fn of_field(name: &str) -> FeatureSpec {
        let derivation = Derivation::Value;
        FeatureSpec { name: name.to_owned(), field: name.to_owned(), derivation, transforms: None }
    }
}

/// A transform before it has seen the training rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TransformSpec {
    Log1p,
    SignedLog,
    Clip {
        low: f64,
        high: f64,
    },
    /// A value's place among the training rows, as a normal distribution would have it.
    Quantile,
}

/// How the threshold is found in the scores of the validation rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdRule {
    /// Between 0 and 100.
    Percentile(f64),
    /// Rows of the whole fleet that are called anomalies on a normal day.
    AlarmsPerDay(f64),
    /// The share of normal rows that may be called anomalies, read off the tail of an extreme value distribution, so that it may be less
    /// than one in as many rows as there are.
    Tail(f64),
}

impl ThresholdRule {
    /// In words for a person.
    pub fn words(self) -> String {
        match self {
            ThresholdRule::Percentile(percent) => format!("percentile {percent}"),
            ThresholdRule::AlarmsPerDay(alarms) => format!("{alarms} alarms a day of the whole fleet"),
            ThresholdRule::Tail(share) => format!("a share of {share} by the extreme value tail"),
        }
    }
}

/// The shape of a network between its input and its output, which are as wide as there are features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    pub kind: NetworkKind,
    /// Units of each layer, from the input on.
    pub encoder: Vec<usize>,
    /// Units of each layer, up to the output.
    pub decoder: Vec<usize>,
}

/// What the layers of an autoencoder are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// Long short-term memory over one step that holds all features.
    Lstm,
    /// Dense layers with `tanh`, whose units cannot die, and which cannot follow a value to wherever it goes.
    Dense,
}

impl Architecture {
    /// 64-32-16 | 16-32.
    pub fn lstm() -> Architecture {
        Architecture::mirrored(NetworkKind::Lstm, vec![64, 32, 16])
    }

    /// 16-8 | 16.
    pub fn dense() -> Architecture {
        Architecture::mirrored(NetworkKind::Dense, vec![16, 8])
    }

    /// The decoder mirrors the encoder. A recurrent one begins with the width of the code, which the repeated vector has; its last layer
    /// is the output itself.
    pub fn mirrored(kind: NetworkKind, encoder: Vec<usize>) -> Architecture {
        let backwards = encoder.iter().rev().copied();
        let decoder = match kind {
            NetworkKind::Lstm => backwards.take(encoder.len() - usize::from(encoder.len() > 1)).collect(),
            NetworkKind::Dense => backwards.skip(1).collect(),
        };
        Architecture { kind, encoder, decoder }
    }
}

/// How features are brought to one size before the network sees them; fitted on the training rows alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// Less the mean, divided by the deviation.
    Standard,
    /// The least becomes 0 and the greatest 1.
    MinMax,
    /// As it is.
    None,
}

/// Which column says what a row is.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelSpec {
    pub column: String,
    /// Labels of normal rows; none: those that are commonly so called. Rows without a label are not trained on.
    pub normal: Vec<String>,
}

/// Which rows are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub column: String,
    /// Of the column's kind.
    pub equals: Constant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_small_where_there_are_few_rows_unless_they_are_given() {
        let spec = TrainingSpec::default();
        assert_eq!([0, 800, 10_000, 25_600, 1 << 40].map(|rows| spec.batch_rows_for(rows)), [32, 32, 128, 256, 256]);
        assert_eq!(TrainingSpec { batch_rows: Some(7), ..spec }.batch_rows_for(1 << 40), 7);
    }

    #[test]
    fn an_epoch_of_sequences_is_bounded() {
        let spec = TrainingSpec::default();
        assert_eq!(spec.epoch_rows_for(), u64::MAX);
        let sequences = TrainingSpec { steps: 50, ..spec };
        assert_eq!((sequences.epoch_rows_for(), sequences.batch_rows_for(1 << 40)), (65_536, 64));
    }

    #[test]
    fn a_decoder_mirrors_its_encoder() {
        assert_eq!(Architecture::lstm().decoder, [16, 32]);
        assert_eq!(Architecture::dense().decoder, [16]);
        assert_eq!(Architecture::mirrored(NetworkKind::Lstm, vec![8]).decoder, [8]);
        assert_eq!(Architecture::mirrored(NetworkKind::Dense, vec![8]).decoder, [0usize; 0]);
    }
}
