//! Scores: how far a row is from what its model expects, on events and on windows.
//!
//! Promise: a row's score has the same bits in any batch, at any place, on any worker, with vector instructions or without.

pub mod anomalies;
pub(crate) mod baseline;
pub mod cleared;
pub(crate) mod columns;
pub(crate) mod compared;
pub mod detector;
pub(crate) mod estimators;
pub mod history;
mod improbable;
mod judge;
pub(crate) mod kernel;
pub(crate) mod look_back;
mod reference;
pub mod scheduled;
pub mod scorer;
mod tail;

/// Keeps candle's and rayon's thread pools out of the way: workers are the only threads that compute. To be called first in `main`.
///
/// # Safety
/// No other thread may be running: the environment is written.
pub unsafe fn single_threaded() {
    for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // SAFETY: the caller vouches that nobody else reads the environment meanwhile.
        unsafe { std::env::set_var(variable, "1") };
    }
}
