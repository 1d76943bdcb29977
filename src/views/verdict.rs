//! What the newest row of a window says of an anomaly in it.

use serde::{Deserialize, Serialize};

use crate::domain::anomaly::WindowAnomaly;

/// A row of the table of anomalies, bit for bit, as `views::rows` encodes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoredRow(pub(super) Box<[u8]>);

/// The value of the view's collection. An anomaly that never was has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It is one: the row as it was published.
    Standing(StoredRow),
    /// It was one, and is none since this revision of the window.
    Withdrawn { revision: i32 },
}

/// What an anomaly is from now on; none: the window is final, and the view forgets it.
pub type Upsert = (WindowAnomaly, Option<Verdict>);
