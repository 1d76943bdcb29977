//! scikit-learn's isolation forest, as it stands in a pickle.
//!
//! Promise: holding one is the proof that each of its trees is a tree (every node but the root has one parent, which comes before it), that it asks for
//! features that there are, and that every number in it is one.

use super::attributes::{Attributes, Content};
use super::fault::PickleFault;
use super::global::Class;
use super::heap::Value;

/// An isolation forest by scikit-learn's own words.
///
/// `score_samples` of it: a row goes through each tree, in f32 and by `value <= threshold` to the left; its depth is the number of edges to
/// the leaf, and `c(node_samples)` of the leaf. With the mean depth over the trees the score is `-2^(-mean / c(max_samples))`, and
/// `decision_function` is that less `offset`: negative for an outlier. `c(n)` is 0, 0, 1 for n = 0, 1, 2, and else
/// `2 (ln(n - 1) + γ) - 2 (n - 1) / n`.
#[derive(Clone, Debug, PartialEq)]
pub struct PickledForest {
    /// How many features a row has.
    pub features: usize,
    /// The columns' names, where it was fitted on named ones.
    pub feature_names: Option<Vec<String>>,
    /// How many rows each tree was grown on at most (`max_samples_`).
    pub samples_max: usize,
    /// `offset_`: -0.5, or what the contamination made of it.
    pub offset: f64,
    pub trees: Vec<PickledTree>,
}

/// A tree, a list for each thing that is known of its nodes; node 0 is the root.
#[derive(Clone, Debug, PartialEq)]
pub struct PickledTree {
    /// The forest's feature that each feature of the tree is (`estimators_features_`).
    pub features: Vec<usize>,
    pub nodes: Vec<PickledNode>,
}

/// A node of a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PickledNode {
    /// Where it splits; none for a leaf.
    pub split: Option<PickledSplit>,
    /// How many of the rows that the tree was grown on came here (`n_node_samples`).
    pub samples: u64,
}

/// Rows whose f32 of `feature` is at most the threshold go to the left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PickledSplit {
    /// An index into the tree's features.
    pub feature: usize,
    pub threshold: f64,
    pub left: usize,
    pub right: usize,
}

pub(super) fn read(content: &Content<'_>, forest: &Attributes<'_>) -> Result<PickledForest, PickleFault> {
    let estimators = forest.list("estimators_")?;
    let subsets = forest.list("estimators_features_")?;
    let features = forest.count("n_features_in_")?;
    if estimators.is_empty() || estimators.len() != subsets.len() {
        return Err(forest.fault("estimators_features_", "is not a list for each tree"));
    }
    let offset = forest.float("offset_")?;
    if !offset.is_finite() {
        return Err(forest.fault("offset_", "is not finite"));
    }
    let tree = |(index, (estimator, subset)): (usize, (&Value, &Value))| {
        let subset = forest.whole_numbers("estimators_features_", *subset)?;
        tree(content, forest, *estimator)?
            .and_then(|nodes| PickledTree::new(nodes, &subset, features))
            .map_err(|fault| PickleFault::Tree { class: Class::IsolationForest.name(), tree: index, fault })
    };
    Ok(PickledForest {
        features,
        feature_names: forest.feature_names()?,
        samples_max: forest.count("max_samples_")?,
        offset,
        trees: estimators.iter().zip(subsets).enumerate().map(tree).collect::<Result<Vec<_>, PickleFault>>()?,
    })
}

/// The nodes of an estimator's tree, not yet known to be a tree.
type Read<T> = Result<Result<T, &'static str>, PickleFault>;

fn tree(content: &Content<'_>, forest: &Attributes<'_>, estimator: Value) -> Read<Vec<PickledNode>> {
    let Some((Class::TreeEstimator, estimator)) = content.instance(estimator) else {
        return Err(forest.fault("estimators_", "has an item that is not a tree"));
    };
    let Some((Class::Tree, tree)) = content.instance(estimator.required("tree_")?) else {
        return Err(estimator.fault("tree_", "is not a tree"));
    };
    const NODES: &str = "nodes";
    let (left, right) = (tree.whole_field(NODES, "left_child")?, tree.whole_field(NODES, "right_child")?);
    let (feature, threshold) = (tree.whole_field(NODES, "feature")?, tree.float_field(NODES, "threshold")?);
    let samples = tree.whole_field(NODES, "n_node_samples")?;
    let node = |at: usize| {
        let samples = u64::try_from(samples[at]).map_err(|_| "a node has less than no rows")?;
        // scikit-learn's mark of a leaf.
        if (left[at], right[at]) == (-1, -1) {
            return Ok(PickledNode { split: None, samples });
        }
        let place = |child: i64| {
            let child = usize::try_from(child).ok().filter(|child| *child > at && *child < left.len());
            child.ok_or("a child does not come behind its parent")
        };
        let (left, right) = (place(left[at])?, place(right[at])?);
        let feature = usize::try_from(feature[at]).map_err(|_| "a node splits by no feature")?;
        Ok(PickledNode { split: Some(PickledSplit { feature, threshold: threshold[at], left, right }), samples })
    };
    Ok((0..left.len()).map(node).collect())
}

impl PickledTree {
    fn new(nodes: Vec<PickledNode>, features: &[i64], of_forest: usize) -> Result<PickledTree, &'static str> {
        let feature = |index: &i64| usize::try_from(*index).ok().filter(|index| *index < of_forest);
        let features: Vec<usize> =
            features.iter().map(feature).collect::<Option<_>>().ok_or("it is of a feature that is not there")?;
        let mut has_parent = vec![false; nodes.len()];
        *has_parent.first_mut().ok_or("it has no root")? = true;
        for split in nodes.iter().filter_map(|node| node.split) {
            if split.feature >= features.len() {
                return Err("a node splits by a feature that is not there");
            }
            if split.threshold.is_nan() {
                return Err("a threshold is not a number");
            }
            for child in [split.left, split.right] {
                if std::mem::replace(&mut has_parent[child], true) {
                    return Err("a node has two parents");
                }
            }
        }
        if has_parent.contains(&false) {
            return Err("a node has no parent");
        }
        Ok(PickledTree { features, nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> PickledNode {
        PickledNode { split: None, samples: 1 }
    }

    fn inner(feature: usize, left: usize, right: usize) -> PickledNode {
        PickledNode { split: Some(PickledSplit { feature, threshold: 0.5, left, right }), samples: 2 }
    }

    fn check(nodes: &[PickledNode]) -> Result<usize, &'static str> {
        PickledTree::new(nodes.to_vec(), &[2, 0], 3).map(|tree| tree.nodes.len())
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        assert_eq!(check(&[leaf()]), Ok(1));
        assert_eq!(check(&[inner(1, 1, 2), leaf(), leaf()]), Ok(3));
        assert_eq!(check(&[]), Err("it has no root"));
        assert_eq!(check(&[inner(1, 1, 1), leaf()]), Err("a node has two parents"));
        assert_eq!(check(&[leaf(), leaf()]), Err("a node has no parent"));
        assert_eq!(check(&[inner(2, 1, 2), leaf(), leaf()]), Err("a node splits by a feature that is not there"));
        assert_eq!(PickledTree::new(vec![leaf()], &[3], 3), Err("it is of a feature that is not there"));
    }
}
