//! Whether the process is alive and whether it is ready: what workers and commits leave behind, and the judgement of it.
//!
//! Promise: alive means that every worker steps; ready means that the output is claimed, the source connected, an epoch
//! done, and the last commit not too old. What follows from either is for those who ask.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::watchdog::Pace;

/// How far a run has come. Only ever goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Starting,
    /// The source answers.
    Connected,
    /// The output is ours, and its state restored.
    Claimed,
    /// An epoch has gone through the flow.
    Flowing,
    Stopping,
}

const PHASES: [Phase; 5] = [Phase::Starting, Phase::Connected, Phase::Claimed, Phase::Flowing, Phase::Stopping];

/// What is left behind by those at work.
#[derive(Debug)]
pub struct Vitals {
    begun: Instant,
    phase: AtomicU8,
    /// Milliseconds after `begun`; 0 where there was none.
    committed: AtomicU64,
    /// Counts what was done; 0 before work begins.
    done: AtomicU64,
    /// How many wait for somebody outside.
    waiting: AtomicUsize,
    pulses: Mutex<Vec<(usize, Arc<AtomicU64>)>>,
}

/// Somebody waits for an answer from outside, for as long as this is held.
#[derive(Debug)]
pub struct Waiting(Arc<Vitals>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker that steps. Once dropped, nothing is expected of it.
#[derive(Debug)]
pub struct Pulse {
    begun: Instant,
    beat: Arc<AtomicU64>,
}

/// Of a worker that has ended.
const ENDED: u64 = u64::MAX;

/// How long silence may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Between two steps of a worker.
    pub step: Duration,
    /// Between two commits.
    pub commit: Duration,
}

impl Limits {
    /// For a run that commits every so often.
    pub fn of(checkpoint_every: Duration) -> Limits {
        // A commit may take as long as its interval, and two may wait for a store that is away for a moment.
        Limits { step: Duration::from_secs(30), commit: (checkpoint_every * 5).max(Duration::from_secs(60)) }
    }
}

/// What was seen at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    pub phase: Phase,
    /// The worker whose last step is the longest ago; none before workers step.
    pub slowest: Option<(usize, Duration)>,
    /// Since the last commit, or since the start before the first.
    pub uncommitted: Duration,
}

/// Why a process is not alive, or not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ailment {
    Stalled { worker: usize, since: Duration },
    NotYet(Phase),
    Stopping,
    Uncommitted { since: Duration, limit: Duration },
}

impl Default for Vitals {
    fn default() -> Vitals {
        Vitals {
            begun: Instant::now(),
            phase: AtomicU8::new(Phase::Starting as u8),
            committed: AtomicU64::new(0),
            done: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            pulses: Mutex::default(),
        }
    }
}

impl Vitals {
    pub fn reach(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// A worker begins to step.
    pub fn worker(&self, index: usize) -> Pulse {
        let pulse = Pulse { begun: self.begun, beat: Arc::default() };
        pulse.beat();
        self.pulses().push((index, Arc::clone(&pulse.beat)));
        pulse
    }

    pub fn committed(&self, at: Instant) {
        self.committed.fetch_max(millis(self.begun, at).max(1), Ordering::Relaxed);
    }

    /// Something moved: work began, an epoch went through, a checkpoint was committed.
    pub fn moved(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub fn waits(self: &Arc<Vitals>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(self))
    }

    /// For the watchdog.
    pub fn pace(&self) -> Pace {
        Pace { done: self.done.load(Ordering::Relaxed), waits: self.waiting.load(Ordering::Relaxed) > 0 }
    }

    pub fn look(&self, now: Instant) -> Signs {
        let phase = PHASES[usize::from(self.phase.load(Ordering::Relaxed)).min(PHASES.len() - 1)];
        let since = |at: u64| Duration::from_millis(millis(self.begun, now).saturating_sub(at));
        let pulses = self.pulses();
        let beats = pulses.iter().map(|(worker, beat)| (*worker, beat.load(Ordering::Relaxed)));
        let slowest = beats.filter(|(_, beat)| *beat != ENDED).min_by_key(|(_, beat)| *beat);
        Signs {
            phase,
            slowest: slowest.map(|(worker, beat)| (worker, since(beat))),
            uncommitted: since(self.committed.load(Ordering::Relaxed)),
        }
    }

    fn pulses(&self) -> MutexGuard<'_, Vec<(usize, Arc<AtomicU64>)>> {
        // Nobody panics while holding it.
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    pub fn beat(&self) {
        self.beat.store(millis(self.begun, Instant::now()), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beat.store(ENDED, Ordering::Relaxed);
    }
}

fn millis(begun: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(begun).as_millis()).unwrap_or(u64::MAX - 1)
}

impl Signs {
    /// Why the process should be ended and started anew; nothing while it is alive.
    pub fn deadly(&self, limits: Limits) -> Vec<Ailment> {
        let stalled = self.slowest.filter(|(_, since)| *since > limits.step);
        stalled.map(|(worker, since)| Ailment::Stalled { worker, since }).into_iter().collect()
    }

    /// Why nobody should rely on its results being up to date; nothing while it is ready.
    pub fn hindering(&self, limits: Limits) -> Vec<Ailment> {
        let mut ailments = self.deadly(limits);
        match self.phase {
            Phase::Stopping => ailments.push(Ailment::Stopping),
            Phase::Flowing => {}
            phase => ailments.push(Ailment::NotYet(phase)),
        }
        if self.phase == Phase::Flowing && self.uncommitted > limits.commit {
            ailments.push(Ailment::Uncommitted { since: self.uncommitted, limit: limits.commit });
        }
        ailments
    }
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ailment::Stalled { worker, since } => {
                write!(f, "worker {worker} has made no step for {} s", since.as_secs())
            }
            Ailment::NotYet(Phase::Starting) => f.write_str("the source is not connected yet"),
            Ailment::NotYet(Phase::Connected) => f.write_str("the output is not claimed yet"),
            Ailment::NotYet(_) => f.write_str("no epoch has gone through the flow yet"),
            Ailment::Stopping => f.write_str("stopping"),
            Ailment::Uncommitted { since, limit } => {
                write!(f, "nothing was committed for {} s, and {} s is the limit", since.as_secs(), limit.as_secs())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { step: Duration::from_secs(30), commit: Duration::from_secs(60) };

    fn told(ailments: &[Ailment]) -> Vec<String> {
        ailments.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_run_is_ready_once_it_is_connected_claimed_and_flowing_and_not_when_it_stops() {
        let vitals = Vitals::default();
        let hindered = || told(&vitals.look(vitals.begun).hindering(LIMITS));
        assert_eq!(hindered(), ["the source is not connected yet"]);
        vitals.reach(Phase::Connected);
        assert_eq!(hindered(), ["the output is not claimed yet"]);
        vitals.reach(Phase::Claimed);
        assert_eq!(hindered(), ["no epoch has gone through the flow yet"]);
        vitals.reach(Phase::Flowing);
        vitals.reach(Phase::Claimed);
        assert_eq!(hindered(), [""; 0], "a phase once reached is not left");
        vitals.reach(Phase::Stopping);
        assert_eq!(hindered(), ["stopping"]);
    }

    #[test]
    fn a_worker_without_a_step_is_deadly_and_one_that_has_ended_is_not() {
        let vitals = Vitals::default();
        vitals.reach(Phase::Flowing);
        let (stuck, ended) = (vitals.worker(3), vitals.worker(4));
        drop(ended);
        vitals.committed(vitals.begun + Duration::from_secs(31));
        let signs = vitals.look(vitals.begun + Duration::from_secs(31));
        assert_eq!(told(&signs.deadly(LIMITS)), ["worker 3 has made no step for 31 s"]);
        assert_eq!(signs.hindering(LIMITS), signs.deadly(LIMITS));
        drop(stuck);
        assert_eq!(vitals.look(vitals.begun + Duration::from_secs(31)).deadly(LIMITS), []);
    }

    #[test]
    fn an_old_commit_hinders_but_does_not_kill() {
        let vitals = Vitals::default();
        vitals.reach(Phase::Flowing);
        vitals.committed(vitals.begun + Duration::from_secs(10));
        let signs = vitals.look(vitals.begun + Duration::from_secs(71));
        assert_eq!(told(&signs.hindering(LIMITS)), ["nothing was committed for 61 s, and 60 s is the limit"]);
        assert_eq!(signs.deadly(LIMITS), []);
        assert_eq!(vitals.look(vitals.begun + Duration::from_secs(70)).hindering(LIMITS), []);
    }
}
