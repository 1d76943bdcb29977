//! An isolation forest: the score is `2^(-E[h] / c(n))` of Liu, Ting and Zhou (2008), which scikit-learn gives with its sign turned
//! (`score_samples`). It lies between 0 and 1; a half is ordinary.
//!
//! A feature's part is by how much the splits on it shortened the path: at each node, the length that rows have ahead of them on
//! average, less that which rows have ahead that go where this one went. All of these sum to how much shorter the path is than the
//! average one (Saabas' decomposition); what made the path longer is no reason and counts as nothing.

use crate::models::forest::{Forest, Node as GrownNode, Tree};
use crate::scoring::estimators::{Attribution, Estimate};

/// Rows whose paths through one tree are followed together, while it is in the nearest cache.
const BLOCK_ROWS: usize = 256;
/// Stands for no feature: the node is a leaf.
const LEAF: u32 = u32::MAX;

/// A node as it is walked through.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where to split; of a leaf, its path length.
    value: f64,
    /// The mean path length of the rows that come here.
    length: f64,
    feature: u32,
    /// Places in the tree, in order: left, right.
    children: [u32; 2],
}

#[derive(Debug)]
pub(super) struct IsolationForest {
    trees: Vec<Vec<Node>>,
    /// What all path lengths of a row are divided by: their number times `c(n)`.
    divisor: f64,
    expected: Vec<f64>,
    lengths: Vec<f64>,
}

/// `c(n)`, the mean path length of an unsuccessful search in a binary tree of `n` rows.
pub(crate) fn average_path(rows: u32) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        rows => {
            let rows = f64::from(rows);
            2.0 * (libm::log(rows - 1.0) + EULER) - 2.0 * (rows - 1.0) / rows
        }
    }
}

impl IsolationForest {
    pub(super) fn new(forest: &Forest) -> IsolationForest {
        IsolationForest {
            trees: forest.trees().iter().map(walked).collect(),
            divisor: forest.trees().len() as f64 * average_path(forest.max_samples()),
            expected: forest.expected().to_vec(),
            lengths: Vec::new(),
        }
    }
}

/// A tree whose nodes know their path lengths.
fn walked(tree: &Tree) -> Vec<Node> {
    let mut depths = vec![0u32; tree.len()];
    let mut nodes: Vec<Node> = Vec::with_capacity(tree.len());
    for (place, GrownNode { samples, split }) in tree.iter().enumerate() {
        let leaf = f64::from(depths[place]) + average_path(*samples);
        nodes.push(match split {
            None => Node { value: leaf, length: leaf, feature: LEAF, children: [0, 0] },
            Some(split) => {
                let children = [split.left, split.right];
                children.iter().for_each(|child| depths[*child as usize] = depths[place] + 1);
                Node { value: split.threshold, length: leaf, feature: split.feature, children }
            }
        });
    }
    // Children stand behind their parents.
    for place in (0..nodes.len()).rev() {
        let Node { feature, children, .. } = nodes[place];
        let samples = |child: u32| f64::from(tree[child as usize].samples);
        let total: f64 = children.iter().map(|child| samples(*child)).sum();
        if feature != LEAF && total > 0.0 {
            let length = |child: u32| nodes[child as usize].length * samples(child) / total;
            nodes[place].length = length(children[0]) + length(children[1]);
        }
    }
    nodes
}

impl Estimate for IsolationForest {
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f64>) {
        let width = self.expected.len();
        for block in rows.chunks(BLOCK_ROWS * width) {
            self.lengths.clear();
            self.lengths.resize(block.len() / width, 0.0);
            for tree in &self.trees {
                for (length, row) in self.lengths.iter_mut().zip(block.chunks_exact(width)) {
                    let mut node = &tree[0];
                    while node.feature != LEAF {
                        // A NaN is at most nothing, and goes to the right.
                        let is_left = f64::from(row[node.feature as usize]) <= node.value;
                        node = &tree[node.children[usize::from(!is_left)] as usize];
                    }
                    *length += node.value;
                }
            }
            scores.extend(self.lengths.iter().map(|length| libm::exp2(-length / self.divisor)));
        }
    }

    fn explain(&mut self, rows: &[f32], index: usize) -> Vec<Attribution> {
        let width = self.expected.len();
        let row = &rows[index * width..][..width];
        let mut shortened = vec![0.0; width];
        for tree in &self.trees {
            let mut node = &tree[0];
            while node.feature != LEAF {
                let is_left = f64::from(row[node.feature as usize]) <= node.value;
                let child = &tree[node.children[usize::from(!is_left)] as usize];
                shortened[node.feature as usize] += node.length - child.length;
                node = child;
            }
        }
        let both = self.expected.iter().zip(shortened);
        both.map(|(expected, part)| Attribution { expected: *expected, part: part.max(0.0) }).collect()
    }
}
