//! Detectors in the flow: on events where they were decoded, on windows as they are published.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use crate::domain::membership::Memberships;
use crate::domain::table::{Rows, Table};
use crate::observe::metrics::DetectorMetrics;
use crate::pipeline::parcel::{Item, Parcel};
use crate::scoring::scorer::Scorer;
use crate::stage::{EpochEnd, Output, RestoreError, Share, Stage, StateSize, Tell};

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
    pub scorer: Scorer,
    pub metrics: DetectorMetrics,
}

/// A table's rows through every detector on it: the rows with their scores, and the anomalies.
fn score(scorers: &mut [Counted], table: Table, batch: RecordBatch) -> (Rows, Vec<Rows>) {
    let mut anomalies = Vec::new();
    let mut rows = batch;
    for Counted { scorer, metrics } in scorers {
        let scored = scorer.score(rows);
        rows = scored.batch;
        metrics.scored.inc_by((rows.num_rows() - scored.unscored) as u64);
        metrics.unscored.inc_by(scored.unscored as u64);
        metrics.anomalies.inc_by(scored.anomalies.as_ref().map_or(0, RecordBatch::num_rows) as u64);
        anomalies.extend(scored.anomalies.map(|batch| Rows { table: Table::Anomalies, batch }));
    }
    (Rows { table, batch: rows }, anomalies)
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

/// Scores events in place: no exchange, for a detector on events has no state.
pub fn score_events<'scope>(
    events: Stream<'scope, u64, Parcel>,
    mut scorers: Vec<Counted>,
    kept: EventsKept,
) -> Stream<'scope, u64, Parcel> {
    let mut flags: Option<Vec<usize>> = None;
    events.unary::<CapacityContainerBuilder<Parcel>, _, _, _>(Pipeline, "ScoreEvents", move |_initial, _info| {
        move |input, output| {
            input.for_each(|capability, parcel| {
                let mut items = Vec::new();
                for item in parcel.0.drain(..) {
                    let Item::Events(batch) = item else { continue };
                    let (mut rows, anomalies) = score(&mut scorers, Table::Events, batch);
                    items.extend(anomalies.into_iter().map(Item::Rows));
                    if kept == EventsKept::Anomalies {
                        let flags = flags.get_or_insert_with(|| flag_columns(&rows.batch, &scorers));
                        rows.batch = anomalous(&rows.batch, flags);
                    }
                    if kept != EventsKept::None && rows.batch.num_rows() > 0 {
                        items.push(Item::Rows(rows));
                    }
                }
                output.session(&capability).give_container(&mut Parcel(items));
            });
        }
    })
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
}

impl<S: Stage> ScoredWindows<S> {
    fn score(&mut self, given: Output, output: &mut Output) {
        for rows in given.0 {
            if rows.table != self.table {
                output.push(rows);
                continue;
            }
            let (rows, anomalies) = score(&mut self.scorers, self.table, rows.batch);
            output.push(rows);
            anomalies.into_iter().for_each(|rows| output.push(rows));
        }
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
    }

    fn snapshot(&mut self, tell: Tell) {
        self.windows.snapshot(tell);
    }

    fn memberships(&mut self) -> Memberships {
        self.windows.memberships()
    }

    fn restore(&mut self, state: &[RecordBatch], share: Share) -> Result<(), RestoreError> {
        self.windows.restore(state, share)
    }

    fn size(&self) -> StateSize {
        self.windows.size()
    }

    fn groups(&self) -> usize {
        self.windows.groups()
    }
}
