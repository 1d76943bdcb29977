//! Runs a pipeline on this process's worker threads until it is done, told to stop, or has failed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use timely::CommunicationConfig;
use timely::worker::Worker;

use crate::decode::Decoder;
use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::observe::vitals::Phase;
use crate::pipeline::PipelineError;
use crate::pipeline::agree::agree;
use crate::pipeline::assemble::Assembly;
use crate::pipeline::committer::Committer;
use crate::pipeline::ingest::Progressed;
use crate::pipeline::overseer::{GRACE, Overseer};
use crate::pipeline::shared::Shared;
use crate::pipeline::spec::{Cluster, PipelineSpec};
use crate::pipeline::start::{self, Process, Source, Start, Terms};
use crate::pipeline::surroundings::{Machine, Seat, Surroundings, Thread};
use crate::pipeline::watch::Watch;
use crate::stage::Share;
use crate::views::standing;

/// How long a worker sleeps at most; what wakes it earlier are messages, sources and uploads.
const PARK: Duration = Duration::from_millis(100);

/// Runs to the end on this machine. `Ok` means that everything that was read is committed.
pub fn run(spec: PipelineSpec, cluster: Cluster, stop: StopSignal, metrics: Arc<Metrics>) -> Result<(), PipelineError> {
    let shared = Shared::new(stop, metrics, Arc::new(Machine));
    let overseer = Overseer::start(&shared, spec.watchdog, spec.until).map_err(PipelineError::Thread)?;
    go(spec, cluster, &shared, Some(overseer))
}

/// Runs to the end in surroundings that are handed in. Nobody oversees it: that is for processes of their own.
pub fn run_in(
    surroundings: Arc<dyn Surroundings>,
    spec: PipelineSpec,
    cluster: Cluster,
    stop: StopSignal,
    metrics: Arc<Metrics>,
) -> Result<(), PipelineError> {
    go(spec, cluster, &Shared::new(stop, metrics, surroundings), None)
}

fn go(spec: PipelineSpec, cluster: Cluster, shared: &Shared, overseer: Option<Overseer>) -> Result<(), PipelineError> {
    let process = Arc::new(Process::open(&spec, shared)?);
    if let Some(overseer) = &overseer {
        overseer.watch_store(&process.storage);
    }
    watch_source(&process, &shared.metrics);
    let workers = cluster.workers.max(1);
    shared.metrics.flow.workers.set(workers as i64);
    let spec = Arc::new(spec);
    let is_alone = cluster.addresses.len() < 2;
    let guards = timely::execute(config(&cluster), {
        let shared = shared.clone();
        move |worker| {
            if let Err(error) = work(worker, workers, &spec, &process, &shared) {
                shared.fail(error);
            }
            if shared.failed() {
                end_at_once(worker, is_alone);
            }
        }
    });
    let guards = guards.map_err(PipelineError::Cluster)?;
    for outcome in guards.join() {
        outcome.map_err(|_| PipelineError::Panicked)?;
    }
    let unscored = shared.metrics.totals().unscored;
    if unscored > 0 {
        tracing::warn!(rows = unscored, "scores were not finite, and are null");
    }
    match shared.take_failure() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Tells the metrics where the source is asked for its ends. They do not keep it open.
fn watch_source(process: &Process, metrics: &Metrics) {
    metrics.vitals.reach(Phase::Connected);
    if let Source::Kafka(client) = &process.source {
        let client = Arc::downgrade(client);
        let ends = move || client.upgrade().map(|client| client.high_watermarks()).unwrap_or_default();
        metrics.lag.ends_from(Box::new(ends));
    }
}

/// A failed worker lets go of its dataflows without another step: no other one must see their capabilities end.
fn end_at_once(worker: &mut Worker, is_alone: bool) {
    if !is_alone {
        // The failure has been logged. The other processes end when this one's sockets close.
        std::process::exit(1);
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

fn config(cluster: &Cluster) -> timely::Config {
    let communication = match (cluster.addresses.len(), cluster.workers) {
        (0 | 1, 0 | 1) => CommunicationConfig::Thread,
        (0 | 1, workers) => CommunicationConfig::Process(workers),
        (_, workers) => CommunicationConfig::Cluster {
            threads: workers.max(1),
            process: cluster.process,
            addresses: cluster.addresses.clone(),
            report: false,
            zerocopy: false,
        },
    };
    let mut worker = timely::WorkerConfig::default();
    standing::configure(&mut worker);
    timely::Config { communication, worker }
}

/// One worker from the agreement to the end; one of `workers` of this process.
fn work(
    worker: &mut Worker,
    workers: usize,
    spec: &Arc<PipelineSpec>,
    process: &Arc<Process>,
    shared: &Shared,
) -> Result<(), PipelineError> {
    let share = Share { worker: worker.index(), workers: worker.peers() };
    let mut seat = shared.surroundings.seat(Thread::Worker(share.worker));
    seat.pause();
    shared.decoding.join();
    shared.metrics.vitals.moved();
    let committer: Arc<Mutex<Option<Committer>>> = Arc::default();
    let decide = {
        let (spec, process, shared, committer) = (spec.clone(), process.clone(), shared.clone(), committer.clone());
        move || match start::decide(&spec, &process, &shared) {
            Ok((start, decided)) => {
                *committer.lock().unwrap_or_else(PoisonError::into_inner) = Some(decided);
                serde_json::to_string(&start).unwrap_or_default()
            }
            Err(error) => {
                shared.fail(error);
                String::new()
            }
        }
    };
    let Some(said) = agree(worker, seat.as_mut(), decide, || shared.failed()) else { return Ok(()) };
    if said.is_empty() {
        // Worker 0 has told why, on its own process.
        return if shared.failed() { Ok(()) } else { Err(PipelineError::NoStart) };
    }
    let start: Start = serde_json::from_str(&said).map_err(PipelineError::Start)?;
    if start.terms != Terms::of(spec) {
        return Err(PipelineError::OtherTerms);
    }
    for detecting in &spec.detectors {
        let name = &detecting.spec.name;
        shared.metrics.detector_is_loaded(name, start.models.iter().any(|schedule| schedule.detector == *name));
    }
    let committer = committer.lock().unwrap_or_else(PoisonError::into_inner).take();
    let assembly = Assembly { spec, process, start: &start, shared, share, beside: workers };
    let (clock, progressed) = assembly.build(worker, committer)?;
    shared.metrics.vitals.reach(Phase::Claimed);
    let watch = Watch {
        metrics: Arc::clone(&shared.metrics),
        clock,
        progressed: progressed.clone(),
        pulse: shared.metrics.vitals.worker(share.worker),
        reached: (0, 0),
        speaks_for_process: share.worker.is_multiple_of(workers),
    };
    turn((worker, seat), &progressed, Decoder::new(&spec.events)?, watch, shared)
}

/// Steps until everything is committed.
fn turn(
    (worker, mut seat): (&mut Worker, Box<dyn Seat>),
    progressed: &Progressed,
    mut decoder: Decoder,
    mut watch: Watch,
    shared: &Shared,
) -> Result<(), PipelineError> {
    let mut asked: Option<Instant> = None;
    while !progressed.committed.done() && !shared.failed() {
        seat.pause();
        // Idle only when there is nothing to decode for others either.
        if shared.decoding.help(&mut decoder) {
            worker.step();
        } else {
            worker.step_or_park(Some(seat.sleep(PARK)));
        }
        watch.look();
        if shared.stop.is_requested() {
            shared.metrics.vitals.reach(Phase::Stopping);
        }
        if shared.stop.is_requested() && asked.get_or_insert_with(Instant::now).elapsed() > GRACE {
            return Err(PipelineError::NotStopped { waited: GRACE });
        }
    }
    Ok(())
}
