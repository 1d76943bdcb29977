//! Lets one thread of a run go at a time, and decides by the seed which one, for how many steps, and when the process dies or freezes.
//!
//! Promise: the same seed gives the same turns. Threads meet nowhere but here, so that what they do follows from their turns alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tidewatch::observe::stop::StopSignal;
use tidewatch::pipeline::surroundings::Seat;

/// Who takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    Worker(usize),
    Committer,
    /// Requests on their way to the store.
    Network,
}

/// What a thread unwinds with when its process dies.
pub struct Killed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Counted on, and not at the turnstile: on its way here, or in its turn.
    Away,
    Waiting,
    /// Waits for the end of the committer's thread, and comes back when it is there.
    Aside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    /// Nobody gets a turn.
    Frozen,
    Dead,
}

struct State {
    random: ChaCha8Rng,
    actors: BTreeMap<Actor, Standing>,
    holder: Option<Actor>,
    /// Whose turn it is, once its thread has taken it up.
    thread: Option<ThreadId>,
    /// Steps that the holder may go on without asking.
    steps: u32,
    turns: u64,
    /// The turns after which it is asked to stop, after which it freezes, and after which it dies.
    stops: Option<(u64, StopSignal)>,
    freezes_at: u64,
    dies_at: u64,
    life: Life,
    elapsed: Duration,
}

/// The clock and the turns of one process.
pub struct Turnstile {
    state: Mutex<State>,
    changed: Condvar,
    begun: Instant,
}

impl Turnstile {
    /// For a process whose workers come by themselves.
    pub fn new(random: ChaCha8Rng, workers: usize, stops: Option<(u64, StopSignal)>) -> Arc<Turnstile> {
        let actors = (0..workers).map(Actor::Worker).chain([Actor::Network]);
        let state = State {
            random,
            actors: actors.map(|actor| (actor, Standing::Away)).collect(),
            holder: None,
            thread: None,
            steps: 0,
            turns: 0,
            stops,
            freezes_at: u64::MAX,
            dies_at: u64::MAX,
            life: Life::Alive,
            elapsed: Duration::ZERO,
        };
        Arc::new(Turnstile { state: Mutex::new(state), changed: Condvar::new(), begun: Instant::now() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Simulated time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    pub fn now(&self) -> Instant {
        self.begun + self.elapsed()
    }

    pub fn turns(&self) -> u64 {
        self.lock().turns
    }

    pub fn life(&self) -> Life {
        self.lock().life
    }

    /// Ends the process: whoever comes here, or is waiting here, unwinds.
    pub fn kill(&self) {
        self.lock().life = Life::Dead;
        self.changed.notify_all();
    }

    /// What is to happen after so many turns.
    pub fn befall(&self, freezes_at: Option<u64>, dies_at: u64) {
        let mut state = self.lock();
        (state.freezes_at, state.dies_at) = (freezes_at.unwrap_or(u64::MAX), dies_at);
    }

    /// Lets a frozen process go on, for so many turns.
    pub fn thaw(&self, freezes_after: Option<u64>) {
        let mut state = self.lock();
        state.life = Life::Alive;
        state.freezes_at = freezes_after.map_or(u64::MAX, |turns| state.turns + turns);
        state.choose();
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the process is frozen, or all of its threads are gone.
    pub fn until_still(&self) -> Life {
        let mut state = self.lock();
        while !state.is_over() && (state.life != Life::Frozen || state.holder.is_some()) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_over() { Life::Dead } else { state.life }
    }

    /// Dies in the middle of whatever the calling thread does.
    pub fn die_here(&self) -> ! {
        self.kill();
        std::panic::resume_unwind(Box::new(Killed))
    }

    /// A number below `bound`, of the same row as the turns.
    pub fn roll(&self, bound: u32) -> u32 {
        self.lock().random.random_range(0..bound.max(1))
    }

    pub fn seat(self: &Arc<Turnstile>, actor: Actor) -> SimulatedSeat {
        self.lock().actors.entry(actor).or_insert(Standing::Away);
        SimulatedSeat { turnstile: Arc::clone(self), actor }
    }

    /// Gives the turn of whoever calls to others until the committer's thread, for whose end it waits, is gone.
    pub fn aside(&self, wait: &mut dyn FnMut()) {
        let mut state = self.lock();
        let is_here = state.thread == Some(std::thread::current().id()) && !std::thread::panicking();
        let holder = state.holder.filter(|_| is_here && state.actors.contains_key(&Actor::Committer));
        let Some(actor) = holder else {
            drop(state);
            return wait();
        };
        state.holder = None;
        state.actors.insert(actor, Standing::Aside);
        state.choose();
        drop(state);
        self.changed.notify_all();
        wait();
        self.pause(actor);
    }

    /// The workers' threads have ended, or were never started.
    pub fn workers_are_gone(&self) {
        let mut state = self.lock();
        state.actors.retain(|actor, _| !matches!(actor, Actor::Worker(_)));
        state.choose();
        drop(state);
        self.changed.notify_all();
    }

    pub fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    fn pause(&self, actor: Actor) {
        let mut state = self.lock();
        if state.holder == Some(actor) {
            if state.steps > 0 && state.life == Life::Alive {
                state.steps -= 1;
                state.pass_time();
                return;
            }
            state.holder = None;
        }
        state.actors.insert(actor, Standing::Waiting);
        state.choose();
        self.changed.notify_all();
        loop {
            if state.life == Life::Dead {
                drop(state);
                std::panic::resume_unwind(Box::new(Killed));
            }
            if state.holder == Some(actor) {
                state.actors.insert(actor, Standing::Away);
                state.thread = Some(std::thread::current().id());
                return;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self, actor: Actor) {
        let mut state = self.lock();
        state.actors.remove(&actor);
        if state.holder == Some(actor) {
            state.holder = None;
        }
        if actor == Actor::Committer {
            let aside = state.actors.values_mut().filter(|standing| **standing == Standing::Aside);
            aside.for_each(|standing| *standing = Standing::Away);
        }
        state.choose();
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    /// Only in somebody's turn, or when one begins: else the order in which threads arrive here would show.
    fn pass_time(&mut self) {
        self.elapsed += Duration::from_micros(self.random.random_range(1..3_000));
    }

    fn is_over(&self) -> bool {
        self.actors.keys().all(|actor| *actor == Actor::Network)
    }

    /// Gives the turn to somebody, once all are here.
    fn choose(&mut self) {
        let is_ready = self.life == Life::Alive
            && self.holder.is_none()
            && self.actors.values().all(|standing| *standing != Standing::Away);
        let waiting = self.actors.iter().filter(|(_, standing)| **standing == Standing::Waiting);
        let waiting: Vec<Actor> = waiting.map(|(actor, _)| *actor).collect();
        if !is_ready || waiting.is_empty() {
            return;
        }
        self.thread = None;
        // When the workers' threads have ended is no matter of turns: until the committer's has, too, nothing else may happen.
        if !self.actors.keys().any(|actor| matches!(actor, Actor::Worker(_))) {
            self.holder = waiting.contains(&Actor::Committer).then_some(Actor::Committer);
            self.steps = 0;
            return;
        }
        self.turns += 1;
        self.pass_time();
        if let Some((_, stop)) = self.stops.take_if(|(turns, _)| *turns <= self.turns) {
            stop.request();
        }
        if self.turns >= self.dies_at {
            self.life = Life::Dead;
        } else if self.turns >= self.freezes_at {
            self.life = Life::Frozen;
        } else {
            self.holder = Some(waiting[self.random.random_range(0..waiting.len())]);
            self.steps = self.random.random_range(0..12);
        }
    }
}

/// A thread's place.
pub struct SimulatedSeat {
    turnstile: Arc<Turnstile>,
    actor: Actor,
}

impl Seat for SimulatedSeat {
    fn pause(&mut self) {
        self.turnstile.pause(self.actor);
    }

    fn sleep(&self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

impl Drop for SimulatedSeat {
    fn drop(&mut self) {
        self.turnstile.leave(self.actor);
    }
}
