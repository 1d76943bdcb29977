//! What the user types: verbs and options in, exit codes and texts out.
//!
//! Promise: 0 done, 1 it failed, 2 usage or configuration. Errors go to standard error, data to standard output.

mod arguments;
mod check;
mod configuration;
mod demo;
mod engine;
mod evaluate;
mod health;
mod http;
mod import;
mod learning;
mod manual;
mod models;
mod placement;
mod probes;
mod progress;
mod recorded;
mod redrive;
mod replay;
mod run;
mod simulate;
mod summary;
mod train;
mod verify;
mod versions;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::observe::logging::Verbosity;
use crate::observe::{logging, memory, panic};
use crate::scoring;

use arguments::{Arguments, Verb};

/// The whole program.
pub fn main() -> ExitCode {
    // SAFETY: nothing has been started yet, so this is the only thread.
    unsafe { scoring::single_threaded() };
    memory::give_back_large_blocks();
    let arguments = Arguments::parse();
    if let Err(error) = logging::start(arguments.logs.format(), verbosity(&arguments)) {
        return report(&Refusal::new(error.to_string()).into());
    }
    panic::end_process_on_panic();
    let is_quiet = arguments.logs.quiet;
    let done = match arguments.verb {
        Verb::Demo(options) => demo::demo(&options, is_quiet),
        Verb::Run(options) => run::run(&options),
        Verb::Replay(options) => replay::replay(&options, is_quiet),
        Verb::Redrive(options) => redrive::redrive(&options, is_quiet),
        Verb::Check(options) => return check::check(&options).unwrap_or_else(|error| report(&error)),
        Verb::Import(options) => import::import(&options),
        Verb::Simulate(options) => simulate::simulate(&options, is_quiet),
        Verb::Train(options) => train::train(&options, is_quiet),
        Verb::Evaluate(options) => evaluate::evaluate(&options, is_quiet),
        Verb::Models(options) => models::models(&options),
        Verb::Verify(options) => return verify::verify(&options).unwrap_or_else(|error| report(&error)),
        Verb::Completions(options) => manual::completions(&options),
        Verb::Manual(options) => manual::manual(&options),
        Verb::Health(options) => health::health(&options),
    };
    done.map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
}

/// `check`, `verify` and `demo` tell themselves what they meet, so their log is for those who ask for it.
fn verbosity(arguments: &Arguments) -> Verbosity {
    match (&arguments.verb, arguments.logs.verbosity()) {
        (Verb::Check(_) | Verb::Verify(_), Verbosity::Quiet | Verbosity::Normal) => Verbosity::Silent,
        (Verb::Demo(_), Verbosity::Normal) => Verbosity::Quiet,
        (_, verbosity) => verbosity,
    }
}

/// Data, on standard output.
fn print(data: &[u8]) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(data) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("standard output cannot be written"),
    }
}

/// What the user can put right: the command or the configuration. Exit code 2.
#[derive(Debug)]
struct Refusal(String);

impl Refusal {
    fn new(text: impl Into<String>) -> Refusal {
        Refusal(text.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Says what went wrong, causes included, and chooses the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        eprintln!("error: {refusal}");
        return ExitCode::from(2);
    }
    eprintln!("error: {error}");
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    for cause in causes {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(1)
}
