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

/// All that decides what comes at an offset, by key. A longer duration only adds at the end, unless seeded faults are spread over it.
pub(super) fn identity(spec: &SimulatorSpec) -> [(&'static str, String); 10] {
    let SimulatorSpec { profile, seed, devices, partitions, start, every, day, faults, labelled, .. } = spec;
    let seeded = &spec.seeded_faults;
    let spread = if seeded.count > 0 { format!("{seeded:?} over {:?}", spec.duration) } else { "none".to_owned() };
    [
        ("profile", profile.to_string()),
        ("seed", seed.to_string()),
        ("devices", devices.to_string()),
        ("partitions", partitions.to_string()),
        ("start", start.0.to_string()),
        ("every", format!("{every:?}")),
        ("day", format!("{day:?}")),
        ("label", labelled.to_string()),
        ("faults", format!("{faults:?}")),
        ("seeded_faults", spread),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Draft, Fingerprint, Overrides, Settings, SourceSection};

    fn source(text: &str) -> Result<SimulatorSection, String> {
        let (draft, mut faults) = Draft::parse(&format!("[source.simulator]\n{text}"), &Overrides::default());
        faults.0.retain(|fault| fault.key.starts_with("source"));
        match draft.source {
            Some(SourceSection::Simulator(section)) => Ok(section),
            _ => Err(faults.to_string()),
        }
    }

    #[test]
    fn everything_has_a_default() {
        let section = source("").unwrap();
        assert_eq!(
            section.spec,
            SimulatorSpec {
                seeded_faults: SeededFaults::of_every_kind(0, Duration::ZERO),
                ..SimulatorSpec::new(Profile::Fleet)
            }
        );
        assert_eq!((section.pace, section.has_partitions, section.has_start), (None, false, false));
    }

    #[test]
    fn a_whole_section_is_read_as_it_says() {
        let section = source(
            r#"profile = "sensors"
            seed = 11
            devices = 20
            partitions = 2
            start = "2026-02-01T00:00:00Z"
            duration = "1h"
            every = "250ms"
            day = "10m"
            speed = 60
            label = true
            seeded_faults = 3
            fault_kinds = ["spike", "late"]
            calm = "5m"
            [[source.simulator.faults]]
            kind = "drift"
            device = "sensor-00003"
            fields = ["reading_4"]
            at = "1m"
            for = "2m"
            magnitude = -4.5"#,
        );
        let section = section.unwrap();
        let expected = SimulatorSpec {
            profile: Profile::Sensors,
            seed: 11,
            devices: 20,
            partitions: 2,
            start: EventTime(1_769_904_000_000_000),
            duration: Duration::from_secs(3600),
            every: Duration::from_millis(250),
            day: Duration::from_secs(600),
            seeded_faults: SeededFaults {
                count: 3,
                kinds: vec![FaultKind::Spike, FaultKind::Late],
                calm: Duration::from_secs(300),
            },
            faults: vec![FaultSpec {
                kind: FaultKind::Drift,
                device: "sensor-00003".to_owned(),
                fields: vec!["reading_4".to_owned()],
                at: Duration::from_secs(60),
                lasts: Duration::from_secs(120),
                magnitude: Some(-4.5),
            }],
            labelled: true,
        };
        assert_eq!(section.spec, expected);
        assert_eq!((section.pace, section.has_partitions, section.has_start), (Some(Pace::Times(60.0)), true, true));
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_key() {
        let told = source("profile = \"flet\"\nspeed = \"fast\"\nfault_kinds = [\"spik\"]\nsede = 1\n[[source.simulator.faults]]\nkind = \"late\"\nat = \"1m\"").unwrap_err();
        for (key, words) in [
            ("source.simulator.profile (line 2)", "did you mean `fleet`?"),
            ("source.simulator.speed (line 3)", "\"realtime\", \"max\""),
            ("source.simulator.fault_kinds (line 4)", "did you mean `spike`?"),
            ("source.simulator.sede (line 5)", "did you mean `seed`?"),
            ("source.simulator.faults[0].device", "this key is required"),
            ("source.simulator.faults[0].for", "this key is required"),
        ] {
            assert!(told.contains(key) && told.contains(words), "{key} and {words} are not in\n{told}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_a_fault_of_the_section() {
        let told = source(
            "devices = 2\n[[source.simulator.faults]]\nkind = \"spike\"\ndevice = \"pump-0003\"\nat = \"1m\"\nfor = \"1s\"",
        );
        let told = told.unwrap_err();
        assert!(told.contains("source.simulator (line 1)"), "{told}");
        assert!(told.contains("there is no device `pump-0003`; they are `pump-0000` to `ventilator-0001`"), "{told}");
    }

    #[test]
    fn only_what_changes_the_messages_shows_in_the_fingerprint() {
        let fingerprint = |more: &str| {
            let text = format!(
                "[pipeline]\nname = \"p\"\n[source.simulator]\n{more}\n[event]\ntime = {{ field = \"ts\", format = \"unix_ms\" }}\n\
                 key = \"device\"\n[output]\nurl = \"x\"\nevents = \"all\"\n"
            );
            let mut keys = Fingerprint::of(&Settings::parse(&text, &Overrides::default()).unwrap()).0;
            keys.retain(|key, _| key.starts_with("source.simulator."));
            keys
        };
        let usual = fingerprint("");
        for same in ["speed = 9", "duration = \"1h\"", "seed = 7"] {
            assert_eq!(fingerprint(same), usual, "{same}");
        }
        for other in ["seed = 8", "devices = 5", "label = true", "seeded_faults = 1", "day = \"1h\"", "partitions = 3"]
        {
            assert_ne!(fingerprint(other), usual, "{other}");
        }
    }
}
