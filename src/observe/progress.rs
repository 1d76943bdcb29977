//! How far a run is: counters that workers add to and that a progress bar, or a summary at the end, reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one process. They tell a person; nothing depends on them.
#[derive(Debug, Default)]
pub struct Progress {
    records: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    sequence: AtomicU64,
}

/// The counters at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub records: u64,
    /// Of payloads.
    pub bytes: u64,
    /// 0 where the end is not known.
    pub bytes_total: u64,
    /// The number of the last manifest; 0 before the first.
    pub sequence: u64,
}

impl Progress {
    pub fn expect_bytes(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn read(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn committed(&self, sequence: u64) {
        self.sequence.fetch_max(sequence, Ordering::Relaxed);
    }

    pub fn reading(&self) -> Reading {
        Reading {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            sequence: self.sequence.load(Ordering::Relaxed),
        }
    }
}
