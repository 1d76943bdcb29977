//! A panic in any thread ends the process.
//!
//! Promise: no worker goes on while another is gone. What was not committed is not there, and the next start resumes. Only what reads
//! bytes that may be damaged, with a library that may panic over them, is guarded.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

/// The exit code of a process that ended by a panic.
pub const EXIT_CODE: i32 = 101;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Makes every panic end the process, after it was logged; but for those that are guarded.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        if IS_GUARDED.get() {
            return;
        }
        // A panic while this one is being logged does not come back here: the standard library aborts.
        log(info);
        std::process::exit(EXIT_CODE);
    }));
}

/// Reads what may be damaged; none if that panicked. Nothing that `read` holds may be used after a panic.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    IS_GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(false);
    outcome.ok()
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const IS_CHILD: &str = "TIDEWATCH_TEST_PANICS";

    #[test]
    fn a_panic_in_any_thread_ends_the_process_with_its_code() {
        if std::env::var_os(IS_CHILD).is_some() {
            end_process_on_panic();
            assert_eq!(guarded(|| -> u32 { panic!("as a reader of damaged bytes might") }), None);
            let _ = std::thread::spawn(|| panic!("as a worker might")).join();
            std::process::exit(0);
        }
        let this = "observe::panic::tests::a_panic_in_any_thread_ends_the_process_with_its_code";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", this, "--nocapture"]).env(IS_CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(EXIT_CODE));
    }
}
