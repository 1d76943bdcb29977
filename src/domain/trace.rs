//! What was read of a stretch of offsets, as one number: enough to know it again, cheap enough for every record.
//!
//! Promise: it does not depend on how the records were cut into batches. Equal traces say that the same offsets held records of the same
//! length, of which the same were accepted, with the same event times; a changed value of the same length is not seen.

use serde::{Deserialize, Serialize};

use crate::domain::ids::Offset;

/// A sum over records, so that stretches add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace(pub u64);

impl Trace {
    /// A record of so many bytes was read.
    pub fn record(&mut self, offset: Offset, bytes: usize) {
        self.0 = self.0.wrapping_add(mixed(mixed(offset.0 as u64) ^ bytes as u64));
    }

    /// An event was accepted, of this time in microseconds.
    pub fn event(&mut self, offset: Offset, time: i64) {
        self.0 = self.0.wrapping_add(mixed(mixed(!offset.0 as u64) ^ time as u64));
    }
}

/// Spreads every bit over all of them (splitmix64).
fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(events: &[(i64, usize, i64)]) -> Trace {
        let mut trace = Trace::default();
        for (offset, bytes, time) in events {
            trace.record(Offset(*offset), *bytes);
            trace.event(Offset(*offset), *time);
        }
        trace
    }

    #[test]
    fn records_that_are_missing_moved_longer_or_of_another_time_leave_another_trace() {
        let was = [(0, 10, 100), (1, 10, 200), (2, 12, 300)];
        let others = [
            trace(&was[..2]),
            trace(&[was[0], (1, 10, 300), (2, 12, 200)]),
            trace(&[was[0], (1, 12, 200), (2, 10, 300)]),
            trace(&[was[0], was[1], (3, 12, 300)]),
            trace(&[was[0], was[1], was[2], was[2]]),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, trace(&was), "{index}");
        }
        assert_eq!(trace(&[was[2], was[0], was[1]]), trace(&was));
    }
}
