//! One process: a run of the real pipeline in simulated surroundings, on threads that go one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewatch::checkpoint::manifest::WallTime;
use tidewatch::checkpoint::schedule::ModelSchedule;
use tidewatch::observe::metrics::Metrics;
use tidewatch::observe::stop::StopSignal;
use tidewatch::pipeline::PipelineError;
use tidewatch::pipeline::plan::Plan;
use tidewatch::pipeline::run::run_in;
use tidewatch::pipeline::spec::{Cluster, OutputSpec, PipelineSpec, SourceSpec, Until};
use tidewatch::pipeline::surroundings::{OpenedTopic, Seat, Surroundings, Thread};
use tidewatch::sinks::kafka::{KafkaOutputError, KafkaOutputSpec};
use tidewatch::storage::Storage;
use tidewatch::storage::error::StorageError;
use tidewatch::storage::patience::Patience;
use timely::scheduling::Activator;

use crate::pipeline::{PROMOTED, VERSIONS, specification};
use crate::registry::{Promoted, Promotion, Registry};
use crate::simulated::Faults;
use crate::source::{Recording, Scripted};
use crate::store::{Client, Doom, Truth, Wire};
use crate::topic::{Producer, Topic};
use crate::turnstile::{Actor, Life, Turnstile};

/// What all processes of a story share.
#[derive(Clone)]
pub struct World {
    pub truth: Arc<Truth>,
    pub wire: Arc<Wire>,
    pub topic: Arc<Mutex<Topic>>,
    pub recording: Arc<Recording>,
    pub registry: Arc<Registry>,
    /// Which versions of models score what, where that is known from the start.
    pub schedules: Vec<ModelSchedule>,
}

impl World {
    pub fn new(recording: Arc<Recording>, schedules: Vec<ModelSchedule>) -> World {
        let truth = Arc::<Truth>::default();
        truth.watch().expect_records(recording.offsets());
        let (wire, topic, registry) = Default::default();
        World { truth, wire, topic, recording, registry, schedules }
    }
}

/// How a process lives, and what befalls it.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    pub seed: u64,
    pub workers: usize,
    pub is_live: bool,
    /// In thousandths of calls.
    pub faults: Faults,
    pub lists_lag: bool,
    pub topic_faults: u32,
    /// After so many turns.
    pub stops_at: Option<u64>,
    pub freezes_at: Option<u64>,
    pub dies_at: Option<u64>,
    /// In so many calls of the store, and whether that call is carried out.
    pub dies_in_call: Option<(u64, bool)>,
    pub promotions: [Option<Promotion>; 2],
}

impl Fate {
    pub fn calm(seed: u64, workers: usize) -> Fate {
        Fate {
            seed,
            workers,
            is_live: false,
            faults: Faults::default(),
            lists_lag: false,
            topic_faults: 0,
            stops_at: None,
            freezes_at: None,
            dies_at: None,
            dies_in_call: None,
            promotions: [None; 2],
        }
    }

    pub fn random(random: &mut ChaCha8Rng) -> Fate {
        let often = |random: &mut ChaCha8Rng| [0, 0, 10, 60, 150][random.random_range(0..5)];
        let faults = Faults { before: often(random), after: often(random), delayed: often(random) };
        let is_live = random.random_bool(0.4);
        // Where most of a run's turns lie, with some near its very beginning.
        let turns = |random: &mut ChaCha8Rng| match random.random_range(0..4) {
            0 => random.random_range(1..60),
            1 => random.random_range(1..400),
            _ => random.random_range(1..2_000),
        };
        let mut fate = Fate {
            is_live,
            faults,
            lists_lag: random.random_bool(0.3),
            topic_faults: [0, 0, 30, 120][random.random_range(0..4)],
            stops_at: is_live.then(|| turns(random) + 100),
            ..Fate::calm(random.next_u64(), random.random_range(1..=4))
        };
        for promotion in &mut fate.promotions {
            if random.random_bool(0.7) {
                // Often before it starts: else a process that is not live never sees it.
                let (turns, versions) = match random.random_range(0..3) {
                    0 => (0, VERSIONS - 1),
                    _ => (turns(random) / 5, VERSIONS),
                };
                let (detector, version) = (random.random_range(0..PROMOTED), random.random_range(1..=versions));
                *promotion = Some(Promotion { turns, detector, version });
            }
        }
        match random.random_range(0..6) {
            0 | 1 => fate.dies_at = Some(turns(random)),
            2 | 3 => fate.dies_in_call = Some((random.random_range(0..160), random.random_bool(0.5))),
            4 => fate.freezes_at = Some(turns(random)),
            _ => {}
        }
        fate
    }
}

/// Longer than any run that does not hang.
pub const TURNS_MAX: u64 = 150_000;

/// A process that was started.
pub struct Process {
    pub turnstile: Arc<Turnstile>,
    world: World,
    run: Option<JoinHandle<Result<(), PipelineError>>>,
    network: Option<JoinHandle<()>>,
    client: Client,
}

/// How a process ended.
#[derive(Debug)]
pub enum End {
    Well,
    Failed(PipelineError),
    Died,
    /// It did not come to an end by itself.
    Hung,
}

impl Process {
    pub fn start(world: &World, fate: Fate, number: u32) -> Process {
        let mut random = ChaCha8Rng::seed_from_u64(fate.seed);
        let stop = StopSignal::default();
        let plan = Plan {
            epoch_every: Duration::from_millis(random.random_range(20..200)),
            checkpoint_epochs: random.random_range(1..5),
            epoch_bytes_max: random.random_range(300..8_000),
            epochs_ahead: random.random_range(1..4),
            checkpoints_ahead: random.random_range(1..3),
            held_bytes_max: if random.random_bool(0.2) { random.random_range(1..20_000) } else { 64 << 20 },
            look_every: Duration::from_millis(random.random_range(1..800)),
        };
        let publish_every = Duration::from_millis(random.random_range(0..2_000));
        let file_size = if random.random_bool(0.2) { random.random_range(2_000..60_000) } else { 64 << 20 };
        let seed = random.next_u64();
        let stops = fate.stops_at.map(|turns| (turns, stop.clone()));
        let turnstile = Turnstile::new(random, fate.workers, stops);
        turnstile.befall(fate.freezes_at, fate.dies_at.unwrap_or(TURNS_MAX));
        let doom = Doom {
            calls_left: fate.dies_in_call.map(|(calls, _)| calls),
            is_done: fate.dies_in_call.is_some_and(|(_, is_done)| is_done),
        };
        let client = Client::new(&world.truth, (seed, fate.faults, fate.lists_lag), &turnstile, doom, &world.wire);
        let surroundings = Arc::new(Simulated {
            turnstile: Arc::clone(&turnstile),
            world: world.clone(),
            client: client.clone(),
            storage: Mutex::default(),
            topic_faults: fate.topic_faults,
            number,
        });
        let network = network(&surroundings);
        let recording = Arc::clone(&world.recording);
        let source = Scripted { recording, turnstile: Arc::clone(&turnstile), is_live: fate.is_live };
        let mut spec: PipelineSpec = specification(|detector| {
            let (registry, turnstile) = (Arc::clone(&world.registry), Arc::clone(&turnstile));
            Arc::new(Promoted { registry, turnstile, promotions: fate.promotions, detector })
        });
        spec.schedules.clone_from(&world.schedules);
        spec.source = SourceSpec::Given(Arc::new(source));
        spec.until = if fate.is_live { Until::Stopped } else { Until::Closed };
        spec.plan = plan;
        (spec.output.publish_every, spec.output.file_size) = (publish_every, file_size);
        let cluster = Cluster { workers: fate.workers, process: 0, addresses: Vec::new() };
        let run = {
            let turnstile = Arc::clone(&turnstile);
            std::thread::spawn(move || {
                let metrics = Arc::new(Metrics::new("simulation"));
                let run = || run_in(surroundings, spec, cluster, stop, metrics);
                let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(PipelineError::Panicked));
                turnstile.workers_are_gone();
                ended
            })
        };
        Process { turnstile, world: world.clone(), run: Some(run), network: Some(network), client }
    }

    /// Lets it go on until it is frozen, or has ended.
    pub fn go(&mut self) -> Option<End> {
        if self.turnstile.until_still() == Life::Frozen {
            return None;
        }
        let turns = self.turnstile.turns();
        let died = self.turnstile.life() == Life::Dead;
        self.turnstile.kill();
        let ended = self.run.take().map(JoinHandle::join);
        let _ = self.network.take().map(JoinHandle::join);
        self.world.wire.ghosts.lock().unwrap().push(self.client.ghost());
        Some(match ended {
            _ if turns >= TURNS_MAX => End::Hung,
            _ if died => End::Died,
            Some(Ok(Ok(()))) => End::Well,
            Some(Ok(Err(error))) => End::Failed(error),
            _ => End::Died,
        })
    }
}

/// What carries requests to the store while nobody waits for one.
fn network(surroundings: &Arc<Simulated>) -> JoinHandle<()> {
    let mut seat = surroundings.turnstile.seat(Actor::Network);
    let surroundings = Arc::clone(surroundings);
    std::thread::spawn(move || {
        let carry = || {
            while !surroundings.turnstile.is_over() {
                seat.pause();
                let storage = surroundings.storage.lock().unwrap().clone();
                if let Some(storage) = storage {
                    storage.rest(surroundings.turnstile.roll(6) as usize);
                }
            }
        };
        // It dies with the process.
        let _ = catch_unwind(AssertUnwindSafe(carry));
    })
}

struct Simulated {
    turnstile: Arc<Turnstile>,
    world: World,
    client: Client,
    storage: Mutex<Option<Storage>>,
    topic_faults: u32,
    /// Of the processes of its story.
    number: u32,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}

impl Surroundings for Simulated {
    fn now(&self) -> Instant {
        self.turnstile.now()
    }

    fn wall(&self) -> WallTime {
        let elapsed = i64::try_from(self.turnstile.elapsed().as_micros()).unwrap_or(i64::MAX);
        WallTime(1_800_000_000_000_000 + i64::from(self.number) * 900_000_000 + elapsed)
    }

    fn store(&self, _: &OutputSpec) -> Result<Storage, StorageError> {
        let storage = Storage::in_steps(Arc::new(self.client.clone()), self.patience())?;
        *self.storage.lock().unwrap() = Some(storage.clone());
        Ok(storage)
    }

    fn patience(&self) -> Patience {
        Patience { pause: Duration::ZERO, pause_max: Duration::ZERO, ..Patience::default() }
    }

    fn anomalies(&self, _: &KafkaOutputSpec) -> Result<OpenedTopic, KafkaOutputError> {
        let World { topic, truth, .. } = &self.world;
        let (producer, last) = Producer::open(topic, truth, &self.turnstile, self.topic_faults);
        Ok((Box::new(producer), last))
    }

    fn seat(&self, thread: Thread) -> Box<dyn Seat> {
        let actor = match thread {
            Thread::Worker(worker) => Actor::Worker(worker),
            Thread::Committer => Actor::Committer,
        };
        Box::new(self.turnstile.seat(actor))
    }

    fn aside(&self, wait: &mut dyn FnMut()) {
        self.turnstile.aside(wait);
    }

    fn wake_after(&self, activator: &Activator, _: Duration) -> Duration {
        activator.activate();
        Duration::ZERO
    }
}

/// Where the topic is, as the flow has it.
pub fn topic() -> KafkaOutputSpec {
    KafkaOutputSpec {
        brokers: "simulated".into(),
        topic: "anomalies".into(),
        progress_topic: None,
        properties: BTreeMap::new(),
        transactional_id: "simulated".into(),
    }
}
