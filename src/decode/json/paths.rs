//! The names wanted of a record, as a tree: found by one look-up for each key of a JSON object.

use crate::decode::events::Place;

/// Stands for "there is no such value" where the start of a value is kept.
pub(super) const NONE: u32 = u32::MAX;

/// The tree. Node 0 is the record itself.
#[derive(Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    places: Vec<Vec<String>>,
}

/// What a key leads to. Both may be there: `m` as a value, and `m.x` within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub place: Option<Place>,
    pub node: Option<usize>,
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<(Box<[u8]>, Target)>,
    /// Open addressing, at most a quarter full: the number of a child plus one, or 0.
    table: Vec<u32>,
    /// The places below this node.
    places: Vec<Place>,
}

impl Paths {
    pub(super) fn new() -> Paths {
        Paths { nodes: vec![Node { table: vec![0; 4], ..Node::default() }], places: Vec::new() }
    }

    /// How many different paths there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of `path`, which is not empty; a new one unless it is there already.
    pub(super) fn add(&mut self, path: &[String]) -> Place {
        if let Some(place) = self.places.iter().position(|known| known == path) {
            return place;
        }
        let place = self.places.len();
        self.places.push(path.to_vec());
        let mut node = 0;
        for (index, name) in path.iter().enumerate() {
            self.nodes[node].places.push(place);
            let child = self.nodes[node].child(name.as_bytes());
            let next = self.nodes.len();
            let target = &mut self.nodes[node].children[child].1;
            if index + 1 == path.len() {
                target.place = Some(place);
            } else {
                node = *target.node.get_or_insert(next);
                if node == next {
                    self.nodes.push(Node { table: vec![0; 4], ..Node::default() });
                }
            }
        }
        place
    }

    /// What `key` leads to in an object of `node`.
    #[inline]
    pub(super) fn find(&self, node: usize, key: &[u8]) -> Option<Target> {
        let node = &self.nodes[node];
        let mut slot = node.slot(key);
        loop {
            let (name, target) = &node.children[(node.table[slot] as usize).checked_sub(1)?];
            if **name == *key {
                return Some(*target);
            }
            slot = (slot + 1) % node.table.len();
        }
    }

    /// The places below `node`.
    pub(super) fn below(&self, node: usize) -> &[Place] {
        &self.nodes[node].places
    }
}

impl Node {
    /// The index of the child with this name; a new one unless it is there already.
    fn child(&mut self, name: &[u8]) -> usize {
        if let Some(child) = self.children.iter().position(|(known, _)| **known == *name) {
            return child;
        }
        self.children.push((name.into(), Target { place: None, node: None }));
        self.table = vec![0; (self.children.len() * 4).next_power_of_two()];
        for child in 0..self.children.len() {
            let mut slot = self.slot(&self.children[child].0);
            while self.table[slot] != 0 {
                slot = (slot + 1) % self.table.len();
            }
            self.table[slot] = child as u32 + 1;
        }
        self.children.len() - 1
    }

    #[inline]
    fn slot(&self, key: &[u8]) -> usize {
        // The names are the configuration's: a record can look up what it likes, but cannot add to the table.
        (hash(key) >> 32) as usize & (self.table.len() - 1)
    }
}

/// All bytes, eight at a time; the last eight overlap with those before.
#[inline]
fn hash(key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let hash = match key.len() {
        0 => 0,
        1..4 => u64::from(key[0]) | u64::from(key[key.len() / 2]) << 8 | u64::from(key[key.len() - 1]) << 16,
        4..8 => match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
            }
            _ => 0,
        },
        _ => {
            let (words, _) = key.as_chunks::<8>();
            let hash =
                words[1..].iter().fold(u64::from_le_bytes(words[0]), |hash, word| mix(hash, u64::from_le_bytes(*word)));
            key.last_chunk::<8>().map_or(hash, |last| mix(hash, u64::from_le_bytes(*last)))
        }
    };
    (hash ^ key.len() as u64).wrapping_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(String::from).collect()
    }

    #[test]
    fn a_path_wanted_twice_is_one_place() {
        let mut paths = Paths::new();
        assert_eq!(paths.add(&path("a")), 0);
        assert_eq!(paths.add(&path("m/x")), 1);
        assert_eq!(paths.add(&path("a")), 0);
        assert_eq!(paths.add(&path("m")), 2);
        assert_eq!(paths.find(0, b"m"), Some(Target { place: Some(2), node: Some(1) }));
        assert_eq!(paths.find(1, b"x"), Some(Target { place: Some(1), node: None }));
        assert_eq!(paths.find(0, b"x"), None);
        assert_eq!(paths.below(1), [1]);
    }

    #[test]
    fn hundreds_of_similar_names_are_all_found() {
        let mut paths = Paths::new();
        let names: Vec<String> =
            (0..1000).map(|number| format!("temperature_{number:04}_celsius_of_the_sensor")).collect();
        for name in &names {
            paths.add(std::slice::from_ref(name));
        }
        for (place, name) in names.iter().enumerate() {
            assert_eq!(paths.find(0, name.as_bytes()).and_then(|target| target.place), Some(place));
        }
        assert_eq!(paths.find(0, b"temperature_1000_celsius_of_the_sensor"), None);
    }
}
