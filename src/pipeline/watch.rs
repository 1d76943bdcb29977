//! What a worker tells those who watch: its pulse, how far epochs and commits are, how much its windows hold, where it reads.
//!
//! Nothing here is asked by the flow. It is told a few times a second, or once a batch.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use timely::dataflow::operators::probe::Handle;

use crate::domain::ids::{Epoch, PartitionId};
use crate::domain::table::{Rows, Table};
use crate::observe::metrics::{Metrics, Part, WindowMetrics};
use crate::observe::vitals::Pulse;
use crate::pipeline::ingest::{Clock, Progressed};
use crate::pipeline::intake::Intake;
use crate::pipeline::plan::Plan;
use crate::stage::StateSize;

/// What was read or ended, and is not committed yet. One a worker.
#[derive(Debug, Default)]
pub struct Uncommitted {
    batches: VecDeque<Batch>,
    /// When the epochs of checkpoints ended.
    checkpoints: BTreeMap<u64, Instant>,
}

/// Events that were read at about one time.
#[derive(Debug)]
struct Batch {
    /// With which they will be committed.
    checkpoint: u64,
    at: Instant,
    events: u64,
}

/// Batches of so short a time count as one: a source that brings single records must not make this list long.
const TOGETHER: Duration = Duration::from_millis(10);

impl Uncommitted {
    pub fn read(&mut self, checkpoint: Epoch, at: Instant, events: u64) {
        match self.batches.back_mut() {
            Some(last) if last.checkpoint == checkpoint.0 && at.saturating_duration_since(last.at) < TOGETHER => {
                last.events += events;
            }
            _ if events > 0 => self.batches.push_back(Batch { checkpoint: checkpoint.0, at, events }),
            _ => {}
        }
    }

    pub fn ended(&mut self, checkpoint: Epoch, at: Instant) {
        self.checkpoints.insert(checkpoint.0, at);
    }

    /// Everything below `first_open` is committed: calls `latency` for each batch, gives when its checkpoints had ended.
    fn committed(&mut self, first_open: u64, mut latency: impl FnMut(Instant, u64)) -> Vec<Instant> {
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.checkpoint < first_open) {
            latency(batch.at, batch.events);
        }
        let open = self.checkpoints.split_off(&first_open);
        std::mem::replace(&mut self.checkpoints, open).into_values().collect()
    }
}

/// The eye on one worker's loop.
pub struct Watch {
    pub metrics: Arc<Metrics>,
    pub clock: Rc<Clock>,
    pub progressed: Progressed,
    pub pulse: Pulse,
    /// The first epoch that the flow, and the commit, were not done with at the last look.
    pub reached: (u64, u64),
    /// One worker a process tells what is the same for all of them.
    pub speaks_for_process: bool,
}

impl Watch {
    /// After each step of the worker.
    pub fn look(&mut self) {
        self.pulse.beat();
        let now = Instant::now();
        let committed = first_open(&self.progressed.committed);
        let reached = (first_open(&self.progressed.flow), committed);
        if std::mem::replace(&mut self.reached, reached) != reached {
            self.metrics.vitals.moved();
        }
        let flow = &self.metrics.flow;
        let mut uncommitted = self.clock.uncommitted.borrow_mut();
        let latency = |at, events| flow.latency.add(now.saturating_duration_since(at), events);
        let checkpoints = uncommitted.committed(committed, latency);
        if !self.speaks_for_process {
            return;
        }
        for ended in checkpoints {
            flow.checkpoint.add(now.saturating_duration_since(ended), 1);
            self.metrics.vitals.committed(now);
        }
        let begun = self.clock.epoch.get();
        let behind = |first_open: u64| i64::try_from(begun.saturating_sub(first_open.min(begun))).unwrap_or(i64::MAX);
        flow.epochs_in_flight.set(behind(reached.0));
        flow.epochs_uncommitted.set(behind(committed));
    }
}

fn first_open(probe: &Handle<u64>) -> u64 {
    probe.with_frontier(|frontier| frontier.iter().min().copied().unwrap_or(u64::MAX))
}

/// The eye on a worker's share of the source.
pub struct SourceWatch {
    metrics: Arc<Metrics>,
    clock: Rc<Clock>,
    plan: Plan,
    nexts: BTreeMap<PartitionId, Arc<AtomicI64>>,
    waiting: Part,
    told: Option<Instant>,
    /// Since when the source is held back, as far as that was told.
    throttled: Option<Instant>,
}

/// How often the standing of partitions is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

impl SourceWatch {
    pub fn new(metrics: Arc<Metrics>, clock: Rc<Clock>, plan: Plan) -> SourceWatch {
        let waiting = Part::of(&metrics.intake.waiting);
        SourceWatch { metrics, clock, plan, nexts: BTreeMap::new(), waiting, told: None, throttled: None }
    }

    /// At the beginning of each activation.
    pub fn look(&mut self, epoch: Epoch, now: Instant, intake: &Intake) {
        self.clock.epoch.set(epoch.0);
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return;
        }
        self.told = Some(now);
        self.waiting.set(intake.waiting());
        self.metrics.intake.saw(intake.newest());
        if self.metrics.lag.is_known() {
            for (id, name, next) in intake.standing() {
                let told = self.nexts.entry(id).or_insert_with(|| self.metrics.lag.partition(id, name));
                told.store(next.0, Ordering::Relaxed);
            }
        }
    }

    pub fn throttled(&mut self, is_throttled: bool, now: Instant) {
        if let Some(since) = self.throttled {
            self.metrics.intake.throttled(now.saturating_duration_since(since));
        }
        self.throttled = is_throttled.then_some(now);
    }

    /// After something was read in `epoch`, which began at `at`.
    pub fn read(&self, epoch: Epoch, at: Instant, intake: &mut Intake) {
        let tally = intake.take_tally();
        self.clock.uncommitted.borrow_mut().read(self.plan.checkpoint_at(epoch), at, tally.accepted);
        self.metrics.intake.add(tally);
    }
}

/// The eye on a window's stage at one worker.
pub struct StageWatch {
    metrics: WindowMetrics,
    open: Part,
    groups: Part,
    state_bytes: Part,
}

impl StageWatch {
    pub fn new(metrics: WindowMetrics) -> StageWatch {
        let (open, groups) = (Part::of(&metrics.open), Part::of(&metrics.groups));
        StageWatch { open, groups, state_bytes: Part::of(&metrics.state_bytes), metrics }
    }

    pub fn rows(&self, rows: &Rows) {
        let count = rows.batch.num_rows() as u64;
        match rows.table {
            Table::Windows(_) => {
                let revisions = rows.batch.column_by_name("revision");
                let revisions = revisions.and_then(|column| column.as_primitive_opt::<Int32Type>());
                let corrected =
                    revisions.map_or(0, |column| column.values().iter().filter(|revision| **revision > 0).count());
                self.metrics.published.inc_by(count - corrected as u64);
                self.metrics.corrected.inc_by(corrected as u64);
            }
            Table::Late => {
                self.metrics.too_late.inc_by(count);
            }
            _ => {}
        }
    }

    pub fn size(&mut self, size: StateSize) {
        self.open.set(size.windows);
        self.groups.set(size.groups);
        self.state_bytes.set(size.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_of_a_batch_ends_with_the_commit_of_its_checkpoint() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut uncommitted = Uncommitted::default();
        uncommitted.read(Epoch(40), at(0), 3);
        uncommitted.read(Epoch(40), at(5), 4);
        uncommitted.read(Epoch(40), at(20), 0);
        uncommitted.read(Epoch(40), at(30), 5);
        uncommitted.read(Epoch(80), at(32), 6);
        uncommitted.ended(Epoch(40), at(31));
        let mut seen = Vec::new();
        assert_eq!(uncommitted.committed(40, |at, events| seen.push((at, events))), []);
        assert_eq!(seen, [], "the frontier stands at the checkpoint until it is committed");
        assert_eq!(uncommitted.committed(41, |at, events| seen.push((at, events))), [at(31)]);
        assert_eq!(seen, [(at(0), 7), (at(30), 5)], "those of about one time are one");
        assert_eq!(uncommitted.committed(u64::MAX, |at, events| seen.push((at, events))), []);
        assert_eq!(seen.last(), Some(&(at(32), 6)));
    }
}
