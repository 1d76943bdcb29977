//! `check`: all faults at once, each with its key and the cure; starts nothing.
//!
//! The configuration is read first; then every probe asks one thing outside, all of them at the same time, each with
//! what is sound of the configuration. A broker that does not answer hides no fault of a model.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use crate::domain::detector::DetectorInput;
use crate::settings::{Draft, Fault, Faults, SourceSection};

use super::arguments::CheckOptions;
use super::configuration;
use super::engine::Input;
use super::probes::{Asked, Finding, Probe, Seen, counted, probes};
use super::{print, replay};

pub(super) fn check(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let (draft, faults) = configuration::draft(&options.configuration)?;
    let input = match options.from.as_slice() {
        [] => Input::Live,
        from => replay::input(from, draft.source.as_ref())?,
    };
    let asked = Asked { draft, input };
    let mut report = Report { configured: configured(&asked.draft), faults, ..Report::default() };
    ask(&probes(), &asked).into_iter().for_each(|finding| report.take(finding));
    let config = options.configuration.config.display();
    if options.json {
        print(format!("{:#}\n", report.as_json()).as_bytes())?;
    } else {
        print(format!("{config}\n{}", report.as_text()).as_bytes())?;
    }
    if report.faults.0.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !options.json {
        eprintln!("error: {}", configuration::told(&options.configuration, &report.faults));
    }
    Ok(ExitCode::from(2))
}

/// All probes at once; what they found in their order.
fn ask(probes: &[Probe], asked: &Asked) -> Vec<Finding> {
    std::thread::scope(|scope| {
        let running: Vec<_> = probes.iter().map(|probe| scope.spawn(|| (probe.run)(asked))).collect();
        let answers = running.into_iter().zip(probes).flat_map(|(thread, probe)| {
            thread.join().unwrap_or_else(|panic| {
                tracing::error!(probe = probe.name, "a check panicked");
                std::panic::resume_unwind(panic)
            })
        });
        answers.collect()
    })
}

/// Everything that there is to say.
#[derive(Debug, Default)]
struct Report {
    /// What the configuration means, as (what, text).
    configured: Vec<(&'static str, String)>,
    seen: Vec<Seen>,
    warnings: Vec<Fault>,
    faults: Faults,
}

impl Report {
    fn take(&mut self, finding: Finding) {
        match finding {
            Finding::Seen(seen) => self.seen.push(seen),
            Finding::Warning(warning) => self.warnings.push(warning),
            Finding::Fault(fault) => self.faults.0.push(fault),
        }
    }

    /// All but the faults.
    fn as_text(&self) -> String {
        let mut text = String::new();
        let mut lines = |title: &str, lines: &mut dyn Iterator<Item = (&str, &str)>| {
            let mut lines = lines.peekable();
            if lines.peek().is_some() {
                let _ = writeln!(text, "\n{title}");
            }
            for (what, line) in lines {
                let _ = writeln!(text, "  {what:<12}{line}");
            }
        };
        lines("configured", &mut self.configured.iter().map(|(what, line)| (*what, line.as_str())));
        lines("looked at", &mut self.seen.iter().map(|seen| (seen.what, seen.text.as_str())));
        if !self.warnings.is_empty() {
            text.push_str("\nworth a look\n");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "  {}", warning.to_string().replace('\n', "\n  "));
        }
        text.push_str(match (self.faults.0.is_empty(), self.warnings.is_empty()) {
            (true, true) => "\nin order: nothing stands against a start\n",
            (true, false) => "\nnothing stands against a start, but see what is worth a look\n",
            (false, _) => "\n",
        });
        text
    }

    fn as_json(&self) -> serde_json::Value {
        let told = |fault: &Fault| {
            let place = fault.place.as_ref().map(ToString::to_string);
            json!({ "key": fault.key, "place": place, "problem": fault.problem, "cure": fault.cure })
        };
        let configured = self.configured.iter().map(|(what, text)| json!({ "what": what, "text": text }));
        let seen = self.seen.iter().map(|seen| json!({ "what": seen.what, "text": seen.text, "data": seen.data }));
        json!({
            "ok": self.faults.0.is_empty(),
            "faults": self.faults.0.iter().map(told).collect::<Vec<_>>(),
            "warnings": self.warnings.iter().map(told).collect::<Vec<_>>(),
            "configured": configured.collect::<Vec<_>>(),
            "seen": seen.collect::<Vec<_>>(),
        })
    }
}

/// What is sound of the configuration, in a line a section.
fn configured(draft: &Draft) -> Vec<(&'static str, String)> {
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    lines.extend(draft.pipeline.iter().map(|pipeline| ("pipeline", pipeline.name.clone())));
    lines.extend(draft.source.iter().map(|source| match source {
        SourceSection::Kafka(kafka) => {
            ("source", format!("Kafka at {}, topics {}", kafka.brokers, kafka.topics.join(", ")))
        }
        SourceSection::Files(files) => ("source", format!("files {}", files.paths.join(", "))),
        SourceSection::Simulator(simulator) => {
            let (spec, devices) = (&simulator.spec, simulator.spec.devices as usize);
            ("source", format!("simulator {}, {}, seed {}", spec.profile, counted(devices, "device"), spec.seed))
        }
    }));
    lines.extend(draft.event.iter().map(|event| ("event", format!("{} fields", event.schema.fields.len()))));
    lines.extend(draft.windows.iter().flatten().map(|window| {
        let (size, slide) = (humantime::format_duration(window.size), humantime::format_duration(window.slide));
        let span = if window.size == window.slide { format!("{size}") } else { format!("{size} every {slide}") };
        let by = if window.by.is_empty() { "all events".to_owned() } else { window.by.join(", ") };
        ("window", format!("{}: {span} by {by}, {}", window.name, counted(window.aggregates.len(), "aggregate")))
    }));
    lines.extend(draft.detectors.iter().flatten().map(|section| {
        let over = match &section.spec.input {
            DetectorInput::Events => "events",
            DetectorInput::Windows(window) => window,
        };
        ("detector", format!("{}: {} on {over}", section.spec.name, section.spec.model))
    }));
    lines.extend(draft.output.iter().map(|output| ("output", output.url.clone())));
    lines
}

/// A reader of standard output that has seen enough is no failure.
#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Finding {
        Finding::Seen(Seen { what: "test", text: text.to_owned(), data: json!(null) })
    }

    #[test]
    fn every_probe_is_asked_and_answers_keep_their_order() {
        let probes = [
            Probe { name: "first", run: |_| vec![seen("a"), seen("b")] },
            Probe { name: "silent", run: |_| Vec::new() },
            Probe { name: "last", run: |_| vec![seen("c")] },
        ];
        let asked = Asked { draft: Draft::default(), input: Input::Live };
        assert_eq!(ask(&probes, &asked), [seen("a"), seen("b"), seen("c")]);
    }
}
