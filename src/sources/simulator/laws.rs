//! Laws of the simulation: what comes is a function of the specification, and a fault shows where the truth says and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::*;
use crate::domain::ids::Offset;
use crate::sources::{Read, Reader};

/// A small simulation of each profile.
fn small(profile: Profile) -> SimulatorSpec {
    SimulatorSpec { devices: 12, duration: Duration::from_secs(300), partitions: 3, ..SimulatorSpec::new(profile) }
}

/// A fault of one device of the fleet.
fn one(kind: FaultKind, magnitude: Option<f64>, fields: &[&str]) -> FaultSpec {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    let (at, lasts) = (Duration::from_secs(100), Duration::from_secs(40));
    FaultSpec { kind, device: "pump-0003".to_owned(), fields, at, lasts, magnitude }
}

fn with(faults: &[FaultSpec]) -> SimulatorSpec {
    SimulatorSpec { faults: faults.to_vec(), ..small(Profile::Fleet) }
}

/// Faults of every kind, by the seed.
fn troubled(profile: Profile) -> SimulatorSpec {
    SimulatorSpec { seeded_faults: SeededFaults::of_every_kind(10, Duration::from_secs(60)), ..small(profile) }
}

/// The lines of each partition.
fn lines(spec: &SimulatorSpec) -> Vec<Vec<String>> {
    let simulator = Simulator::new(spec.clone()).unwrap();
    let partition = |index| {
        let mut stream = simulator.partition(index);
        std::iter::from_fn(|| stream.next().map(|event| json(&event))).collect()
    };
    (0..spec.partitions).map(partition).collect()
}

fn json(event: &Event<'_>) -> String {
    let mut line = Vec::new();
    event.write_json(&mut line);
    String::from_utf8(line).unwrap()
}

/// A message, without what it shares with others.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    partition: u32,
    place: i64,
    at_ms: i64,
    arrival_ms: i64,
    values: Vec<Value>,
    label: Option<&'static str>,
}

/// The messages of each device by the tick of their reading, in the order of their arrival. A wrong clock is set right by `clock_ms`.
fn told(spec: &SimulatorSpec, clock_ms: impl Fn(&str, i64) -> i64) -> BTreeMap<(String, i64), Vec<Told>> {
    let simulator = Simulator::new(spec.clone()).unwrap();
    let mut all: BTreeMap<(String, i64), Vec<Told>> = BTreeMap::new();
    for partition in 0..spec.partitions {
        let mut stream = simulator.partition(partition);
        loop {
            let place = stream.offset().0;
            let Some(event) = stream.next() else { break };
            let Event { at_ms, arrival_ms, label, .. } = event;
            let values = event.values.to_vec();
            let tick = (at_ms - clock_ms(event.device, at_ms) - spec.start_ms()) / 1000;
            let one = Told { partition, place, at_ms, arrival_ms, values, label };
            all.entry((event.device.to_owned(), tick)).or_default().push(one);
        }
    }
    all
}

/// Compares a simulation with the same one without faults. `judge` sees every reading that the truth says is part of the fault, calm and
/// troubled; all others have to be the same.
fn compare(fault: FaultSpec, judge: impl Fn(&Truth, i64, &Told, &[Told])) -> Truth {
    let spec = with(std::slice::from_ref(&fault));
    let mut truth = Simulator::new(spec.clone()).unwrap().truth();
    let truth = truth.remove(0);
    let shift = if fault.kind == FaultKind::WrongClock { (truth.magnitude * 1000.0) as i64 } else { 0 };
    let is_hit = |device: &str, right_ms: i64| device == truth.device && (truth.from..truth.to).contains(&right_ms);
    let troubled = told(&spec, |device, at_ms| if is_hit(device, at_ms - shift) { shift } else { 0 });
    let calm = told(&with(&[]), |_, _| 0);
    let mut hit = 0;
    for ((device, tick), before) in &calm {
        let after = troubled.get(&(device.clone(), *tick)).map_or(&[][..], Vec::as_slice);
        if is_hit(device, before[0].at_ms) {
            hit += 1;
            judge(&truth, hit, &before[0], after);
        } else {
            // Only its offset may be another one.
            let place = after.first().map_or(0, |one| one.place);
            let expected = Told { place, ..before[0].clone() };
            assert_eq!(after, [expected], "{device} at {tick} is no part of the fault");
        }
    }
    assert_eq!(hit, 40, "a reading a second, for 40 s");
    assert!(troubled.keys().all(|key| calm.contains_key(key)), "nothing comes that was not read");
    truth
}

/// The number in a place of the fleet's fields.
fn number(told: &Told, name: &str) -> f64 {
    let place = Profile::Fleet.fields().iter().position(|field| field.name == name).unwrap();
    told.values[place].number().unwrap()
}

/// For faults of values: the one message of the reading, with nothing changed but the named field.
fn only<'a>(before: &Told, after: &'a [Told], field: &str) -> &'a Told {
    let [after] = after else { panic!("{} messages of one reading", after.len()) };
    let place = Profile::Fleet.fields().iter().position(|own| own.name == field).unwrap();
    let mut expected = before.clone();
    expected.values[place] = after.values[place];
    assert_eq!(*after, expected);
    after
}

#[test]
fn a_spike_lifts_its_field_by_its_magnitude_and_nothing_else() {
    let truth = compare(one(FaultKind::Spike, Some(-6.0), &["temperature"]), |_, _, before, after| {
        let after = only(before, after, "temperature");
        // Six deviations of a pump's temperature: sqrt(0.2 * 4² + 0.3²).
        let jump = number(after, "temperature") - number(before, "temperature");
        assert!((jump + 6.0 * 1.8138).abs() < 0.002, "{jump}");
    });
    assert_eq!((truth.messages, truth.fields), (40, vec!["temperature".to_owned()]));
}

#[test]
fn a_drift_grows_evenly_up_to_its_magnitude() {
    compare(one(FaultKind::Drift, None, &["pressure"]), |_, hit, before, after| {
        let moved = number(only(before, after, "pressure"), "pressure") - number(before, "pressure");
        let whole = 8.0 * (0.2 * 22.0_f64 * 22.0 + 1.6 * 1.6).sqrt();
        assert!((moved - whole * hit as f64 / 40.0).abs() < 0.002, "{moved}");
    });
}

#[test]
fn a_stuck_field_keeps_the_value_that_it_had_before() {
    let calm = told(&with(&[]), |_, _| 0);
    let truth = compare(one(FaultKind::Stuck, None, &["flow"]), |truth, _, before, after| {
        let last = calm.iter().rfind(|((device, _), told)| *device == truth.device && told[0].at_ms < truth.from);
        let held = number(&last.unwrap().1[0], "flow");
        assert_eq!(number(only(before, after, "flow"), "flow"), held);
    });
    assert_eq!(truth.messages, 40);
}

#[test]
fn silence_withholds_every_message_and_says_how_many() {
    let truth = compare(one(FaultKind::Silence, None, &[]), |_, _, _, after| assert!(after.is_empty()));
    assert_eq!((truth.messages, truth.fields.len()), (40, 0));
}

#[test]
fn a_noise_burst_multiplies_the_noise_alone() {
    let spread = std::cell::Cell::new((0.0, 0.0));
    compare(one(FaultKind::NoiseBurst, Some(8.0), &["current"]), |_, _, before, after| {
        let more = number(only(before, after, "current"), "current") - number(before, "current");
        // Seven times the reading's own noise, which is at most 3.5 deviations of 0.05.
        assert!(more.abs() <= 7.0 * 3.5 * 0.05 + 0.001, "{more}");
        let (sum, squares) = spread.get();
        spread.set((sum + more, squares + more * more));
    });
    let (sum, squares) = spread.get();
    let deviation = ((squares - sum * sum / 40.0) / 39.0_f64).sqrt();
    assert!((0.2..0.5).contains(&deviation), "seven times 0.05 is 0.35, not {deviation}");
}

#[test]
fn a_broken_correlation_mirrors_the_fields_share_of_the_load() {
    // Temperature and flow share the load; with a gain of 4 and 3.5 the mirrored part of one tells that of the other.
    let mirrored = |fields: &[&str]| {
        let moves = std::cell::RefCell::new(Vec::new());
        compare(one(FaultKind::BrokenCorrelation, None, fields), |_, _, before, after| {
            moves.borrow_mut().push(number(only(before, after, fields[0]), fields[0]) - number(before, fields[0]));
        });
        moves.into_inner()
    };
    let (temperature, flow) = (mirrored(&["temperature"]), mirrored(&["flow"]));
    assert!(temperature.iter().any(|moved| moved.abs() > 0.5), "{temperature:?}");
    for (one, other) in temperature.iter().zip(&flow) {
        assert!((one / 4.0 - other / 3.5).abs() < 0.001, "{one} {other}");
    }
}

#[test]
fn a_wrong_clock_shifts_the_time_and_nothing_else() {
    for seconds in [3600.0, -200.0] {
        compare(one(FaultKind::WrongClock, Some(seconds), &[]), |_, _, before, after| {
            assert_eq!(after, [Told { at_ms: before.at_ms + seconds as i64 * 1000, ..before.clone() }]);
        });
    }
}

#[test]
fn duplicates_come_as_often_as_the_truth_says() {
    let extra = std::cell::Cell::new(0);
    let truth = compare(one(FaultKind::Duplicates, Some(2.0), &[]), |_, _, before, after| {
        extra.set(extra.get() + after.len() as u64 - 1);
        assert_eq!(after.len(), 3);
        assert!(after.iter().all(|one| Told { place: before.place, ..one.clone() } == *before));
    });
    assert_eq!((extra.get(), truth.messages), (80, 80));
}

#[test]
fn late_messages_come_by_so_much_later_and_lie_behind_younger_ones() {
    let truth = compare(one(FaultKind::Late, Some(30.0), &[]), |_, _, before, after| {
        let [late] = after else { panic!("a late message comes once") };
        assert_eq!((late.arrival_ms - before.arrival_ms, late.at_ms), (30_000, before.at_ms));
        assert_eq!(late.values, before.values);
    });
    assert_eq!(truth.messages, 40);
}

#[test]
fn messages_out_of_order_are_as_many_as_the_truth_says() {
    let displaced = std::cell::Cell::new(0);
    let truth = compare(one(FaultKind::OutOfOrder, Some(5.0), &[]), |_, _, before, after| {
        let [one] = after else { panic!("a displaced message comes once") };
        let by = one.arrival_ms - before.arrival_ms;
        assert!((0..=5000).contains(&by) && one.values == before.values, "{by}");
        displaced.set(displaced.get() + u64::from(by > 0));
    });
    assert_eq!(displaced.get(), truth.messages);
    assert!((20..40).contains(&truth.messages), "five of six are displaced: {}", truth.messages);
}

#[test]
fn the_same_specification_gives_the_same_bytes_and_another_seed_others() {
    for profile in Profile::ALL {
        let spec = troubled(profile);
        assert_eq!(lines(&spec), lines(&spec), "{profile}");
        assert_ne!(lines(&spec)[0][0], lines(&SimulatorSpec { seed: 8, ..spec.clone() })[0][0], "{profile}");
    }
}

#[test]
fn another_number_of_partitions_changes_no_message_and_no_truth() {
    let all = |partitions| {
        let spec = SimulatorSpec { partitions, ..troubled(Profile::Fleet) };
        let mut all = lines(&spec).concat();
        all.sort();
        (all, Simulator::new(spec).unwrap().truth())
    };
    let one = all(1);
    assert!(one.1.len() == 10 && one == all(3) && one == all(20));
}

#[test]
fn there_are_as_many_messages_as_are_announced() {
    for profile in Profile::ALL {
        let spec = troubled(profile);
        let count: usize = lines(&spec).iter().map(Vec::len).sum();
        assert_eq!(count as u64, Simulator::new(spec).unwrap().messages());
    }
}

#[test]
fn every_offset_has_the_same_rest_after_skipping() {
    let simulator = Simulator::new(troubled(Profile::Fleet)).unwrap();
    let all = &lines(simulator.spec())[1];
    for offset in [0, 1, 77, all.len() / 2, all.len() - 1, all.len(), all.len() + 5] {
        let mut stream = simulator.partition(1);
        stream.skip_to(Offset(offset as i64));
        let rest: Vec<String> = std::iter::from_fn(|| stream.next().map(|event| json(&event))).collect();
        assert_eq!(rest, all[offset.min(all.len())..]);
    }
}

#[test]
fn no_size_of_batches_and_no_order_of_reading_changes_a_record() {
    let simulator = Simulator::new(troubled(Profile::Iomt)).unwrap();
    let expected = lines(simulator.spec());
    for (rows, turn) in [(1, 1), (7, 2), (1000, 1)] {
        let wake = Box::new(|| {});
        let partitions = simulator.partitions();
        let mut reader = SimulatorReader::new(&simulator, &partitions, &|_| None, Pace::Unbounded, wake).unwrap();
        let (mut found, mut ended, mut round) = (vec![Vec::new(); 3], 0, 0);
        while ended < 3 {
            round += turn;
            reader.prefer(PartitionId(round % 3));
            let mut out = Vec::new();
            reader.read(rows, &mut out).unwrap();
            for read in out {
                match read {
                    Read::Records(batch) => (0..batch.len()).for_each(|index| {
                        let text = String::from_utf8_lossy(batch.payload(index)).into_owned();
                        assert!(text.contains(&format!("\"{}\"", String::from_utf8_lossy(batch.key(index).unwrap()))));
                        assert_eq!(batch.offset(index).0, found[batch.partition.0 as usize].len() as i64);
                        found[batch.partition.0 as usize].push(text);
                    }),
                    Read::Ended { partition, next } => {
                        assert_eq!(next.0, expected[partition.0 as usize].len() as i64);
                        ended += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn at_a_pace_nothing_comes_before_its_time_and_the_reader_wakes_for_the_next() {
    let simulator = Simulator::new(small(Profile::Fleet)).unwrap();
    let (woken, wait) = std::sync::mpsc::channel();
    let wake = Box::new(move || woken.send(()).unwrap_or(()));
    let partitions = simulator.partitions();
    // A simulated second, in which each device sends once, takes twenty milliseconds.
    let mut reader = SimulatorReader::new(&simulator, &partitions, &|_| None, Pace::Times(50.0), wake).unwrap();
    let begun = std::time::Instant::now();
    let (mut seen, mut first) = (0, None);
    while seen < 60 {
        let mut out = Vec::new();
        reader.read(1000, &mut out).unwrap();
        let passed_ms = begun.elapsed().as_millis() as i64 * 50 + 50;
        for read in &out {
            let Read::Records(batch) = read else { continue };
            let arrivals = batch.received.as_ref().unwrap();
            let first = *first.get_or_insert(arrivals[0]);
            assert!(arrivals.iter().all(|arrival| arrival - first <= passed_ms * 1000), "{passed_ms} ms have passed");
            seen += arrivals.len();
        }
        if out.is_empty() {
            wait.recv_timeout(Duration::from_secs(60)).expect("the reader wakes who waits for it");
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(60), "four simulated seconds at fifty times the speed");
}

#[test]
fn messages_come_in_the_order_of_their_arrival_and_times_are_a_little_out_of_order() {
    for profile in Profile::ALL {
        let simulator = Simulator::new(troubled(profile)).unwrap();
        let mut stream = simulator.partition(0);
        let (mut last, mut greatest, mut disordered) = (i64::MIN, i64::MIN, 0);
        while let Some(event) = stream.next() {
            assert!(event.arrival_ms >= last);
            disordered += u64::from(event.at_ms < greatest);
            (last, greatest) = (event.arrival_ms, greatest.max(event.at_ms));
        }
        assert!(disordered > 0);
    }
}

#[test]
fn a_label_names_the_fault_and_no_other_field_betrays_it() {
    let spec = SimulatorSpec { labelled: true, ..with(&[one(FaultKind::Spike, None, &[])]) };
    let unlabelled = lines(&SimulatorSpec { labelled: false, ..spec.clone() }).concat();
    let mut spikes = 0;
    for (with_label, without) in lines(&spec).concat().iter().zip(&unlabelled) {
        let is_spike = with_label.ends_with(",\"label\":\"spike\"}");
        spikes += u64::from(is_spike);
        let label = if is_spike { ",\"label\":\"spike\"" } else { ",\"label\":\"normal\"" };
        assert_eq!(with_label.replace(label, ""), *without);
    }
    assert_eq!(spikes, 40);
}

#[test]
fn no_seeded_fault_begins_in_the_calm_and_all_kinds_have_their_turn() {
    let spec = SimulatorSpec {
        seeded_faults: SeededFaults::of_every_kind(30, Duration::from_secs(60)),
        ..small(Profile::Fleet)
    };
    let truth = Simulator::new(spec).unwrap().truth();
    assert!(truth.iter().all(|row| row.from >= SimulatorSpec::START.0 / 1000 + 60_000));
    for kind in FaultKind::ALL {
        assert_eq!(truth.iter().filter(|row| row.kind == kind.name()).count(), 3, "{}", kind.name());
    }
}

#[test]
fn every_line_is_one_json_object_with_the_fields_of_the_profile() {
    for profile in Profile::ALL {
        for line in lines(&SimulatorSpec { devices: 3, ..small(profile) }).concat().iter().take(50) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let names: Vec<&String> = value.as_object().unwrap().keys().collect();
            assert_eq!(names.len(), profile.fields().len() + 2 + usize::from(profile == Profile::Iomt));
            assert!(profile.fields().iter().all(|field| value.get(field.name).is_some()));
        }
    }
}

/// The bytes themselves are the promise: who changes them breaks every recording and figure made from a seed.
#[test]
fn each_profile_keeps_its_bytes() {
    let digests = Profile::ALL.map(|profile| {
        let text = lines(&troubled(profile)).concat().join("\n");
        let bytes = digest(&SHA256, text.as_bytes());
        bytes.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    assert_eq!(digests, ["1b063f3ada735950", "eb92daf55d8704ba", "b7aee75fa5c24404"]);
}

fn refused(spec: SimulatorSpec) -> String {
    Simulator::new(spec).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_simulated_is_refused_with_what_could() {
    let fault = |kind, fields: &[&str]| one(kind, None, fields);
    let cases = [
        (
            with(&[FaultSpec { device: "pump-0001".into(), ..fault(FaultKind::Spike, &[]) }]),
            "`pump-0000` to `compressor-0011`",
        ),
        (with(&[fault(FaultKind::Spike, &["temprature"])]), "`temprature`; it can befall `temperature`, `pressure`"),
        (with(&[fault(FaultKind::BrokenCorrelation, &["on_mains"])]), "cannot befall the field `on_mains`"),
        (with(&[fault(FaultKind::Late, &["flow"])]), "`late` concerns whole messages"),
        (
            with(&[fault(FaultKind::Late, &[]), fault(FaultKind::Spike, &[])]),
            "`pump-0003` begins before its late is over",
        ),
        (with(&[one(FaultKind::NoiseBurst, Some(0.5), &[])]), "write a factor above 1"),
        (with(&[one(FaultKind::WrongClock, Some(f64::NAN), &[])]), "write seconds"),
        (with(&[FaultSpec { at: Duration::from_secs(300), ..fault(FaultKind::Spike, &[]) }]), "behind the end"),
        (SimulatorSpec { devices: 0, ..small(Profile::Fleet) }, "number of devices is not between 1 and 1000000"),
        (SimulatorSpec { every: Duration::from_micros(1), ..small(Profile::Fleet) }, "whole number of milliseconds"),
        (SimulatorSpec { duration: Duration::from_millis(999), ..small(Profile::Fleet) }, "no device takes a reading"),
        (
            SimulatorSpec { seeded_faults: SeededFaults::of_every_kind(5000, Duration::ZERO), ..small(Profile::Fleet) },
            "of 5000 seeded faults have room",
        ),
    ];
    for (spec, expected) in cases {
        let told = refused(spec);
        assert!(told.contains(expected), "`{expected}` is not in `{told}`");
    }
}
