//! How far long work has come: written by those who do it, read by those who show it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use crate::domain::time::EventTime;

/// Shared by all workers of a process. The numbers only inform; nothing may be decided by them.
#[derive(Debug)]
pub struct Progress {
    /// Also a metric each.
    pub(super) rows: Counter,
    pub(super) bytes: Counter,
    rows_total: AtomicU64,
    bytes_total: AtomicU64,
    watermark: AtomicI64,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            rows: Counter::default(),
            bytes: Counter::default(),
            rows_total: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            watermark: AtomicI64::new(EventTime::MIN.0),
        }
    }
}

/// What was there at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub rows: u64,
    pub bytes: u64,
    /// From 0 to 1; `None` while the whole is not known.
    pub share: Option<f64>,
    /// Up to which event time everything was read; `None` before the first and after the last.
    pub watermark: Option<EventTime>,
}

impl Progress {
    /// Records that were read, and their bytes.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.inc_by(rows);
        self.bytes.inc_by(bytes);
    }

    /// Bytes that will be read, of one more input. Where bytes are not known beforehand, use `expect_rows`.
    pub fn expect_bytes(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records that will be read, of one more input.
    pub fn expect_rows(&self, rows: u64) {
        self.rows_total.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn set_watermark(&self, watermark: EventTime) {
        self.watermark.fetch_max(watermark.0, Ordering::Relaxed);
    }

    pub fn look(&self) -> Seen {
        let (rows, bytes) = (self.rows.get(), self.bytes.get());
        let watermark = EventTime(self.watermark.load(Ordering::Relaxed));
        let share = |done: u64, total: &AtomicU64| match total.load(Ordering::Relaxed) {
            0 => None,
            // A share for people: that large counts lose their last digits does not show.
            total => Some((done as f64 / total as f64).min(1.0)),
        };
        Seen {
            rows,
            bytes,
            share: share(bytes, &self.bytes_total).or_else(|| share(rows, &self.rows_total)),
            watermark: (watermark != EventTime::MIN && watermark != EventTime::MAX).then_some(watermark),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_bytes_where_they_are_known_and_of_rows_where_not() {
        let progress = Progress::default();
        progress.add(10, 100);
        assert_eq!(progress.look(), Seen { rows: 10, bytes: 100, share: None, watermark: None });
        progress.expect_rows(40);
        assert_eq!(progress.look().share, Some(0.25));
        progress.expect_bytes(200);
        assert_eq!(progress.look().share, Some(0.5));
        progress.set_watermark(EventTime(7));
        progress.set_watermark(EventTime(5));
        assert_eq!(progress.look().watermark, Some(EventTime(7)));
    }
}
