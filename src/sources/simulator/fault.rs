//! What can go wrong with a device, and what it does to its messages and values.

use std::time::Duration;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Values jump by `magnitude` deviations.
    Spike,
    /// Values wander off, up to `magnitude` deviations at the end.
    Drift,
    /// Values stay what they were before.
    Stuck,
    /// No message comes.
    Silence,
    /// The noise is `magnitude` times what it was.
    NoiseBurst,
    /// Values move against the load, `magnitude` times as much as they moved with it.
    BrokenCorrelation,
    /// Times are `magnitude` seconds ahead, or behind where it is negative.
    WrongClock,
    /// Each message comes `magnitude` times more.
    Duplicates,
    /// Each message comes `magnitude` seconds late.
    Late,
    /// Each message comes up to `magnitude` seconds late, each by another time.
    OutOfOrder,
}

impl FaultKind {
    pub const ALL: [FaultKind; 10] = [
        FaultKind::Spike,
        FaultKind::Drift,
        FaultKind::Stuck,
        FaultKind::Silence,
        FaultKind::NoiseBurst,
        FaultKind::BrokenCorrelation,
        FaultKind::WrongClock,
        FaultKind::Duplicates,
        FaultKind::Late,
        FaultKind::OutOfOrder,
    ];

    /// As the configuration, the truth and labels name it.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Spike => "spike",
            FaultKind::Drift => "drift",
            FaultKind::Stuck => "stuck",
            FaultKind::Silence => "silence",
            FaultKind::NoiseBurst => "noise_burst",
            FaultKind::BrokenCorrelation => "broken_correlation",
            FaultKind::WrongClock => "wrong_clock",
            FaultKind::Duplicates => "duplicates",
            FaultKind::Late => "late",
            FaultKind::OutOfOrder => "out_of_order",
        }
    }

    /// Whether it changes values of fields, rather than messages or their times.
    pub fn is_of_values(self) -> bool {
        matches!(
            self,
            FaultKind::Spike
                | FaultKind::Drift
                | FaultKind::Stuck
                | FaultKind::NoiseBurst
                | FaultKind::BrokenCorrelation
        )
    }

    /// The magnitude where none is given.
    pub fn magnitude_default(self) -> f64 {
        match self {
            FaultKind::Spike | FaultKind::Drift | FaultKind::NoiseBurst => 8.0,
            FaultKind::Stuck | FaultKind::Silence | FaultKind::BrokenCorrelation | FaultKind::Duplicates => 1.0,
            FaultKind::WrongClock => 3600.0,
            FaultKind::Late => 60.0,
            FaultKind::OutOfOrder => 5.0,
        }
    }
}

/// A fault as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    pub kind: FaultKind,
    /// The device's name, such as `pump-0003`.
    pub device: String,
    /// Of a fault of values: which; none: all that it can befall.
    pub fields: Vec<String>,
    /// From the start of the simulation.
    pub at: Duration,
    pub lasts: Duration,
    /// See `FaultKind`.
    pub magnitude: Option<f64>,
}

/// A fault as it happens, in whole ticks of its device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) device: u32,
    /// Places in the profile's fields, ascending.
    pub(super) fields: Vec<usize>,
    /// The first tick.
    pub(super) from: u64,
    /// The first tick behind it.
    pub(super) to: u64,
    pub(super) magnitude: f64,
}

/// What becomes of the message of one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes so many times at once; none: it never does.
    Comes(u32),
    /// It comes so many ticks later.
    HeldBack(u64),
}

impl Fault {
    /// `word` is the tick's own draw.
    pub(super) fn fate(&self, word: u32, every_ms: i64) -> Fate {
        // A magnitude in seconds is bounded by the plan, so its milliseconds are exact.
        let ticks = (self.magnitude * 1000.0 / every_ms as f64).ceil() as u64;
        match self.kind {
            FaultKind::Silence => Fate::Comes(0),
            FaultKind::Duplicates => Fate::Comes(1 + self.magnitude as u32),
            FaultKind::Late => Fate::HeldBack(ticks),
            FaultKind::OutOfOrder => match (u64::from(word) * (ticks + 1)) >> 32 {
                0 => Fate::Comes(1),
                held => Fate::HeldBack(held),
            },
            _ => Fate::Comes(1),
        }
    }

    /// Whether messages come otherwise than they should; then `fate` has to be asked.
    pub(super) fn is_of_messages(&self) -> bool {
        matches!(self.kind, FaultKind::Silence | FaultKind::Duplicates | FaultKind::Late | FaultKind::OutOfOrder)
    }

    /// What is added to every time that the device writes.
    pub(super) fn clock_ms(&self) -> i64 {
        if self.kind == FaultKind::WrongClock { (self.magnitude * 1000.0).round() as i64 } else { 0 }
    }

    /// The share of the fault that has passed behind this tick: above 0, 1 at the last.
    pub(super) fn share(&self, tick: u64) -> f64 {
        (tick - self.from + 1) as f64 / (self.to - self.from) as f64
    }
}
