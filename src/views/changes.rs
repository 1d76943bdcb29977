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

#[cfg(test)]
mod tests {
    use super::*;

    fn anomaly(key: &str) -> WindowAnomaly {
        WindowAnomaly { window_end: 10, window_start: 0, key: key.to_owned(), detector: "flow".to_owned() }
    }

    fn row(text: &str) -> StoredRow {
        StoredRow(text.as_bytes().into())
    }

    fn standing(text: &str) -> Option<Verdict> {
        Some(Verdict::Standing(row(text)))
    }

    fn withdrawn(revision: i32) -> Option<Verdict> {
        Some(Verdict::Withdrawn { revision })
    }

    #[test]
    fn what_is_published_follows_from_what_stood_and_what_stands() {
        let found = |text| Some((row(text), None));
        let rows = [
            (None, standing("0"), found("0")),
            (standing("0"), standing("1"), found("1")),
            (standing("0"), withdrawn(1), Some((row("0"), Some(1)))),
            (withdrawn(1), withdrawn(2), None),
            (withdrawn(1), standing("2"), found("2")),
            (standing("0"), None, None),
            (withdrawn(1), None, None),
            (None, withdrawn(1), None),
        ];
        for (before, after, wanted) in rows {
            let change = |verdict: &Option<Verdict>, diff| verdict.clone().map(|it| ((anomaly("a"), it), diff));
            // In no order, and beside the changes of another.
            let other = ((anomaly("b"), Verdict::Withdrawn { revision: 7 }), -1);
            let changes = [Some(other), change(&after, 1), change(&before, -1)];
            let published = published(changes.into_iter().flatten().collect());
            let published: Vec<_> = published.into_iter().map(|one| (one.row, one.retracted_by)).collect();
            assert_eq!(published, wanted.into_iter().collect::<Vec<_>>(), "{before:?} to {after:?}");
        }
    }
}
