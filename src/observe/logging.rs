//! Logs: text or JSON lines on standard error, which never tear a progress bar.
//!
//! Promise: standard output is left to data. `TIDEWATCH_LOG` decides what is logged (`debug`, `tidewatch::storage=trace`),
//! else the verbosity of the command line.

use std::io::{self, IsTerminal, Write};
use std::sync::{PoisonError, RwLock};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that decides what is logged.
pub const VARIABLE: &str = "TIDEWATCH_LOG";

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// How much is logged where the variable is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing: what happens is told otherwise.
    Silent,
    /// Warnings and errors.
    Quiet,
    #[default]
    Normal,
    Debug,
    Trace,
}

/// What is wrong with `TIDEWATCH_LOG`.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE} cannot be read; write a level such as `debug`, or `tidewatch::storage=trace`")]
pub struct BadFilter(#[from] tracing_subscriber::filter::ParseError);

/// Begins to log. A second call changes nothing.
pub fn start(format: Format, verbosity: Verbosity) -> Result<(), BadFilter> {
    let filter = match std::env::var(VARIABLE) {
        Ok(directives) if !directives.trim().is_empty() => EnvFilter::try_new(directives)?,
        _ => EnvFilter::new(directives(verbosity)),
    };
    let is_colored = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr);
    // An error says that logging has begun before, as in a test; the first one stays.
    let _ = match format {
        Format::Text => builder.with_ansi(is_colored).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    Ok(())
}

/// Ours at the wanted level, the libraries' from warnings on.
fn directives(verbosity: Verbosity) -> &'static str {
    match verbosity {
        Verbosity::Silent => "off",
        Verbosity::Quiet => "warn",
        Verbosity::Normal => "warn,tidewatch=info",
        Verbosity::Debug => "warn,tidewatch=debug",
        Verbosity::Trace => "info,tidewatch=trace",
    }
}

/// Clears what is drawn on the terminal, calls its argument, and draws again.
pub type Around = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

static AROUND: RwLock<Option<Around>> = RwLock::new(None);

/// Writes every line inside of `around` until it is `None` again: for progress bars.
pub fn write_lines_around(around: Option<Around>) {
    *AROUND.write().unwrap_or_else(PoisonError::into_inner) = around;
}

struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::with_capacity(256))
    }
}

/// One line, written as a whole when it is dropped.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Nobody is left to tell when standard error is gone.
        let mut write = || drop(io::stderr().lock().write_all(&self.0));
        match AROUND.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(around) => around(&mut write),
            None => write(),
        }
    }
}
