//! `simulate`: devices with seeded faults into Kafka or files, with the truth beside it.

mod destination;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use chrono::{DateTime, SecondsFormat};
use indicatif::HumanCount;
use serde_json::json;

use crate::domain::time::EventTime;
use crate::observe::progress::Progress;
use crate::observe::stop::StopSignal;
use crate::settings::{Argument, SimulatorSection};
use crate::sources::simulator::{Pace, PartitionStream, Simulator, SimulatorSpec, Truth};

use super::Refusal;
use super::arguments::SimulateOptions;
use super::configuration;
use super::progress::Shown;
use destination::{Destination, Open};

pub(super) fn simulate(options: &SimulateOptions, is_quiet: bool) -> anyhow::Result<()> {
    let destination = Destination::read(&options.to, options.format)?;
    let section = configuration::simulator(options.config.as_deref(), overrides(options))?;
    let spec = specification(&section, &destination)?;
    let pace = match (options.rate, section.pace) {
        (Some(rate), _) => rate.pace(&spec),
        (None, pace) => pace.unwrap_or(Pace::Unbounded),
    };
    let simulator = Simulator::new(spec).map_err(|error| Refusal::new(error.to_string()))?;
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let mut open = destination.open(simulator.spec())?;
    let progress = Arc::new(Progress::default());
    progress.expect_rows(simulator.messages());
    let shown =
        (!is_quiet).then(|| Shown::start(progress.clone())).transpose().context("no thread for the progress")?;
    let begun = Instant::now();
    let done = send(&simulator, &mut open, pace, &stop, &progress);
    let done = done.and_then(|done| open.finish().map(|()| done));
    drop(shown);
    let summary = Summary { simulator: &simulator, to: &options.to, done: done?, took: begun.elapsed() };
    if destination == Destination::StandardOutput {
        // The messages are the data.
        return Ok(());
    }
    let text = if options.json { format!("{:#}\n", summary.as_json()) } else { summary.as_text() };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// How many messages a second, or how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    Max,
    PerSecond(f64),
}

impl Rate {
    pub(super) fn parse(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        match text.trim_end_matches("/s").replace(['_', ','], "").parse::<f64>() {
            Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(Rate::PerSecond(rate)),
            _ => Err("write messages a second, such as 1000/s, or max".to_owned()),
        }
    }

    fn pace(self, spec: &SimulatorSpec) -> Pace {
        match self {
            Rate::Max => Pace::Unbounded,
            Rate::PerSecond(rate) => Pace::Times(rate / spec.events_per_second()),
        }
    }
}

/// The options as what they override in the configuration, so that both are read and judged alike.
fn overrides(options: &SimulateOptions) -> Vec<Argument> {
    let start = options.start.as_ref().map(|start| if start == "now" { now() } else { start.clone() });
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let given = [
        ("--profile", "profile", options.profile.clone()),
        ("--seed", "seed", text(options.seed)),
        ("--devices", "devices", text(options.devices)),
        ("--partitions", "partitions", text(options.partitions)),
        ("--duration", "duration", options.duration.clone()),
        ("--every", "every", options.every.clone()),
        ("--start", "start", start),
        ("--faults", "seeded_faults", text(options.faults)),
        ("--calm", "calm", options.calm.clone()),
        ("--speed", "speed", options.speed.clone()),
        ("--label", "label", options.label.then(|| "true".to_owned())),
    ];
    let given = given.into_iter().filter_map(|(flag, key, value)| {
        Some(Argument { flag: flag.to_owned(), key: format!("source.simulator.{key}"), value: value? })
    });
    options.set.iter().cloned().chain(given).collect()
}

/// This second.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    instant_of_ms(i64::try_from(since).unwrap_or_default() * 1000)
}

fn instant_of_ms(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// What the destination decides where nothing else is said: a file holds one partition, a topic as many as it has. What goes into
/// Kafka begins now, for a topic keeps records by their age.
fn specification(section: &SimulatorSection, destination: &Destination) -> anyhow::Result<SimulatorSpec> {
    let mut spec = section.spec.clone();
    match destination.partitions()? {
        Some(count) if !section.has_partitions => spec.partitions = count,
        Some(1) if destination.is_single() && spec.partitions != 1 => {
            let problem = format!("one file holds one partition, and {} are wanted: name a folder", spec.partitions);
            return Err(Refusal::new(problem).into());
        }
        _ => {}
    }
    if destination.is_kafka() && !section.has_start {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        spec.start = EventTime(i64::try_from(since).unwrap_or_default() * 1_000_000);
    }
    Ok(spec)
}

/// How far it went.
struct Done {
    messages: u64,
    /// The truth that was told.
    told: Vec<Truth>,
    /// Up to which simulated time, in milliseconds since 1970.
    until_ms: i64,
    is_interrupted: bool,
}

/// So much simulated time is sent at once while nothing holds it back; a pace takes smaller steps.
const SLICE_MS: i64 = 200;
/// How long a step at a pace takes, and how long a stop may go unnoticed.
const STEP: Duration = Duration::from_millis(20);

/// Sends everything, in the order of simulated time over all partitions, until the end or a stop.
fn send(
    simulator: &Simulator,
    open: &mut Open,
    pace: Pace,
    stop: &StopSignal,
    progress: &Progress,
) -> anyhow::Result<Done> {
    let thread = std::thread::current();
    stop.on_request(move || thread.unpark());
    let mut streams: Vec<PartitionStream> =
        (0..simulator.spec().partitions).map(|index| simulator.partition(index)).collect();
    let mut truth = simulator.truth();
    truth.sort_by_key(|row| row.to);
    let mut truth = truth.into_iter().peekable();
    let first = streams.iter().filter_map(PartitionStream::due_ms).min().unwrap_or_default();
    let slice = pace.passed_ms(STEP).map_or(SLICE_MS, |passed| passed.max(1));
    let begun = Instant::now();
    let mut done = Done { messages: 0, told: Vec::new(), until_ms: first, is_interrupted: false };
    while let Some(due) = streams.iter().filter_map(PartitionStream::due_ms).min() {
        if !wait(begun, pace.takes(due - first), stop) {
            done.is_interrupted = true;
            break;
        }
        while let Some(row) = truth.next_if(|row| row.to <= due) {
            open.tell(&row)?;
            done.told.push(row);
        }
        done.until_ms = due + slice;
        let sent = send_slice(&mut streams, open, done.until_ms)?;
        done.messages += sent;
        progress.add(sent, 0);
        progress.set_watermark(EventTime(due * 1000));
        if pace != Pace::Unbounded {
            open.flush()?;
        }
    }
    // A fault that was under way is told as it was planned; one that never began is not.
    for row in truth.filter(|row| !done.is_interrupted || row.from < done.until_ms) {
        open.tell(&row)?;
        done.told.push(row);
    }
    Ok(done)
}

fn send_slice(streams: &mut [PartitionStream], open: &mut Open, until_ms: i64) -> anyhow::Result<u64> {
    let mut sent = 0;
    for (partition, stream) in streams.iter_mut().enumerate() {
        while stream.due_ms().is_some_and(|due| due < until_ms) {
            let Some(event) = stream.next() else { break };
            open.write(partition, &event)?;
            sent += 1;
        }
    }
    Ok(sent)
}

/// Waits until so much time has passed since `begun`; false where a stop was asked for.
fn wait(begun: Instant, takes: Duration, stop: &StopSignal) -> bool {
    while !stop.is_requested() {
        match takes.checked_sub(begun.elapsed()) {
            Some(left) if !left.is_zero() => std::thread::park_timeout(left),
            _ => return true,
        }
    }
    false
}

/// What was sent, for a person and for a script.
struct Summary<'a> {
    simulator: &'a Simulator,
    to: &'a str,
    done: Done,
    took: Duration,
}

impl Summary<'_> {
    fn per_second(&self) -> u64 {
        // A figure for people: whole messages are enough.
        (self.done.messages as f64 / self.took.as_secs_f64().max(0.001)) as u64
    }

    /// Faults and messages by kind.
    fn by_kind(&self) -> BTreeMap<&str, (u64, u64)> {
        let mut kinds = BTreeMap::new();
        for row in &self.done.told {
            let (faults, messages): &mut (u64, u64) = kinds.entry(row.kind.as_str()).or_default();
            *faults += 1;
            *messages += row.messages;
        }
        kinds
    }

    fn as_json(&self) -> serde_json::Value {
        let spec = self.simulator.spec();
        let kinds = self.by_kind().into_iter();
        let kinds: BTreeMap<&str, serde_json::Value> =
            kinds.map(|(kind, (faults, messages))| (kind, json!({ "faults": faults, "messages": messages }))).collect();
        json!({
            "to": self.to,
            "profile": spec.profile.name(),
            "seed": spec.seed,
            "devices": spec.devices,
            "partitions": spec.partitions,
            "start": instant_of_ms(spec.start.0 / 1000),
            "until": instant_of_ms(self.done.until_ms),
            "messages": self.done.messages,
            "messages_planned": self.simulator.messages(),
            "seconds": self.took.as_secs_f64(),
            "messages_per_second": self.per_second(),
            "faults": kinds,
            "interrupted": self.done.is_interrupted,
        })
    }

    fn as_text(&self) -> String {
        let spec = self.simulator.spec();
        let (messages, rate) = (HumanCount(self.done.messages), HumanCount(self.per_second()));
        let interrupted = if self.done.is_interrupted { ", interrupted" } else { "" };
        let mut text = format!(
            "{messages} messages of {} devices ({}, seed {}) to {}, {rate}/s{interrupted}\n",
            spec.devices, spec.profile, spec.seed, self.to
        );
        let (from, until) = (instant_of_ms(spec.start.0 / 1000), instant_of_ms(self.done.until_ms));
        text.push_str(&format!("  simulated   {from} to {until}\n"));
        for (kind, (faults, messages)) in self.by_kind() {
            text.push_str(&format!("  {kind:<20}{faults} times, {messages} messages\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_messages_a_second_of_all_devices() {
        let spec = SimulatorSpec {
            devices: 100,
            every: Duration::from_millis(500),
            ..SimulatorSpec::new(crate::sources::simulator::Profile::Fleet)
        };
        assert_eq!(Rate::parse("1_000/s").map(|rate| rate.pace(&spec)), Ok(Pace::Times(5.0)));
        assert_eq!(Rate::parse("max").map(|rate| rate.pace(&spec)), Ok(Pace::Unbounded));
        for wrong in ["", "0", "-1/s", "fast", "nan", "1/m"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
