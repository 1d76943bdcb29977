//! What is measured of a run: counted by those at work, read by `/metrics`, the progress bar and the closing summary.
//!
//! Promises: the hot path pays a few relaxed additions a batch, never one a row; nothing is ever decided by these numbers;
//! every metric is registered in `catalogue` alone.

mod catalogue;
mod histogram;
mod lag;
mod own_process;
mod reckoned;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use histogram::Durations;
pub use lag::Lag;

use crate::domain::time::EventTime;
use crate::observe::progress::Progress;
use crate::observe::vitals::Vitals;

/// Counters or gauges by `N` labels.
type By<const N: usize, M> = Family<[(&'static str, String); N], M>;

/// Seconds as a counter.
type Seconds = Counter<f64, AtomicU64>;

/// Everything that is measured in one process.
#[derive(Debug)]
pub struct Metrics {
    /// What was read, and how far event time has come.
    pub progress: Arc<Progress>,
    pub vitals: Arc<Vitals>,
    pub intake: IntakeMetrics,
    pub flow: FlowMetrics,
    pub output: OutputMetrics,
    pub lag: Arc<Lag>,
    windows: Named<1, WindowMetrics>,
    detectors: Named<2, DetectorMetrics>,
    families: Families,
    registry: Registry,
}

/// What became of records.
#[derive(Debug, Default)]
pub struct IntakeMetrics {
    accepted: Counter,
    late: Counter,
    too_late: Counter,
    lost: Counter,
    quarantined: By<1, Counter>,
    /// The same as numbers, for the account at the end.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// The newest event time that was accepted.
    newest: Arc<AtomicI64>,
    /// Records that were fetched and not read yet.
    pub waiting: Gauge,
    throttled: Seconds,
}

/// What became of a few batches: added up where they are read, told once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: u64,
    /// Of the accepted ones: those behind their partition's watermark.
    pub late: u64,
    pub too_late: u64,
    /// Offsets that retention had deleted.
    pub lost: u64,
    pub quarantined: BTreeMap<&'static str, u64>,
}

/// Epochs and checkpoints.
#[derive(Debug, Default)]
pub struct FlowMetrics {
    /// From the moment an event's batch was read to the commit of its epoch, once for each accepted event.
    pub latency: Durations,
    /// From the end of a checkpoint's epoch to its commit.
    pub checkpoint: Durations,
    pub workers: Gauge,
    pub epochs_in_flight: Gauge,
    pub epochs_uncommitted: Gauge,
}

/// What leaves.
#[derive(Debug, Default)]
pub struct OutputMetrics {
    files: By<1, Counter>,
    bytes: By<1, Counter>,
    rows: By<1, Counter>,
    /// Handed to the store, and not durable yet.
    pub uploads_pending_bytes: Gauge,
    /// Rows in memory that wait for their file.
    pub rows_held_bytes: Gauge,
}

/// One configured window. Gauges are sums over the workers: each adds what changed.
#[derive(Clone, Debug, Default)]
pub struct WindowMetrics {
    pub published: Counter,
    pub corrected: Counter,
    /// Events that were accepted, and whose windows were final when they came.
    pub too_late: Counter,
    pub open: Gauge,
    pub groups: Gauge,
    pub state_bytes: Gauge,
}

/// One detector with the version of its model.
#[derive(Clone, Debug, Default)]
pub struct DetectorMetrics {
    pub scored: Counter,
    /// Rows whose score is not finite.
    pub unscored: Counter,
    pub anomalies: Counter,
    /// Anomalies of windows that a correction took back.
    pub retracted: Counter,
}

/// The handles that were given out, by their labels.
type Named<const N: usize, M> = Mutex<BTreeMap<[String; N], M>>;

/// Metrics with labels, of which `WindowMetrics` and `DetectorMetrics` are the members.
#[derive(Debug, Default)]
struct Families {
    published: By<1, Counter>,
    corrected: By<1, Counter>,
    window_too_late: By<1, Counter>,
    open: By<1, Gauge>,
    groups: By<1, Gauge>,
    state_bytes: By<1, Gauge>,
    scored: By<2, Counter>,
    unscored: By<2, Counter>,
    anomalies: By<2, Counter>,
    retracted: By<2, Counter>,
    loaded: By<1, Gauge>,
    refused: By<1, Gauge>,
    takeovers: By<2, Counter>,
}

/// The account of a run that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub records: u64,
    pub bytes: u64,
    pub accepted: u64,
    pub too_late: u64,
    pub quarantined: u64,
    /// Accepted though behind their partition's watermark.
    pub late: u64,
    /// Rows of windows, corrections included, and those that are corrections.
    pub windows: u64,
    pub corrected: u64,
    pub scored: u64,
    pub unscored: u64,
    pub anomalies: u64,
}

impl Metrics {
    pub fn new(pipeline: &str) -> Metrics {
        let mut metrics = Metrics {
            progress: Arc::default(),
            vitals: Arc::default(),
            intake: IntakeMetrics::default(),
            flow: FlowMetrics::default(),
            output: OutputMetrics::default(),
            lag: Arc::default(),
            windows: Named::default(),
            detectors: Named::default(),
            families: Families::default(),
            registry: Registry::default(),
        };
        metrics.intake.newest.store(EventTime::MIN.0, Ordering::Relaxed);
        let mut registry = Registry::default();
        catalogue::register(&mut registry, &metrics, pipeline);
        metrics.registry = registry;
        metrics
    }

    /// Everything as OpenMetrics text.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing to a String cannot fail, and a value that cannot be encoded does not exist.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The members of one configured window.
    pub fn window(&self, name: &str) -> WindowMetrics {
        let of = &self.families;
        let labels = [("window", name.to_owned())];
        let make = || WindowMetrics {
            published: of.published.get_or_create_owned(&labels),
            corrected: of.corrected.get_or_create_owned(&labels),
            too_late: of.window_too_late.get_or_create_owned(&labels),
            open: of.open.get_or_create_owned(&labels),
            groups: of.groups.get_or_create_owned(&labels),
            state_bytes: of.state_bytes.get_or_create_owned(&labels),
        };
        named(&self.windows, [name.to_owned()], make)
    }

    /// The members of one detector with a version of its model.
    pub fn detector(&self, name: &str, model: &str) -> DetectorMetrics {
        let of = &self.families;
        let labels = [("detector", name.to_owned()), ("model", model.to_owned())];
        let make = || DetectorMetrics {
            scored: of.scored.get_or_create_owned(&labels),
            unscored: of.unscored.get_or_create_owned(&labels),
            anomalies: of.anomalies.get_or_create_owned(&labels),
            retracted: of.retracted.get_or_create_owned(&labels),
        };
        named(&self.detectors, [name.to_owned(), model.to_owned()], make)
    }

    /// Whether a configured detector runs at all.
    pub fn detector_is_loaded(&self, name: &str, is_loaded: bool) {
        self.families.loaded.get_or_create(&[("detector", name.to_owned())]).set(i64::from(is_loaded));
    }

    /// Whether a version is promoted that this detector cannot use.
    pub fn model_is_refused(&self, detector: &str, is_refused: bool) {
        self.families.refused.get_or_create(&[("detector", detector.to_owned())]).set(i64::from(is_refused));
    }

    /// A version of a detector's model has taken over.
    pub fn model_takes_over(&self, detector: &str, model: &str) {
        self.families.takeovers.get_or_create(&[("detector", detector.to_owned()), ("model", model.to_owned())]).inc();
    }

    /// Quarantined records by the name of the reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.intake.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn totals(&self) -> Totals {
        let seen = self.progress.look();
        let (accepted, too_late) = (self.intake.accepted.get(), self.intake.too_late.get());
        let mut totals = Totals {
            records: seen.rows,
            bytes: seen.bytes,
            accepted,
            too_late,
            late: self.intake.late.get(),
            quarantined: seen.rows.saturating_sub(accepted).saturating_sub(too_late),
            ..Totals::default()
        };
        for window in self.windows.lock().unwrap_or_else(PoisonError::into_inner).values() {
            totals.windows += window.published.get() + window.corrected.get();
            totals.corrected += window.corrected.get();
        }
        for detector in self.detectors.lock().unwrap_or_else(PoisonError::into_inner).values() {
            totals.scored += detector.scored.get();
            totals.unscored += detector.unscored.get();
            totals.anomalies += detector.anomalies.get();
        }
        totals
    }
}

fn named<const N: usize, M: Clone>(given: &Named<N, M>, labels: [String; N], make: impl FnOnce() -> M) -> M {
    // Nobody panics while holding it.
    given.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_insert_with(make).clone()
}

impl IntakeMetrics {
    pub fn add(&self, tally: Tally) {
        self.accepted.inc_by(tally.accepted);
        self.late.inc_by(tally.late);
        self.too_late.inc_by(tally.too_late);
        self.lost.inc_by(tally.lost);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, records) in tally.quarantined {
            *refused.entry(reason).or_default() += records;
            self.quarantined.get_or_create(&[("reason", reason.to_owned())]).inc_by(records);
        }
    }

    /// The newest event time that a partition has shown.
    pub fn saw(&self, newest: EventTime) {
        self.newest.fetch_max(newest.0, Ordering::Relaxed);
    }

    /// For so long nothing was read, for what was read could not go on.
    pub fn throttled(&self, span: std::time::Duration) {
        self.throttled.inc_by(span.as_secs_f64());
    }
}

impl OutputMetrics {
    /// A file that has become visible.
    pub fn published(&self, table: &str, bytes: u64, rows: u64) {
        let labels = [("table", table.to_owned())];
        self.files.get_or_create(&labels).inc();
        self.bytes.get_or_create(&labels).inc_by(bytes);
        self.rows.get_or_create(&labels).inc_by(rows);
    }
}

/// One worker's part of a gauge that is the sum over all: it tells what its part is, the gauge moves by what changed.
#[derive(Debug)]
pub struct Part {
    gauge: Gauge,
    told: i64,
}

impl Part {
    pub fn of(gauge: &Gauge) -> Part {
        Part { gauge: gauge.clone(), told: 0 }
    }

    pub fn set(&mut self, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if value != self.told {
            self.gauge.inc_by(value.wrapping_sub(self.told));
            self.told = value;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Seconds of event time, for people and gauges.
fn seconds(time: EventTime) -> f64 {
    time.0 as f64 / 1e6
}

/// The clock on the wall, in seconds since 1970.
fn wall_seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Seconds since the last commit, or since the start before the first.
fn checkpoint_age(vitals: &Vitals) -> f64 {
    vitals.look(Instant::now()).uncommitted.as_secs_f64()
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
