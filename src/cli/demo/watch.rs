//! Who listens to the topic of anomalies while the demo runs: which devices misbehave, since when, and why.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::broker::mock::MockReader;

pub(super) const TOPIC: &str = "fleet-anomalies";

/// What a record of the topic says, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Record {
    key: String,
    window_end: Option<String>,
    score: f64,
    threshold: f64,
    why: Vec<Reason>,
    retracted: bool,
}

#[derive(Debug, Deserialize)]
struct Reason {
    feature: String,
}

/// A device that misbehaves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Suspect {
    pub(super) device: String,
    /// The ends of its first and of its last abnormal window, RFC 3339.
    pub(super) since: String,
    pub(super) last: String,
    pub(super) windows: u64,
    /// The worst score, in thresholds.
    pub(super) worst: f64,
    /// What gave the last one away.
    pub(super) feature: String,
}

/// Everything heard so far.
pub(super) struct Watch {
    reader: MockReader,
    heard: Heard,
}

#[derive(Default)]
struct Heard {
    suspects: BTreeMap<String, Suspect>,
    /// The windows whose anomalies stand, by device and end.
    standing: BTreeSet<(String, String)>,
}

impl Watch {
    pub(super) fn new(reader: MockReader) -> Watch {
        Watch { reader, heard: Heard::default() }
    }

    /// Takes what has come.
    pub(super) fn listen(&mut self) {
        while let Some(payload) = self.reader.next() {
            if let Ok(record) = serde_json::from_slice::<Record>(&payload) {
                self.heard.hear(record);
            }
        }
    }

    /// Those that were found last, first.
    pub(super) fn latest(&self) -> Vec<&Suspect> {
        let mut suspects: Vec<&Suspect> = self.heard.suspects.values().collect();
        suspects.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| b.worst.total_cmp(&a.worst)));
        suspects
    }
}

impl Heard {
    fn hear(&mut self, record: Record) {
        let at = record.window_end.unwrap_or_default();
        let window = (record.key.clone(), at.clone());
        if record.retracted {
            self.standing.remove(&window);
            self.forget(&record.key);
            return;
        }
        let worst = if record.threshold > 0.0 { record.score / record.threshold } else { f64::INFINITY };
        let feature = record.why.into_iter().next().map_or_else(String::new, |reason| reason.feature);
        let suspect = self.suspects.entry(record.key.clone()).or_insert_with(|| Suspect {
            device: record.key,
            since: at.clone(),
            last: String::new(),
            windows: 0,
            worst: 0.0,
            feature: String::new(),
        });
        // A revision of an anomaly is no other window.
        suspect.windows += u64::from(self.standing.insert(window));
        suspect.worst = suspect.worst.max(worst);
        if at >= suspect.last {
            (suspect.last, suspect.feature) = (at, feature);
        }
    }

    /// Counts a device's windows anew after a correction took one back; without any it is none that misbehaves.
    fn forget(&mut self, device: &str) {
        let windows = self.standing.iter().filter(|(of, _)| of == device).count() as u64;
        if windows == 0 {
            self.suspects.remove(device);
        } else if let Some(suspect) = self.suspects.get_mut(device) {
            suspect.windows = windows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_its_first_window_its_last_and_its_worst() {
        let mut heard = Heard::default();
        let record = |end: &str, score: f64, feature: &str, retracted: bool| -> Record {
            let text = format!(
                r#"{{"key":"pump-0003","window_end":"2026-01-01T00:{end}:00.000000Z","score":{score},"threshold":2.0,
                "why":[{{"feature":"{feature}","value":1.0,"expected":0.5,"share":0.9}}],"retracted":{retracted}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        for (end, score, feature) in [("02", 3.0, "flow_mean"), ("05", 9.0, "rpm_mean"), ("04", 4.0, "flow_mean")] {
            heard.hear(record(end, score, feature, false));
        }
        let wanted = Suspect {
            device: "pump-0003".to_owned(),
            since: "2026-01-01T00:02:00.000000Z".to_owned(),
            last: "2026-01-01T00:05:00.000000Z".to_owned(),
            windows: 3,
            worst: 4.5,
            feature: "rpm_mean".to_owned(),
        };
        assert_eq!(heard.suspects["pump-0003"], wanted);
        heard.hear(record("04", 4.5, "flow_mean", false));
        assert_eq!(heard.suspects["pump-0003"], wanted, "a revision is no other window");
        heard.hear(record("04", 4.5, "flow_mean", true));
        assert_eq!(heard.suspects["pump-0003"], Suspect { windows: 2, ..wanted });
        for end in ["02", "05"] {
            heard.hear(record(end, 1.0, "flow_mean", true));
        }
        assert!(heard.suspects.is_empty(), "all was taken back");
    }
}
