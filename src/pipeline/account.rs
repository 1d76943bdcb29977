//! What a checkpoint learns of a worker: where its partitions stand, and what of its rows and state is durable.

use serde::{Deserialize, Serialize};

use crate::checkpoint::manifest::{Counts, PartitionAccount, StateObject};
use crate::domain::ids::{Offset, PartitionId};
use crate::domain::membership::Memberships;
use crate::domain::time::EventTime;
use crate::domain::trace::Trace;
use crate::pipeline::agreement::Change;
use crate::sinks::parquet::Part;

/// A partition's account between two checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    pub id: PartitionId,
    pub account: PartitionAccount,
    /// The greatest event time accepted; none before the first.
    pub seen: Option<i64>,
    /// Nothing more will ever come of it.
    pub has_ended: bool,
}

impl PartitionReport {
    /// An account that begins at `from`.
    pub fn open(id: PartitionId, name: String, from: Offset) -> PartitionReport {
        let (counts, trace) = (Counts::default(), Trace::default());
        let account = PartitionAccount { partition: name, from, to: from, counts, trace, watermark: None };
        PartitionReport { id, account, seen: None, has_ended: false }
    }

    /// The offsets below `next` that have not been passed over hold no record.
    pub fn skip_to(&mut self, next: Offset) {
        if next > self.account.to {
            self.account.counts.skipped += (next.0 - self.account.to.0) as u64;
            self.account.to = next;
        }
    }

    /// Closes this account and opens the next where it ends.
    pub fn close(&mut self, seen: EventTime, watermark: EventTime, has_ended: bool) -> PartitionReport {
        assert!(self.account.is_balanced(), "an account out of balance must never be written down: {self:?}");
        let next = PartitionReport::open(self.id, self.account.partition.clone(), self.account.to);
        let mut closed = std::mem::replace(self, next);
        closed.seen = known(seen);
        closed.account.watermark = known(watermark);
        closed.has_ended = has_ended;
        closed
    }
}

fn known(time: EventTime) -> Option<i64> {
    (time != EventTime::MIN && time != EventTime::MAX).then_some(time.0)
}

/// What one worker has durable of one checkpoint. The coordinator commits when it has one of every worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub worker: usize,
    pub partitions: Vec<PartitionReport>,
    pub state: Vec<StateObject>,
    pub tables: Part,
    /// What became of the events in each window's stage, by table.
    pub members: Vec<(String, Memberships)>,
    /// The versions of models that take over; the same of every worker.
    pub changes: Vec<Change>,
    /// Event time: up to where windows were published in this run; the same of every worker.
    pub published: Option<i64>,
    /// Every source worker is done: there will be no later checkpoint.
    pub is_last: bool,
}
