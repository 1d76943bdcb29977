//! The whole program as a user meets it: seeded flows, the built binary, the tables that it leaves, and an independent
//! calculation of what should stand in them.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub mod answers;
pub mod disturbed;
pub mod events;
pub mod exposition;
pub mod naive;
pub mod place;
pub mod program;
pub mod proxy;
pub mod tables;
pub mod topic;

use std::time::{Duration, Instant};

/// Looks until there is something to see. The time is no expectation of speed, only the end of hope.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
