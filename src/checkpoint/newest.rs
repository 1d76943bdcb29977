//! Finding the newest manifest of a dense row of which the older ones may have been swept.

use std::collections::BTreeSet;
use std::thread::sleep;

use crate::checkpoint::commit::oldest_kept;
use crate::checkpoint::manifest::Sequence;
use crate::checkpoint::places;
use crate::storage::Storage;
use crate::storage::error::StorageError;

/// What there is of the row.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub newest: Sequence,
    /// All that were listed.
    pub listed: BTreeSet<Sequence>,
}

impl Row {
    /// All that may be there, the first one aside: the row is dense, and a list may lag behind anywhere in it. Who sweeps must leave none
    /// out: a predecessor that stands tells one that slept that its number was never swept.
    pub fn standing(&self) -> BTreeSet<Sequence> {
        let listed = self.listed.iter().find(|listed| listed.0 > 1).copied();
        let first = listed.map_or(oldest_kept(self.newest), |listed| listed.min(oldest_kept(self.newest)));
        (first.0..=self.newest.0).map(Sequence).collect()
    }
}

/// The row of manifests; none if there never was one.
///
/// A list may lag behind: looks from the newest listed number onwards find what it did not show. The first manifest is never swept, so
/// where it stands a list that shows nothing is wrong, and is asked again.
pub fn find(storage: &Storage) -> Result<Option<Row>, StorageError> {
    let mut attempts = storage.patience().start();
    loop {
        let listed = storage.list(&places::manifests())?;
        let listed: BTreeSet<Sequence> = listed.iter().filter_map(|object| places::sequence_of(&object.key)).collect();
        match listed.last() {
            Some(last) => return Ok(Some(Row { newest: beyond(storage, *last)?, listed })),
            None if storage.head(&places::manifest(Sequence(1)))?.is_none() => return Ok(None),
            None => match attempts.next_pause() {
                Some(pause) => sleep(pause),
                None => return Err(StorageError::NotFound { key: places::manifests() }),
            },
        }
    }
}

/// The newest number at or after `known`: steps that double, then halves.
fn beyond(storage: &Storage, known: Sequence) -> Result<Sequence, StorageError> {
    let is_there = |number: u64| storage.head(&places::manifest(Sequence(number))).map(|size| size.is_some());
    let (mut there, mut step) = (known.0, 1);
    let mut missing = loop {
        if !is_there(there + step)? {
            break there + step;
        }
        there += step;
        step *= 2;
    };
    while missing - there > 1 {
        let middle = there + (missing - there) / 2;
        if is_there(middle)? { there = middle } else { missing = middle }
    }
    Ok(Sequence(there))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn with(numbers: impl IntoIterator<Item = u64>) -> Storage {
        let storage = Storage::in_memory().unwrap();
        for number in numbers {
            storage.put_new(&places::manifest(Sequence(number)), &Bytes::from_static(b"{}")).unwrap();
        }
        storage
    }

    #[test]
    fn the_newest_is_found_in_an_empty_a_short_and_a_swept_row() {
        assert_eq!(find(&with([])).unwrap(), None);
        assert_eq!(find(&with(1..=1)).unwrap().unwrap().newest, Sequence(1));
        let row = find(&with((1..=1).chain(500..=563))).unwrap().unwrap();
        assert_eq!((row.newest, row.listed.len()), (Sequence(563), 65));
    }

    #[test]
    fn what_stands_has_no_gap_where_a_list_has_one() {
        let standing = |listed: &[u64], newest: u64| {
            let row = Row { newest: Sequence(newest), listed: listed.iter().copied().map(Sequence).collect() };
            let standing: Vec<u64> = row.standing().into_iter().map(|sequence| sequence.0).collect();
            assert!(standing.windows(2).all(|two| two[1] == two[0] + 1), "{standing:?}");
            (standing.first().copied(), standing.last().copied())
        };
        assert_eq!(standing(&[1], 1), (None, None));
        assert_eq!(standing(&[1, 2, 3], 4), (Some(2), Some(4)));
        assert_eq!(standing(&[1], 4), (Some(2), Some(4)));
        assert_eq!(standing(&[1, 490, 492, 563], 563), (Some(490), Some(563)));
        assert_eq!(standing(&[1, 560], 563), (Some(oldest_kept(Sequence(563)).0), Some(563)));
    }

    #[test]
    fn looks_find_what_a_list_did_not_show() {
        let storage = with(1..=77);
        for known in [1, 2, 40, 76, 77] {
            assert_eq!(beyond(&storage, Sequence(known)).unwrap(), Sequence(77));
        }
    }
}
