//! Models of scikit-learn's that are no networks become estimators of ours: isolation forests and k-means.

use std::path::Path;

use crate::models::centers::Centers;
use crate::models::estimator::{Estimator, EstimatorFault};
use crate::models::forest::{Forest, Node, Split, Tree};
use crate::models::import::file_name;
use crate::models::import::pickle::{PickledForest, PickledModel, PickledTree};
use crate::models::model::Threshold;

/// What a pickle gave beside its scaler.
pub(super) struct Learnt {
    pub(super) estimator: Estimator,
    /// The columns' names, where it was fitted on named ones.
    pub(super) feature_names: Option<Vec<String>>,
    /// Where the model itself says beyond which score a row is an outlier.
    pub(super) threshold: Option<Threshold>,
}

pub(super) fn learnt(model: PickledModel, file: &Path) -> Result<Learnt, EstimatorFault> {
    match model {
        PickledModel::Forest(forest) => {
            let threshold = Threshold {
                value: (-forest.offset).max(0.0),
                calibration: format!("the forest's own offset, of {}", file_name(file)),
            };
            let trees: Vec<Tree> = forest.trees.iter().map(tree).collect();
            let max_samples = u32::try_from(forest.samples_max).unwrap_or(u32::MAX);
            let estimator = Estimator::IsolationForest(Forest::new(trees, max_samples, middles(&forest))?);
            Ok(Learnt { estimator, feature_names: forest.feature_names, threshold: Some(threshold) })
        }
        PickledModel::Centers(centers) => {
            let estimator = Estimator::KMeans(Centers::new(centers.features, centers.centers.concat())?);
            Ok(Learnt { estimator, feature_names: centers.feature_names, threshold: None })
        }
    }
}

/// The numbers of nodes and features are those of a file that was checked against its length: they fit.
fn tree(pickled: &PickledTree) -> Tree {
    let node = |node: &crate::models::import::pickle::PickledNode| Node {
        samples: u32::try_from(node.samples).unwrap_or(u32::MAX),
        split: node.split.map(|split| Split {
            feature: pickled.features[split.feature] as u32,
            threshold: split.threshold,
            left: split.left as u32,
            right: split.right as u32,
        }),
    };
    pickled.nodes.iter().map(node).collect()
}

/// Where the middle of each feature lies, as the trees tell: a root splits its rows at a place that has so many of them below it. The place
/// is read off where half of the rows would be. A feature at which no root splits is taken to lie around the mean of all its splits, or 0.
fn middles(forest: &PickledForest) -> Vec<f64> {
    let middle = |feature: usize| {
        let mut shares: Vec<(f64, f64)> = Vec::new();
        let mut all = (0.0, 0.0);
        for tree in &forest.trees {
            for (place, node) in tree.nodes.iter().enumerate() {
                let Some(split) = node.split.filter(|split| tree.features[split.feature] == feature) else { continue };
                all = (all.0 + split.threshold, all.1 + 1.0);
                if place == 0 && node.samples > 0 {
                    shares.push((split.threshold, tree.nodes[split.left].samples as f64 / node.samples as f64));
                }
            }
        }
        shares.sort_by(|a, b| a.0.total_cmp(&b.0));
        let above = shares.iter().position(|(_, share)| *share >= 0.5);
        match above {
            Some(place) if place > 0 => {
                let ((low, below), (high, above)) = (shares[place - 1], shares[place]);
                low + (high - low) * ((0.5 - below) / (above - below).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
            }
            _ if all.1 > 0.0 => all.0 / all.1,
            _ => 0.0,
        }
    };
    (0..forest.features).map(middle).collect()
}
