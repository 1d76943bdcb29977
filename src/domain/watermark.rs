//! How far events may be out of order, late, early, or silent.

use std::time::Duration;

/// `[watermark]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkSpec {
    /// A partition's watermark is the greatest event time seen there less this. An event below it is late.
    pub out_of_orderness: Duration,
    /// A late event is accepted down to the watermark less this; below, it is too late.
    pub allowed_lateness: Duration,
    /// A partition silent for this long, with nothing left to read, no longer holds back publication.
    pub idle_after: Duration,
    /// An event further ahead of its record's own time than this is quarantined.
    pub future_skew: Duration,
    /// A partition further ahead of the slowest live one than this is paused until the others catch up.
    pub max_drift: Duration,
    /// An idle partition keeps windows open for corrections at most this far behind the published watermark.
    pub idle_retention: Duration,
}
