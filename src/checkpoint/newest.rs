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
    /// All that there are, whether a list showed them or not: whoever sweeps them does so from the first on, one by one.
    pub all: BTreeSet<Sequence>,
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
            Some(_) => return whole(storage, listed).map(Some),
            None if storage.head(&places::manifest(Sequence(1)))?.is_none() => return Ok(None),
            None => match attempts.next_pause() {
                Some(pause) => sleep(pause),
                None => return Err(StorageError::NotFound { key: places::manifests() }),
            },
        }
    }
}

/// The row of which these were listed. From the oldest that is kept on there is no gap; below it stands what its writer had no time to
/// sweep, without a gap either.
fn whole(storage: &Storage, listed: BTreeSet<Sequence>) -> Result<Row, StorageError> {
    let known = listed.last().copied().unwrap_or(Sequence(1));
    let newest = beyond(storage, known)?;
    let of_list = listed.iter().copied().find(|sequence| sequence.0 > 1).unwrap_or(newest);
    let mut oldest = of_list.min(oldest_kept(newest));
    while oldest.0 > 2 && storage.head(&places::manifest(Sequence(oldest.0 - 1)))?.is_some() {
        oldest = Sequence(oldest.0 - 1);
    }
    let mut all = listed;
    all.extend((oldest.0..=newest.0).map(Sequence));
    Ok(Row { newest, all })
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
        assert_eq!((row.newest, row.all.len()), (Sequence(563), 65));
    }

    #[test]
    fn the_row_is_whole_though_a_list_shows_some_of_it() {
        // The last owner had no time to sweep 498 and 499.
        let storage = with((1..=1).chain(498..=563));
        for shown in [vec![563], vec![1, 500, 502], vec![1, 499, 510]] {
            let row = whole(&storage, shown.iter().copied().map(Sequence).collect()).unwrap();
            assert_eq!(row.newest, Sequence(563), "{shown:?}");
            assert!((498..=563).all(|number| row.all.contains(&Sequence(number))), "{shown:?}");
        }
    }

    #[test]
    fn looks_find_what_a_list_did_not_show() {
        let storage = with(1..=77);
        for known in [1, 2, 40, 76, 77] {
            assert_eq!(beyond(&storage, Sequence(known)).unwrap(), Sequence(77));
        }
    }
}
