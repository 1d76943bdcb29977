//! Shows how far a replay is: a bar on a terminal, a plain line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::domain::time::EventTime;
use crate::observe::logging::write_lines_around;
use crate::observe::progress::{Progress, Seen};

/// Progress on standard error until this is dropped; then a last line.
pub(super) struct Shown {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

const REDRAW_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The bar has no unit of its own: it shows thousandths of the whole.
const BAR_STEPS: u64 = 1000;

impl Shown {
    pub(super) fn start(progress: Arc<Progress>) -> io::Result<Shown> {
        let (done, wait) = mpsc::channel();
        let bar = io::stderr().is_terminal().then(bar);
        let every = if bar.is_some() { REDRAW_EVERY } else { LINE_EVERY };
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let begin = Instant::now();
            while wait.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let seen = progress.look();
                match &bar {
                    Some(bar) => draw(bar, seen, begin.elapsed()),
                    None => line(&told(seen, begin.elapsed())),
                }
            }
            if let Some(bar) = bar {
                write_lines_around(None);
                bar.finish_and_clear();
            }
            let seen = progress.look();
            // A run that could not begin tells why by itself.
            if seen.rows > 0 {
                line(&told(seen, begin.elapsed()));
            }
        })?;
        Ok(Shown { done: Some(done), thread: Some(thread) })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has ended the process already.
            let _ = thread.join();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    let drawn = bar.clone();
    write_lines_around(Some(Box::new(move |write: &mut dyn FnMut()| drawn.suspend(write))));
    bar
}

fn draw(bar: &ProgressBar, seen: Seen, elapsed: Duration) {
    // From 0 to 1 by the promise of `share`.
    bar.set_position((seen.share.unwrap_or(0.0) * BAR_STEPS as f64) as u64);
    bar.set_message(told(seen, elapsed));
    bar.tick();
}

fn line(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `45 %, 12,000,000 rows (8.40 GiB), 800,000 rows/s, up to 2026-01-01T00:00:00Z, 18s left`
fn told(seen: Seen, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    // Figures for people: rounding down to whole rows and seconds is enough.
    let rate = (seen.rows as f64 / seconds) as u64;
    let mut parts = Vec::new();
    if let Some(share) = seen.share {
        parts.push(format!("{:.0} %", (share * 100.0).floor()));
    }
    let bytes = if seen.bytes > 0 { format!(" ({})", HumanBytes(seen.bytes)) } else { String::new() };
    parts.push(format!("{} rows{bytes}", HumanCount(seen.rows)));
    parts.push(format!("{} rows/s", HumanCount(rate)));
    parts.extend(seen.watermark.and_then(instant).map(|time| format!("up to {time}")));
    if let Some(share) = seen.share.filter(|share| *share > 0.0 && *share < 1.0) {
        let left = Duration::from_secs((seconds * (1.0 - share) / share) as u64);
        parts.push(format!("{} left", humantime::format_duration(left)));
    }
    parts.join(", ")
}

fn instant(time: EventTime) -> Option<String> {
    DateTime::from_timestamp_micros(time.0).map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_share_rate_event_time_and_time_left() {
        let watermark = Some(EventTime(1_767_225_600_000_000));
        let seen = Seen { rows: 12_000_000, bytes: 9_019_431_322, share: Some(0.45), watermark };
        let wanted = "45 %, 12,000,000 rows (8.40 GiB), 800,000 rows/s, up to 2026-01-01T00:00:00Z, 18s left";
        assert_eq!(told(seen, Duration::from_secs(15)), wanted);
        let unknown = Seen { rows: 5, bytes: 0, share: None, watermark: None };
        assert_eq!(told(unknown, Duration::from_secs(1)), "5 rows, 5 rows/s");
    }
}
