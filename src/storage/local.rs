//! What a local disk keeps of writes that were cut short.

use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Removes files named `name#1` that were written before `until`: what a killed write or a repeated copy leaves. The store's own list does
/// not show them, but readers of the tables do read them, and they take space.
///
/// Such a file may also be a write that is under way. `until` is when the owner claimed the output, by the disk's own clock: who wrote
/// before that will not be heard any more, and who writes after it may be its successor.
pub(super) fn sweep(folder: &Path, until: SystemTime) -> io::Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            swept += sweep(&entry.path(), until)?;
        } else if is_leftover(&entry.file_name().to_string_lossy()) {
            let removed = entry.metadata().and_then(|found| match found.modified()? < until {
                true => std::fs::remove_file(entry.path()).map(|()| 1),
                false => Ok(0),
            });
            match removed {
                Ok(removed) => swept += removed,
                // Its writer was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(swept)
}

fn is_leftover(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn write(folder: &Path, name: &str, seconds_ago: u64) {
        let file = std::fs::File::create(folder.join(name)).unwrap();
        file.set_modified(NOW + Duration::from_secs(100 - seconds_ago)).unwrap();
    }

    #[test]
    fn what_was_written_since_the_claim_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        [("a#1", 2), ("b#1", 1), ("c#1", 0)].iter().for_each(|(name, ago)| write(folder.path(), name, *ago));
        assert_eq!(sweep(folder.path(), NOW + Duration::from_secs(99)).unwrap(), 1);
        assert!(!folder.path().join("a#1").exists() && folder.path().join("b#1").exists());
    }

    #[test]
    fn only_names_that_end_in_a_hash_and_digits_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("date=2026-09-01")).unwrap();
        for name in ["a.parquet", "a.parquet#1", "b#x", "#", "date=2026-09-01/c.parquet#12"] {
            write(folder.path(), name, 1);
        }
        assert_eq!(sweep(folder.path(), NOW + Duration::from_secs(100)).unwrap(), 2);
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["#", "a.parquet", "b#x", "date=2026-09-01"]);
    }
}
