//! What was injected against what was found: the demo's honesty.
//!
//! An anomaly belongs to a fault of its device if its window meets the fault's span, or the span by the fault's wrong clock. Every
//! other anomaly is a false alarm; those of one device that follow each other count as one.

use std::collections::BTreeMap;

use crate::audit::anomalies::Anomaly;
use crate::sources::simulator::Truth;

/// Anomalies of a device that lie no further apart than this are one episode, in microseconds: a window between them may be calm.
const EPISODE_GAP: i64 = 600_000_000;

/// Features that are named of a finding.
const FEATURES_NAMED: usize = 2;

/// A fault, and what was found of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) truth: Truth,
    pub(super) found: Option<Finding>,
}

/// Anomalies that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) device: String,
    /// The end of the first window that was found, in microseconds since 1970.
    pub(super) at: i64,
    pub(super) windows: usize,
    /// The features with the largest shares, over all its windows.
    pub(super) features: Vec<(String, f64)>,
}

/// The whole account.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Judgement {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) false_alarms: Vec<Finding>,
    /// Anomalies that belong to no fault.
    pub(super) false_windows: usize,
}

/// `anomalies` by time.
pub(super) fn judge(truth: Vec<Truth>, anomalies: &[Anomaly]) -> Judgement {
    let mut of_fault: Vec<Vec<&Anomaly>> = vec![Vec::new(); truth.len()];
    let mut of_none: BTreeMap<&str, Vec<&Anomaly>> = BTreeMap::new();
    for anomaly in anomalies {
        match truth.iter().position(|fault| fault.device == anomaly.key && meets(fault, anomaly)) {
            Some(place) => of_fault[place].push(anomaly),
            None => of_none.entry(&anomaly.key).or_default().push(anomaly),
        }
    }
    let verdicts = truth.into_iter().zip(of_fault);
    let verdicts = verdicts.map(|(truth, anomalies)| Verdict { truth, found: finding(&anomalies) }).collect();
    let false_windows = of_none.values().map(Vec::len).sum();
    let episodes = of_none.values().flat_map(|anomalies| {
        anomalies.chunk_by(|a, b| b.from.0.saturating_sub(a.to.0) <= EPISODE_GAP).filter_map(finding)
    });
    let mut false_alarms: Vec<Finding> = episodes.collect();
    false_alarms.sort_by_key(|finding| finding.at);
    Judgement { verdicts, false_alarms, false_windows }
}

fn meets(fault: &Truth, anomaly: &Anomaly) -> bool {
    // Milliseconds here, microseconds there; a wrong clock moves its readings by its magnitude in seconds.
    let shift = if fault.kind == "wrong_clock" { (fault.magnitude * 1e6) as i64 } else { 0 };
    let overlaps = |shift: i64| {
        anomaly.from.0 < fault.to * 1000 + shift && anomaly.to.0.max(anomaly.from.0 + 1) > fault.from * 1000 + shift
    };
    overlaps(0) || overlaps(shift)
}

fn finding(anomalies: &[&Anomaly]) -> Option<Finding> {
    let first = anomalies.first()?;
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for reason in anomalies.iter().flat_map(|anomaly| &anomaly.why) {
        *shares.entry(&reason.feature).or_default() += reason.share / anomalies.len() as f64;
    }
    let mut features: Vec<(String, f64)> = shares.into_iter().map(|(name, share)| (name.to_owned(), share)).collect();
    features.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    features.truncate(FEATURES_NAMED);
    let at = anomalies.iter().map(|anomaly| anomaly.to.0).min().unwrap_or(first.to.0);
    Some(Finding { device: first.key.clone(), at, windows: anomalies.len(), features })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::anomalies::Reason;
    use crate::domain::time::EventTime;

    fn fault(kind: &str, device: &str, from: i64, to: i64, magnitude: f64) -> Truth {
        let (kind, device) = (kind.to_owned(), device.to_owned());
        Truth { kind, device, fields: Vec::new(), from: from * 1000, to: to * 1000, magnitude, messages: 1 }
    }

    fn anomaly(device: &str, from: i64, reasons: &[(&str, f64)]) -> Anomaly {
        let reason = |(feature, share): &(&str, f64)| Reason {
            feature: (*feature).to_owned(),
            value: 1.0,
            expected: 0.0,
            share: *share,
        };
        Anomaly {
            from: EventTime(from * 1_000_000),
            to: EventTime((from + 10) * 1_000_000),
            key: device.to_owned(),
            detector: "health".to_owned(),
            model: "fleet/1".to_owned(),
            score: 2.0,
            threshold: 1.0,
            severity: "medium".to_owned(),
            why: reasons.iter().map(reason).collect(),
        }
    }

    #[test]
    fn a_fault_is_found_by_the_first_window_of_its_device_that_meets_its_span() {
        let truth = vec![fault("spike", "a", 100, 120, 8.0), fault("drift", "b", 100, 120, 8.0)];
        let anomalies = [
            anomaly("a", 90, &[("x", 1.0)]),
            anomaly("a", 100, &[("x", 0.6), ("y", 0.4)]),
            anomaly("a", 110, &[("y", 0.9), ("x", 0.1)]),
            anomaly("a", 120, &[("z", 1.0)]),
        ];
        let judgement = judge(truth, &anomalies);
        let found = judgement.verdicts[0].found.as_ref().unwrap();
        assert_eq!((found.at, found.windows), (110_000_000, 2));
        assert_eq!(found.features, [("y".to_owned(), 0.65), ("x".to_owned(), 0.35)]);
        assert_eq!(judgement.verdicts[1].found, None, "another device's anomalies are no finding");
        assert_eq!(judgement.false_windows, 2, "windows that end where it begins and begin where it ends");
    }

    #[test]
    fn a_wrong_clock_is_found_where_its_readings_lie() {
        let truth = || vec![fault("wrong_clock", "a", 100, 120, 3600.0)];
        assert!(judge(truth(), &[anomaly("a", 3700, &[])]).verdicts[0].found.is_some());
        assert!(judge(truth(), &[anomaly("a", 3720, &[])]).verdicts[0].found.is_none());
    }

    #[test]
    fn false_alarms_of_a_device_that_follow_each_other_are_one() {
        let anomalies = [anomaly("a", 0, &[]), anomaly("a", 610, &[]), anomaly("a", 1221, &[]), anomaly("b", 610, &[])];
        let judgement = judge(Vec::new(), &anomalies);
        let episodes: Vec<(&str, usize)> =
            judgement.false_alarms.iter().map(|finding| (finding.device.as_str(), finding.windows)).collect();
        assert_eq!((judgement.false_windows, episodes), (4, vec![("a", 2), ("b", 1), ("a", 1)]));
    }
}
