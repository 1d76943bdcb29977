//! `[watermark]`: how far events may be out of order, late, early, or silent.

use std::time::Duration;

use crate::domain::watermark::WatermarkSpec;

use super::reader::Reader;
use super::value::{duration, positive_duration};

/// What holds where the configuration is silent.
pub(super) const DEFAULT: WatermarkSpec = WatermarkSpec {
    out_of_orderness: Duration::from_secs(2),
    allowed_lateness: Duration::from_secs(10 * 60),
    idle_after: Duration::from_secs(60),
    future_skew: Duration::from_secs(5 * 60),
    max_drift: Duration::from_secs(3600),
    idle_retention: Duration::from_secs(3600),
};

pub(super) fn read(reader: Reader<'_>) -> Option<WatermarkSpec> {
    let spec = WatermarkSpec {
        out_of_orderness: reader.or("out_of_orderness", DEFAULT.out_of_orderness, duration),
        allowed_lateness: reader.or("allowed_lateness", DEFAULT.allowed_lateness, duration),
        idle_after: reader.or("idle_after", DEFAULT.idle_after, positive_duration),
        future_skew: reader.or("future_skew", DEFAULT.future_skew, duration),
        max_drift: reader.or("max_drift", DEFAULT.max_drift, positive_duration),
        idle_retention: reader.or("idle_retention", DEFAULT.idle_retention, duration),
    };
    reader.finish().then_some(spec)
}
