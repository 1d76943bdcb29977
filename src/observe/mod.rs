//! What operators see and say: logs on standard error, metrics and signs of life, what a panic does, and the signal to stop.

pub mod logging;
pub mod memory;
pub mod metrics;
pub mod panic;
pub mod progress;
pub mod stop;
pub mod vitals;
pub mod watchdog;
