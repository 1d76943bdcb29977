//! The columns that a table will have: no name may stand twice, capitals aside, for DuckDB and Spark read no such table.

/// Names of a table, each with what it belongs to.
pub(super) struct Columns(Vec<(String, String)>);

const OWN: &str = "one of Tidewatch's own";
const PARTITIONED: &str = "the folder's (date=…/hour=…)";

/// The columns of `events` that are not fields.
pub(super) const EVENTS: &[&str] = &["event_time", "key", "partition", "offset", "epoch"];
/// The columns of `windows/<name>` that are neither groups nor aggregates.
pub(super) const WINDOWS: &[&str] = &["window_start", "window_end", "count", "revision", "epoch"];
/// What a detector adds, behind its name.
pub(super) const OF_DETECTOR: [&str; 4] = ["score", "is_anomaly", "model", "cluster"];

impl Columns {
    pub(super) fn new(own: &[&str]) -> Columns {
        let own = own.iter().map(|name| ((*name).to_owned(), OWN.to_owned()));
        let partitioned = ["date", "hour"].map(|name| (name.to_owned(), PARTITIONED.to_owned()));
        Columns(own.chain(partitioned).collect())
    }

    /// Adds a column; where the name is taken, whose it is.
    pub(super) fn claim(&mut self, name: &str, owner: &str) -> Option<String> {
        let folded = name.to_lowercase();
        let taken = self.0.iter().find(|(own, _)| *own == folded).map(|(_, owner)| owner.clone());
        if taken.is_none() {
            self.0.push((folded, owner.to_owned()));
        }
        taken
    }
}
