//! Detectors in the flow: on events where they were decoded, on windows as they are published.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use crate::domain::ids::Epoch;
use crate::domain::membership::Memberships;
use crate::domain::table::{Rows, Table};
use crate::observe::metrics::{DetectorMetrics, Metrics};
use crate::pipeline::agreement::Said;
use crate::pipeline::ingest::Clock;
use crate::pipeline::parcel::{Item, Parcel};
use crate::pipeline::route::route;
use crate::pipeline::shelf::Follower;
use crate::scoring::history::{History, is_of_history};
use crate::scoring::scheduled::ScheduledScorer;
use crate::stage::{EpochEnd, Output, RestoreError, Share, Stage, StateSize, Takeover, Tell};
use crate::windows::group_hash::GroupHash;

/// Which scored events are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsKept {
    All,
    /// Those that a detector calls an anomaly.
    Anomalies,
    None,
}

/// A detector in the flow, and what is counted of it.
pub struct Counted {
    pub scorer: ScheduledScorer,
    metrics: Arc<Metrics>,
    /// By the version of the model.
    counted: BTreeMap<String, DetectorMetrics>,
}

impl Counted {
    pub fn new(scorer: ScheduledScorer, metrics: Arc<Metrics>) -> Counted {
        Counted { scorer, metrics, counted: BTreeMap::new() }
    }

    /// The rows with their scores, in a batch for each version that has a part in them; the anomalies among them.
    fn score(
        &mut self,
        batch: RecordBatch,
        history: Option<&mut History>,
        anomalies: &mut Vec<Rows>,
    ) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        for (version, scored) in self.scorer.score(batch, history) {
            let metrics = match self.counted.get(&version) {
                Some(metrics) => metrics,
                None => {
                    let metrics = self.metrics.detector(self.scorer.name(), &version);
                    self.counted.entry(version).or_insert(metrics)
                }
            };
            metrics.scored.inc_by((scored.batch.num_rows() - scored.unscored) as u64);
            metrics.unscored.inc_by(scored.unscored as u64);
            metrics.anomalies.inc_by(scored.anomalies.as_ref().map_or(0, RecordBatch::num_rows) as u64);
            anomalies.extend(scored.anomalies.map(|batch| Rows { table: Table::Anomalies, batch }));
            batches.push(scored.batch);
        }
        batches
    }
}

/// Rows through every detector on them: with their scores, and the anomalies.
fn score(
    scorers: &mut [Counted],
    batch: RecordBatch,
    mut history: Option<&mut History>,
) -> (Vec<RecordBatch>, Vec<Rows>) {
    let (mut batches, mut anomalies) = (vec![batch], Vec::new());
    for counted in scorers {
        let scored = |batch| counted.score(batch, history.as_deref_mut(), &mut anomalies);
        batches = batches.into_iter().flat_map(scored).collect();
    }
    (batches, anomalies)
}

/// The rows that a detector calls an anomaly; a null score calls nothing.
fn anomalous(batch: &RecordBatch, flags: &[usize]) -> RecordBatch {
    let mut keep = BooleanBuffer::new_unset(batch.num_rows());
    for flag in flags {
        let flag = batch.column(*flag).as_boolean();
        let is_set = match flag.nulls() {
            Some(nulls) => flag.values() & nulls.inner(),
            None => flag.values().clone(),
        };
        keep = &keep | &is_set;
    }
    filter_record_batch(batch, &BooleanArray::new(keep, None)).expect("one flag a row")
}

/// What scores events, and what is kept of them.
pub struct ScoredEvents {
    pub scorers: Vec<Counted>,
    pub kept: EventsKept,
    pub follower: Follower,
    /// Where the source of this worker looks before it reads.
    pub clock: Rc<Clock>,
}

impl ScoredEvents {
    fn score(&mut self, batch: RecordBatch, items: &mut Vec<Item>) {
        let (batches, anomalies) = score(&mut self.scorers, batch, None);
        items.extend(anomalies.into_iter().map(Item::Rows));
        for batch in batches {
            let batch = match self.kept {
                EventsKept::All => batch,
                EventsKept::Anomalies => {
                    let flags = flag_columns(&batch, &self.scorers);
                    anomalous(&batch, &flags)
                }
                EventsKept::None => continue,
            };
            if batch.num_rows() > 0 {
                items.push(Item::Rows(Rows { table: Table::Events, batch }));
            }
        }
    }

    /// An epoch is over on every worker.
    fn end(&mut self, epoch: Epoch, said: &Said) {
        if let Some(takeover) = self.follower.end(epoch, said) {
            self.scorers.iter_mut().for_each(|counted| counted.scorer.take_over(&takeover));
        }
        // One that was passed holds nobody back.
        self.clock.barrier.set(self.follower.agreement.begins().or(self.clock.barrier.get()));
    }
}

/// Scores events in place: no exchange, for a detector on events has no state. What the workers say of models comes `aside`, to each of
/// them.
pub fn score_events<'scope>(
    events: Stream<'scope, u64, Parcel>,
    aside: Stream<'scope, u64, Parcel>,
    mut scored: ScoredEvents,
) -> Stream<'scope, u64, Parcel> {
    let words = route(events.scope().index(), None);
    events.binary_frontier::<_, CapacityContainerBuilder<Parcel>, _, _, _, _>(
        aside,
        Pipeline,
        words,
        "ScoreEvents",
        move |_initial, _info| {
            // Invariant: an epoch's capability is held until what was said in it is known here.
            let mut open: BTreeMap<u64, (Capability<u64>, Said)> = BTreeMap::new();
            move |(events, _), (aside, aside_frontier), output| {
                aside.for_each(|capability, parcel| {
                    for item in parcel.0.drain(..) {
                        let is_said = matches!(item, Item::Mark { .. } | Item::Proposal { .. });
                        if is_said {
                            let open = open.entry(*capability.time());
                            open.or_insert_with(|| (capability.retain(0), Said::default())).1.hear(item);
                        }
                    }
                });
                let first_open = aside_frontier.frontier().iter().min().copied().unwrap_or(u64::MAX);
                while let Some(entry) = open.first_entry().filter(|entry| *entry.key() < first_open) {
                    let (epoch, (_capability, said)) = entry.remove_entry();
                    scored.end(Epoch(epoch), &said);
                }
                events.for_each(|capability, parcel| {
                    let mut items = Vec::new();
                    for item in parcel.0.drain(..) {
                        if let Item::Events(batch) = item {
                            scored.score(batch, &mut items);
                        }
                    }
                    output.session(&capability).give_container(&mut Parcel(items));
                });
            }
        },
    )
}

fn flag_columns(batch: &RecordBatch, scorers: &[Counted]) -> Vec<usize> {
    let schema = batch.schema();
    let flag =
        |Counted { scorer, .. }: &Counted| schema.index_of(&scorer.flag_column()).expect("a scorer adds its flag");
    scorers.iter().map(flag).collect()
}

/// Windows whose rows are scored as they are published; a revised row is scored again.
pub struct ScoredWindows<S> {
    pub windows: S,
    pub scorers: Vec<Counted>,
    pub table: Table,
    /// Where one of them looks back.
    pub past: Option<Remembered>,
}

/// The rows that detectors look back on, and which worker a row's group belongs to.
pub struct Remembered {
    pub history: History,
    pub hash: GroupHash,
}

impl<S: Stage> ScoredWindows<S> {
    fn score(&mut self, given: Output, output: &mut Output) {
        for rows in given.0 {
            match &mut self.past {
                _ if rows.table != self.table => output.push(rows),
                Some(past) => past.history.take(rows.batch),
                None => self.leave(rows.batch, output),
            }
        }
    }

    /// Scores rows that look back, when all rows of their epoch are remembered.
    fn score_remembered(&mut self, output: &mut Output) {
        let due = self.past.as_mut().map(|past| past.history.due());
        due.into_iter().flatten().for_each(|rows| self.leave(rows, output));
    }

    fn leave(&mut self, rows: RecordBatch, output: &mut Output) {
        let history = self.past.as_mut().map(|past| &mut past.history);
        let (batches, anomalies) = score(&mut self.scorers, rows, history);
        batches.into_iter().for_each(|batch| output.push(Rows { table: self.table, batch }));
        anomalies.into_iter().for_each(|rows| output.push(rows));
    }
}

impl<S: Stage> Stage for ScoredWindows<S> {
    fn on_batch(&mut self, batch: RecordBatch, output: &mut Output) {
        let mut given = Output::default();
        self.windows.on_batch(batch, &mut given);
        self.score(given, output);
    }

    fn on_epoch_end(&mut self, end: EpochEnd, output: &mut Output) {
        let mut given = Output::default();
        self.windows.on_epoch_end(end, &mut given);
        self.score(given, output);
        self.score_remembered(output);
        if let Some(past) = &mut self.past {
            past.history.forget(end.retain.0);
        }
    }

    fn snapshot(&mut self, tell: Tell) {
        self.windows.snapshot(tell);
        if let Some(past) = &mut self.past {
            past.history.snapshot(tell);
        }
    }

    fn memberships(&mut self) -> Memberships {
        self.windows.memberships()
    }

    fn restore(&mut self, state: &[RecordBatch], share: Share) -> Result<(), RestoreError> {
        let (of_history, of_windows): (Vec<_>, Vec<_>) = state.iter().cloned().partition(is_of_history);
        self.windows.restore(&of_windows, share)?;
        // Without a detector that looks back, what was remembered is forgotten.
        let Some(Remembered { history, hash }) = &mut self.past else { return Ok(()) };
        history.restore(&of_history, |rows| hash.of_rows(rows).iter().map(|hash| share.holds(*hash)).collect())
    }

    fn take_over(&mut self, takeover: &Takeover) {
        self.scorers.iter_mut().for_each(|counted| counted.scorer.take_over(takeover));
    }

    fn size(&self) -> StateSize {
        self.windows.size()
    }

    fn groups(&self) -> usize {
        self.windows.groups()
    }
}
