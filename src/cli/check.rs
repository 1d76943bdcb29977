//! `check`: all faults at once, each with its key and the cure; starts nothing.
//!
//! The configuration is read first; then every probe asks one thing outside, all of them at the same time, each with
//! what is sound of the configuration. A broker that does not answer hides no fault of a model.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::settings::{Draft, Faults, Settings, SourceSection};

use super::arguments::CheckOptions;
use super::configuration;
use super::probes::{Finding, Probe, probes};

pub(super) fn check(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let (draft, settings, mut faults) = configuration::draft(&options.configuration)?;
    let mut seen: Vec<String> = settings.iter().flat_map(summary).collect();
    for (name, finding) in ask(&probes(), &draft) {
        match finding {
            Finding::Good(text) => seen.push(format!("{name}: {text}")),
            Finding::Fault(fault) => faults.0.push(fault),
        }
    }
    if options.json {
        print(&format!("{:#}\n", as_json(&faults, &seen)))?;
    } else if faults.0.is_empty() {
        print(&format!("{} is in order\n  {}\n", options.configuration.config.display(), seen.join("\n  ")))?;
    } else {
        eprintln!("error: {}", configuration::told(&options.configuration, &faults));
    }
    Ok(if faults.0.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// All probes at once; what they found in their order.
fn ask(probes: &[Probe], draft: &Draft) -> Vec<(&'static str, Finding)> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = probes.iter().map(|probe| (probe.name, scope.spawn(|| (probe.run)(draft)))).collect();
        let answers = asked.into_iter().map(|(name, thread)| {
            let findings = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            findings.into_iter().map(move |finding| (name, finding))
        });
        answers.flatten().collect()
    })
}

/// What the configuration means, in a line a section.
fn summary(settings: &Settings) -> Vec<String> {
    let source = match &settings.source {
        SourceSection::Kafka(kafka) => format!("Kafka at {}, topics {}", kafka.brokers, kafka.topics.join(", ")),
        SourceSection::Files(files) => format!("files {}", files.paths.join(", ")),
    };
    let mut lines = vec![
        format!("pipeline: {}", settings.pipeline.name),
        format!("source: {source}"),
        format!("events: {} fields", settings.event.schema.fields.len()),
    ];
    lines.extend(settings.windows.iter().map(|window| {
        let (size, slide) = (humantime::format_duration(window.size), humantime::format_duration(window.slide));
        let span = if window.size == window.slide { format!("{size}") } else { format!("{size} every {slide}") };
        let by = if window.by.is_empty() { "all events".to_owned() } else { window.by.join(", ") };
        format!("window {}: {span} by {by}, {} aggregates", window.name, window.aggregates.len())
    }));
    lines.extend(settings.detectors.iter().map(|one| format!("detector {}: {}", one.spec.name, one.spec.model)));
    lines.push(format!("output: {}", settings.output.url));
    lines
}

fn as_json(faults: &Faults, seen: &[String]) -> serde_json::Value {
    let faults: Vec<_> = faults
        .0
        .iter()
        .map(|fault| {
            let place = fault.place.as_ref().map(ToString::to_string);
            json!({ "key": fault.key, "place": place, "problem": fault.problem, "cure": fault.cure })
        })
        .collect();
    json!({ "ok": faults.is_empty(), "faults": faults, "seen": seen })
}

/// A reader of standard output that has seen enough is no failure.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_asked_and_answers_keep_their_order() {
        let good = |text: &str| Finding::Good(text.to_owned());
        let probes = [
            Probe { name: "first", run: |_| vec![Finding::Good("a".to_owned()), Finding::Good("b".to_owned())] },
            Probe { name: "silent", run: |_| Vec::new() },
            Probe { name: "last", run: |_| vec![Finding::Good("c".to_owned())] },
        ];
        assert_eq!(ask(&probes, &Draft::default()), [("first", good("a")), ("first", good("b")), ("last", good("c"))]);
    }
}
