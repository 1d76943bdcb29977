//! A histogram of durations that many threads fill without a lock, a whole batch of events at a time.
//!
//! `prometheus_client`'s own takes a lock for each single value; here a batch of any size is three relaxed additions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds of the buckets, in seconds: from far below an epoch to far beyond a stalled store.
const BOUNDS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0];

/// Durations, each with a weight. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Durations(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    /// One more than there are bounds: the last one has none.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    /// Adds `weight` things that took `span` each.
    pub fn add(&self, span: Duration, weight: u64) {
        let seconds = span.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.0.counts[bucket].fetch_add(weight, Ordering::Relaxed);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).saturating_mul(weight);
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(&self.0.counts).map(|(bound, count)| (bound, count.load(Ordering::Relaxed))).collect();
        // Of the same look at the buckets: a reader may rely on the last bucket being the count.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = self.0.micros.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_batch_counts_as_often_as_it_has_events_in_the_bucket_of_its_duration() {
        let durations = Durations::default();
        durations.add(Duration::from_millis(250), 3);
        durations.add(Duration::from_secs(200), 2);
        assert_eq!(durations.count(), 5);
        let mut registry = Registry::default();
        registry.register("d", "d", durations);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["d_sum 400.75", "d_count 5", "d_bucket{le=\"0.1\"} 0", "d_bucket{le=\"0.25\"} 3"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("d_bucket{le=\"160.0\"} 3\n") && text.contains("d_bucket{le=\"+Inf\"} 5\n"), "{text}");
    }
}
