//! Event time: when something happened, as the device tells it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00 UTC. `MIN` stands for "before everything", `MAX` for "nothing more will come".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(pub i64);

impl EventTime {
    pub const MIN: EventTime = EventTime(i64::MIN);
    pub const MAX: EventTime = EventTime(i64::MAX);

    /// This time plus a span; `MIN` and `MAX` stay what they are.
    pub fn after(self, span: Duration) -> EventTime {
        match self {
            EventTime::MIN | EventTime::MAX => self,
            EventTime(at) => EventTime(at.saturating_add(micros(span))),
        }
    }

    /// This time less a span; `MIN` and `MAX` stay what they are.
    pub fn before(self, span: Duration) -> EventTime {
        match self {
            EventTime::MIN | EventTime::MAX => self,
            EventTime(at) => EventTime(at.saturating_sub(micros(span))),
        }
    }
}

/// A span in whole microseconds, at most `i64::MAX`.
pub fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
