//! How long to wait for a store, and saying once that it is away and once that it is back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Whether the store answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    heard: Mutex<Heard>,
    answers: AtomicU64,
}

/// What requests came to.
#[derive(Debug, Default)]
struct Heard {
    answered: Option<Instant>,
    away: Option<Away>,
}

/// Requests fail, and none was answered since.
#[derive(Debug)]
struct Away {
    since: Instant,
    /// The log has said so.
    is_told: bool,
}

/// A request that fails now and then is repeated and no news; the store that has not answered any for so long is.
const NEWS_AFTER: Duration = Duration::from_secs(1);

/// How a store stands at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last request was not answered, and is being repeated.
    pub is_away: bool,
    /// Requests that were answered so far.
    pub answers: u64,
}

impl Health {
    /// A request that was sent at `sent` failed in a way that may pass.
    pub(super) fn failed(&self, store: &str, operation: &str, cause: &Cause, sent: Instant) {
        let mut heard = self.lock();
        // It was sent before the last answer came: that one knows better.
        if heard.answered.is_some_and(|answered| sent < answered) {
            return;
        }
        let away = heard.away.get_or_insert(Away { since: sent, is_told: false });
        if !away.is_told && away.since.elapsed() >= NEWS_AFTER {
            away.is_told = true;
            warn!(store, operation, %cause, "store does not answer, trying again");
        }
    }

    pub(super) fn answered(&self, store: &str) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let mut heard = self.lock();
        heard.answered = Some(Instant::now());
        if let Some(Away { since, is_told: true }) = heard.away.take() {
            info!(store, away_seconds = since.elapsed().as_secs_f64(), "store answers again");
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { is_away: self.lock().away.is_some(), answers: self.answers.load(Ordering::Relaxed) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        // The value is whole at any instant, so a panic elsewhere cannot have left it half written.
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

    #[test]
    fn a_store_is_away_until_it_answers_and_late_time_outs_change_nothing() {
        let (health, cause) = (Health::default(), Cause::text("no answer"));
        let before = Instant::now();
        health.answered("s3");
        health.failed("s3", "put", &cause, before);
        assert_eq!(health.standing(), Standing { is_away: false, answers: 1 }, "it was sent before the answer came");
        health.failed("s3", "put", &cause, Instant::now());
        assert!(health.standing().is_away);
        health.answered("s3");
        assert_eq!(health.standing(), Standing { is_away: false, answers: 2 });
    }
}
