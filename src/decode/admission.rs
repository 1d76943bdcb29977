//! Which events of a partition are accepted, too late, or from the future.
//!
//! Promise: the decision about an event depends on its partition's earlier offsets alone, so it is the same in every run,
//! live or replayed, however the records were cut into batches. No clock is asked.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;

use crate::domain::batch::EventBatch;
use crate::domain::ids::Offset;
use crate::domain::raw::RawBatch;
use crate::domain::reject::{Reject, RejectReason};
use crate::domain::time::{EventTime, micros};
use crate::domain::watermark::WatermarkSpec;

/// An event that came too late to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate {
    pub offset: Offset,
    pub event_time: EventTime,
    /// How far behind its partition's watermark, in microseconds.
    pub late_by: i64,
}

/// What became of a batch.
#[derive(Debug)]
pub struct Admitted {
    pub accepted: EventBatch,
    /// How many of the accepted ones are behind the watermark.
    pub late: usize,
    pub too_late: Vec<TooLate>,
    /// Events further ahead of their record's own time than `future_skew`.
    pub early: Vec<Reject>,
}

/// The gate of one partition.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The greatest event time accepted so far.
    seen: EventTime,
    out_of_orderness: i64,
    allowed_lateness: i64,
    future_skew: i64,
}

impl Admission {
    /// `seen` is where the partition was left, `MIN` at its beginning.
    pub fn new(spec: &WatermarkSpec, seen: EventTime) -> Admission {
        Admission {
            seen,
            out_of_orderness: micros(spec.out_of_orderness),
            allowed_lateness: micros(spec.allowed_lateness),
            future_skew: micros(spec.future_skew),
        }
    }

    /// The greatest event time accepted so far; `MIN` before the first.
    pub fn seen(&self) -> EventTime {
        self.seen
    }

    /// Decides about each event in the order of offsets. `raw` is what the events were decoded from.
    pub fn admit(&mut self, events: EventBatch, raw: &RawBatch) -> Admitted {
        let mut refused = Vec::new();
        let (mut too_late, mut early) = (Vec::new(), Vec::new());
        let skew = self.future_skew;
        let received = raw.received.as_deref();
        let is_whole = raw.len() == events.len();
        let (mut seen, mut late) = (self.seen.0, 0);
        for (row, &time) in events.times().iter().enumerate() {
            let offset = Offset(events.offsets()[row]);
            if let Some(received) = received {
                let record = if is_whole { Some(row) } else { raw.find(offset) };
                if record.is_some_and(|record| time > received[record].saturating_add(skew)) {
                    refused.push(row);
                    early.push(Reject { offset, reason: RejectReason::FromTheFuture });
                    continue;
                }
            }
            let watermark = seen.saturating_sub(self.out_of_orderness);
            if time < watermark.saturating_sub(self.allowed_lateness) {
                refused.push(row);
                too_late.push(TooLate { offset, event_time: EventTime(time), late_by: watermark.saturating_sub(time) });
            } else {
                late += usize::from(time < watermark);
                seen = seen.max(time);
            }
        }
        self.seen = EventTime(seen);
        Admitted { accepted: without(events, &refused), late, too_late, early }
    }
}

/// The batch less the given rows, which ascend.
fn without(events: EventBatch, refused: &[usize]) -> EventBatch {
    if refused.is_empty() {
        return events;
    }
    let mut keep = vec![true; events.len()];
    refused.iter().for_each(|row| keep[*row] = false);
    let kept = filter_record_batch(events.columns(), &BooleanArray::from(keep)).expect("one flag a row");
    EventBatch::try_from(kept).expect("filtering changes no column's type")
}
