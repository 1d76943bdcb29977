//! Network flows by class of traffic: the 39 measurements that CICIoT2023 has, in its order.
//!
//! A device talks peacefully for most of the time, and is part of an attack for some stretches. The values are chosen so that
//! classes look as their mechanism suggests (a flood of SYN packets is short packets at a high rate with that flag up); nothing
//! is fitted to the recording. What follows from other measurements does so here: `AVG`, `Tot size` and `Variance` among them.

use crate::sources::simulator::device::Term;
use crate::sources::simulator::profile::{DeviceKind, Field, FieldType, Signal};

/// The classes, in the order of the columns of `LEVELS`.
pub(super) const CLASSES: [&str; 6] = ["Benign", "DDoS", "DoS", "Mirai", "Recon", "Spoofing"];

/// How a measurement comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Its class's level, moved by load and chance, in shares of the level.
    Drawn,
    /// A share of the packets, in tenths.
    Tenths,
    /// From others.
    Derived,
}

/// A measurement: its level in each class.
struct Measure {
    name: &'static str,
    origin: Origin,
    levels: [f64; 6],
}

const fn drawn(name: &'static str, levels: [f64; 6]) -> Measure {
    Measure { name, origin: Origin::Drawn, levels }
}

const fn tenths(name: &'static str, levels: [f64; 6]) -> Measure {
    Measure { name, origin: Origin::Tenths, levels }
}

const fn derived(name: &'static str) -> Measure {
    Measure { name, origin: Origin::Derived, levels: [0.0; 6] }
}

const HEADER_LENGTH: usize = 0;
const RATE: usize = 3;
const TOT_SUM: usize = 30;
const MIN: usize = 31;
const MAX: usize = 32;
const AVG: usize = 33;
const STD: usize = 34;
const TOT_SIZE: usize = 35;
const IAT: usize = 36;
const NUMBER: usize = 37;
const VARIANCE: usize = 38;
const COUNT: usize = 39;

#[rustfmt::skip]
const MEASURES: [Measure; COUNT] = [
    //                          Benign   DDoS     DoS      Mirai    Recon    Spoofing
    drawn("Header_Length",     [26.0,    20.0,    20.0,    8.0,     22.0,    28.0]),
    drawn("Protocol Type",     [7.5,     6.0,     6.0,     17.0,    6.2,     8.0]),
    drawn("Time_To_Live",      [90.0,    64.0,    64.0,    64.0,    70.0,    80.0]),
    drawn("Rate",              [900.0,   24000.0, 12000.0, 18000.0, 2500.0,  1400.0]),
    tenths("fin_flag_number",  [0.05,    0.0,     0.0,     0.0,     0.05,    0.05]),
    tenths("syn_flag_number",  [0.1,     0.9,     0.8,     0.0,     0.6,     0.1]),
    tenths("rst_flag_number",  [0.05,    0.0,     0.1,     0.0,     0.4,     0.1]),
    tenths("psh_flag_number",  [0.35,    0.0,     0.1,     0.0,     0.1,     0.35]),
    tenths("ack_flag_number",  [0.8,     0.1,     0.2,     0.0,     0.4,     0.8]),
    tenths("ece_flag_number",  [0.0,     0.0,     0.0,     0.0,     0.0,     0.0]),
    tenths("cwr_flag_number",  [0.0,     0.0,     0.0,     0.0,     0.0,     0.0]),
    drawn("ack_count",         [8.0,     1.0,     2.0,     0.0,     4.0,     8.0]),
    drawn("syn_count",         [1.0,     9.0,     8.0,     0.0,     6.0,     1.0]),
    drawn("fin_count",         [0.5,     0.0,     0.0,     0.0,     0.5,     0.5]),
    drawn("rst_count",         [0.5,     0.0,     1.0,     0.0,     4.0,     1.0]),
    tenths("HTTP",             [0.1,     0.2,     0.3,     0.0,     0.1,     0.1]),
    tenths("HTTPS",            [0.5,     0.0,     0.0,     0.0,     0.1,     0.4]),
    tenths("DNS",              [0.05,    0.0,     0.0,     0.0,     0.05,    0.2]),
    tenths("Telnet",           [0.0,     0.0,     0.0,     0.05,    0.05,    0.0]),
    tenths("SMTP",             [0.0,     0.0,     0.0,     0.0,     0.0,     0.0]),
    tenths("SSH",              [0.05,    0.0,     0.0,     0.0,     0.1,     0.05]),
    tenths("IRC",              [0.0,     0.0,     0.0,     0.0,     0.0,     0.0]),
    tenths("TCP",              [0.85,    0.9,     0.9,     0.05,    0.9,     0.75]),
    tenths("UDP",              [0.15,    0.1,     0.1,     0.95,    0.1,     0.2]),
    tenths("DHCP",             [0.0,     0.0,     0.0,     0.0,     0.0,     0.0]),
    tenths("ARP",              [0.02,    0.0,     0.0,     0.0,     0.02,    0.3]),
    tenths("ICMP",             [0.0,     0.05,    0.0,     0.0,     0.1,     0.0]),
    tenths("IGMP",             [0.0,     0.0,     0.0,     0.0,     0.0,     0.0]),
    tenths("IPv",              [1.0,     1.0,     1.0,     1.0,     1.0,     0.9]),
    tenths("LLC",              [1.0,     1.0,     1.0,     1.0,     1.0,     0.9]),
    derived("Tot sum"),
    drawn("Min",               [62.0,    58.0,    58.0,    540.0,   60.0,    60.0]),
    derived("Max"),
    derived("AVG"),
    drawn("Std",               [220.0,   2.0,     6.0,     12.0,    40.0,    180.0]),
    derived("Tot size"),
    derived("IAT"),
    drawn("Number",            [10.0,    10.0,    10.0,    10.0,    10.0,    10.0]),
    derived("Variance"),
];

pub(super) const FIELDS: [Field; COUNT] = {
    let mut fields = [Field { name: "", field_type: FieldType::Decimal(4) }; COUNT];
    let mut at = 0;
    while at < COUNT {
        fields[at].name = MEASURES[at].name;
        fields[at].field_type = FieldType::Decimal(match MEASURES[at].origin {
            Origin::Tenths => 1,
            // Seconds, of which there are few.
            Origin::Derived if at == IAT => 7,
            _ => 4,
        });
        at += 1;
    }
    fields
};

/// In shares of a level: what the load moves, and the noise.
const GAIN: f64 = 0.3;
const NOISE: f64 = 0.06;

/// Whether a fault can befall a measurement: those that stand by themselves and vary.
const fn is_free(at: usize) -> bool {
    matches!(at, HEADER_LENGTH | RATE | MIN | STD)
}

/// What peaceful traffic looks like; faults are counted in its spread.
static SIGNALS: [Signal; COUNT] = {
    let mut signals = [Signal::new(0.0, 0.0, 0.0, [0.0, 1e12]); COUNT];
    let mut at = 0;
    while at < COUNT {
        let level = MEASURES[at].levels[0];
        let (gain, noise) = if is_free(at) { (GAIN * level, NOISE * level) } else { (0.0, 0.0) };
        signals[at] = Signal::new(level, gain, noise, [0.0, 1e12]);
        at += 1;
    }
    signals
};
pub(super) static KINDS: [DeviceKind; 1] = [DeviceKind { name: "device", signals: &SIGNALS }];

/// The class of a stretch of a device's time: six of ten are peaceful.
pub(super) fn class_of(word: u32) -> usize {
    match word % 10 {
        0..=5 => 0,
        // The last four tenths go to five attacks, by the digits that are left.
        _ => 1 + (word / 10 % (CLASSES.len() as u32 - 1)) as usize,
    }
}

/// The values of a flow before any fault, and what load and noise had in them. `chance` gives one draw for each field.
pub(super) fn flow(class: usize, load: f64, personal: &[f64], mut chance: impl FnMut() -> f64, terms: &mut [Term]) {
    for (at, measure) in MEASURES.iter().enumerate() {
        let (level, chance) = (measure.levels[class] * personal[at], chance());
        terms[at] = match measure.origin {
            Origin::Drawn if at == NUMBER => Term::fixed(level_of_number(class)),
            Origin::Drawn => Term::moved(level, GAIN * level * load, NOISE * level * chance),
            Origin::Tenths => Term::fixed(in_tenths(measure.levels[class], chance)),
            Origin::Derived => Term::fixed(0.0),
        };
    }
    derive(terms);
}

fn level_of_number(class: usize) -> f64 {
    MEASURES[NUMBER].levels[class]
}

/// A share of ten packets near `level`.
fn in_tenths(level: f64, chance: f64) -> f64 {
    if level == 0.0 || level == 1.0 {
        return level;
    }
    ((level + 0.1 * chance) * 10.0).round().clamp(0.0, 10.0) / 10.0
}

/// What follows from other measurements.
fn derive(terms: &mut [Term]) {
    let (least, deviation, number) = (terms[MIN].value(), terms[STD].value().max(0.0), terms[NUMBER].value());
    let mean = least + 0.8 * deviation;
    for (at, value) in [
        (AVG, mean),
        (TOT_SIZE, mean),
        (TOT_SUM, mean * number),
        (MAX, mean + 2.2 * deviation),
        (VARIANCE, deviation * deviation),
        (IAT, 1.0 / terms[RATE].value().max(1.0)),
    ] {
        terms[at] = Term::fixed(value);
    }
}
