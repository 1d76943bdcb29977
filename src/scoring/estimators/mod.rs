//! The arithmetic of each kind of model on rows that are prepared: a score, and what each feature has to do with it.
//!
//! Promise: the same bits for a row whatever rows are computed with it; every sum has an order of its own.

mod autoencoder;
mod centers;
mod classifier;
mod forest;
mod subspace;

use std::fmt::Debug;

use crate::models::estimator::Estimator;
use crate::models::model::Model;
use crate::scoring::estimators::autoencoder::Autoencoder;
use crate::scoring::estimators::centers::NearestCenter;
pub(crate) use crate::scoring::estimators::centers::nearest;
use crate::scoring::estimators::classifier::Classifier;
use crate::scoring::estimators::forest::IsolationForest;
use crate::scoring::estimators::subspace::QuadraticForm;
use crate::scoring::kernel::{Instructions, Kernel};
use crate::scoring::reference::Reference;

/// A model's arithmetic, with the memory it computes in.
pub(super) trait Estimate: Debug + Send {
    /// Appends the score of each row; `rows` lie one after the other.
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f64>);

    /// What each feature has to do with the score of row `index` of `rows`, which are those that were scored last.
    fn explain(&mut self, rows: &[f32], index: usize) -> Vec<Attribution>;

    /// The cluster that row `index` of those scored last is nearest to, where there are clusters.
    fn cluster(&self, _index: usize) -> Option<u32> {
        None
    }
}

/// A feature's part in a score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Attribution {
    /// What the model expected in its place, scaled.
    pub(super) expected: f64,
    /// Its part, 0 or greater; what all parts sum to differs from kind to kind.
    pub(super) part: f64,
}

/// What computes a network. All give the same scores to 1e-5; the first two the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Our kernel with the fastest instructions that the processor has.
    Fast,
    /// Our kernel without vector instructions.
    Portable,
    /// Plain candle.
    Reference,
}

/// The arithmetic of `model`; fails only where candle does.
pub(super) fn estimate(model: &Model, path: Path) -> candle_core::Result<Box<dyn Estimate>> {
    let network = |network| {
        let kernel = |instructions| Computing::Kernel(Box::new(Kernel::new(network, instructions)));
        Ok::<_, candle_core::Error>(match path {
            Path::Fast => kernel(Instructions::detect()),
            Path::Portable => kernel(Instructions::portable()),
            Path::Reference => Computing::Reference(Reference::new(network)?),
        })
    };
    Ok(match model.estimator() {
        Estimator::Autoencoder { network: layers, error } => {
            Box::new(Autoencoder::new(network(layers)?, *error, model.layout()))
        }
        Estimator::Classifier { network: layers, baseline } => {
            Box::new(Classifier::new(network(layers)?, baseline.clone()))
        }
        Estimator::Pca(subspace) => Box::new(QuadraticForm::new(subspace)),
        Estimator::IsolationForest(forest) => Box::new(IsolationForest::new(forest)),
        Estimator::KMeans(centers) => Box::new(NearestCenter::new(centers.clone())),
        Estimator::Baseline(_) => unreachable!("what is compared with earlier windows is computed in `baseline`"),
    })
}

/// What computes a network.
#[derive(Debug)]
enum Computing {
    Kernel(Box<Kernel>),
    Reference(Reference),
}

impl Computing {
    /// What cannot be computed is NaN.
    fn run(&mut self, rows: &[f32], output: &mut [f32]) {
        match self {
            Computing::Kernel(kernel) => kernel.run(rows, output),
            Computing::Reference(reference) => {
                if reference.run(rows, output).is_err() {
                    output.fill(f32::NAN);
                }
            }
        }
    }
}
