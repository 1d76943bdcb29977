//! A panic in any thread ends the process.
//!
//! Promise: no worker goes on while another is gone. What was not committed is not there, and the next start resumes.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// The exit code of a process that ended by a panic.
pub const EXIT_CODE: i32 = 101;

/// Makes every panic end the process, after it was logged.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        // A panic while this one is being logged must not come back here.
        drop(std::panic::take_hook());
        log(info);
        std::process::exit(EXIT_CODE);
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = info.payload_as_str().unwrap_or("no message");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, at, message, %backtrace, "panic, the process ends"),
        _ => tracing::error!(thread, at, message, "panic, the process ends"),
    }
}
