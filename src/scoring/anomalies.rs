//! The rows of the `anomalies` table: who, when, how far off, and why.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;

use crate::domain::anomaly::{schema, why_fields, why_item};
use crate::scoring::detector::FeatureShare;

/// How far beyond the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Low,
    /// From twice the threshold.
    Medium,
    /// From five times the threshold.
    High,
}

impl Severity {
    /// `greatest` is what no score exceeds, where there is such a bound: then what is left up to it counts, not multiples that cannot be
    /// reached.
    pub fn of(score: f64, threshold: f64, greatest: Option<f64>) -> Severity {
        let reaches = |times: f64| match greatest {
            Some(greatest) => (greatest - score) * times <= greatest - threshold,
            None => score >= times * threshold,
        };
        match score {
            _ if reaches(5.0) => Severity::High,
            _ if reaches(2.0) => Severity::Medium,
            _ => Severity::Low,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

/// What an anomaly was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Microseconds, the partition's id, the offset.
    Event { time: i64, partition: u64, offset: i64 },
    /// Microseconds.
    Window { start: i64, end: i64, revision: i32 },
}

/// One anomaly.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Anomaly {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) score: f64,
    pub(super) why: Vec<FeatureShare>,
}

/// What all anomalies of one detector have in common.
pub(super) struct Finder<'a> {
    pub(super) detector: &'a str,
    pub(super) model: &'a str,
    pub(super) threshold: f64,
    /// What no score exceeds, if there is such a bound.
    pub(super) greatest: Option<f64>,
    /// The features' names, in the model's order.
    pub(super) features: &'a [&'a str],
}

/// The anomalies as a batch.
pub(super) fn batch(found: &[Anomaly], finder: &Finder<'_>) -> RecordBatch {
    let times = |time: fn(Place) -> Option<i64>| -> ArrayRef {
        let values: TimestampMicrosecondArray = found.iter().map(|anomaly| time(anomaly.place)).collect();
        Arc::new(values.with_timezone("UTC"))
    };
    let event = |place| match place {
        Place::Event { partition, offset, .. } => Some((partition, offset)),
        Place::Window { .. } => None,
    };
    let partitions: UInt64Array = found.iter().map(|anomaly| event(anomaly.place).map(|(id, _)| id)).collect();
    let offsets: Int64Array = found.iter().map(|anomaly| event(anomaly.place).map(|(_, offset)| offset)).collect();
    let revisions = found.iter().map(|anomaly| match anomaly.place {
        Place::Event { .. } => 0,
        Place::Window { revision, .. } => revision,
    });
    let severities = found.iter().map(|anomaly| Severity::of(anomaly.score, finder.threshold, finder.greatest).name());
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(found.iter().map(|_| text))) };
    let columns: Vec<ArrayRef> = vec![
        times(|place| if let Place::Event { time, .. } = place { Some(time) } else { None }),
        times(|place| if let Place::Window { start, .. } = place { Some(start) } else { None }),
        times(|place| if let Place::Window { end, .. } = place { Some(end) } else { None }),
        Arc::new(StringArray::from_iter_values(found.iter().map(|anomaly| &anomaly.key))),
        same(finder.detector),
        same(finder.model),
        Arc::new(Float64Array::from_iter_values(found.iter().map(|anomaly| anomaly.score))),
        Arc::new(Float64Array::from(vec![finder.threshold; found.len()])),
        Arc::new(StringArray::from_iter_values(severities)),
        why(found, finder.features),
        Arc::new(partitions),
        Arc::new(offsets),
        Arc::new(Int32Array::from_iter_values(revisions)),
        Arc::new(BooleanArray::from(vec![false; found.len()])),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are those of the schema, one value an anomaly")
}

fn why(found: &[Anomaly], features: &[&str]) -> ArrayRef {
    let all = || found.iter().flat_map(|anomaly| &anomaly.why);
    // An expectation beyond all numbers is not one: the reconstruction was finite, its unscaling may overflow.
    let expected: Float64Array = all().map(|share| Some(share.expected).filter(|value| value.is_finite())).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all().map(|share| features[share.feature]))),
        Arc::new(Float64Array::from_iter_values(all().map(|share| share.value))),
        Arc::new(expected),
        Arc::new(Float64Array::from_iter_values(all().map(|share| share.share))),
    ];
    let shares = StructArray::new(why_fields(), columns, None);
    let offsets = OffsetBuffer::from_lengths(found.iter().map(|anomaly| anomaly.why.len()));
    Arc::new(ListArray::new(why_item(), offsets, Arc::new(shares), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_grows_at_twice_and_five_times_the_threshold() {
        let names = [1.1, 1.99, 2.0, 4.99, 5.0].map(|score| Severity::of(score, 1.0, None).name());
        assert_eq!(names, ["low", "low", "medium", "medium", "high"]);
    }

    #[test]
    fn every_anomaly_above_a_threshold_of_zero_is_high() {
        assert_eq!(Severity::of(1e-9, 0.0, None), Severity::High);
    }

    #[test]
    fn where_scores_end_at_one_severity_grows_with_what_is_left_of_them() {
        let names = [0.61, 0.79, 0.8, 0.91, 0.92, 1.0].map(|score| Severity::of(score, 0.6, Some(1.0)).name());
        assert_eq!(names, ["low", "low", "medium", "medium", "high", "high"]);
    }
}
