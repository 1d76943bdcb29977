//! Which faults happen: the listed ones and those that the seed places.
//!
//! Invariant: the faults of a device do not overlap, so that what a fault did can be told from the data.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use crate::sources::simulator::device::{self, Device};
use crate::sources::simulator::fault::{Fate, Fault, FaultKind, FaultSpec};
use crate::sources::simulator::truth::Truth;
use crate::sources::simulator::{SimulatorError, SimulatorSpec, millis};

/// The faults of each device, in the order of time.
#[derive(Debug)]
pub(super) struct Plan {
    by_device: BTreeMap<u32, Vec<Fault>>,
}

/// The stream of the seeded faults; devices have those below.
const STREAM: u64 = u64::MAX;
/// How often a place is looked for.
const TRIES: u32 = 200;
/// Beyond that no time and no number of ticks would be exact.
const SECONDS_MAX: f64 = 1e7;

impl Plan {
    pub(super) fn new(spec: &SimulatorSpec) -> Result<Plan, SimulatorError> {
        let mut plan = Plan { by_device: BTreeMap::new() };
        for fault in &spec.faults {
            plan.add(spec, placed(spec, fault)?)?;
        }
        plan.seed(spec)?;
        Ok(plan)
    }

    /// The faults of one device.
    pub(super) fn of(&self, device: u32) -> &[Fault] {
        self.by_device.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Messages that come beside those that should.
    pub(super) fn more(&self) -> u64 {
        self.of_kind(FaultKind::Duplicates).map(|fault| (fault.to - fault.from) * fault.magnitude as u64).sum()
    }

    /// Messages that do not come.
    pub(super) fn fewer(&self) -> u64 {
        self.of_kind(FaultKind::Silence).map(|fault| fault.to - fault.from).sum()
    }

    fn of_kind(&self, kind: FaultKind) -> impl Iterator<Item = &Fault> {
        self.by_device.values().flatten().filter(move |fault| fault.kind == kind)
    }

    fn add(&mut self, spec: &SimulatorSpec, fault: Fault) -> Result<(), SimulatorError> {
        let faults = self.by_device.entry(fault.device).or_default();
        if let Some(other) = faults.iter().find(|other| fault.from < other.to && other.from < fault.to) {
            let (first, second) = if other.from <= fault.from { (other, &fault) } else { (&fault, other) };
            return Err(SimulatorError::Overlap {
                device: spec.profile.device_name(fault.device),
                first: first.kind.name(),
                second: second.kind.name(),
            });
        }
        let place = faults.partition_point(|other| other.from < fault.from);
        faults.insert(place, fault);
        Ok(())
    }

    fn seed(&mut self, spec: &SimulatorSpec) -> Result<(), SimulatorError> {
        let mut random = device::random(spec, STREAM);
        let seeded = &spec.seeded_faults;
        for index in 0..seeded.count {
            let Some(&kind) = seeded.kinds.get(index as usize % seeded.kinds.len().max(1)) else { break };
            let is_placed = (0..TRIES).any(|_| {
                let drawn = drawn(spec, kind, &mut random);
                drawn.is_some_and(|fault| self.add(spec, fault).is_ok())
            });
            if !is_placed {
                return Err(SimulatorError::NoRoom { placed: index, wanted: seeded.count });
            }
        }
        Ok(())
    }

    pub(super) fn truth(&self, spec: &SimulatorSpec) -> Vec<Truth> {
        let mut rows = Vec::new();
        for (number, faults) in &self.by_device {
            let mut device = Device::new(spec, *number);
            rows.extend(faults.iter().map(|fault| row(spec, &mut device, fault)));
        }
        rows.sort_by(|a, b| (a.from, &a.device).cmp(&(b.from, &b.device)));
        rows
    }
}

fn row(spec: &SimulatorSpec, device: &mut Device, fault: &Fault) -> Truth {
    let at = |tick: u64| spec.start_ms() + tick as i64 * spec.every_ms() + device.phase_ms;
    let (from, to) = (at(fault.from), at(fault.to));
    let messages = match fault.kind {
        FaultKind::Duplicates => (fault.to - fault.from) * fault.magnitude as u64,
        FaultKind::OutOfOrder => {
            let is_held =
                |tick: &u64| matches!(fault.fate(device.message_word(*tick), spec.every_ms()), Fate::HeldBack(_));
            (fault.from..fault.to).filter(is_held).count() as u64
        }
        _ => fault.to - fault.from,
    };
    let fields = fault.fields.iter().map(|field| spec.profile.fields()[*field].name.to_owned()).collect();
    let (kind, device) = (fault.kind.name().to_owned(), device.name.clone());
    Truth { kind, device, fields, from, to, magnitude: fault.magnitude, messages }
}

/// A listed fault in ticks.
fn placed(spec: &SimulatorSpec, fault: &FaultSpec) -> Result<Fault, SimulatorError> {
    let device = spec.profile.device_number(&fault.device).filter(|number| *number < spec.devices);
    let device = device.ok_or_else(|| SimulatorError::UnknownDevice {
        device: fault.device.clone(),
        first: spec.profile.device_name(0),
        last: spec.profile.device_name(spec.devices - 1),
    })?;
    let magnitude = fault.magnitude.unwrap_or(fault.kind.magnitude_default());
    check_magnitude(fault.kind, magnitude)?;
    let phase_ms = Device::new(spec, device).phase_ms;
    // The first reading that is taken at or after a time.
    let tick = |at: Duration| {
        let after = millis(at).saturating_sub(phase_ms).max(0);
        (after / spec.every_ms() + i64::from(after % spec.every_ms() != 0)) as u64
    };
    let (from, to) = (tick(fault.at), tick(fault.at.saturating_add(fault.lasts)));
    if from >= spec.ticks() {
        return Err(SimulatorError::BehindTheEnd { kind: fault.kind.name(), device: fault.device.clone() });
    }
    let to = to.clamp(from + 1, spec.ticks());
    Ok(Fault { kind: fault.kind, device, fields: named_fields(spec, fault)?, from, to, magnitude })
}

fn check_magnitude(kind: FaultKind, magnitude: f64) -> Result<(), SimulatorError> {
    let (is_right, wanted) = match kind {
        FaultKind::Spike | FaultKind::Drift => (magnitude != 0.0, "write deviations, such as 8 or -8"),
        FaultKind::NoiseBurst => (magnitude > 1.0, "write a factor above 1"),
        FaultKind::BrokenCorrelation => (magnitude >= 0.0, "write a factor from 0 on"),
        FaultKind::WrongClock => (magnitude.abs() >= 0.001, "write seconds, such as 3600 or -3600"),
        FaultKind::Duplicates => ((1.0..=1000.0).contains(&magnitude) && magnitude.fract() == 0.0, "write 1 to 1000"),
        FaultKind::Late | FaultKind::OutOfOrder => (magnitude > 0.0, "write seconds above zero"),
        FaultKind::Stuck | FaultKind::Silence => (true, ""),
    };
    let is_right = is_right && magnitude.is_finite() && magnitude.abs() <= SECONDS_MAX;
    let wanted = if wanted.is_empty() { "leave it out" } else { wanted };
    if is_right { Ok(()) } else { Err(SimulatorError::Magnitude { kind: kind.name(), magnitude, wanted }) }
}

/// The fields that a fault of this kind can befall, by their places.
fn possible_fields(spec: &SimulatorSpec, kind: FaultKind) -> Vec<usize> {
    let names: Vec<&str> = match kind {
        FaultKind::BrokenCorrelation => spec.profile.correlated().collect(),
        kind if kind.is_of_values() => spec.profile.faultable().collect(),
        _ => Vec::new(),
    };
    let fields = spec.profile.fields().iter().enumerate();
    fields.filter(|(_, field)| names.contains(&field.name)).map(|(place, _)| place).collect()
}

fn named_fields(spec: &SimulatorSpec, fault: &FaultSpec) -> Result<Vec<usize>, SimulatorError> {
    let possible = possible_fields(spec, fault.kind);
    if fault.fields.is_empty() {
        return Ok(possible);
    }
    if !fault.kind.is_of_values() {
        return Err(SimulatorError::FieldsOfMessages { kind: fault.kind.name() });
    }
    let name = |place: usize| spec.profile.fields()[place].name;
    let find = |field: &String| {
        possible.iter().copied().find(|place| name(*place) == field).ok_or_else(|| SimulatorError::UnknownField {
            field: field.clone(),
            known: possible.iter().map(|place| format!("`{}`", name(*place))).collect::<Vec<_>>().join(", "),
        })
    };
    let mut fields: Vec<usize> = fault.fields.iter().map(find).collect::<Result<_, _>>()?;
    fields.sort_unstable();
    fields.dedup();
    Ok(fields)
}

/// Below `bound`, which is not zero; the share of a word, so that no draw is repeated.
fn below(random: &mut ChaCha8Rng, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// A fault at a place that the seed chooses; none where the time is too short for any.
fn drawn(spec: &SimulatorSpec, kind: FaultKind, random: &mut ChaCha8Rng) -> Option<Fault> {
    let calm = millis(spec.seeded_faults.calm) as u64;
    let first = calm.div_ceil(spec.every_ms() as u64);
    let free = spec.ticks().checked_sub(first).filter(|free| *free > 0)?;
    let (shortest, longest) = ticks_of(kind);
    let ticks = (shortest + below(random, longest - shortest + 1)).min((free / 2).max(1));
    let device = below(random, spec.devices.into()) as u32;
    let from = first + below(random, free - ticks + 1);
    let mut fields = possible_fields(spec, kind);
    // Some fields of many: it is their dependence on the others that gives a fault away.
    while fields.len() > fields_of(kind) {
        fields.remove(below(random, fields.len() as u64) as usize);
    }
    let magnitude = magnitude_of(spec, kind, random);
    Some(Fault { kind, device, fields, from, to: from + ticks, magnitude })
}

/// The shortest and the longest of a seeded fault.
fn ticks_of(kind: FaultKind) -> (u64, u64) {
    match kind {
        FaultKind::Spike => (2, 5),
        FaultKind::Drift | FaultKind::BrokenCorrelation => (60, 120),
        FaultKind::Stuck | FaultKind::NoiseBurst => (40, 90),
        FaultKind::Silence | FaultKind::Duplicates | FaultKind::OutOfOrder => (30, 60),
        FaultKind::WrongClock | FaultKind::Late => (20, 40),
    }
}

fn fields_of(kind: FaultKind) -> usize {
    match kind {
        FaultKind::Spike | FaultKind::Drift => 1,
        FaultKind::Stuck | FaultKind::BrokenCorrelation => 2,
        _ => 3,
    }
}

/// Up to half more than usual, either way where there are two. What is behind time is so by as many readings as it would be seconds.
fn magnitude_of(spec: &SimulatorSpec, kind: FaultKind, random: &mut ChaCha8Rng) -> f64 {
    let (halves, is_down) = (below(random, 8) as f64 / 16.0, below(random, 2) == 1);
    let usual = kind.magnitude_default();
    match kind {
        FaultKind::Spike | FaultKind::Drift if is_down => -usual * (1.0 + halves),
        FaultKind::Spike | FaultKind::Drift | FaultKind::NoiseBurst => usual * (1.0 + halves),
        FaultKind::WrongClock if is_down => -usual,
        FaultKind::Late | FaultKind::OutOfOrder => usual * spec.every_ms() as f64 / 1000.0,
        _ => usual,
    }
}
