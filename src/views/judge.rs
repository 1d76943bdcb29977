//! What one window's scored rows, epoch by epoch, say of the anomalies in it.
//!
//! Promise: nothing is said of anomalies that never were, nor after a window is final: the view holds no more than what stood
//! once in windows that can still be corrected.

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::RecordBatch;

use crate::domain::anomaly::WindowAnomaly;
use crate::domain::time::EventTime;
use crate::stage::EpochEnd;
use crate::views::rows::AnomalyRows;
use crate::views::verdict::{StoredRow, Upsert, Verdict};

/// See the module. One for each window and worker.
#[derive(Debug)]
pub struct Judge {
    rows: AnomalyRows,
    allowed_lateness: Duration,
    /// What stood once, in windows that are not final.
    known: BTreeSet<WindowAnomaly>,
    /// Windows that end up to here are final since the epoch that ended last. (Their last corrections may belong to that epoch.)
    final_through: EventTime,
}

impl Judge {
    /// `standing`: what stood in the window at the checkpoint that the run goes on from, at any of its workers.
    pub fn new(allowed_lateness: Duration, standing: impl IntoIterator<Item = WindowAnomaly>) -> Judge {
        Judge {
            rows: AnomalyRows::new(),
            allowed_lateness,
            known: standing.into_iter().collect(),
            final_through: EventTime::MIN,
        }
    }

    /// Rows were found to be anomalies, for the first time or again.
    ///
    /// # Panics
    /// If they have not the columns of anomalies.
    pub fn found(&mut self, anomalies: &RecordBatch, upserts: &mut Vec<Upsert>) {
        let rows = self.rows.of_windows(anomalies).expect("detectors give anomalies in the schema of anomalies");
        for (anomaly, row) in rows {
            self.known.insert(anomaly.clone());
            upserts.push((anomaly, Some(Verdict::Standing(row))));
        }
    }

    /// A revision of a window is no anomaly.
    pub fn cleared(&mut self, anomaly: WindowAnomaly, revision: i32, upserts: &mut Vec<Upsert>) {
        if self.known.contains(&anomaly) {
            upserts.push((anomaly, Some(Verdict::Withdrawn { revision })));
        }
    }

    /// The epoch is over, and all its rows were told. What was final when it began cannot have been corrected in it, and is forgotten:
    /// never in the epoch of a correction, which it would compete with.
    pub fn end(&mut self, end: EpochEnd, upserts: &mut Vec<Upsert>) {
        let due = self.final_through;
        self.final_through = due.max(end.retain.before(self.allowed_lateness));
        while self.known.first().is_some_and(|anomaly| anomaly.window_end <= due.0) {
            upserts.extend(self.known.pop_first().map(|anomaly| (anomaly, None)));
        }
    }
}

/// What a restored run begins with.
pub fn restored(standing: impl IntoIterator<Item = (WindowAnomaly, StoredRow)>) -> Vec<Upsert> {
    standing.into_iter().map(|(anomaly, row)| (anomaly, Some(Verdict::Standing(row)))).collect()
}
