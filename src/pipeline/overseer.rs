//! A thread that sees to it that a process ends when its workers cannot: one that stands still, and one that was told to stop and
//! is held up.
//!
//! Promise: it only ever ends the process as a kill would, so nothing is lost by it; the other processes of a cluster end when this
//! one's sockets close. What was not committed, the next start reads again.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::observe::vitals::Phase;
use crate::observe::watchdog::{Pace, Watchdog};
use crate::pipeline::shared::Shared;
use crate::pipeline::spec::Until;
use crate::storage::Storage;

/// How long a last checkpoint may take once a stop was asked for.
pub const GRACE: Duration = Duration::from_secs(30);

/// How much later a process is ended whose workers do not see for themselves that the time is over.
const HELD_UP: Duration = Duration::from_secs(1);

/// How long a start may go on to a point from where it ends by itself.
const STARTING: Duration = Duration::from_secs(2);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);

/// Oversees while it is held.
#[derive(Debug)]
pub struct Overseer {
    store: Arc<OnceLock<Storage>>,
    /// Whose end tells the thread to end.
    hold: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Overseer {
    /// `limit`: how long nothing may move.
    pub fn start(shared: &Shared, limit: Duration, until: Until) -> io::Result<Overseer> {
        let (hold, released) = channel();
        let store: Arc<OnceLock<Storage>> = Arc::default();
        let mut oversight = Oversight {
            metrics: Arc::clone(&shared.metrics),
            stop: shared.stop.clone(),
            store: Arc::clone(&store),
            watchdog: Watchdog::new(limit, Instant::now()),
            asked: None,
        };
        let thread = std::thread::Builder::new().name("overseer".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = released.recv_timeout(LOOK) {
                if let Some(end) = oversight.look(Instant::now()) {
                    oversight.tell(end);
                    std::process::exit(end.code(until));
                }
            }
        })?;
        Ok(Overseer { store, hold: Some(hold), thread: Some(thread) })
    }

    /// Its answers are a sign of life, and while it is away that is not ours to mend.
    pub fn watch_store(&self, storage: &Storage) {
        // It is told once.
        let _ = self.store.set(storage.clone());
    }
}

impl Drop for Overseer {
    fn drop(&mut self) {
        drop(self.hold.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

struct Oversight {
    metrics: Arc<Metrics>,
    stop: StopSignal,
    store: Arc<OnceLock<Storage>>,
    watchdog: Watchdog,
    /// When a stop was first seen to be asked for.
    asked: Option<Instant>,
}

/// Why the process has to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    StandsStill { since: Duration },
    NothingBegun,
    HeldUp,
}

impl End {
    /// What has an end of its own was not done: only a run until it is stopped is well where nothing had begun.
    fn code(self, until: Until) -> i32 {
        match self {
            End::NothingBegun if until == Until::Stopped => 0,
            End::NothingBegun | End::StandsStill { .. } | End::HeldUp => 1,
        }
    }
}

/// What a stop has come to, so long after it was asked for.
fn overdue(phase: Phase, waited: Duration) -> Option<End> {
    if phase < Phase::Claimed {
        return (waited > STARTING).then_some(End::NothingBegun);
    }
    (waited > GRACE + HELD_UP).then_some(End::HeldUp)
}

impl Oversight {
    fn look(&mut self, now: Instant) -> Option<End> {
        let pace = self.pace();
        if let Some(since) = self.watchdog.look(now, pace) {
            return Some(End::StandsStill { since });
        }
        if !self.stop.is_requested() {
            return None;
        }
        let asked = *self.asked.get_or_insert(now);
        overdue(self.metrics.vitals.look(now).phase, now.saturating_duration_since(asked))
    }

    fn pace(&self) -> Pace {
        let Pace { done, waits } = self.metrics.vitals.pace();
        match self.store.get().map(Storage::standing) {
            Some(store) if done > 0 => Pace { done: done + store.answers, waits: waits || store.is_away },
            _ => Pace { done, waits },
        }
    }

    fn tell(&self, end: End) {
        let signs = self.metrics.vitals.look(Instant::now());
        match end {
            End::StandsStill { since } => {
                let (worker, step) = signs.slowest.unwrap_or_default();
                tracing::error!(
                    standing_seconds = since.as_secs(),
                    uncommitted_seconds = signs.uncommitted.as_secs(),
                    slowest_worker = worker,
                    last_step_seconds = step.as_secs(),
                    "nothing moves: no epoch went through, no checkpoint was committed, and the store is not away; \
                     the process ends, and the next start goes on from the last checkpoint"
                );
            }
            End::NothingBegun => tracing::info!("stopped before anything was read"),
            End::HeldUp => tracing::error!(
                waited_seconds = GRACE.as_secs(),
                "the last checkpoint was not committed after the stop, for a worker is held up; the next start goes on \
                 from the one before"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_is_held_up_ends_by_how_far_the_run_had_come() {
        let seconds = Duration::from_secs;
        let rows = [
            (Phase::Starting, seconds(1), None),
            (Phase::Starting, seconds(3), Some(End::NothingBegun)),
            (Phase::Connected, seconds(3), Some(End::NothingBegun)),
            (Phase::Claimed, seconds(30), None),
            (Phase::Claimed, seconds(32), Some(End::HeldUp)),
            (Phase::Stopping, seconds(30), None),
            (Phase::Stopping, seconds(32), Some(End::HeldUp)),
        ];
        for (phase, waited, wanted) in rows {
            assert_eq!(overdue(phase, waited), wanted, "{phase:?} after {waited:?}");
        }
    }

    #[test]
    fn what_has_an_end_of_its_own_fails_if_it_is_stopped_before_it_began() {
        let codes = [Until::Stopped, Until::CaughtUp, Until::Closed].map(|until| End::NothingBegun.code(until));
        assert_eq!(codes, [0, 1, 1]);
        assert_eq!(End::HeldUp.code(Until::Stopped), 1);
    }
}
