//! The tables under the output's URL, and the rows that travel to them.

use std::fmt;

use arrow::array::RecordBatch;

/// An output table. Windows are numbered in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Events,
    Windows(u16),
    Anomalies,
    Late,
    Quarantine,
}

/// Rows of one table, as a stage gives them.
#[derive(Clone, Debug)]
pub struct Rows {
    pub table: Table,
    pub batch: RecordBatch,
}

/// Why an event is in the `late` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateReason {
    /// Behind its partition's watermark by more than the allowed lateness.
    TooLate,
    /// Accepted, but its window had been dropped while its partition was idle beyond the cap.
    WindowFinal,
    /// Accepted, but all its windows begin before the window was added to the configuration, and so were not seen whole.
    BeforeWindow,
}

impl fmt::Display for LateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LateReason::TooLate => "too_late",
            LateReason::WindowFinal => "window_final",
            LateReason::BeforeWindow => "before_window",
        })
    }
}
