//! `[source.simulator]`: seeded devices, and what goes wrong with them.

use std::time::Duration;

use crate::domain::time::EventTime;
use crate::sources::simulator::{FaultKind, FaultSpec, Pace, Profile, SeededFaults, Simulator, SimulatorSpec};

use super::fault::Wrong;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::value::{
    Read, boolean, distinct_texts, duration, instant, integer_in, nearest_or_all, one_of, positive_duration, shown,
    text, unfit,
};

/// `[source.simulator]` of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatorSection {
    pub spec: SimulatorSpec,
    /// How fast simulated time passes in a live run, where it is said.
    pub pace: Option<Pace>,
    /// Whether `partitions` and `start` are given, or only what they are by default.
    pub has_partitions: bool,
    pub has_start: bool,
}

pub(super) fn read(reader: Reader<'_>) -> Option<SimulatorSection> {
    let profiles = Profile::ALL.map(|profile| (profile.name(), profile));
    let profile = reader.or("profile", Profile::Fleet, one_of(&profiles));
    let usual = SimulatorSpec::new(profile);
    let partitions = reader.optional("partitions", |node| number(node, SimulatorSpec::PARTITIONS_MAX));
    let start = reader.optional("start", start);
    let pace = reader.optional("speed", pace);
    let seeded = SeededFaults {
        count: reader.or("seeded_faults", 0, |node| up_to(node, 0, SimulatorSpec::FAULTS_MAX)),
        kinds: reader.or("fault_kinds", FaultKind::ALL.to_vec(), fault_kinds),
        calm: reader.or("calm", Duration::ZERO, duration),
    };
    let spec = SimulatorSpec {
        profile,
        seed: reader.or("seed", usual.seed, |node| Ok(integer_in(0, i64::MAX)(node)?.unsigned_abs())),
        devices: reader.or("devices", usual.devices, |node| number(node, SimulatorSpec::DEVICES_MAX)),
        partitions: partitions.unwrap_or(usual.partitions),
        start: start.unwrap_or(usual.start),
        duration: reader.or("duration", usual.duration, positive_duration),
        every: reader.or("every", usual.every, positive_duration),
        day: reader.or("day", usual.day, positive_duration),
        seeded_faults: seeded,
        faults: reader.sections("faults").into_iter().filter_map(read_fault).collect(),
        labelled: reader.or("label", false, boolean),
    };
    // What fits one by one may not fit together.
    if reader.is_sound()
        && let Err(error) = Simulator::new(spec.clone())
    {
        reader.fault("", Wrong::new(error.to_string(), "change what it names"));
    }
    let is_sound = reader.finish();
    let (has_partitions, has_start) = (partitions.is_some(), start.is_some());
    is_sound.then_some(SimulatorSection { spec, pace, has_partitions, has_start })
}

fn read_fault(reader: Reader<'_>) -> Option<FaultSpec> {
    let kind = reader.required("kind", "\"spike\"", |node| fault_kind(&text(node)?));
    let device = reader.required("device", "\"pump-0003\"", text);
    let fields = reader.or("fields", Vec::new(), distinct_texts);
    let at = reader.required("at", "\"5m\"", duration);
    let lasts = reader.required("for", "\"30s\"", positive_duration);
    let magnitude = reader.optional("magnitude", float);
    let is_sound = reader.finish();
    is_sound.then_some(FaultSpec { kind: kind?, device: device?, fields, at: at?, lasts: lasts?, magnitude })
}

fn fault_kind(name: &str) -> Read<FaultKind> {
    let names = FaultKind::ALL.map(FaultKind::name);
    let found = FaultKind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| Wrong::new(format!("{} is no kind of fault", shown(name)), nearest_or_all(name, &names)))
}

fn fault_kinds(node: &Node) -> Read<Vec<FaultKind>> {
    distinct_texts(node)?.iter().map(|name| fault_kind(name)).collect()
}

fn number(node: &Node, max: u32) -> Read<u32> {
    up_to(node, 1, max)
}

fn up_to(node: &Node, min: u32, max: u32) -> Read<u32> {
    // In range by what was just read.
    integer_in(min.into(), max.into())(node).map(|number| number as u32)
}

fn float(node: &Node) -> Read<f64> {
    match node.value {
        Value::Integer(number) => Ok(number as f64),
        Value::Float(number) => Ok(number),
        _ => Err(unfit(node, "a number", "write a number, without quotes")),
    }
}

fn start(node: &Node) -> Read<EventTime> {
    let micros = instant(node)?;
    if micros % 1000 != 0 {
        return Err(Wrong::new("devices count in whole milliseconds", "write at most three digits of a second"));
    }
    Ok(EventTime(micros))
}

fn pace(node: &Node) -> Read<Pace> {
    const CURE: &str = "write \"realtime\", \"max\", or how many times as fast as the clock, such as 60";
    let times = match &node.value {
        Value::Text(word) if word == "realtime" => return Ok(Pace::Times(1.0)),
        Value::Text(word) if word == "max" => return Ok(Pace::Unbounded),
        Value::Integer(_) | Value::Float(_) => float(node)?,
        _ => return Err(unfit(node, "a speed", CURE)),
    };
    let is_sensible = (0.001..=1e9).contains(&times);
    if is_sensible { Ok(Pace::Times(times)) } else { Err(Wrong::new(format!("{times} is out of range"), CURE)) }
}

/// All that decides what comes at an offset. A longer duration only adds at the end, unless seeded faults are spread over it.
pub(super) fn identity(spec: &SimulatorSpec) -> String {
    let SimulatorSpec { profile, seed, devices, partitions, start, every, day, faults, labelled, .. } = spec;
    let seeded = &spec.seeded_faults;
    let spread = if seeded.count > 0 { format!("{seeded:?} over {:?}", spec.duration) } else { String::new() };
    format!(
        "simulator {profile} {seed} {devices} {partitions} {start:?} {every:?} {day:?} {labelled} {faults:?} {spread}"
    )
}
