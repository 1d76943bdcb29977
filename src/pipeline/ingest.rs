//! The source operator: mints epochs, reads its worker's share, and tells every worker the end of each epoch.
//!
//! Invariant: capabilities are given up in two ways only, by ending an epoch and by ending the last one, which is a
//! checkpoint. A failure keeps them, so that nothing downstream mistakes it for an end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::{Activator, SyncActivator};

use crate::domain::ids::Epoch;
use crate::domain::time::EventTime;
use crate::pipeline::PipelineError;
use crate::pipeline::intake::Intake;
use crate::pipeline::parcel::{Item, Parcel};
use crate::pipeline::plan::Plan;
use crate::pipeline::shared::Shared;

/// What the operators of one worker tell each other without timely.
#[derive(Debug)]
pub struct Clock {
    /// The newest epoch that any source worker has ended.
    pub newest_ended: Cell<Option<u64>>,
    /// The global watermark: that of the slowest partition.
    pub slowest: Cell<EventTime>,
}

/// A batch of so many records leaves the reader at a time, a few batches an activation.
const BATCH_ROWS: usize = 4096;
const BATCHES_PER_ACTIVATION: usize = 8;
const THROTTLED: Duration = Duration::from_micros(500);
const HELD: Duration = Duration::from_millis(5);

/// How far the dataflow has come.
#[derive(Clone)]
pub struct Progressed {
    /// Behind the windows.
    pub flow: Handle<u64>,
    /// Behind the commit.
    pub committed: Handle<u64>,
}

/// The state of the operator on one worker.
struct Ingest {
    intake: Intake,
    plan: Plan,
    clock: Rc<Clock>,
    progressed: Progressed,
    shared: Shared,
    workers: usize,
    epoch_began: Instant,
    epoch_bytes: u64,
}

/// What one activation does next.
enum Next {
    /// There may be more to read.
    Again,
    /// Nothing to do before this time has passed, or the reader wakes us.
    Wait(Duration),
    /// The epoch is over, and another one follows.
    EndEpoch,
    /// Nothing more will come.
    Finish,
    Failed,
}

impl Ingest {
    fn step(&mut self, epoch: Epoch, events: &mut Vec<Item>, aside: &mut Vec<Item>) -> Next {
        let now = Instant::now();
        if self.shared.failed() {
            return Next::Failed;
        }
        if self.is_throttled(epoch) {
            return Next::Wait(THROTTLED);
        }
        if self.shared.stop.is_requested() || self.intake.is_exhausted() {
            return Next::Finish;
        }
        if let Err(error) = self.read(now, events, aside) {
            self.shared.fail(error.into());
            return Next::Failed;
        }
        let elapsed = now.saturating_duration_since(self.epoch_began);
        let is_overtaken = self.clock.newest_ended.get().is_some_and(|newest| newest >= epoch.0);
        let is_full = self.intake.bytes - self.epoch_bytes >= self.plan.epoch_bytes_max as u64;
        if elapsed >= self.plan.epoch_every || is_full || is_overtaken {
            Next::EndEpoch
        } else if events.is_empty() && aside.is_empty() {
            // Nobody wakes us when the slowest partition has caught up.
            let held = if self.intake.is_held() { HELD } else { self.plan.epoch_every };
            Next::Wait(held.min(self.plan.epoch_every - elapsed))
        } else {
            Next::Again
        }
    }

    fn is_throttled(&self, epoch: Epoch) -> bool {
        let Plan { epochs_ahead, checkpoints_ahead, checkpoint_epochs, .. } = self.plan;
        self.progressed.flow.less_than(&epoch.0.saturating_sub(epochs_ahead))
            || self.progressed.committed.less_than(&epoch.0.saturating_sub(checkpoints_ahead * checkpoint_epochs))
    }

    fn read(
        &mut self,
        now: Instant,
        events: &mut Vec<Item>,
        aside: &mut Vec<Item>,
    ) -> Result<(), crate::sources::SourceError> {
        self.intake.align(self.clock.slowest.get())?;
        let (records, bytes) = (self.intake.records, self.intake.bytes);
        for _ in 0..BATCHES_PER_ACTIVATION {
            let before = self.intake.records;
            for item in self.intake.read(BATCH_ROWS, now)? {
                match item {
                    Item::Events(_) => events.push(item),
                    Item::Found { id, name, .. } => {
                        let found = |target| Item::Found { target, id, name: name.clone() };
                        aside.extend((0..self.workers).map(found));
                    }
                    _ => aside.push(item),
                }
            }
            if self.intake.records == before {
                break;
            }
        }
        self.shared.progress.add(self.intake.records - records, self.intake.bytes - bytes);
        Ok(())
    }

    /// What ends `epoch`: a mark for every worker on both edges, and the accounts at a checkpoint.
    fn end(&mut self, epoch: Epoch, is_done: bool, events: &mut Vec<Item>, aside: &mut Vec<Item>) {
        let now = Instant::now();
        let mark = self.intake.mark(now, is_done);
        if self.plan.is_checkpoint(epoch) {
            aside.extend(self.intake.close_accounts().into_iter().map(Item::Account));
        }
        for target in 0..self.workers {
            events.push(Item::Mark { target, mark });
            aside.push(Item::Mark { target, mark });
        }
        self.epoch_began = now;
        self.epoch_bytes = self.intake.bytes;
    }
}

/// The two edges that leave a source worker.
pub struct Ingested<'scope> {
    /// Accepted events and marks.
    pub events: Stream<'scope, u64, Parcel>,
    /// Refused records, accounts and marks.
    pub aside: Stream<'scope, u64, Parcel>,
}

/// Builds the operator; it begins at epoch `first`. `intake` gets an activator for the reader's wake. Where there is none, the run has
/// failed, and the operator stands still: timely wants every operator whose place is taken.
pub fn ingest<'scope>(
    scope: Scope<'scope, u64>,
    first: Epoch,
    plan: Plan,
    clock: Rc<Clock>,
    progressed: Progressed,
    shared: Shared,
    intake: impl FnOnce(SyncActivator) -> Result<Intake, PipelineError>,
) -> Ingested<'scope> {
    let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
    let (events_output, events) = builder.new_output();
    let (aside_output, aside) = builder.new_output();
    let mut events_output = OutputBuilder::<_, CapacityContainerBuilder<Parcel>>::from(events_output);
    let mut aside_output = OutputBuilder::<_, CapacityContainerBuilder<Parcel>>::from(aside_output);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let intake = intake(scope.worker().sync_activator_for(address.to_vec())).map_err(|error| shared.fail(error)).ok();
    let mut ingest = intake.map(|intake| Ingest {
        intake,
        plan,
        clock,
        progressed,
        shared,
        workers: scope.peers(),
        epoch_began: Instant::now(),
        epoch_bytes: 0,
    });
    builder.build(move |initial| {
        let mut capabilities = <[Capability<u64>; 2]>::try_from(initial).ok();
        capabilities.iter_mut().flatten().for_each(|capability| capability.downgrade(&first.0));
        move |_frontiers| {
            let (mut events_output, mut aside_output) = (events_output.activate(), aside_output.activate());
            let (Some([on_events, on_aside]), Some(ingest)) = (&mut capabilities, &mut ingest) else { return };
            let epoch = Epoch(*on_events.time());
            let (mut events, mut aside) = (Vec::new(), Vec::new());
            let next = ingest.step(epoch, &mut events, &mut aside);
            if let Next::EndEpoch = next {
                ingest.end(epoch, false, &mut events, &mut aside);
            }
            events_output.session(&*on_events).give_container(&mut Parcel(events));
            aside_output.session(&*on_aside).give_container(&mut Parcel(aside));
            match next {
                Next::EndEpoch => {
                    on_events.downgrade(&(epoch.0 + 1));
                    on_aside.downgrade(&(epoch.0 + 1));
                    activator.activate();
                }
                Next::Finish => {
                    let last = ingest.plan.checkpoint_at(epoch);
                    on_events.downgrade(&last.0);
                    on_aside.downgrade(&last.0);
                    let (mut events, mut aside) = (Vec::new(), Vec::new());
                    ingest.end(last, true, &mut events, &mut aside);
                    events_output.session(&*on_events).give_container(&mut Parcel(events));
                    aside_output.session(&*on_aside).give_container(&mut Parcel(aside));
                    capabilities = None;
                }
                Next::Again => activator.activate(),
                Next::Wait(wait) => wake_after(&activator, wait),
                Next::Failed => {}
            }
        }
    });
    Ingested { events, aside }
}

fn wake_after(activator: &Activator, wait: Duration) {
    activator.activate_after(wait.max(Duration::from_micros(100)));
}
