//! Numbers that must not be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An ordered input with offsets: a Kafka partition, or a file.
///
/// Invariant: the order of ids is the order that breaks ties between equal event times, and does not depend on the run.
/// For Kafka it is `topic index << 32 | partition`, for files the index in the naturally sorted list of paths.
///
/// Below 2^48 is the source's own. Above stands how often the records were played again from the quarantine: the partition of those
/// that failed at partition `id` has the same number in the generation behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u64);

const GENERATION_SHIFT: u32 = 48;

impl PartitionId {
    /// 0 for a partition of the source; 1 for what was played again, 2 for what had failed again, and so on.
    pub fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// The partition of the source.
    pub fn original(self) -> PartitionId {
        PartitionId(self.0 & ((1 << GENERATION_SHIFT) - 1))
    }

    /// The partition that records are played in again which were quarantined here; none after 65,535 times.
    pub fn again(self) -> Option<PartitionId> {
        self.0.checked_add(1 << GENERATION_SHIFT).map(PartitionId)
    }
}

/// The name of a partition in which records of the source's partition `original` are played again.
pub fn redriven_name(generation: u64, original: &str) -> String {
    format!("redrive/{generation}/{original}")
}

/// The partition of the source whose records one of this name plays again, if the name is such a one.
pub fn redriven_of(name: &str) -> Option<&str> {
    let (generation, original) = name.strip_prefix("redrive/")?.split_once('/')?;
    generation.parse::<u64>().is_ok_and(|generation| generation > 0).then_some(original)
}

/// A position in a partition: Kafka's own, or the index of the record in its file, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// Timely's timestamp: what is processed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_played_again_has_the_number_of_its_partition_in_the_next_generation() {
        let partition = PartitionId(3 << 32 | 17);
        let again = partition.again().unwrap();
        let twice = again.again().unwrap();
        assert_eq!([partition, again, twice].map(PartitionId::generation), [0, 1, 2]);
        assert_eq!([partition, again, twice].map(PartitionId::original), [partition; 3]);
        assert!(PartitionId(u64::MAX).again().is_none());
        assert_eq!(redriven_of(&redriven_name(2, "flows/17")), Some("flows/17"));
        assert_eq!(["redrive/a/b", "redrive/0/b", "redrive/1", "flows/1"].map(redriven_of), [None; 4]);
    }
}
