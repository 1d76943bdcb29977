//! The trees of an isolation forest.
//!
//! Promise: a path through a tree ends, whatever the file said: a node's children stand behind it, within its tree.

use crate::models::array::{Array, ArrayFault, Arrays, Values, take_any_list, take_integers};

/// A node of a tree: where the row's value is at most the threshold it goes left, else right. As scikit-learn has it, the value is an
/// f32 and the threshold an f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// Rows that the tree was grown from and that came here.
    pub samples: u32,
    pub split: Option<Split>,
}

/// A node that is no leaf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    pub feature: u32,
    pub threshold: f64,
    /// Places in the tree.
    pub left: u32,
    pub right: u32,
}

/// The nodes of a tree, its root first.
pub type Tree = Vec<Node>;

/// A forest.
///
/// Invariant: there is a tree; each has a root; children stand behind their parents; features are below `features`; thresholds are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    trees: Vec<Tree>,
    /// Rows that each tree was grown from.
    max_samples: u32,
    /// The middle of each feature, scaled: what an explanation calls expected.
    expected: Vec<f64>,
}

/// Why trees are not a forest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForestFault {
    #[error("its numbers do not fit")]
    Array(#[from] ArrayFault),
    #[error("there is no tree, or one was grown from fewer than two rows")]
    Empty,
    #[error("the arrays of the nodes differ in length")]
    Lengths,
    #[error("node {node} of tree {tree} splits by a feature or to a node that there is not")]
    Node { tree: usize, node: usize },
}

/// What a leaf's place among the arrays stands for.
const NONE: i32 = -1;

impl Forest {
    pub fn new(trees: Vec<Tree>, max_samples: u32, expected: Vec<f64>) -> Result<Forest, ForestFault> {
        if trees.is_empty() || max_samples < 2 || expected.is_empty() {
            return Err(ForestFault::Empty);
        }
        if !expected.iter().all(|value| value.is_finite()) {
            return Err(ArrayFault::NotFinite { name: "expected".to_owned() }.into());
        }
        for (number, tree) in trees.iter().enumerate() {
            if tree.is_empty() {
                return Err(ForestFault::Empty);
            }
            let is_sound = |(place, node): (usize, &Node)| {
                node.split.is_none_or(|Split { feature, threshold, left, right }| {
                    let is_behind = |child: u32| child as usize > place && (child as usize) < tree.len();
                    let is_known = (feature as usize) < expected.len() && threshold.is_finite();
                    is_known && is_behind(left) && is_behind(right) && left != right
                })
            };
            if let Some(node) = tree.iter().enumerate().position(|node| !is_sound(node)) {
                return Err(ForestFault::Node { tree: number, node });
            }
        }
        Ok(Forest { trees, max_samples, expected })
    }

    pub fn features(&self) -> usize {
        self.expected.len()
    }

    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    pub fn max_samples(&self) -> u32 {
        self.max_samples
    }

    pub fn expected(&self) -> &[f64] {
        &self.expected
    }

    pub(crate) fn of_arrays(max_samples: u32, arrays: &mut Arrays) -> Result<Forest, ForestFault> {
        let expected = take_any_list(arrays, "expected")?;
        let thresholds = take_any_list(arrays, "threshold")?;
        let mut whole = |name| take_integers(arrays, name);
        let (sizes, samples) = (whole("tree_nodes")?, whole("samples")?);
        let (features, left, right) = (whole("feature")?, whole("left")?, whole("right")?);
        let sized = |length: usize| length == thresholds.len();
        if ![samples.len(), features.len(), left.len(), right.len()].into_iter().all(sized) {
            return Err(ForestFault::Lengths);
        }
        let mut trees = Vec::with_capacity(sizes.len().min(thresholds.len()));
        let mut from = 0usize;
        for (tree, size) in sizes.iter().enumerate() {
            let to = usize::try_from(*size).ok().and_then(|size| from.checked_add(size)).unwrap_or(usize::MAX);
            if to > thresholds.len() {
                return Err(ForestFault::Lengths);
            }
            let node = |at: usize| node_of(samples[at], features[at], thresholds[at], left[at], right[at]);
            let nodes: Option<Tree> = (from..to).map(node).collect();
            trees.push(nodes.ok_or(ForestFault::Node { tree, node: 0 })?);
            from = to;
        }
        if from != thresholds.len() {
            return Err(ForestFault::Lengths);
        }
        Forest::new(trees, max_samples, expected)
    }

    pub(crate) fn arrays(&self) -> Arrays {
        let nodes = || self.trees.iter().flatten();
        let split = |of: fn(Split) -> u32| -> Array {
            let number = |node: &Node| node.split.map_or(NONE, |split| of(split).cast_signed());
            Array::list(Values::I32(nodes().map(number).collect()))
        };
        let thresholds = nodes().map(|node| node.split.map_or(0.0, |split| split.threshold)).collect();
        let samples = nodes().map(|node| node.samples.cast_signed()).collect();
        // A tree has as many nodes as its samples allow, which number less than 2^31.
        let sizes = self.trees.iter().map(|tree| tree.len() as i32).collect();
        let arrays = [
            ("expected", Array::list(Values::F64(self.expected.clone()))),
            ("threshold", Array::list(Values::F64(thresholds))),
            ("tree_nodes", Array::list(Values::I32(sizes))),
            ("samples", Array::list(Values::I32(samples))),
            ("feature", split(|split| split.feature)),
            ("left", split(|split| split.left)),
            ("right", split(|split| split.right)),
        ];
        arrays.map(|(name, array)| (name.to_owned(), array)).into()
    }
}

fn node_of(samples: i32, feature: i32, threshold: f64, left: i32, right: i32) -> Option<Node> {
    let samples = u32::try_from(samples).ok()?;
    if (feature, left, right) == (NONE, NONE, NONE) {
        return Some(Node { samples, split: None });
    }
    let [feature, left, right] = [feature, left, right].map(|value| u32::try_from(value).ok());
    Some(Node { samples, split: Some(Split { feature: feature?, threshold, left: left?, right: right? }) })
}
