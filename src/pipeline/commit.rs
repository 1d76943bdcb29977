//! The coordinator's operator: when every worker has reported a checkpoint, its epoch is committed on a thread of its own, which looks after
//! promoted models in between.
//!
//! Promise: nothing is committed without the report of every worker, nor after a failure anywhere in the process.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;
use timely::scheduling::SyncActivator;

use crate::domain::ids::Epoch;
use crate::pipeline::PipelineError;
use crate::pipeline::account::Report;
use crate::pipeline::committer::Committer;
use crate::pipeline::promotions::Promotions;
use crate::pipeline::shared::Shared;
use crate::pipeline::surroundings::{Seat, Thread};

/// A whole checkpoint on its way to the committer's thread.
struct Request {
    epoch: Epoch,
    reports: Vec<Report>,
}

/// Commits requests in their order, and tells which epochs are done.
fn serve(
    mut committer: Committer,
    requests: Receiver<Request>,
    done: Sender<Epoch>,
    wake: SyncActivator,
    shared: Shared,
    mut seat: Box<dyn Seat>,
) {
    let promotions = committer.promotions.clone();
    while let Some(Request { epoch, reports }) = next(&requests, seat.as_mut(), promotions.as_deref(), &shared) {
        if shared.failed() {
            return;
        }
        let committed = committer.commit(epoch, reports);
        if let Ok(checkpoint) = &committed {
            for file in &checkpoint.publish {
                shared.metrics.output.published(&file.table, file.size, file.rows);
            }
            // The operator is gone only if the run has failed.
            let _ = done.send(epoch);
        }
        let has_failed = committed.map_err(|error| shared.fail(error)).is_err();
        let _ = wake.activate();
        if has_failed {
            return;
        }
    }
}

/// The next request; none once there will be no more. Looks after promoted models meanwhile.
fn next(
    requests: &Receiver<Request>,
    seat: &mut dyn Seat,
    promotions: Option<&Promotions>,
    shared: &Shared,
) -> Option<Request> {
    let longest = promotions.map_or(Duration::MAX, |promotions| promotions.look_every);
    loop {
        seat.pause();
        if let Some(promotions) = promotions.filter(|_| !shared.failed()) {
            promotions.look(shared.surroundings.now());
        }
        match requests.recv_timeout(seat.sleep(longest)) {
            Ok(request) => return Some(request),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// The committer's thread, which ends with what it has been asked for: a run that is done leaves nothing behind that still talks to anybody.
struct Background {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    shared: Shared,
}

impl Background {
    fn send(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.requests.take());
        // After a failure it may wait for a store that never answers.
        if let Some(thread) = self.thread.take().filter(|_| !self.shared.failed()) {
            let mut thread = Some(thread);
            self.shared.surroundings.aside(&mut || {
                // A panic there has been reported by the panic hook.
                let _ = thread.take().map(JoinHandle::join);
            });
        }
    }
}

/// Builds the operator. `committer` is given to worker 0 alone. The stream that leaves carries nothing: its frontier is what is committed.
pub fn commit<'scope>(
    reports: StreamVec<'scope, u64, Report>,
    committer: Option<Committer>,
    shared: Shared,
) -> StreamVec<'scope, u64, ()> {
    let scope = reports.scope();
    let workers = scope.peers();
    let pact = Exchange::new(|_: &Report| 0);
    reports.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(pact, "Commit", move |_initial, info| {
        let (to_thread, requests) = channel();
        let (done, from_thread) = channel();
        let mut background = Background { requests: Some(to_thread), thread: None, shared: shared.clone() };
        if let Some(committer) = committer {
            let wake = scope.worker().sync_activator_for(info.address.to_vec());
            let shared = shared.clone();
            let seat = shared.surroundings.seat(Thread::Committer);
            let thread = std::thread::Builder::new().name("committer".to_owned());
            match thread.spawn({
                let shared = shared.clone();
                move || serve(committer, requests, done, wake, shared, seat)
            }) {
                Ok(thread) => background.thread = Some(thread),
                Err(error) => shared.fail(PipelineError::Thread(error)),
            }
        }
        let mut open: BTreeMap<u64, (Capability<u64>, Vec<Report>)> = BTreeMap::new();
        let mut underway: BTreeMap<u64, Capability<u64>> = BTreeMap::new();
        move |(input, frontier), _output| {
            input.for_each(|capability, reports| {
                let entry = open.entry(*capability.time());
                entry.or_insert_with(|| (capability.retain(0), Vec::new())).1.append(reports);
            });
            let first_open = frontier.frontier().iter().min().copied().unwrap_or(u64::MAX);
            while let Some(entry) = open.first_entry().filter(|entry| *entry.key() < first_open) {
                let (time, (capability, reports)) = entry.remove_entry();
                underway.insert(time, capability);
                if reports.len() != workers {
                    let epoch = Epoch(time);
                    shared.fail(PipelineError::Incomplete { epoch, reports: reports.len(), workers });
                } else if !background.send(Request { epoch: Epoch(time), reports }) && !shared.failed() {
                    shared.fail(PipelineError::CommitterGone);
                }
            }
            for epoch in from_thread.try_iter() {
                underway.remove(&epoch.0);
            }
        }
    })
}
