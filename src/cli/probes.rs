//! What `check` asks of the world outside the configuration.
//!
//! A probe asks one thing, ends by itself within seconds, and changes nothing. To add one: a function and a line in `probes`.

use std::path::Path;

use crate::settings::{Draft, Fault, SourceSection};

/// One thing to ask.
pub(super) struct Probe {
    /// A word for the summary: `broker`, `store`, `model`.
    pub(super) name: &'static str,
    /// A section that is at fault itself is `None`: then there is nothing to ask of it.
    pub(super) run: fn(&Draft) -> Vec<Finding>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// As it should be; what was seen, for the summary.
    Good(String),
    Fault(Fault),
}

/// Everything outside that is asked, in the order of the summary.
pub(super) fn probes() -> Vec<Probe> {
    vec![Probe { name: "recordings", run: recordings }]
}

/// The named files and folders of `[source.files]` are there.
fn recordings(draft: &Draft) -> Vec<Finding> {
    let Some(SourceSection::Files(files)) = &draft.source else { return Vec::new() };
    let fault = |problem: String, cure: &str| {
        let key = "source.files.paths".to_owned();
        Finding::Fault(Fault { key, place: None, problem, cure: cure.to_owned() })
    };
    let ask = |path: &String| {
        // A path that is there is itself, whatever a glob would make of its brackets.
        if Path::new(path).exists() {
            return Finding::Good(format!("{path} is there"));
        }
        match glob::glob(path).map(|matches| matches.flatten().count()) {
            Ok(0) => fault(
                format!("nothing is there at `{path}`"),
                "name a file, a folder, or a glob that matches something",
            ),
            Ok(count) => Finding::Good(format!("{path} matches {count}")),
            Err(error) => {
                fault(format!("`{path}` is no glob: {}", error.msg), "write * for any text, ** for any folders")
            }
        }
    };
    files.paths.iter().map(ask).collect()
}
