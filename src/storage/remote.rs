//! The requests themselves: each under a time-out, repeated with pauses where that is safe, until the patience ends.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};

use crate::storage::error::{Cause, Fault, Secrets, StorageError};
use crate::storage::key::ObjectKey;
use crate::storage::patience::{Health, Patience};
use crate::storage::pieces::Found;
use crate::storage::{Copied, Listed};

/// A store, its name for the log, and whether it answers.
pub(super) struct Remote {
    pub name: String,
    pub store: Arc<dyn ObjectStore>,
    pub folder: Option<PathBuf>,
    pub secrets: Secrets,
    pub health: Health,
}

/// Lets others go first, for at least so long.
async fn rest(pause: Duration) {
    match pause.is_zero() {
        // A sleep, even one of no length, ends with the clock's next tick.
        true => tokio::task::yield_now().await,
        false => tokio::time::sleep(pause).await,
    }
}

/// How an operation ended that was repeated while faults were passing.
enum Failure {
    NotFound,
    AlreadyExists,
    Refused(Cause),
    Spent { waited: Duration, last: Cause },
}

impl Failure {
    /// The error of an operation that only reads, or whose repetition changes nothing.
    fn unavailable(self, key: &ObjectKey) -> StorageError {
        let key = key.clone();
        match self {
            Failure::NotFound => StorageError::NotFound { key },
            Failure::AlreadyExists => StorageError::AlreadyExists { key },
            Failure::Refused(source) => StorageError::Refused { key, source },
            Failure::Spent { waited, last } => StorageError::Unavailable { key, waited, source: last },
        }
    }

    /// The error of a write.
    fn indeterminate(self, key: &ObjectKey) -> StorageError {
        let key = key.clone();
        match self {
            // An object that is written need not have been there: what is missing is the bucket.
            Failure::NotFound => {
                StorageError::Refused { key, source: Cause::text("the bucket or folder does not exist") }
            }
            Failure::AlreadyExists => StorageError::AlreadyExists { key },
            Failure::Refused(source) => StorageError::Refused { key, source },
            Failure::Spent { waited, last } => StorageError::Indeterminate { key, waited, source: last },
        }
    }
}

impl Remote {
    /// A store without an address or secrets.
    pub(super) fn over(store: Arc<dyn ObjectStore>) -> Remote {
        let (name, secrets) = ("memory".to_string(), Secrets::default());
        Remote { name, store, folder: None, secrets, health: Health::default() }
    }

    /// One request.
    async fn attempt<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Fault> {
        let sent = Instant::now();
        let fault = match tokio::time::timeout(limit, request).await {
            Ok(Ok(value)) => {
                self.health.answered(&self.name);
                return Ok(value);
            }
            Ok(Err(error)) => Fault::of(error, &self.secrets),
            Err(_) => Fault::Passing(Cause::text(format!("no answer within {:.1} s", limit.as_secs_f64()))),
        };
        match &fault {
            Fault::Passing(cause) => self.health.failed(&self.name, operation, cause, sent),
            Fault::NotFound | Fault::AlreadyExists => self.health.answered(&self.name),
            Fault::Refused(_) => {}
        }
        Err(fault)
    }

    /// Requests until one settles the matter. `request` must be safe to repeat.
    async fn settle<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        operation: &'static str,
        patience: Patience,
        bytes: u64,
        request: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut attempts = patience.start();
        loop {
            match self.attempt(operation, patience.attempt_for(bytes), request()).await {
                Ok(value) => return Ok(value),
                Err(Fault::NotFound) => return Err(Failure::NotFound),
                Err(Fault::AlreadyExists) => return Err(Failure::AlreadyExists),
                Err(Fault::Refused(cause)) => return Err(Failure::Refused(cause)),
                Err(Fault::Passing(last)) => match attempts.next_pause() {
                    Some(pause) => rest(pause).await,
                    None => return Err(Failure::Spent { waited: attempts.waited(), last }),
                },
            }
        }
    }

    /// One request, never repeated: after "it exists" and after "unknown" only the caller can tell what it means.
    pub(super) async fn create(&self, patience: Patience, key: &ObjectKey, bytes: &Bytes) -> Result<(), StorageError> {
        let limit = patience.attempt_for(bytes.len() as u64);
        let request = self.store.put_opts(key.path(), bytes.clone().into(), PutMode::Create.into());
        let failure = match self.attempt("create", limit, request).await {
            Ok(_) => return Ok(()),
            Err(Fault::NotFound) => Failure::NotFound,
            Err(Fault::AlreadyExists) => Failure::AlreadyExists,
            Err(Fault::Refused(cause)) => Failure::Refused(cause),
            Err(Fault::Passing(last)) => Failure::Spent { waited: limit, last },
        };
        Err(failure.indeterminate(key))
    }

    pub(super) async fn put(&self, patience: Patience, key: &ObjectKey, bytes: &Bytes) -> Result<(), StorageError> {
        let put = || self.store.put(key.path(), bytes.clone().into());
        let done = self.settle("put", patience, bytes.len() as u64, put).await;
        done.map(drop).map_err(|failure| failure.indeterminate(key))
    }

    pub(super) async fn get(&self, patience: Patience, key: &ObjectKey, size: u64) -> Result<Bytes, StorageError> {
        let get = || async { self.store.get(key.path()).await?.bytes().await };
        self.settle("get", patience, size, get).await.map_err(|failure| failure.unavailable(key))
    }

    /// A piece of an object, if it is still as it was found.
    pub(super) async fn piece(
        &self,
        patience: Patience,
        found: &Found,
        range: Range<u64>,
    ) -> Result<Bytes, StorageError> {
        let key = &found.key;
        let get = || async {
            let options =
                GetOptions { range: Some(range.clone().into()), if_match: found.version.clone(), ..Default::default() };
            match self.store.get_opts(key.path(), options).await {
                Ok(now) if now.meta.size == found.size => now.bytes().await.map(Some),
                Ok(_) | Err(object_store::Error::Precondition { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        match self.settle("get", patience, range.end - range.start, get).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => match self.find(patience, key).await? {
                Some(now) => Err(StorageError::Changed { key: key.clone(), had: found.size, has: now.size }),
                None => Err(StorageError::NotFound { key: key.clone() }),
            },
            Err(failure) => Err(failure.unavailable(key)),
        }
    }

    /// The size, or none if there is no such object.
    pub(super) async fn head(&self, patience: Patience, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        Ok(self.find(patience, key).await?.map(|found| found.size))
    }

    /// None if there is no such object.
    pub(super) async fn find(&self, patience: Patience, key: &ObjectKey) -> Result<Option<Found>, StorageError> {
        match self.settle("head", patience, 0, || self.store.head(key.path())).await {
            Ok(meta) => Ok(Some(found(meta))),
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure.unavailable(key)),
        }
    }

    /// Looks first, and again before every repetition: a local disk keeps a stray link for each copy onto an existing one.
    pub(super) async fn copy(
        &self,
        patience: Patience,
        from: &ObjectKey,
        to: &ObjectKey,
        size: u64,
    ) -> Result<Copied, StorageError> {
        let mut attempts = patience.start();
        loop {
            match self.head(patience, to).await? {
                Some(found) if found == size => return Ok(Copied::WasThere),
                Some(found) => return Err(StorageError::WrongSize { key: to.clone(), found, wanted: size }),
                None => {}
            }
            let limit = patience.attempt_for(size);
            match self.attempt("copy", limit, self.copy_once(from, to)).await {
                // The look after the copy: a target of another size is found by whoever made it.
                Ok(()) => match self.head(patience, to).await? {
                    Some(found) if found == size => return Ok(Copied::Now),
                    Some(found) => return Err(StorageError::WrongSize { key: to.clone(), found, wanted: size }),
                    None => return Err(StorageError::NotFound { key: to.clone() }),
                },
                // Another process may have published it and swept the source.
                Err(Fault::NotFound) => match self.head(patience, to).await? {
                    Some(found) if found == size => return Ok(Copied::WasThere),
                    _ => return Err(StorageError::NotFound { key: from.clone() }),
                },
                // Another process was quicker.
                Err(Fault::AlreadyExists) => match self.head(patience, to).await? {
                    Some(found) if found == size => return Ok(Copied::WasThere),
                    _ => return Err(StorageError::AlreadyExists { key: to.clone() }),
                },
                Err(Fault::Refused(source)) => return Err(StorageError::Refused { key: to.clone(), source }),
                Err(Fault::Passing(last)) => match attempts.next_pause() {
                    Some(pause) => rest(pause).await,
                    None => {
                        let (key, waited) = (to.clone(), attempts.waited());
                        return Err(StorageError::Indeterminate { key, waited, source: last });
                    }
                },
            }
        }
    }

    /// One request. On a local disk the copy is refused where there is one by now: made over an existing one, it would leave a stray
    /// link, which readers take for a file of the table.
    async fn copy_once(&self, from: &ObjectKey, to: &ObjectKey) -> object_store::Result<()> {
        match &self.folder {
            Some(_) => self.store.copy_if_not_exists(from.path(), to.path()).await,
            None => self.store.copy(from.path(), to.path()).await,
        }
    }

    /// Everything below `folder`, in the order of the keys.
    pub(super) async fn list(&self, patience: Patience, folder: &ObjectKey) -> Result<Vec<Listed>, StorageError> {
        let found = self.find_below(patience, folder).await?;
        Ok(found.into_iter().map(|found| Listed { key: found.key, size: found.size }).collect())
    }

    /// Everything below `folder`, in the order of the keys.
    pub(super) async fn find_below(&self, patience: Patience, folder: &ObjectKey) -> Result<Vec<Found>, StorageError> {
        let list = || async { self.store.list(Some(folder.path())).map_ok(found).try_collect().await };
        // A local list may meet an object that is swept in that moment: then it is repeated, too.
        let mut objects: Vec<Found> = match self.settle("list", patience, 0, list).await {
            Ok(objects) => objects,
            Err(Failure::NotFound) => Vec::new(),
            Err(failure) => return Err(failure.unavailable(folder)),
        };
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    /// Whether anything is below `folder`.
    pub(super) async fn holds_any(&self, patience: Patience, folder: &ObjectKey) -> Result<bool, StorageError> {
        let first = || async { self.store.list(Some(folder.path())).next().await.transpose() };
        match self.settle("list", patience, 0, first).await {
            Ok(first) => Ok(first.is_some()),
            Err(Failure::NotFound) => Ok(false),
            Err(failure) => Err(failure.unavailable(folder)),
        }
    }

    /// What is not there is as good as deleted.
    pub(super) async fn delete(&self, patience: Patience, key: &ObjectKey) -> Result<(), StorageError> {
        match self.settle("delete", patience, 0, || self.store.delete(key.path())).await {
            Ok(()) | Err(Failure::NotFound) => Ok(()),
            Err(failure) => Err(failure.indeterminate(key)),
        }
    }
}

fn found(meta: ObjectMeta) -> Found {
    Found { key: ObjectKey::listed(meta.location), size: meta.size, version: meta.e_tag }
}
