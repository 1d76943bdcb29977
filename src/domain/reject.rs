//! Records that do not become events: each keeps its address, its bytes and the reason.

use std::fmt;

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
    /// All names.
    pub const NAMES: [&str; 13] = [
        "empty",
        "too_large",
        "not_utf8",
        "syntax",
        "too_deep",
        "not_an_object",
        "lone_surrogate",
        "missing",
        "wrong_type",
        "out_of_range",
        "bad_time",
        "no_key",
        "from_the_future",
    ];

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

    /// The reason that `quarantine` has in its `reason` column; none for a text that is no reason of ours.
    pub fn parse(text: &str) -> Option<RejectReason> {
        let (name, field) = text.split_once(": ").map_or((text, None), |(name, field)| (name, Some(field.to_owned())));
        Some(match (name, field) {
            ("empty", None) => RejectReason::Empty,
            ("too_large", None) => RejectReason::TooLarge,
            ("not_utf8", None) => RejectReason::NotUtf8,
            ("syntax", None) => RejectReason::Syntax,
            ("too_deep", None) => RejectReason::TooDeep,
            ("not_an_object", None) => RejectReason::NotAnObject,
            ("lone_surrogate", None) => RejectReason::LoneSurrogate,
            ("missing", Some(field)) => RejectReason::Missing(field),
            ("wrong_type", Some(field)) => RejectReason::WrongType(field),
            ("out_of_range", Some(field)) => RejectReason::OutOfRange(field),
            ("bad_time", Some(field)) => RejectReason::BadTime(field),
            ("no_key", None) => RejectReason::NoKey,
            ("from_the_future", None) => RejectReason::FromTheFuture,
            _ => return None,
        })
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

impl fmt::Display for RejectReason {
    /// As it stands in `quarantine`: the field at fault behind a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field() {
            Some(field) => write!(f, "{}: {field}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// A record that did not become an event. Its payload is found in the raw batch by its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub offset: Offset,
    pub reason: RejectReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_read_back_from_the_text_that_the_table_has() {
        let field = || "Tot: sum".to_owned();
        let reasons = [
            RejectReason::Empty,
            RejectReason::TooLarge,
            RejectReason::NotUtf8,
            RejectReason::Syntax,
            RejectReason::TooDeep,
            RejectReason::NotAnObject,
            RejectReason::LoneSurrogate,
            RejectReason::Missing(field()),
            RejectReason::WrongType(field()),
            RejectReason::OutOfRange(field()),
            RejectReason::BadTime(field()),
            RejectReason::NoKey,
            RejectReason::FromTheFuture,
        ];
        assert_eq!(reasons.each_ref().map(RejectReason::name), RejectReason::NAMES);
        for reason in reasons {
            assert_eq!(RejectReason::parse(&reason.to_string()), Some(reason));
        }
        assert_eq!(RejectReason::parse("bad_time"), None, "it names no field");
        assert_eq!(RejectReason::parse("too_late"), None);
    }
}
