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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Epoch;

    fn anomaly(window_end: i64) -> WindowAnomaly {
        let (key, detector) = ("pump-1".to_owned(), "flow".to_owned());
        WindowAnomaly { window_end, window_start: window_end - 10, key, detector }
    }

    fn end(retain: i64) -> EpochEnd {
        let at = EventTime(retain);
        EpochEnd { epoch: Epoch(1), is_checkpoint: false, publish: at, retain: at }
    }

    fn judge(standing: &[i64]) -> Judge {
        Judge::new(Duration::from_micros(100), standing.iter().map(|end| anomaly(*end)))
    }

    #[test]
    fn nothing_is_said_of_an_anomaly_that_never_was() {
        let mut upserts = Vec::new();
        let mut judge = judge(&[20]);
        judge.cleared(anomaly(10), 1, &mut upserts);
        judge.cleared(anomaly(20), 4, &mut upserts);
        assert_eq!(upserts, [(anomaly(20), Some(Verdict::Withdrawn { revision: 4 }))]);
    }

    #[test]
    fn an_anomaly_is_forgotten_one_epoch_after_its_window_is_final() {
        let mut judge = judge(&[10, 20, 30]);
        let mut forgotten = |retain| {
            let mut upserts = Vec::new();
            judge.end(end(retain), &mut upserts);
            upserts.into_iter().map(|(anomaly, verdict)| (anomaly.window_end, verdict)).collect::<Vec<_>>()
        };
        assert_eq!(forgotten(120), [], "corrections of this epoch may be under way");
        assert_eq!(forgotten(119), [(10, None), (20, None)]);
        assert_eq!(forgotten(129), [], "what was final stays so, and nothing else becomes it");
        assert_eq!(forgotten(i64::MAX), []);
        assert_eq!(forgotten(i64::MAX), [(30, None)]);
    }
}
