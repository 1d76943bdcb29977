//! What a detector is trained to be, and how: `[[detectors]]` and `[detectors.training]` of the configuration.

use crate::domain::schema::Constant;

/// How a detector's next model is made.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSpec {
    pub architecture: Architecture,
    /// The columns that become features, in this order; none: every column of numbers.
    pub features: Option<Vec<String>>,
    pub scaling: Scaling,
    /// The share of the rows, the last in time, that the model is judged and calibrated by. Above 0 and below 1.
    pub validation: f64,
    pub epochs_max: usize,
    /// Rows between two steps of the weights; none: 256, fewer where the training part is small.
    pub batch_rows: Option<usize>,
    pub learning_rate: f64,
    /// Epochs without a better validation loss after which training ends.
    pub patience: usize,
    /// Of the validation rows' scores: the threshold. Between 0 and 100.
    pub percentile: f64,
    pub seed: u64,
    /// The rows to train on; none: all.
    pub condition: Option<Condition>,
    /// Rows beyond this are kept in a temporary file.
    pub memory_bytes: u64,
}

impl Default for TrainingSpec {
    fn default() -> TrainingSpec {
        TrainingSpec {
            architecture: Architecture::lstm(),
            features: None,
            scaling: Scaling::Standard,
            validation: 0.2,
            epochs_max: 100,
            batch_rows: None,
            learning_rate: 0.001,
            patience: 5,
            percentile: 99.0,
            seed: 0,
            condition: None,
            memory_bytes: 1 << 30,
        }
    }
}

impl TrainingSpec {
    /// A small training part still takes about a hundred steps an epoch, in batches of 32 at least.
    pub(super) fn batch_rows_for(&self, training_rows: u64) -> usize {
        let few = usize::try_from(training_rows / 100).unwrap_or(usize::MAX);
        self.batch_rows.unwrap_or(few.next_power_of_two().clamp(32, 256))
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
    fn a_decoder_mirrors_its_encoder() {
        assert_eq!(Architecture::lstm().decoder, [16, 32]);
        assert_eq!(Architecture::dense().decoder, [16]);
        assert_eq!(Architecture::mirrored(NetworkKind::Lstm, vec![8]).decoder, [8]);
        assert_eq!(Architecture::mirrored(NetworkKind::Dense, vec![8]).decoder, [0usize; 0]);
    }
}
