//! The demo's closing words: what was injected, what was found, how soon and why; what was missed; what was a false alarm; what
//! became of every message.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indicatif::HumanCount;

use crate::audit::ledger::Balance;
use crate::sources::simulator::Truth;

use super::judge::{Finding, Judgement, Verdict};

/// Everything that is told.
pub(super) struct Report<'a> {
    pub(super) devices: u32,
    pub(super) duration: std::time::Duration,
    pub(super) seed: u64,
    /// Whether it was interrupted: faults behind the end of what was read are not told of.
    pub(super) is_whole: bool,
    /// When the simulation begins, and up to when it was read, in microseconds since 1970.
    pub(super) start: i64,
    pub(super) judgement: &'a Judgement,
    pub(super) balance: &'a Balance,
    /// Messages that were refused, by reason.
    pub(super) refused: &'a BTreeMap<String, u64>,
    pub(super) late: u64,
    pub(super) corrected: u64,
    pub(super) events_per_second: f64,
    pub(super) took: std::time::Duration,
}

/// What a fault changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Values,
    /// Which messages come.
    Messages,
    /// When they come: once they are counted where they belong, nothing is wrong any more.
    Order,
}

fn change(truth: &Truth) -> Change {
    match truth.kind.as_str() {
        "late" | "out_of_order" => Change::Order,
        _ if truth.fields.is_empty() => Change::Messages,
        _ => Change::Values,
    }
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.headline(&mut text);
        self.verdicts(&mut text);
        self.false_alarms(&mut text);
        self.ledger(&mut text);
        text
    }

    fn headline(&self, text: &mut String) {
        let verdicts = &self.judgement.verdicts;
        let of = |wanted: Change| verdicts.iter().filter(move |verdict| change(&verdict.truth) == wanted);
        let found = |wanted: Change| of(wanted).filter(|verdict| verdict.found.is_some()).count();
        let alarms = self.judgement.false_alarms.len();
        // Writing to a String cannot fail; so everywhere here.
        let _ = writeln!(
            text,
            "{} devices, {} of simulated time, seed {}: {} faults.\n\
             Found {} of {} that changed values and {} of {} that changed which messages came, with {alarms} false {}.",
            self.devices,
            clock(i64::try_from(self.duration.as_micros()).unwrap_or(i64::MAX)),
            self.seed,
            verdicts.len(),
            found(Change::Values),
            of(Change::Values).count(),
            found(Change::Messages),
            of(Change::Messages).count(),
            if alarms == 1 { "alarm" } else { "alarms" },
        );
        let order = of(Change::Order).count();
        if order > 0 {
            let _ = writeln!(text, "{order} changed only when messages came: late ones are counted where they belong.");
        }
        if !self.is_whole {
            let _ = writeln!(text, "Interrupted: faults that had not begun by then are left out.");
        }
    }

    fn verdicts(&self, text: &mut String) {
        let _ = writeln!(text, "\n{:<11}{:<19}{:<17}{:<13}because of", "at", "fault", "device", "found");
        for Verdict { truth, found } in &self.judgement.verdicts {
            let at = clock(truth.from * 1000 - self.start);
            let (after, why) = match found {
                Some(finding) => (delay(finding.at - truth.from * 1000), reasons(finding)),
                None if change(truth) == Change::Order => ("corrected".to_owned(), effect(truth)),
                None => ("missed".to_owned(), effect(truth)),
            };
            let kind = truth.kind.replace('_', " ");
            let _ = writeln!(text, "{at:<11}{kind:<19}{:<17}{after:<13}{why}", truth.device);
        }
    }

    fn false_alarms(&self, text: &mut String) {
        if self.judgement.false_alarms.is_empty() {
            return;
        }
        let windows = self.judgement.false_windows;
        let _ = writeln!(text, "\nFalse alarms, {windows} {} in all:", if windows == 1 { "window" } else { "windows" });
        for finding in &self.judgement.false_alarms {
            let at = clock(finding.at - self.start);
            let _ = writeln!(text, "{at:<11}{:<19}{:<17}{:<13}{}", "", finding.device, "", reasons(finding));
        }
    }

    fn ledger(&self, text: &mut String) {
        let Balance { read, accepted, too_late, quarantined, .. } = self.balance;
        let count = |number: i64| HumanCount(number.unsigned_abs());
        let verdict = if self.balance.is_zero() { "every one accounted for" } else { "DOES NOT BALANCE" };
        let _ = writeln!(
            text,
            "\nLedger: {} read = {} accepted + {} too late + {} quarantined; {verdict}.",
            count(*read),
            count(*accepted),
            count(*too_late),
            count(*quarantined)
        );
        for (reason, records) in self.refused {
            let _ = writeln!(text, "        {} quarantined as `{reason}`", HumanCount(*records));
        }
        let _ = writeln!(
            text,
            "        {} came late and were accepted; they corrected {} {} that had been told before",
            HumanCount(self.late),
            HumanCount(self.corrected),
            if self.corrected == 1 { "window" } else { "windows" },
        );
        let _ = writeln!(
            text,
            "        {} events/s on average, {:.0} s in all",
            HumanCount(self.events_per_second as u64),
            self.took.as_secs_f64()
        );
    }
}

/// What a fault that no score shows did instead.
fn effect(truth: &Truth) -> String {
    let messages = HumanCount(truth.messages);
    match truth.kind.as_str() {
        "silence" => format!("{messages} messages never came; a window without events has no score"),
        "wrong_clock" => format!("{messages} messages with wrong times: see quarantine and late"),
        "duplicates" => format!("{messages} messages more"),
        "late" | "out_of_order" => format!("{messages} messages came behind time"),
        _ => format!("{messages} messages changed"),
    }
}

fn reasons(finding: &Finding) -> String {
    let named = finding.features.iter().map(|(feature, share)| format!("{feature} ({:.0} %)", 100.0 * share));
    named.collect::<Vec<_>>().join(", ")
}

fn delay(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    if seconds < 120 { format!("after {seconds} s") } else { format!("after {} min", seconds / 60) }
}

/// A span as a clock shows it.
pub(super) fn clock(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_report_tells_what_was_found_what_was_missed_and_what_was_a_false_alarm() {
        let truth = |kind: &str, device: &str, fields: &[&str]| Truth {
            kind: kind.to_owned(),
            device: device.to_owned(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            from: 600_000,
            to: 660_000,
            magnitude: 8.0,
            messages: 1200,
        };
        let finding = |device: &str, at: i64| Finding {
            device: device.to_owned(),
            at: at * 1_000_000,
            windows: 3,
            features: vec![("flow_mean".to_owned(), 0.812), ("rpm_mean".to_owned(), 0.1)],
        };
        let judgement = Judgement {
            verdicts: vec![
                Verdict { truth: truth("noise_burst", "pump-0003", &["flow"]), found: Some(finding("pump-0003", 619)) },
                Verdict { truth: truth("silence", "pump-0006", &[]), found: None },
                Verdict { truth: truth("duplicates", "pump-0009", &[]), found: Some(finding("pump-0009", 780)) },
                Verdict { truth: truth("out_of_order", "pump-0012", &[]), found: None },
            ],
            false_alarms: vec![finding("pump-0009", 700)],
            false_windows: 3,
        };
        let balance = Balance { read: 1000, accepted: 990, quarantined: 10, ..Balance::default() };
        let report = Report {
            devices: 60,
            duration: Duration::from_secs(1800),
            seed: 7,
            is_whole: true,
            start: 0,
            judgement: &judgement,
            balance: &balance,
            refused: &[("future".to_owned(), 10)].into(),
            late: 40,
            corrected: 5,
            events_per_second: 12_345.6,
            took: Duration::from_secs(31),
        };
        let wanted = "\
60 devices, 0:30:00 of simulated time, seed 7: 4 faults.
Found 1 of 1 that changed values and 1 of 2 that changed which messages came, with 1 false alarm.
1 changed only when messages came: late ones are counted where they belong.

at         fault              device           found        because of
0:10:00    noise burst        pump-0003        after 19 s   flow_mean (81 %), rpm_mean (10 %)
0:10:00    silence            pump-0006        missed       1,200 messages never came; a window without events has no score
0:10:00    duplicates         pump-0009        after 3 min  flow_mean (81 %), rpm_mean (10 %)
0:10:00    out of order       pump-0012        corrected    1,200 messages came behind time

False alarms, 3 windows in all:
0:11:40                       pump-0009                     flow_mean (81 %), rpm_mean (10 %)

Ledger: 1,000 read = 990 accepted + 0 too late + 10 quarantined; DOES NOT BALANCE.
        10 quarantined as `future`
        40 came late and were accepted; they corrected 5 windows that had been told before
        12,345 events/s on average, 31 s in all
";
        assert_eq!(report.text(), wanted);
    }
}
