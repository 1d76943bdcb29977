//! Objects on a local disk or in S3 behind one synchronous face.
//!
//! Promises: an object appears whole or not at all; every call ends within its `Patience`; what is not known is said to be
//! unknown; no credential ever stands in an error, a log line or a `Debug` text. What the objects mean is left to others.

#[cfg(test)]
mod contract;
pub mod digest;
pub mod error;
pub mod key;
mod local;
mod open;
pub mod patience;
pub mod pieces;
mod remote;
#[cfg(test)]
pub(crate) mod simulated;
pub mod trial;
pub mod upload;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Runtime};

use crate::storage::digest::Sha256;
use crate::storage::error::{Cause, StorageError};
use crate::storage::key::ObjectKey;
pub use crate::storage::open::{S3Account, S3Options};
use crate::storage::patience::{Health, Patience, Standing};
use crate::storage::remote::Remote;

/// A place for objects. Clones share it.
///
/// Its calls block: they are for start-up and for threads of their own. Operators use `upload::Uploads`.
#[derive(Clone)]
pub struct Storage {
    remote: Arc<Remote>,
    // Invariant: no task holds the runtime, for the last holder ends it, and a task cannot end its own runtime.
    runtime: Arc<Runtime>,
    patience: Patience,
}

/// An object that a list showed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub key: ObjectKey,
    pub size: u64,
}

/// Whether a copy was made, or its target was there already, with the right size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    Now,
    WasThere,
}

/// A copy to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub from: ObjectKey,
    pub to: ObjectKey,
    pub size: u64,
}

/// A name for a probe that this process begins at this time.
pub fn probe_name(now_micros: i64) -> String {
    format!("{now_micros}-{}", std::process::id())
}

/// Requests that `copy_all` and `delete_all` have under way at once.
const PARALLEL: usize = 16;

impl Storage {
    /// Opens a folder (which is made), `file:///…` or `s3://bucket/prefix`. Nothing is sent to S3 yet: see `probe`.
    pub fn open(url: &str, options: &S3Options, patience: Patience) -> Result<Storage, StorageError> {
        let opened = open::open(url, options)?;
        let remote = Remote {
            name: url.to_string(),
            store: opened.store,
            folder: opened.folder,
            secrets: opened.secrets,
            health: Health::default(),
        };
        Storage::start(remote, patience)
    }

    /// Opens what is there to be read: a folder that is not there is none, and is not made.
    pub fn open_existing(url: &str, options: &S3Options, patience: Patience) -> Result<Option<Storage>, StorageError> {
        if open::folder_of(url)?.is_some_and(|folder| !folder.is_dir()) {
            return Ok(None);
        }
        Storage::open(url, options, patience).map(Some)
    }

    /// A store that is gone with the process.
    pub fn in_memory() -> Result<Storage, StorageError> {
        Storage::over(Arc::new(InMemory::new()), Patience::default())
    }

    /// Over any store.
    pub fn over(store: Arc<dyn ObjectStore>, patience: Patience) -> Result<Storage, StorageError> {
        Storage::start(Remote::over(store), patience)
    }

    /// Over any store, with requests that go on only while a thread waits for one, or `rest`s: the same calls are the same steps.
    pub fn in_steps(store: Arc<dyn ObjectStore>, patience: Patience) -> Result<Storage, StorageError> {
        Storage::driven_by(Builder::new_current_thread(), Remote::over(store), patience)
    }

    /// Lets requests that were handed over go on, for so many polls of this thread.
    pub fn rest(&self, polls: usize) {
        self.runtime.block_on(async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        });
    }

    fn start(remote: Remote, patience: Patience) -> Result<Storage, StorageError> {
        // Requests only wait, but TLS, digests of bodies and a local disk's calls do work.
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(2);
        Storage::driven_by(runtime, remote, patience)
    }

    fn driven_by(mut runtime: Builder, remote: Remote, patience: Patience) -> Result<Storage, StorageError> {
        let runtime = runtime.thread_name("storage").enable_all().build();
        let runtime = runtime.map_err(|error| StorageError::CannotOpen {
            url: remote.name.clone(),
            source: Cause::new(&error, &remote.secrets),
        })?;
        Ok(Storage { remote: Arc::new(remote), runtime: Arc::new(runtime), patience })
    }

    /// The same store with another patience.
    pub fn with_patience(&self, patience: Patience) -> Storage {
        Storage { patience, ..self.clone() }
    }

    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether it answers. Asks nobody.
    pub fn standing(&self) -> Standing {
        self.remote.health.standing()
    }

    /// Creates an object; one request only. `AlreadyExists` and `Indeterminate` do not say whose it is, or will be.
    pub fn put_new(&self, key: &ObjectKey, bytes: &Bytes) -> Result<(), StorageError> {
        self.runtime.block_on(self.remote.create(self.patience, key, bytes))
    }

    /// Writes an object, over what may be there. Repeated while faults pass.
    pub fn put(&self, key: &ObjectKey, bytes: &Bytes) -> Result<(), StorageError> {
        self.runtime.block_on(self.remote.put(self.patience, key, bytes))
    }

    /// A small object.
    pub fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        self.runtime.block_on(self.remote.get(self.patience, key, 0))
    }

    /// An object of which size and digest are known: the bytes that come back are those, or it is an error.
    pub fn get_exactly(&self, key: &ObjectKey, size: u64, digest: &Sha256) -> Result<Bytes, StorageError> {
        let bytes = self.runtime.block_on(self.remote.get(self.patience, key, size))?;
        if bytes.len() as u64 != size {
            return Err(StorageError::WrongSize { key: key.clone(), found: bytes.len() as u64, wanted: size });
        }
        if Sha256::of(&bytes) != *digest {
            return Err(StorageError::WrongDigest { key: key.clone() });
        }
        Ok(bytes)
    }

    /// The size of an object, if it is there.
    pub fn head(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        self.runtime.block_on(self.remote.head(self.patience, key))
    }

    /// Copies on the server, unless the target is there. Only for targets whose name tells their content.
    pub fn copy(&self, copy: &Copy) -> Result<Copied, StorageError> {
        self.runtime.block_on(self.remote.copy(self.patience, &copy.from, &copy.to, copy.size))
    }

    /// Several copies at once. After an error some of the others may have been made.
    pub fn copy_all(&self, copies: &[Copy]) -> Result<Vec<Copied>, StorageError> {
        let copies = copies.iter().map(|copy| self.remote.copy(self.patience, &copy.from, &copy.to, copy.size));
        self.runtime.block_on(stream::iter(copies.collect::<Vec<_>>()).buffered(PARALLEL).try_collect())
    }

    /// Everything below a folder, in the order of the keys.
    pub fn list(&self, folder: &ObjectKey) -> Result<Vec<Listed>, StorageError> {
        self.runtime.block_on(self.remote.list(self.patience, folder))
    }

    pub fn holds_any(&self, folder: &ObjectKey) -> Result<bool, StorageError> {
        self.runtime.block_on(self.remote.holds_any(self.patience, folder))
    }

    /// Deletes an object; well if it is not there.
    pub fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.runtime.block_on(self.remote.delete(self.patience, key))
    }

    /// Deletes several objects at once, in no order.
    pub fn delete_all(&self, keys: &[ObjectKey]) -> Result<(), StorageError> {
        let deletes: Vec<_> = keys.iter().map(|key| self.remote.delete(self.patience, key)).collect();
        self.runtime.block_on(stream::iter(deletes).buffer_unordered(PARALLEL).try_collect())
    }

    /// Removes what killed writes left on a local disk before `claim` was written; nothing elsewhere. Only for the owner of the output,
    /// whose claim that is.
    pub fn sweep_local(&self, claim: &ObjectKey) -> Result<usize, StorageError> {
        let Some(folder) = &self.remote.folder else { return Ok(0) };
        let claimed = std::fs::metadata(folder.join(claim.to_string())).and_then(|claim| claim.modified());
        claimed
            .and_then(|claimed| local::sweep(folder, claimed))
            .map_err(|source| StorageError::CannotSweep { folder: folder.display().to_string(), source })
    }

    /// Shows that the store can be written, read and deleted, and that it refuses to create an object twice.
    /// `name` must be new, for two processes may probe at once: see `probe_name`.
    pub fn probe(&self, name: &str) -> Result<(), StorageError> {
        let key = ObjectKey::of(["_staging", &format!("probe-{name}")]);
        let bytes = Bytes::from_static(b"tidewatch was here");
        self.put(&key, &bytes)?;
        let second = self.settled_create(&key, &bytes);
        let read = self.get(&key).map(|found| found == bytes);
        self.delete(&key)?;
        match (second, read?) {
            (_, false) => Err(StorageError::WrongDigest { key }),
            (Ok(()), true) => Err(StorageError::NotConditional { key }),
            (Err(StorageError::AlreadyExists { .. }), true) => Ok(()),
            (Err(error), true) => Err(error),
        }
    }

    /// Deletes what probes left whose process died, told by their names: of `probe_name`, and before this time.
    pub fn sweep_probes(&self, before_micros: i64) -> Result<usize, StorageError> {
        let began = |name: &str| name.strip_prefix("probe-")?.split('-').next()?.parse::<i64>().ok();
        let mut keys: Vec<ObjectKey> =
            self.list(&ObjectKey::of(["_staging"]))?.into_iter().map(|object| object.key).collect();
        keys.retain(|key| began(key.name()).is_some_and(|began| began < before_micros));
        self.delete_all(&keys)?;
        Ok(keys.len())
    }

    /// Creates until the store says yes or no.
    fn settled_create(&self, key: &ObjectKey, bytes: &Bytes) -> Result<(), StorageError> {
        let mut attempts = self.patience.start();
        loop {
            match self.put_new(key, bytes) {
                Err(error @ StorageError::Indeterminate { .. }) => match attempts.next_pause() {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(error),
                },
                settled => return settled,
            }
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("name", &self.remote.name).field("patience", &self.patience).finish()
    }
}
