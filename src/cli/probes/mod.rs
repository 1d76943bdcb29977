//! What `check` asks of the world outside the configuration.
//!
//! A probe asks one thing, ends by itself within about ten seconds, and leaves nothing behind. It is handed what is sound of the
//! configuration, so that a fault hides only what cannot be asked without it. To add one: a function and a line in `probes`.

mod anomalies_topic;
mod cluster;
mod compare;
mod models;
mod sample;
mod scores;
mod source;
mod store;

use std::time::Duration;

use serde_json::Value;

use crate::settings::{Draft, Fault};
use crate::storage::patience::Patience;

use super::engine::Input;

pub(super) use scores::shown;

/// How long a broker is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Not more than some seconds for a store that does not answer.
const HASTE: Patience = Patience {
    attempt: Duration::from_secs(3),
    budget: Duration::from_secs(4),
    pause: Duration::from_millis(100),
    pause_max: Duration::from_secs(1),
};

/// One thing to ask.
pub(super) struct Probe {
    /// A word or two for the summary.
    pub(super) name: &'static str,
    pub(super) run: fn(&Asked) -> Vec<Finding>,
}

/// About what is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// A section that is at fault itself is `None`: then there is nothing to ask of it.
    pub(super) draft: Draft,
    pub(super) input: Input,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// As it should be.
    Seen(Seen),
    /// Nothing stands against it, but a person should look.
    Warning(Fault),
    /// No run can come of it.
    Fault(Fault),
}

/// What was seen, for a person and for a script.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) what: &'static str,
    pub(super) text: String,
    /// The numbers in the text; null where there are none.
    pub(super) data: Value,
}

impl Finding {
    fn seen(what: &'static str, text: impl Into<String>, data: Value) -> Finding {
        Finding::Seen(Seen { what, text: text.into(), data })
    }

    fn fault(key: impl Into<String>, problem: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::Fault(outside(key, problem, cure))
    }

    fn warning(key: impl Into<String>, problem: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::Warning(outside(key, problem, cure))
    }
}

/// What the outside world has against a key.
fn outside(key: impl Into<String>, problem: impl Into<String>, cure: impl Into<String>) -> Fault {
    Fault { key: key.into(), place: None, problem: problem.into(), cure: cure.into() }
}

/// An error with all its causes, in one line.
fn whole(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// `1 file`, `2 files`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Everything outside that is asked, in the order of the summary.
pub(super) fn probes() -> Vec<Probe> {
    vec![
        Probe { name: "source", run: source::probe },
        Probe { name: "models", run: models::probe },
        Probe { name: "store", run: store::probe },
        Probe { name: "anomalies topic", run: anomalies_topic::probe },
    ]
}
