//! Whether a run stands still: a pure judgement of what was seen at one look after the other.
//!
//! Promise: a run in which nothing moves for longer than the limit is told once that is sure; one that waits for a store or a broker
//! that is known to be away is not, nor one that was itself stopped in between, as a paused machine is.

use std::time::{Duration, Instant};

/// What was seen at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Becomes another number whenever something was done; 0 before there is anything to do.
    pub done: u64,
    /// Somebody outside is being waited for, who is known not to answer.
    pub waits: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    done: u64,
    /// Since when nothing has moved.
    since: Instant,
    looked: Instant,
}

/// Who looks every so often and then not for so long had been stopped, with everything else in the process.
const ASLEEP: Duration = Duration::from_secs(5);

impl Watchdog {
    pub fn new(limit: Duration, now: Instant) -> Watchdog {
        Watchdog { limit, done: 0, since: now, looked: now }
    }

    /// How long nothing has moved, once that is too long. To be called far more often than every `ASLEEP`.
    pub fn look(&mut self, now: Instant, pace: Pace) -> Option<Duration> {
        let slept = now.saturating_duration_since(self.looked) > ASLEEP;
        self.looked = now;
        if slept || pace.waits || pace.done == 0 || pace.done != self.done {
            (self.done, self.since) = (pace.done, now);
        }
        let standing = now.saturating_duration_since(self.since);
        (standing > self.limit).then_some(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every second at what `pace` says of each; gives the second at which the run is told to stand still.
    fn told(seconds: impl Iterator<Item = u64>, pace: impl Fn(u64) -> Pace) -> Option<u64> {
        let begun = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(60), begun);
        seconds.into_iter().find(|second| watchdog.look(begun + Duration::from_secs(*second), pace(*second)).is_some())
    }

    #[test]
    fn every_row_of_the_table_of_judgements() {
        let moves_until = |last: u64| move |second: u64| Pace { done: 1 + second.min(last), waits: false };
        let rows: Vec<(&str, Option<u64>, Option<u64>)> = vec![
            ("it moves on", told(0..1000, moves_until(1000)), None),
            ("it stands still from the 10th second on", told(0..1000, moves_until(10)), Some(71)),
            ("nothing has begun yet", told(0..1000, |_| Pace { done: 0, waits: false }), None),
            ("it waits all the time", told(0..1000, |_| Pace { done: 7, waits: true }), None),
            (
                "what it waited for came back, and it does not go on",
                told(0..1000, |second| Pace { done: 7, waits: second < 300 }),
                Some(360),
            ),
            (
                "the process was stopped for a day, and goes on",
                told((0..20).chain(86_400..86_500), |second| Pace { done: 1 + second, waits: false }),
                None,
            ),
            (
                "the process was stopped for a day, and stands still",
                told((0..20).chain(86_400..86_500), |_| Pace { done: 7, waits: false }),
                Some(86_461),
            ),
            ("one step a minute is enough", told(0..1000, |second| Pace { done: 1 + second / 60, waits: false }), None),
        ];
        for (what, found, wanted) in rows {
            assert_eq!(found, wanted, "{what}");
        }
    }
}
