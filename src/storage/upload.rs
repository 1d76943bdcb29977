//! Writing objects in the background: an operator hands them over, goes on, and is woken when one is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Semaphore, oneshot};

use crate::storage::Storage;
use crate::storage::error::{Cause, StorageError};
use crate::storage::key::ObjectKey;

/// Called from another thread whenever an upload has ended.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A queue of uploads. At most `sent_bytes_max` are on their way at once (one larger object goes alone); the others wait in memory.
///
/// `upload` never blocks and never refuses, so the queue is bounded by its user: who has to hold back looks at `has_room`.
pub struct Uploads {
    storage: Storage,
    room: Arc<Semaphore>,
    permits: u32,
    held_bytes: Arc<AtomicUsize>,
    held_bytes_max: usize,
    wake: Wake,
}

/// One permit a KiB: a semaphore counts in `u32`.
const PERMIT_BYTES: usize = 1 << 10;

impl Uploads {
    /// `held_bytes_max` is what `has_room` answers by.
    pub fn new(storage: &Storage, sent_bytes_max: usize, held_bytes_max: usize, wake: Wake) -> Uploads {
        let permits = u32::try_from(sent_bytes_max / PERMIT_BYTES).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
        Uploads {
            storage: storage.clone(),
            room: Arc::new(Semaphore::new(permits as usize)),
            permits,
            held_bytes: Arc::new(AtomicUsize::new(0)),
            held_bytes_max,
            wake,
        }
    }

    /// Starts writing `bytes` to `key`, over what may be there.
    pub fn upload(&self, key: ObjectKey, bytes: Bytes) -> Pending {
        let (tell, outcome) = oneshot::channel();
        let size = bytes.len();
        self.held_bytes.fetch_add(size, Ordering::AcqRel);
        let (remote, patience) = (Arc::clone(&self.storage.remote), self.storage.patience);
        let (room, held, wake) = (Arc::clone(&self.room), Arc::clone(&self.held_bytes), Arc::clone(&self.wake));
        let permits = u32::try_from(size.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.permits);
        let target = key.clone();
        self.storage.runtime.spawn(async move {
            // The semaphore is never closed; were it, the upload would only go without waiting.
            let permit = room.acquire_many(permits).await.ok();
            let done = remote.put(patience, &target, &bytes).await;
            drop((permit, bytes));
            held.fetch_sub(size, Ordering::AcqRel);
            // Who no longer waits for the outcome does not need it.
            let _ = tell.send(done);
            wake();
        });
        Pending { key, outcome }
    }

    /// Bytes handed over and not yet durable.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Acquire)
    }

    pub fn has_room(&self) -> bool {
        self.held_bytes() < self.held_bytes_max
    }
}

/// An upload that was started.
#[derive(Debug)]
pub struct Pending {
    key: ObjectKey,
    outcome: oneshot::Receiver<Result<(), StorageError>>,
}

impl Pending {
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// How it ended, told once; none while it is under way.
    pub fn poll(&mut self) -> Option<Result<(), StorageError>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(self.cut_short())),
        }
    }

    /// Waits for the end. Not for operators.
    pub fn wait(self) -> Result<(), StorageError> {
        let Pending { key, outcome } = self;
        outcome.blocking_recv().unwrap_or_else(|_| Err(cut_short(key)))
    }

    fn cut_short(&self) -> StorageError {
        cut_short(self.key.clone())
    }
}

fn cut_short(key: ObjectKey) -> StorageError {
    StorageError::Indeterminate { key, waited: Default::default(), source: Cause::text("the upload was cut short") }
}
