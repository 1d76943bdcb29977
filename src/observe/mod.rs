//! What operators see and say: logs on standard error, what a panic does, and the signal to stop.

pub mod logging;
pub mod memory;
pub mod panic;
pub mod progress;
pub mod stop;
