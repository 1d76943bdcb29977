//! Shows how far `train` and `evaluate` are: a bar on a terminal, a plain line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::observe::logging::write_lines_around;
use crate::training::recording::Counts;
use crate::training::train::News;

const LINE_EVERY: Duration = Duration::from_secs(10);
/// The bar has no unit of its own: it shows thousandths of the whole.
const BAR_STEPS: f64 = 1000.0;

/// The work on one detector, as far as it was told.
pub(super) struct Learning {
    detector: String,
    epochs_max: usize,
    bar: Option<ProgressBar>,
    is_quiet: bool,
    /// When what is being done began.
    begun: Instant,
    told: Instant,
    /// When the last word came, told or not.
    last: Instant,
    epoch_rows: u64,
    validation_loss: Option<f64>,
    /// Rows of the part that is being scored.
    scored: u64,
}

/// A look at the work.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    /// From 0 to 1.
    share: f64,
    text: String,
}

impl Learning {
    pub(super) fn new(detector: &str, epochs_max: usize, is_quiet: bool) -> Learning {
        let bar = (!is_quiet && io::stderr().is_terminal()).then(bar);
        let now = Instant::now();
        Learning {
            detector: detector.to_owned(),
            epochs_max,
            bar,
            is_quiet,
            begun: now,
            told: now,
            last: now,
            epoch_rows: 0,
            validation_loss: None,
            scored: u64::MAX,
        }
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Split { epoch_rows, .. } => {
                self.epoch_rows = epoch_rows;
                self.begun = Instant::now();
            }
            News::Epoch { point, .. } => self.validation_loss = Some(point.validation_loss),
            // Scores are counted anew for each part, which began when the last word came.
            News::Scored { rows, .. } if rows <= self.scored => self.begun = self.last,
            News::Read { .. } | News::Trained { .. } | News::Grown { .. } | News::Scored { .. } => {}
        }
        if let News::Scored { rows, .. } = news {
            self.scored = rows;
        }
        self.last = Instant::now();
        let told = self.look(news, self.begun.elapsed());
        match &self.bar {
            Some(bar) => {
                // From 0 to 1 by what `look` computes.
                bar.set_position((told.share * BAR_STEPS) as u64);
                bar.set_message(told.text);
            }
            None if !self.is_quiet && self.told.elapsed() >= LINE_EVERY => {
                self.told = Instant::now();
                eprintln!("{}", told.text);
            }
            None => {}
        }
    }

    fn look(&self, news: News, elapsed: Duration) -> Told {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let name = &self.detector;
        match news {
            News::Read { rows, counts: Counts { bytes, bytes_total, .. } } => {
                let share = if bytes_total == 0 { 1.0 } else { (bytes as f64 / bytes_total as f64).min(1.0) };
                let (rows_text, rate) = (HumanCount(rows), HumanCount((rows as f64 / seconds) as u64));
                let left = left(seconds, share);
                let bytes = HumanBytes(bytes);
                Told { share, text: format!("{name}: reading, {rows_text} rows ({bytes}), {rate} rows/s{left}") }
            }
            News::Trained { epoch, rows, loss } => {
                let whole = (self.epoch_rows * self.epochs_max as u64).max(1) as f64;
                let done = self.epoch_rows * (epoch as u64 - 1) + rows;
                let share = (done as f64 / whole).min(1.0);
                let validation = self.validation_loss.map(|loss| format!(", validation {loss:.6}")).unwrap_or_default();
                let rate = HumanCount((done as f64 / seconds) as u64);
                let left = left(seconds, share).replace(", ", ", at most ");
                let epochs = self.epochs_max;
                Told {
                    share,
                    text: format!("{name}: epoch {epoch} of {epochs}, loss {loss:.6}{validation}, {rate} rows/s{left}"),
                }
            }
            News::Split { .. } => Told { share: 0.0, text: format!("{name}: training") },
            News::Epoch { .. } => Told {
                share: self.bar.as_ref().map_or(0.0, |bar| bar.position() as f64 / BAR_STEPS),
                text: format!("{name}: judging"),
            },
            News::Grown { trees, of } => {
                let share = trees as f64 / of.max(1) as f64;
                Told { share, text: format!("{name}: training, {trees} of {of}{}", left(seconds, share)) }
            }
            News::Scored { rows, of } => {
                let share = rows as f64 / of.max(1) as f64;
                let (rows, rate, left) =
                    (HumanCount(rows), HumanCount((rows as f64 / seconds) as u64), left(seconds, share));
                Told { share, text: format!("{name}: calibrating, {rows} rows scored, {rate} rows/s{left}") }
            }
        }
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            write_lines_around(None);
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(BAR_STEPS as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    let drawn = bar.clone();
    write_lines_around(Some(Box::new(move |write: &mut dyn FnMut()| drawn.suspend(write))));
    bar
}

/// `, 18s left`; nothing while it cannot be known.
fn left(seconds: f64, share: f64) -> String {
    if share <= 0.0 || share >= 1.0 {
        return String::new();
    }
    let left = Duration::from_secs((seconds * (1.0 - share) / share) as u64);
    format!(", {} left", humantime::format_duration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_tells_epoch_losses_rate_and_time_left() {
        let mut learning = Learning::new("flow", 10, true);
        (learning.epoch_rows, learning.validation_loss) = (1000, Some(0.5));
        let told = learning.look(News::Trained { epoch: 3, rows: 500, loss: 0.25 }, Duration::from_secs(10));
        let text = "flow: epoch 3 of 10, loss 0.250000, validation 0.500000, 250 rows/s, at most 30s left";
        assert_eq!(told, Told { share: 0.25, text: text.to_owned() });
    }

    #[test]
    fn calibrating_tells_rate_and_time_left() {
        let learning = Learning::new("flow", 10, true);
        let told = learning.look(News::Scored { rows: 100, of: 400 }, Duration::from_secs(2));
        assert_eq!((told.share, told.text.as_str()), (0.25, "flow: calibrating, 100 rows scored, 50 rows/s, 6s left"));
    }

    #[test]
    fn reading_tells_rows_bytes_rate_and_time_left() {
        let learning = Learning::new("flow", 10, true);
        let counts = Counts { bytes: 1024, bytes_total: 4096, ..Counts::default() };
        let told = learning.look(News::Read { rows: 100, counts }, Duration::from_secs(2));
        assert_eq!((told.share, told.text.as_str()), (0.25, "flow: reading, 100 rows (1.00 KiB), 50 rows/s, 6s left"));
    }
}
