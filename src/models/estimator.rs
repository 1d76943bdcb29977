//! What computes a model's score, one variant for each kind of detector.
//!
//! `model.json` describes it (`Description`), `weights.safetensors` holds its numbers (`Arrays`); both together are an `Estimator`,
//! or a fault that says why not. To add a kind: a file for its numbers, a variant here, an arm in `scoring::estimators`.

use serde::{Deserialize, Serialize};

use crate::models::array::{self, Array, ArrayFault, Arrays, Values};
use crate::models::baseline::Baseline;
use crate::models::centers::Centers;
use crate::models::features::InputLayout;
use crate::models::forest::{Forest, ForestFault};
use crate::models::network::{Layer, Network, NetworkFault};
use crate::models::subspace::{Subspace, SubspaceMeasure};

/// What computes a score of scaled features. The greater a score, the less normal the row.
#[derive(Clone, Debug, PartialEq)]
pub enum Estimator {
    /// A network that gives back what it was given; the score is how far it is off.
    Autoencoder { network: Network, error: ErrorMeasure },
    /// Principal components: how far a row is from where normal rows lie.
    Pca(Subspace),
    /// How few random splits set a row apart (Liu, Ting and Zhou, 2008).
    IsolationForest(Forest),
    /// The distance to the nearest of some centres.
    KMeans(Centers),
    /// A network whose one output is the logit of the probability that a row is an anomaly. `baseline` is the normal row, scaled.
    Classifier { network: Network, baseline: Vec<f64> },
    /// A window is compared with earlier ones of its key.
    Baseline(Baseline),
}

/// How the error over the features becomes one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorMeasure {
    /// Mean of the absolute differences of the scaled values.
    Mae,
    /// Mean of their squares.
    Mse,
}

/// What `model.json` says of an estimator, beside its arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Description {
    Autoencoder {
        input: Vec<usize>,
        architecture: Vec<Layer>,
        error: ErrorMeasure,
    },
    Pca {
        measure: SubspaceMeasure,
        /// The variance along every direction that is no component.
        noise: f64,
    },
    IsolationForest {
        /// Rows that each tree was grown from.
        max_samples: u32,
    },
    KMeans,
    Baseline {
        baseline: Baseline,
    },
    Classifier {
        input: Vec<usize>,
        architecture: Vec<Layer>,
    },
}

/// Why a description and arrays are not an estimator of so many features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EstimatorFault {
    #[error("the network does not fit together")]
    Network(#[from] NetworkFault),
    #[error("its numbers do not fit")]
    Array(#[from] ArrayFault),
    #[error("the forest is not sound")]
    Forest(#[from] ForestFault),
    #[error("{features} features cannot fill the network's input of shape {input:?}")]
    FeatureCount { features: usize, input: Vec<usize> },
    #[error("the network's output of shape {output:?} does not match its input of shape {input:?}")]
    NotAnAutoencoder { input: Vec<usize>, output: Vec<usize> },
    #[error("the network's output of shape {output:?} is not one number")]
    NotAClassifier { output: Vec<usize> },
    #[error("its history, the least of it, its floors, or what it is compared with is out of range")]
    Baseline,
    #[error("a variance is zero, negative or not finite")]
    Variance,
}

impl Estimator {
    /// The name in `model.json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Estimator::Autoencoder { .. } => "autoencoder",
            Estimator::Pca(_) => "pca",
            Estimator::IsolationForest(_) => "isolation_forest",
            Estimator::KMeans(_) => "k_means",
            Estimator::Classifier { .. } => "classifier",
            Estimator::Baseline(_) => "baseline",
        }
    }

    /// What no score exceeds, where there is such a bound.
    pub fn score_max(&self) -> Option<f64> {
        match self {
            Estimator::IsolationForest(_) | Estimator::Classifier { .. } => Some(1.0),
            Estimator::Autoencoder { .. } | Estimator::Pca(_) | Estimator::KMeans(_) | Estimator::Baseline(_) => None,
        }
    }

    /// The network that it computes, where it is one.
    pub fn network(&self) -> Option<&Network> {
        match self {
            Estimator::Autoencoder { network, .. } | Estimator::Classifier { network, .. } => Some(network),
            Estimator::Pca(_) | Estimator::IsolationForest(_) | Estimator::KMeans(_) | Estimator::Baseline(_) => None,
        }
    }

    /// Checks that `features` features fill it, and says how.
    pub(crate) fn layout(&self, features: usize) -> Result<InputLayout, EstimatorFault> {
        let together = InputLayout::Together { features };
        let wanted = |found: usize, name: &str| {
            let fault = || ArrayFault::Shape { name: name.into(), found: vec![found], wanted: format!("{features}") };
            if found == features { Ok(together) } else { Err(fault().into()) }
        };
        match self {
            Estimator::Autoencoder { network, .. } => {
                let (input, output) = (network.input(), network.output());
                // A step of one value, or one step alone, may be spelled with or without that axis; the order of values is the same.
                let long = |shape: &[usize]| shape.iter().copied().filter(|axis| *axis > 1).collect::<Vec<_>>();
                if long(input) != long(output) {
                    return Err(EstimatorFault::NotAnAutoencoder { input: input.to_vec(), output: output.to_vec() });
                }
                filled(network, features)
            }
            Estimator::Classifier { network, baseline } => {
                if network.output().iter().product::<usize>() != 1 {
                    return Err(EstimatorFault::NotAClassifier { output: network.output().to_vec() });
                }
                wanted(baseline.len(), "baseline")?;
                filled(network, features)
            }
            Estimator::Pca(subspace) => wanted(subspace.features(), "components"),
            Estimator::IsolationForest(forest) => wanted(forest.features(), "expected"),
            Estimator::KMeans(centers) => wanted(centers.features(), "centers"),
            Estimator::Baseline(baseline) if !baseline.is_sound(features) => Err(EstimatorFault::Baseline),
            Estimator::Baseline(_) => Ok(together),
        }
    }

    /// Joins what the two files of a folder hold.
    pub(crate) fn of_parts(description: Description, mut arrays: Arrays) -> Result<Estimator, EstimatorFault> {
        let estimator = match description {
            Description::Autoencoder { input, architecture, error } => {
                let network = Network::new(input, architecture, array::tensors(std::mem::take(&mut arrays))?)?;
                Estimator::Autoencoder { network, error }
            }
            Description::Classifier { input, architecture } => {
                let baseline = array::take_any_list(&mut arrays, "baseline")?;
                let network = Network::new(input, architecture, array::tensors(std::mem::take(&mut arrays))?)?;
                Estimator::Classifier { network, baseline }
            }
            Description::Pca { measure, noise } => Estimator::Pca(Subspace::of_arrays(measure, noise, &mut arrays)?),
            Description::IsolationForest { max_samples } => {
                Estimator::IsolationForest(Forest::of_arrays(max_samples, &mut arrays)?)
            }
            Description::Baseline { baseline } => Estimator::Baseline(baseline),
            Description::KMeans => Estimator::KMeans(Centers::of_arrays(&mut arrays)?),
        };
        array::refuse_rest(&arrays)?;
        Ok(estimator)
    }

    /// What the two files of a folder are to hold.
    pub(crate) fn parts(&self) -> (Description, Arrays) {
        match self {
            Estimator::Autoencoder { network, error } => {
                let (input, architecture) = (network.input().to_vec(), network.layers().to_vec());
                let description = Description::Autoencoder { input, architecture, error: *error };
                (description, array::of_tensors(network.tensors()))
            }
            Estimator::Classifier { network, baseline } => {
                let (input, architecture) = (network.input().to_vec(), network.layers().to_vec());
                let mut arrays = array::of_tensors(network.tensors());
                arrays.insert("baseline".to_owned(), Array::list(Values::F64(baseline.clone())));
                (Description::Classifier { input, architecture }, arrays)
            }
            Estimator::Pca(subspace) => {
                let description = Description::Pca { measure: subspace.measure(), noise: subspace.noise() };
                (description, subspace.arrays())
            }
            Estimator::IsolationForest(forest) => {
                (Description::IsolationForest { max_samples: forest.max_samples() }, forest.arrays())
            }
            Estimator::KMeans(centers) => (Description::KMeans, centers.arrays()),
            Estimator::Baseline(baseline) => (Description::Baseline { baseline: baseline.clone() }, Arrays::new()),
        }
    }
}

fn filled(network: &Network, features: usize) -> Result<InputLayout, EstimatorFault> {
    let input = network.input();
    InputLayout::of(input, features).ok_or_else(|| EstimatorFault::FeatureCount { features, input: input.to_vec() })
}
