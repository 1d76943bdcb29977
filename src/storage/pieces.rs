//! Reading pieces of objects that others wrote, and fetching a piece before it is asked for.
//!
//! Promise: every piece is of the object as it was found. One that was written anew since, or is gone, is an error that
//! says so.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::storage::Storage;
use crate::storage::error::{Cause, StorageError};
use crate::storage::key::ObjectKey;

/// An object as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub key: ObjectKey,
    pub size: u64,
    /// What the store calls this version of it, where it tells versions apart.
    pub(super) version: Option<String>,
}

impl Storage {
    /// An object, if it is there.
    pub fn find(&self, key: &ObjectKey) -> Result<Option<Found>, StorageError> {
        self.runtime.block_on(self.remote.find(self.patience, key))
    }

    /// Everything below a folder, in the order of the keys.
    pub fn find_below(&self, folder: &ObjectKey) -> Result<Vec<Found>, StorageError> {
        self.runtime.block_on(self.remote.find_below(self.patience, folder))
    }

    /// An error unless the object is still as it was found.
    pub fn confirm(&self, found: &Found) -> Result<(), StorageError> {
        match self.find(&found.key)? {
            Some(now) if now == *found => Ok(()),
            Some(now) => Err(StorageError::Changed { key: found.key.clone(), had: found.size, has: now.size }),
            None => Err(StorageError::NotFound { key: found.key.clone() }),
        }
    }

    /// Begins to fetch a piece, which must lie within the object.
    pub fn fetch(&self, found: &Found, range: Range<u64>) -> Fetch {
        let (remote, patience, begin) = (Arc::clone(&self.remote), self.patience, range.start);
        let (key, found) = (found.key.clone(), found.clone());
        let task = self.runtime.spawn(async move { remote.piece(patience, &found, range).await });
        Fetch { key, begin, task, runtime: Arc::clone(&self.runtime) }
    }
}

/// A piece that is on its way. It is given up with this.
#[derive(Debug)]
pub struct Fetch {
    key: ObjectKey,
    begin: u64,
    task: JoinHandle<Result<Bytes, StorageError>>,
    runtime: Arc<Runtime>,
}

impl Fetch {
    /// Where in the object it begins.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// Waits until it is there.
    pub fn wait(mut self) -> Result<Bytes, StorageError> {
        let landed = self.runtime.block_on(&mut self.task);
        landed.unwrap_or_else(|_| {
            let source = Cause::text("the request was cut short");
            Err(StorageError::Unavailable { key: self.key.clone(), waited: Default::default(), source })
        })
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
