//! The source operator: mints epochs, reads its worker's share, and tells every worker the end of each epoch.
//!
//! Invariant: capabilities are given up in two ways only, by ending an epoch and by ending the last one, which is a
//! checkpoint. A failure keeps them, so that nothing downstream mistakes it for an end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
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
use crate::pipeline::promotions::Promotions;
use crate::pipeline::shared::Shared;
use crate::pipeline::shelf::Shelf;
use crate::pipeline::surroundings::Surroundings;
use crate::pipeline::watch::{SourceWatch, Uncommitted};
use crate::pipeline::watermarks::Mark;
use crate::sources::SourceError;

/// What the operators of one worker tell each other without timely.
#[derive(Debug)]
pub struct Clock {
    /// The newest epoch that any source worker has ended.
    pub newest_ended: Cell<Option<u64>>,
    /// The least watermark that is still being read by another worker; `MIN` until every one of them spoke.
    pub others: Cell<EventTime>,
    /// The store takes what is handed to it.
    pub has_room: Cell<bool>,
    /// The epoch that this worker's source is in.
    pub epoch: Cell<u64>,
    /// In this epoch the source may not read before all earlier ones are over everywhere.
    pub barrier: Cell<Option<Epoch>>,
    pub uncommitted: RefCell<Uncommitted>,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock {
            newest_ended: Cell::new(None),
            others: Cell::new(EventTime::MIN),
            has_room: Cell::new(true),
            epoch: Cell::new(0),
            barrier: Cell::new(None),
            uncommitted: RefCell::default(),
        }
    }
}

/// A batch of so many records leaves the reader at a time, a few batches an activation.
const BATCH_ROWS: usize = 4096;
const BATCHES_PER_ACTIVATION: usize = 8;

/// How soon to look again while the windows are behind, the store is, or a partition waits for others.
const BEHIND_WINDOWS: Duration = Duration::from_micros(500);
const BEHIND_STORE: Duration = Duration::from_millis(10);
const HELD: Duration = Duration::from_millis(5);

/// How far the dataflow has come.
#[derive(Clone)]
pub struct Progressed {
    /// Behind the windows.
    pub flow: Handle<u64>,
    /// Behind the commit.
    pub committed: Handle<u64>,
}

/// What the operator needs to know of the run.
pub struct IngestSpec {
    /// The epoch to begin with.
    pub first: Epoch,
    pub plan: Plan,
    pub clock: Rc<Clock>,
    pub progressed: Progressed,
    pub shared: Shared,
    pub shelf: Arc<Shelf>,
    /// Of worker 0 alone.
    pub promotions: Option<Arc<Promotions>>,
}

/// The state of the operator on one worker.
struct Ingest {
    spec: IngestSpec,
    intake: Intake,
    watch: SourceWatch,
    workers: usize,
    epoch_began: Instant,
    epoch_bytes: u64,
    /// Since when it is throttled, and for how long it was before: while nobody reads, silence means nothing.
    throttled_since: Option<Instant>,
    throttled: Duration,
}

/// What one activation does next.
#[derive(Clone, Copy)]
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

/// What leaves in one activation.
#[derive(Default)]
struct Given {
    events: Vec<Item>,
    aside: Vec<Item>,
}

impl Ingest {
    fn step(&mut self, epoch: Epoch, given: &mut Given) -> Next {
        let now = self.spec.shared.surroundings.now();
        self.watch.look(epoch, now, &self.intake);
        if self.spec.shared.failed() {
            return Next::Failed;
        }
        if self.is_over() {
            return Next::Finish;
        }
        let wait = self.throttle(epoch, now);
        self.watch.throttled(wait.is_some(), now);
        if let Some(wait) = wait {
            return Next::Wait(wait);
        }
        let is_quiet = match self.read(epoch, now, given) {
            Ok(is_quiet) => is_quiet,
            Err(error) => {
                self.spec.shared.fail(error.into());
                return Next::Failed;
            }
        };
        let elapsed = now.saturating_duration_since(self.epoch_began);
        let epoch_every = self.spec.plan.epoch_every;
        let is_overtaken = self.spec.clock.newest_ended.get().is_some_and(|newest| newest >= epoch.0);
        let is_full = self.intake.bytes - self.epoch_bytes >= self.spec.plan.epoch_bytes_max as u64;
        // What is recorded need not be waited for: the next epoch's marks let the partitions go on that ran ahead. And at the start
        // they wait for the first marks.
        let is_certain = self.intake.is_recorded() || epoch == self.spec.first;
        let is_held_up = is_quiet && self.intake.is_held() && is_certain;
        if elapsed >= epoch_every || is_full || is_overtaken || is_held_up {
            Next::EndEpoch
        } else if is_quiet {
            // Nobody wakes us when the slowest partition has caught up.
            let wait = if self.intake.is_held() { HELD } else { epoch_every };
            Next::Wait(wait.min(epoch_every - elapsed))
        } else {
            Next::Again
        }
    }

    /// Whether it has nothing more to read.
    fn is_over(&self) -> bool {
        self.spec.shared.stop.is_requested() || self.intake.is_exhausted()
    }

    /// How long to wait for the windows or the store, if they are too far behind.
    fn throttle(&mut self, epoch: Epoch, now: Instant) -> Option<Duration> {
        let Plan { epochs_ahead, checkpoints_ahead, checkpoint_epochs, .. } = self.spec.plan;
        let progressed = &self.spec.progressed;
        let uncommitted = epoch.0.saturating_sub(checkpoints_ahead * checkpoint_epochs);
        let barrier = self.spec.clock.barrier.get().filter(|barrier| *barrier <= epoch);
        let in_flight = epoch.0.saturating_sub(epochs_ahead).max(barrier.map_or(0, |barrier| barrier.0));
        let wait = if progressed.committed.less_than(&uncommitted) || !self.spec.clock.has_room.get() {
            Some(BEHIND_STORE)
        } else if progressed.flow.less_than(&in_flight) {
            Some(BEHIND_WINDOWS)
        } else {
            None
        };
        match (wait, self.throttled_since) {
            (Some(_), None) => self.throttled_since = Some(now),
            (None, Some(since)) => {
                self.throttled += now.saturating_duration_since(since);
                self.throttled_since = None;
            }
            _ => {}
        }
        wait
    }

    /// Reads a few batches; tells whether nothing was there.
    fn read(&mut self, epoch: Epoch, now: Instant, given: &mut Given) -> Result<bool, SourceError> {
        let (records, bytes) = (self.intake.records, self.intake.bytes_read());
        let mut is_quiet = true;
        for _ in 0..BATCHES_PER_ACTIVATION {
            self.intake.align(self.spec.clock.others.get(), now - self.throttled)?;
            let Some(items) = self.intake.read(BATCH_ROWS, now - self.throttled)? else { break };
            is_quiet = false;
            for item in items {
                match item {
                    Item::Events(_) => given.events.push(item),
                    Item::Found { id, name, .. } => {
                        let found = |target| Item::Found { target, id, name: name.clone() };
                        given.aside.extend((0..self.workers).map(found));
                    }
                    _ => given.aside.push(item),
                }
            }
        }
        self.spec.shared.progress.add(self.intake.records - records, self.intake.bytes_read() - bytes);
        self.watch.read(epoch, now, &mut self.intake);
        Ok(is_quiet)
    }

    /// What ends `epoch`: a mark for every worker on both edges, and the accounts at a checkpoint.
    fn end(&mut self, epoch: Epoch, is_done: bool, given: &mut Given) {
        let now = self.spec.shared.surroundings.now();
        let is_stopped = is_done && self.spec.shared.stop.is_requested();
        let answer = self.spec.shelf.answer();
        let mark = Mark { answer, is_done, is_stopped, ..self.intake.mark(now - self.throttled) };
        if self.spec.plan.is_checkpoint(epoch) {
            given.aside.extend(self.intake.close_accounts().into_iter().map(Item::Account));
        }
        let promotions = self.spec.promotions.as_ref().filter(|_| !self.is_over());
        let proposal = promotions.and_then(|promotions| promotions.announce());
        for target in 0..self.workers {
            let proposal = proposal.iter().map(|proposal| Item::Proposal { target, proposal: proposal.clone() });
            given.events.extend(proposal.clone());
            given.aside.extend(proposal);
            given.events.push(Item::Mark { target, mark });
            given.aside.push(Item::Mark { target, mark });
        }
        self.epoch_began = now;
        self.epoch_bytes = self.intake.bytes;
    }
}

/// Both ends of the operator: what it may still send at, and where.
struct Outlet {
    /// None once everything has been sent.
    capabilities: Option<[Capability<u64>; 2]>,
    events: OutputBuilder<u64, CapacityContainerBuilder<Parcel>>,
    aside: OutputBuilder<u64, CapacityContainerBuilder<Parcel>>,
}

impl Outlet {
    fn epoch(&self) -> Option<Epoch> {
        self.capabilities.as_ref().map(|[on_events, _]| Epoch(*on_events.time()))
    }

    fn send(&mut self, given: Given) {
        let Some([on_events, on_aside]) = &self.capabilities else { return };
        self.events.activate().session(on_events).give_container(&mut Parcel(given.events));
        self.aside.activate().session(on_aside).give_container(&mut Parcel(given.aside));
    }

    fn downgrade(&mut self, epoch: Epoch) {
        self.capabilities.iter_mut().flatten().for_each(|capability| capability.downgrade(&epoch.0));
    }
}

/// Wakes the operator after a while; one wish at a time, for timely keeps every one.
struct Alarm {
    activator: Activator,
    surroundings: Arc<dyn Surroundings>,
    due: Option<Instant>,
}

impl Alarm {
    fn wake_after(&mut self, wait: Duration) {
        let now = self.surroundings.now();
        let due = now + wait.max(Duration::from_micros(100));
        if self.due.is_none_or(|set| set <= now || due < set) {
            self.due = Some(now + self.surroundings.wake_after(&self.activator, due - now));
        }
    }
}

/// The two edges that leave a source worker.
pub struct Ingested<'scope> {
    /// Accepted events and marks.
    pub events: Stream<'scope, u64, Parcel>,
    /// Refused records, accounts and marks.
    pub aside: Stream<'scope, u64, Parcel>,
}

/// Builds the operator. `intake` gets an activator for the reader's wake; if it fails, the run does, and the operator sends nothing.
pub fn ingest<'scope>(
    scope: Scope<'scope, u64>,
    spec: IngestSpec,
    intake: impl FnOnce(SyncActivator) -> Result<Intake, PipelineError>,
) -> Ingested<'scope> {
    let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
    let (events_output, events) = builder.new_output();
    let (aside_output, aside) = builder.new_output();
    let address = builder.operator_info().address;
    let surroundings = Arc::clone(&spec.shared.surroundings);
    let mut alarm = Alarm { activator: scope.activator_for(address.clone()), surroundings, due: None };
    let (first, shared, workers) = (spec.first, spec.shared.clone(), scope.peers());
    let intake = intake(scope.worker().sync_activator_for(address.to_vec()));
    let mut ingest = match intake {
        Ok(intake) => {
            let (epoch_began, throttled) = (spec.shared.surroundings.now(), Duration::ZERO);
            let watch = SourceWatch::new(Arc::clone(&spec.shared.metrics), Rc::clone(&spec.clock), spec.plan);
            Some(Ingest { spec, intake, watch, workers, epoch_began, epoch_bytes: 0, throttled_since: None, throttled })
        }
        Err(error) => {
            shared.fail(error);
            None
        }
    };
    builder.build(move |initial| {
        let mut outlet = Outlet {
            capabilities: <[Capability<u64>; 2]>::try_from(initial).ok(),
            events: OutputBuilder::from(events_output),
            aside: OutputBuilder::from(aside_output),
        };
        outlet.downgrade(first);
        move |_frontiers| {
            if let (Some(ingest), Some(epoch)) = (&mut ingest, outlet.epoch()) {
                activate(ingest, epoch, &mut outlet, &mut alarm);
            }
        }
    });
    Ingested { events, aside }
}

/// One activation in `epoch`.
fn activate(ingest: &mut Ingest, epoch: Epoch, outlet: &mut Outlet, alarm: &mut Alarm) {
    let mut given = Given::default();
    let next = ingest.step(epoch, &mut given);
    if let Next::EndEpoch = next {
        ingest.end(epoch, false, &mut given);
    }
    outlet.send(given);
    match next {
        Next::EndEpoch => {
            outlet.downgrade(Epoch(epoch.0 + 1));
            alarm.activator.activate();
        }
        Next::Finish => {
            let last = ingest.spec.plan.checkpoint_at(epoch);
            let mut given = Given::default();
            if epoch < last {
                // Nobody is to wait for this worker's partitions until the checkpoint.
                ingest.end(epoch, false, &mut given);
                outlet.send(std::mem::take(&mut given));
            }
            outlet.downgrade(last);
            ingest.end(last, true, &mut given);
            outlet.send(given);
            outlet.capabilities = None;
        }
        Next::Again => alarm.activator.activate(),
        Next::Wait(wait) => alarm.wake_after(wait),
        Next::Failed => {}
    }
}
