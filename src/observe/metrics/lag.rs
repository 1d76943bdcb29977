//! How far each partition is behind its end: what was read is told by the workers, where it ends by the source when asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{Offset, PartitionId};

/// Where partitions end, as the source saw it last. Must not wait for anything.
pub type Ends = Box<dyn Fn() -> BTreeMap<PartitionId, Offset> + Send + Sync>;

/// The lag of the partitions that this process reads. A source whose ends are not known has none.
#[derive(Default)]
pub struct Lag {
    partitions: Mutex<BTreeMap<PartitionId, (String, Arc<AtomicI64>)>>,
    ends: Mutex<Option<Ends>>,
}

impl Lag {
    pub fn ends_from(&self, ends: Ends) {
        *lock(&self.ends) = Some(ends);
    }

    /// Whether anybody can tell where partitions end.
    pub fn is_known(&self) -> bool {
        lock(&self.ends).is_some()
    }

    /// Where a partition's reader says what it reads next.
    pub fn partition(&self, id: PartitionId, name: &str) -> Arc<AtomicI64> {
        let mut partitions = lock(&self.partitions);
        Arc::clone(&partitions.entry(id).or_insert_with(|| (name.to_owned(), Arc::new(AtomicI64::new(0)))).1)
    }

    /// By partition's name.
    pub fn look(&self) -> Vec<(String, i64)> {
        let Some(ends) = lock(&self.ends).as_ref().map(|ends| ends()) else { return Vec::new() };
        let partitions = lock(&self.partitions);
        let lag = |(id, (name, next)): (&PartitionId, &(String, Arc<AtomicI64>))| {
            // The end may have been seen before the last records came.
            Some((name.clone(), (ends.get(id)?.0 - next.load(Ordering::Relaxed)).max(0)))
        };
        partitions.iter().filter_map(lag).collect()
    }
}

impl fmt::Debug for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lag").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// The lock, whoever panicked while holding it: the panic ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_end_less_what_is_read_next_and_never_negative() {
        let lag = Lag::default();
        lag.partition(PartitionId(1), "flows/1").store(40, Ordering::Relaxed);
        lag.partition(PartitionId(2), "flows/2").store(9, Ordering::Relaxed);
        lag.partition(PartitionId(3), "flows/3").store(1, Ordering::Relaxed);
        assert_eq!(lag.look(), [], "the ends are not known");
        lag.ends_from(Box::new(|| BTreeMap::from([(PartitionId(1), Offset(100)), (PartitionId(2), Offset(8))])));
        assert_eq!(lag.look(), [("flows/1".to_owned(), 60), ("flows/2".to_owned(), 0)]);
    }
}
