//! What an epoch's changes of the view publish.

use crate::domain::anomaly::WindowAnomaly;
use crate::views::verdict::{StoredRow, Verdict};

/// A change of the collection at one epoch: what came to be, or ceased to be, of an anomaly.
pub type Change = ((WindowAnomaly, Verdict), isize);

/// A row to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub anomaly: WindowAnomaly,
    pub row: StoredRow,
    /// The revision of the window that made the row fall; none: it is one that was found.
    pub retracted_by: Option<i32>,
}

/// The rows that the changes of one epoch publish, in the order of anomalies: what stands is published, in each of its revisions; what
/// stood and is withdrawn, is retracted; what is forgotten because its window is final, stays as it was published.
pub fn published(mut changes: Vec<Change>) -> Vec<Published> {
    changes.sort_unstable();
    let of_one = |changes: &[Change]| {
        let with = |wanted: isize| changes.iter().find(|(_, diff)| *diff == wanted).map(|((_, verdict), _)| verdict);
        let (row, retracted_by) = match (with(-1), with(1)) {
            (_, Some(Verdict::Standing(row))) => (row, None),
            (Some(Verdict::Standing(row)), Some(Verdict::Withdrawn { revision })) => (row, Some(*revision)),
            (_, Some(Verdict::Withdrawn { .. }) | None) => return None,
        };
        Some(Published { anomaly: changes[0].0.0.clone(), row: row.clone(), retracted_by })
    };
    changes.chunk_by(|((one, _), _), ((other, _), _)| one == other).filter_map(of_one).collect()
}
