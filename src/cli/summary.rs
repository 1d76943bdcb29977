//! What a run has done, told at its end: for people and, with `--json`, for scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::HumanCount;
use serde_json::json;

use crate::observe::metrics::Totals;

use super::print;

/// The account of a run in this process, since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) pipeline: String,
    /// Where the results are.
    pub(super) output: String,
    pub(super) took: Duration,
    pub(super) totals: Totals,
    /// Quarantined records by reason.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    AsText,
    AsJson,
    NotAtAll,
}

impl Summary {
    pub(super) fn tell(&self, told: Told) -> anyhow::Result<()> {
        match told {
            Told::AsText => print(self.as_text().as_bytes()),
            Told::AsJson => print(format!("{:#}\n", self.as_json()).as_bytes()),
            Told::NotAtAll => Ok(()),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let Totals {
            records,
            bytes,
            accepted,
            late,
            too_late,
            quarantined,
            windows,
            corrected,
            scored,
            unscored,
            anomalies,
        } = self.totals;
        json!({
            "pipeline": self.pipeline,
            "output": self.output,
            "seconds": self.took.as_secs_f64(),
            "records": records,
            "bytes": bytes,
            "accepted": accepted,
            "late": late,
            "too_late": too_late,
            "quarantined": quarantined,
            "quarantined_as": self.refused,
            "windows": windows,
            "corrected": corrected,
            "scored": scored,
            "unscored": unscored,
            "anomalies": anomalies,
        })
    }

    fn as_text(&self) -> String {
        let totals = self.totals;
        let mut text = String::new();
        let mut line = |what: &str, words: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:<12}{words}");
        };
        let count = HumanCount;
        let mut refused = Vec::new();
        if totals.too_late > 0 {
            refused.push(format!("{} too late", count(totals.too_late)));
        }
        if totals.quarantined > 0 {
            let reasons: Vec<_> =
                self.refused.iter().map(|(reason, records)| format!("{} {reason}", count(*records))).collect();
            refused.push(format!("{} quarantined ({})", count(totals.quarantined), reasons.join(", ")));
        }
        let refused = if refused.is_empty() { String::new() } else { format!(": {}", refused.join(", ")) };
        line(
            "events",
            match totals.records {
                0 => "nothing new: what there is to read was read before, or there is nothing".to_owned(),
                records => format!("{} of {} records{refused}", count(totals.accepted), count(records)),
            },
        );
        if totals.accepted == 0 && totals.quarantined > 0 {
            line(
                "",
                "nothing could be read as configured: `tidewatch check` with the same arguments says why".to_owned(),
            );
        }
        if totals.late > 0 {
            line(
                "late",
                format!("{} of them, accepted; {} windows corrected", count(totals.late), count(totals.corrected)),
            );
        }
        line("windows", count(totals.windows).to_string());
        if totals.scored + totals.unscored > 0 {
            line("anomalies", format!("{} in {} scores", count(totals.anomalies), count(totals.scored)));
        }
        if totals.unscored > 0 {
            line("unscored", format!("{} rows, whose score is not finite", count(totals.unscored)));
        }
        line("written to", self.output.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_what_was_refused_only_where_something_was() {
        let totals = Totals { records: 1200, bytes: 9, accepted: 1200, windows: 40, ..Totals::default() };
        let (pipeline, output, took) = ("p".to_owned(), "./out".to_owned(), Duration::from_secs(2));
        let summary = Summary { pipeline, output, took, totals, refused: BTreeMap::new() };
        let wanted = "events      1,200 of 1,200 records\nwindows     40\nwritten to  ./out\n";
        assert_eq!(summary.as_text(), wanted);
        let totals =
            Totals { accepted: 1190, too_late: 4, quarantined: 6, scored: 1189, unscored: 1, anomalies: 3, ..totals };
        let wanted = "events      1,190 of 1,200 records: 4 too late, 6 quarantined (5 bad_time, 1 syntax)\nwindows     40\n\
                      anomalies   3 in 1,189 scores\nunscored    1 rows, whose score is not finite\nwritten to  ./out\n";
        assert_eq!(Summary { totals, refused: [("bad_time", 5), ("syntax", 1)].into(), ..summary }.as_text(), wanted);
    }
}
