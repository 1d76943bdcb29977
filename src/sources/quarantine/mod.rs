//! Quarantined records as a source: what was set aside once is read again from the output's own rows, as partitions of its own.
//!
//! Promise: a record is handed on with the bytes, the key, the time of receipt and the offset that it had. Rows are found wherever a
//! checkpoint left them: in files of the table, in files on their way there, or waiting for one. Memory holds an address a row, and
//! the rows of a few files.

mod reader;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::manifest::Checkpoint;
use crate::domain::ids::Offset;
use crate::domain::raw::Form;
use crate::sources::{Partition, SourceError};
use crate::storage::Storage;
use crate::storage::error::StorageError;
use crate::storage::key::ObjectKey;

pub use reader::QuarantineReader;
pub use rows::Rows;

/// The table's name, and its folder's.
const TABLE: &str = "quarantine";

/// Everything that an output holds of quarantined records, as its last checkpoint left it.
#[derive(Debug)]
pub struct Quarantine {
    storage: Storage,
    files: Vec<ObjectKey>,
    /// The rows of those that wait for a file: their object goes once they have one. Whoever writes the table holds them as well.
    waiting: BTreeMap<u32, Rows>,
}

/// A record to be read again: where its row stands, and whether somebody wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub offset: Offset,
    pub file: u32,
    pub row: u32,
    /// Passed over if not: it stays refused for the reason that it has.
    pub is_chosen: bool,
}

/// A partition of records that are read again.
#[derive(Clone, Debug)]
pub struct Redriven {
    pub partition: Partition,
    /// How their values are found.
    pub form: Form,
    /// By ascending offsets.
    pub entries: Vec<Entry>,
}

impl Quarantine {
    /// `checkpoint` is the one in force.
    pub fn open(storage: Storage, checkpoint: &Checkpoint) -> Result<Quarantine, SourceError> {
        let unread = |source: StorageError| SourceError::Quarantine { file: TABLE.into(), fault: source.to_string() };
        let listed = storage.list(&ObjectKey::of([TABLE])).map_err(unread)?;
        let visible: BTreeSet<ObjectKey> = listed.into_iter().map(|file| file.key).collect();
        let due = checkpoint.publish.iter().filter(|file| file.table == TABLE && !visible.contains(&file.target));
        let due: Vec<ObjectKey> = due.map(|file| file.staged.clone()).collect();
        let waiting = checkpoint.staged.iter().filter(|rows| rows.table == TABLE).map(|rows| rows.key.clone());
        let files = visible.iter().filter(|key| key.name().ends_with(".parquet")).cloned();
        let files: Vec<ObjectKey> = files.chain(due).collect();
        let lasting = files.len();
        let mut quarantine = Quarantine { storage, files, waiting: BTreeMap::new() };
        quarantine.files.extend(waiting);
        for file in lasting as u32..quarantine.files() {
            let rows = quarantine.rows(file)?;
            quarantine.waiting.insert(file, rows);
        }
        Ok(quarantine)
    }

    pub fn files(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    /// All rows of a file.
    pub fn rows(&self, file: u32) -> Result<Rows, SourceError> {
        if let Some(rows) = self.waiting.get(&file) {
            return Ok(rows.clone());
        }
        let key = &self.files[file as usize];
        let fault = |fault: String| SourceError::Quarantine { file: key.to_string(), fault };
        let bytes = self.storage.get(key).map_err(|error| fault(error.to_string()))?;
        Rows::read(bytes).map_err(fault)
    }

    /// The name of a file, for errors.
    pub fn name(&self, file: u32) -> String {
        self.files[file as usize].to_string()
    }
}
