//! Records that do not become events: each keeps its address, its bytes and the reason.

use crate::domain::ids::Offset;

/// Why a record was quarantined. A closed set: its names stand in the `quarantine` table and in the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// A tombstone, an empty payload, or blanks alone.
    Empty,
    TooLarge,
    NotUtf8,
    Syntax,
    TooDeep,
    NotAnObject,
    /// A lone surrogate in a text that is wanted.
    LoneSurrogate,
    /// A required field is missing or null.
    Missing(String),
    WrongType(String),
    OutOfRange(String),
    /// The time is missing, or cannot be read by the configured format.
    BadTime(String),
    /// The key is missing or null.
    NoKey,
    /// The event time is further ahead of the record's own time than `future_skew`.
    FromTheFuture,
}

impl RejectReason {
    /// The name in the table's `reason` column and in metrics, without the field.
    pub fn name(&self) -> &'static str {
        match self {
            RejectReason::Empty => "empty",
            RejectReason::TooLarge => "too_large",
            RejectReason::NotUtf8 => "not_utf8",
            RejectReason::Syntax => "syntax",
            RejectReason::TooDeep => "too_deep",
            RejectReason::NotAnObject => "not_an_object",
            RejectReason::LoneSurrogate => "lone_surrogate",
            RejectReason::Missing(_) => "missing",
            RejectReason::WrongType(_) => "wrong_type",
            RejectReason::OutOfRange(_) => "out_of_range",
            RejectReason::BadTime(_) => "bad_time",
            RejectReason::NoKey => "no_key",
            RejectReason::FromTheFuture => "from_the_future",
        }
    }

    /// The field at fault, where there is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            RejectReason::Missing(field)
            | RejectReason::WrongType(field)
            | RejectReason::OutOfRange(field)
            | RejectReason::BadTime(field) => Some(field),
            _ => None,
        }
    }
}

/// A record that did not become an event. Its payload is found in the raw batch by its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub offset: Offset,
    pub reason: RejectReason,
}
