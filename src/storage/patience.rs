//! How long to wait for a store, and saying once that it is away and once that it is back.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::storage::error::Cause;

/// How long an operation may take, and how long to repeat it while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One request without a body. One with a body may take a second longer for each MiB.
    pub attempt: Duration,
    /// All requests of one operation together. The last one is not cut short, so an operation ends within `budget` and one attempt.
    pub budget: Duration,
    /// The first pause between two requests; each next one is twice as long, up to `pause_max`.
    pub pause: Duration,
    pub pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempt: Duration::from_secs(5),
            budget: Duration::from_secs(600),
            pause: Duration::from_millis(50),
            pause_max: Duration::from_secs(5),
        }
    }
}

impl Patience {
    /// For the first contact, when a person waits: a wrong address should be told soon.
    pub fn at_start() -> Patience {
        Patience { budget: Duration::from_secs(15), ..Patience::default() }
    }

    pub(super) fn attempt_for(&self, bytes: u64) -> Duration {
        self.attempt + Duration::from_secs(bytes >> 20)
    }

    /// A walk through the requests of one operation.
    pub fn start(self) -> Attempts {
        Attempts { patience: self, begun: Instant::now(), pause: self.pause }
    }
}

/// The requests of one operation, and the pauses between them.
#[derive(Debug)]
pub struct Attempts {
    patience: Patience,
    begun: Instant,
    pause: Duration,
}

impl Attempts {
    pub fn waited(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How long to pause before the next request; none when the budget is spent.
    pub fn next_pause(&mut self) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (self.pause * 2).min(self.patience.pause_max);
        (self.waited() + pause < self.patience.budget).then_some(pause)
    }
}

/// Whether the store answers, as far as the log has said.
#[derive(Debug, Default)]
pub(super) struct Health {
    away_since: Mutex<Option<Instant>>,
}

impl Health {
    pub(super) fn failed(&self, store: &str, operation: &str, cause: &Cause) {
        let mut away_since = self.lock();
        if away_since.is_none() {
            *away_since = Some(Instant::now());
            warn!(store, operation, %cause, "store does not answer, trying again");
        }
    }

    pub(super) fn answered(&self, store: &str) {
        if let Some(since) = self.lock().take() {
            info!(store, away_seconds = since.elapsed().as_secs_f64(), "store answers again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // The value is whole at any instant, so a panic elsewhere cannot have left it half written.
        self.away_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_end_with_the_budget() {
        let patience = Patience {
            budget: Duration::from_secs(3600),
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(4),
            ..Patience::default()
        };
        let mut attempts = patience.start();
        let pauses: Vec<_> = (0..4).filter_map(|_| attempts.next_pause()).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 4]);
        assert_eq!(Patience { budget: Duration::ZERO, ..patience }.start().next_pause(), None);
    }

    #[test]
    fn a_large_body_gets_more_time_than_a_small_one() {
        assert_eq!(Patience::default().attempt_for(1000), Duration::from_secs(5));
        assert_eq!(Patience::default().attempt_for(128 << 20), Duration::from_secs(133));
    }
}
