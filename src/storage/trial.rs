//! A store that is opened only to learn whether it can be used.

use std::path::{Path, PathBuf};

use crate::storage::error::StorageError;
use crate::storage::open;
use crate::storage::patience::Patience;
use crate::storage::{S3Options, Storage};

/// A store on trial. Folders that were made for it are gone with it, unless something has come to stand in them.
#[derive(Debug)]
pub struct Trial {
    storage: Storage,
    /// The innermost first; that is where `Storage::probe` writes.
    made: Vec<PathBuf>,
}

impl Trial {
    pub fn open(url: &str, options: &S3Options, patience: Patience) -> Result<Trial, StorageError> {
        let made = open::folder_of(url)?.map(|folder| missing(&folder.join("_staging"))).unwrap_or_default();
        Ok(Trial { storage: Storage::open(url, options, patience)?, made })
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Whether it is a folder that was not there before.
    pub fn is_new_folder(&self) -> bool {
        self.made.len() > 1
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Only an empty folder can be removed like this: whatever has come meanwhile stays.
        self.made.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// The folder and those above it that are not there.
fn missing(folder: &Path) -> Vec<PathBuf> {
    let above = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    above.take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(url: &Path) -> Trial {
        let trial = Trial::open(&url.display().to_string(), &S3Options::default(), Patience::at_start()).unwrap();
        trial.storage().probe("trial").unwrap();
        trial
    }

    #[test]
    fn a_trial_leaves_nothing_where_nothing_was() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("deep/out");
        assert!(tried(&url).is_new_folder());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("out");
        std::fs::create_dir(&url).unwrap();
        assert!(!tried(&url).is_new_folder());
        assert_eq!(std::fs::read_dir(&url).unwrap().count(), 0);
    }
}
