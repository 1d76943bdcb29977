//! The signal to stop: SIGTERM and Ctrl-C ask for a clean end, a second one ends at once.
//!
//! Whoever waits registers how it is woken; whoever works asks between two pieces of work.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{Either, select};
use tokio::signal::unix::{Signal, SignalKind, signal};

type Wake = Box<dyn Fn() + Send + Sync>;

/// Shared by everyone who stops. Once requested it stays so.
#[derive(Clone, Default)]
pub struct StopSignal(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_requested: AtomicBool,
    wakes: Mutex<Vec<Wake>>,
}

impl StopSignal {
    pub fn is_requested(&self) -> bool {
        self.0.is_requested.load(Ordering::Acquire)
    }

    /// Asks everyone to stop, and wakes those who wait.
    pub fn request(&self) {
        self.0.is_requested.store(true, Ordering::Release);
        // Nobody panics while holding the lock but a wake, and then the process ends.
        self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake());
    }

    /// Calls `wake` when a stop is requested, from another thread, or at once if it was. It must neither block nor
    /// register another one.
    pub fn on_request(&self, wake: impl Fn() + Send + Sync + 'static) {
        let mut wakes = self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: a request before it is seen here, one after it finds the wake.
        if self.is_requested() {
            wake();
        }
        wakes.push(Box::new(wake));
    }

    /// A stop that SIGTERM and SIGINT request. When this returns, both are caught.
    pub fn on_signals() -> std::io::Result<StopSignal> {
        let stop = StopSignal::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let guard = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(guard);
        let requested = stop.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watch(terminate, interrupt, requested)))?;
        Ok(stop)
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopSignal").field(&self.is_requested()).finish()
    }
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, stop: StopSignal) {
    loop {
        // What a shell reports for a process that ended by the signal.
        let (name, code) = match select(pin!(terminate.recv()), pin!(interrupt.recv())).await {
            Either::Left(_) => ("SIGTERM", 143),
            Either::Right(_) => ("SIGINT", 130),
        };
        if stop.is_requested() {
            tracing::warn!(signal = name, "second signal, ending at once");
            std::process::exit(code);
        }
        tracing::info!(signal = name, "stopping after a last checkpoint; once more ends at once");
        stop.request();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn those_who_wait_are_woken_whether_they_came_before_or_after() {
        let (stop, woken) = (StopSignal::default(), Arc::new(AtomicUsize::new(0)));
        let wake = |woken: &Arc<AtomicUsize>| {
            let woken = woken.clone();
            move || {
                woken.fetch_add(1, Ordering::SeqCst);
            }
        };
        stop.on_request(wake(&woken));
        assert_eq!((stop.is_requested(), woken.load(Ordering::SeqCst)), (false, 0));
        stop.clone().request();
        assert_eq!((stop.is_requested(), woken.load(Ordering::SeqCst)), (true, 1));
        stop.on_request(wake(&woken));
        assert_eq!(woken.load(Ordering::SeqCst), 2);
    }

    const IS_CHILD: &str = "TIDEWATCH_TEST_STOPS";

    /// Asks this process to end, as an orchestrator does.
    fn terminate() {
        let id = std::process::id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    #[test]
    fn one_sigterm_requests_a_stop_and_a_second_ends_the_process_at_once() {
        if std::env::var_os(IS_CHILD).is_some() {
            let stop = StopSignal::on_signals().unwrap();
            let (woken, wait) = std::sync::mpsc::channel();
            stop.on_request(move || woken.send(()).unwrap());
            terminate();
            wait.recv().unwrap();
            assert!(stop.is_requested());
            terminate();
            // Nobody sends again: only the end of the process ends this wait.
            let _ = wait.recv();
            std::process::exit(0);
        }
        let this = "observe::stop::tests::one_sigterm_requests_a_stop_and_a_second_ends_the_process_at_once";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", this, "--nocapture"]).env(IS_CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
