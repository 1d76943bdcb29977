//! Which worker an item goes to: events by the hash of their group, marks to whom they are addressed, all else stays.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;

use crate::pipeline::parcel::{Item, Parcel};
use crate::stage::Share;

/// Writes one hash a row.
pub type Hashes = Box<dyn FnMut(&RecordBatch, &mut Vec<u64>)>;

/// How events are split among workers.
pub struct Split {
    /// The columns that the receiving stage needs.
    pub columns: Vec<usize>,
    pub hashes: Hashes,
}

/// Routes parcels; see the module.
pub struct Route {
    worker: usize,
    split: Option<Split>,
    hashes: Vec<u64>,
    rows_by_worker: Vec<Vec<u32>>,
}

/// The pact of an edge. With one worker timely goes around it: it may not do more than route.
pub fn route(worker: usize, split: Option<Split>) -> DistributorPact<impl FnOnce(usize) -> Route> {
    DistributorPact(move |workers| Route {
        worker,
        split,
        hashes: Vec::new(),
        rows_by_worker: vec![Vec::new(); workers],
    })
}

impl Route {
    /// The rows of `batch` by worker, projected to what the receiver needs; workers without rows get nothing.
    fn split(&mut self, batch: &RecordBatch) -> Vec<(usize, RecordBatch)> {
        let Some(split) = &mut self.split else { return vec![(self.worker, batch.clone())] };
        self.hashes.clear();
        (split.hashes)(batch, &mut self.hashes);
        assert_eq!(self.hashes.len(), batch.num_rows(), "a row without a hash would be lost");
        let workers = self.rows_by_worker.len();
        for (row, hash) in self.hashes.iter().enumerate() {
            self.rows_by_worker[Share::worker_of(*hash, workers)].push(row as u32);
        }
        let batch = batch.project(&split.columns).expect("the columns were looked up in this schema");
        let pieces = self.rows_by_worker.iter_mut().enumerate().filter(|(_, rows)| !rows.is_empty());
        pieces
            .map(|(worker, rows)| {
                let rows = std::mem::take(rows);
                if rows.len() == batch.num_rows() {
                    return (worker, batch.clone());
                }
                let piece = take_record_batch(&batch, &UInt32Array::from(rows)).expect("row numbers of this batch");
                (worker, piece)
            })
            .collect()
    }
}

impl Distributor<Parcel> for Route {
    fn partition<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, parcel: &mut Parcel, time: &T, pushers: &mut [P]) {
        for item in std::mem::take(parcel).0 {
            let routed = match item {
                Item::Events(batch) => {
                    self.split(&batch).into_iter().map(|(worker, batch)| (worker, Item::Events(batch))).collect()
                }
                Item::Found { target, .. } | Item::Mark { target, .. } | Item::Proposal { target, .. } => {
                    vec![(target, item)]
                }
                Item::Rows(_) | Item::State { .. } | Item::Members { .. } | Item::Account(_) | Item::Ended(_) => {
                    vec![(self.worker, item)]
                }
            };
            for (worker, item) in routed {
                Message::push_at(&mut Parcel(vec![item]), time.clone(), &mut pushers[worker]);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}
