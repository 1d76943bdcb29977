//! What a local disk keeps of writes that were cut short.

use std::io;
use std::path::Path;

/// Removes files named `name#1`: what a killed write or a repeated copy leaves. The store's own list does not show them, but
/// readers of the tables do read them, and they take space.
///
/// Only to be called by the owner of the output, for such a file may also be a write that is under way.
pub(super) fn sweep(folder: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            swept += sweep(&entry.path())?;
        } else if is_leftover(&entry.file_name().to_string_lossy()) {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => swept += 1,
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
    use super::*;

    #[test]
    fn only_names_that_end_in_a_hash_and_digits_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("date=2026-09-01")).unwrap();
        for name in ["a.parquet", "a.parquet#1", "b#x", "#", "date=2026-09-01/c.parquet#12"] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        assert_eq!(sweep(folder.path()).unwrap(), 2);
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["#", "a.parquet", "b#x", "date=2026-09-01"]);
    }
}
