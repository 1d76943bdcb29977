//! Which anomalies stand: a collection by anomaly, arranged by differential dataflow, which knows what a new verdict takes the place of.

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::upsert::arrange_from_upsert;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::trace::{Cursor, TraceReader};
use timely::WorkerConfig;
use timely::dataflow::StreamVec;
use timely::progress::Antichain;

use crate::domain::anomaly::WindowAnomaly;
use crate::domain::ids::Epoch;
use crate::views::verdict::{StoredRow, Verdict};

type Spine = ValSpine<WindowAnomaly, Verdict, u64, isize>;

/// How much a worker that is otherwise idle merges at a time.
const MERGE_EFFORT: isize = 1000;

/// The maintained view on one worker.
pub struct Standing<'scope> {
    /// What changed at which epoch; all of an epoch once the frontier has passed it.
    pub changes: StreamVec<'scope, u64, ((WindowAnomaly, Verdict), u64, isize)>,
    pub trace: StandingTrace,
}

/// Tells workers to merge what the view holds while they have nothing else to do.
pub fn configure(config: &mut WorkerConfig) {
    let options = differential_dataflow::Config::default().idle_merge_effort(Some(MERGE_EFFORT));
    differential_dataflow::configure(config, &options);
}

/// Maintains the view. An anomaly's upserts go to one worker, whoever sent them; of one epoch each has at most one.
pub fn standing<'scope>(upserts: StreamVec<'scope, u64, (WindowAnomaly, Option<Verdict>, u64)>) -> Standing<'scope> {
    let arranged =
        arrange_from_upsert::<ValBuilder<WindowAnomaly, Verdict, u64, isize>, Spine, _, _>(upserts, "Standing");
    let trace = StandingTrace(arranged.trace.clone());
    let changes = arranged.as_collection(|anomaly, verdict| (anomaly.clone(), verdict.clone())).inner;
    Standing { changes, trace }
}

/// Reads what the view holds on one worker.
///
/// Invariant: both compactions follow `forget_before`, or the trace would keep its history for ever.
pub struct StandingTrace(TraceAgent<Spine>);

impl StandingTrace {
    /// What stood at the end of an epoch, which must be over and not forgotten; in the order of anomalies.
    pub fn at(&mut self, epoch: Epoch) -> Vec<StoredRow> {
        let (mut cursor, storage) = self.0.cursor();
        let mut rows = Vec::new();
        while cursor.key_valid(&storage) {
            while cursor.val_valid(&storage) {
                let mut count = 0;
                cursor.map_times(&storage, |time, diff| count += if *time <= epoch.0 { *diff } else { 0 });
                if let (1.., Verdict::Standing(row)) = (count, cursor.val(&storage)) {
                    rows.push(row.clone());
                }
                cursor.step_val(&storage);
            }
            cursor.step_key(&storage);
        }
        rows
    }

    /// Epochs before this one will not be asked for any more.
    pub fn forget_before(&mut self, epoch: Epoch) {
        let frontier = Antichain::from_elem(epoch.0);
        self.0.set_logical_compaction(frontier.borrow());
        self.0.set_physical_compaction(frontier.borrow());
    }
}
