//! What is wrong with a configuration: every fault with its key, its place, and the cure.
//!
//! Promise: no fault ever holds the value of a secret.

use std::cell::RefCell;
use std::fmt;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the configuration file, from 1.
    Line(usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Argument(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::Argument(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The full key, such as `windows.by_label.size`; empty where the text as a whole is at fault.
    pub key: String,
    /// `None` for what the outside world refuses (a broker, a store), which stands on no line.
    pub place: Option<Place>,
    pub problem: String,
    /// What would be right.
    pub cure: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.key.as_str()) {
            (Some(place), "") => writeln!(f, "{place}")?,
            (Some(place), key) => writeln!(f, "{key} ({place})")?,
            (None, key) => writeln!(f, "{key}")?,
        }
        write!(f, "    {}\n    {}", self.problem, self.cure)
    }
}

/// Everything that is wrong at once, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// What a value should have been instead, as a reader of values sees it: it knows neither key nor place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) cure: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, cure: impl Into<String>) -> Wrong {
        Wrong { problem: problem.into(), cure: cure.into() }
    }
}

/// Where readers put what they find. Shared, so that one fault never hides the next.
#[derive(Debug, Default)]
pub(super) struct FaultList(RefCell<Vec<Fault>>);

impl FaultList {
    pub(super) fn add(&self, key: &str, place: &Place, wrong: Wrong) {
        let Wrong { problem, cure } = wrong;
        self.0.borrow_mut().push(Fault { key: key.to_owned(), place: Some(place.clone()), problem, cure });
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// In the order of the file, then variables, then flags.
    pub(super) fn into_sorted(self) -> Faults {
        let mut faults = self.0.into_inner();
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        Faults(faults)
    }
}
