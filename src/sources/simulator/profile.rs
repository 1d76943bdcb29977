//! What kinds of devices there are, and how their signals move.
//!
//! A signal is its level, moved by the device's load, with noise of its own: signals that share the load move together.
//! The numbers are plausible, not measured.

use std::fmt;

use crate::sources::simulator::traffic;

/// A fleet to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Pumps, ventilators and compressors of a hospital: six measurements, a count, a flag and a kind.
    Fleet,
    /// Network flows of medical devices: the 39 measurements of CICIoT2023, and the class of the traffic as `label`.
    Iomt,
    /// Sensors of ten readings each.
    Sensors,
}

/// How a field's values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Written with this many digits behind the point.
    Decimal(u8),
    Whole,
    Flag,
    Text,
}

/// A field of a profile, in the order in which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub field_type: FieldType,
}

/// How a field moves: `level + gain * load + noise * chance`, kept between `least` and `greatest`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Signal {
    pub(super) level: f64,
    /// What the load, which is between -1 and 1, moves it by.
    pub(super) gain: f64,
    /// The standard deviation of its own noise.
    pub(super) noise: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

impl Signal {
    pub(super) const fn new(level: f64, gain: f64, noise: f64, [least, greatest]: [f64; 2]) -> Signal {
        Signal { level, gain, noise, least, greatest }
    }

    /// What a fault's magnitude is counted in: about the deviation of the signal over a day.
    pub(super) fn spread(&self) -> f64 {
        // A square root is exact to the last bit everywhere; the load's variance is about a fifth.
        (0.2 * self.gain * self.gain + self.noise * self.noise).sqrt()
    }
}

/// A type of device within a profile.
pub(super) struct DeviceKind {
    pub(super) name: &'static str,
    pub(super) signals: &'static [Signal],
}

const ANY: [f64; 2] = [-1e9, 1e9];
const POSITIVE: [f64; 2] = [0.0, 1e9];
const SHARE: [f64; 2] = [0.0, 100.0];

const fn decimal(name: &'static str) -> Field {
    Field { name, field_type: FieldType::Decimal(3) }
}

const FLEET_FIELDS: [Field; 9] = [
    Field { name: "kind", field_type: FieldType::Text },
    decimal("temperature"),
    decimal("pressure"),
    decimal("flow"),
    decimal("vibration"),
    decimal("current"),
    decimal("humidity"),
    Field { name: "rpm", field_type: FieldType::Whole },
    Field { name: "on_mains", field_type: FieldType::Flag },
];

/// Holds the place of a text, which is no number.
const NO_SIGNAL: Signal = Signal::new(0.0, 0.0, 0.0, ANY);
/// A flag is up while its signal is above zero: off mains is rare.
const MAINS: Signal = Signal::new(2.9, 0.0, 1.0, ANY);

const fn fleet_kind(
    temperature: [f64; 3],
    pressure: [f64; 3],
    flow: [f64; 3],
    vibration: [f64; 3],
    current: [f64; 3],
    rpm: [f64; 3],
) -> [Signal; 9] {
    const fn signal([level, gain, noise]: [f64; 3], limits: [f64; 2]) -> Signal {
        Signal::new(level, gain, noise, limits)
    }
    [
        NO_SIGNAL,
        signal(temperature, ANY),
        signal(pressure, POSITIVE),
        signal(flow, POSITIVE),
        signal(vibration, POSITIVE),
        signal(current, POSITIVE),
        signal([45.0, -5.0, 0.8], SHARE),
        signal(rpm, POSITIVE),
        MAINS,
    ]
}

/// Level, gain and noise of temperature (°C), pressure (kPa), flow (l/min), vibration (mm/s), current (A), rpm.
static PUMP: [Signal; 9] = fleet_kind(
    [36.0, 4.0, 0.3],
    [180.0, 22.0, 1.6],
    [12.0, 3.5, 0.25],
    [1.2, 0.35, 0.03],
    [2.2, 0.6, 0.05],
    [1450.0, 160.0, 9.0],
);
static VENTILATOR: [Signal; 9] = fleet_kind(
    [41.0, 3.0, 0.25],
    [35.0, 4.0, 0.35],
    [28.0, 7.0, 0.5],
    [0.6, 0.15, 0.015],
    [1.4, 0.35, 0.03],
    [8200.0, 900.0, 55.0],
);
static COMPRESSOR: [Signal; 9] = fleet_kind(
    [58.0, 9.0, 0.6],
    [620.0, 70.0, 5.0],
    [140.0, 32.0, 2.2],
    [2.6, 0.8, 0.07],
    [9.5, 2.6, 0.2],
    [2900.0, 380.0, 24.0],
);
static FLEET: [DeviceKind; 3] = [
    DeviceKind { name: "pump", signals: &PUMP },
    DeviceKind { name: "ventilator", signals: &VENTILATOR },
    DeviceKind { name: "compressor", signals: &COMPRESSOR },
];

const SENSOR_FIELDS: [Field; 10] = [
    decimal("reading_0"),
    decimal("reading_1"),
    decimal("reading_2"),
    decimal("reading_3"),
    decimal("reading_4"),
    decimal("reading_5"),
    decimal("reading_6"),
    decimal("reading_7"),
    decimal("reading_8"),
    decimal("reading_9"),
];
static SENSOR_SIGNALS: [Signal; 10] = [
    Signal::new(20.0, 4.0, 0.3, ANY),
    Signal::new(21.0, 3.5, 0.3, ANY),
    Signal::new(22.0, 3.0, 0.3, ANY),
    Signal::new(23.0, -3.0, 0.3, ANY),
    Signal::new(24.0, -2.5, 0.3, ANY),
    Signal::new(25.0, 2.0, 0.5, ANY),
    Signal::new(26.0, 1.5, 0.5, ANY),
    Signal::new(27.0, 1.0, 0.5, ANY),
    Signal::new(28.0, 0.0, 1.0, ANY),
    Signal::new(29.0, 0.0, 2.0, ANY),
];
static SENSORS: [DeviceKind; 1] = [DeviceKind { name: "sensor", signals: &SENSOR_SIGNALS }];

impl Profile {
    pub const ALL: [Profile; 3] = [Profile::Fleet, Profile::Iomt, Profile::Sensors];

    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Fleet => "fleet",
            Profile::Iomt => "iomt",
            Profile::Sensors => "sensors",
        }
    }

    /// The fields of an event, without its time, device and label.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Profile::Fleet => &FLEET_FIELDS,
            Profile::Iomt => &traffic::FIELDS,
            Profile::Sensors => &SENSOR_FIELDS,
        }
    }

    /// How many devices there are where nothing else is said.
    pub fn devices_default(self) -> u32 {
        match self {
            Profile::Fleet => 60,
            Profile::Iomt => 50,
            Profile::Sensors => 10_000,
        }
    }

    /// The name of a device by its number, from 0.
    pub fn device_name(self, number: u32) -> String {
        let kind = self.kind_of(number).name;
        match self {
            Profile::Fleet | Profile::Iomt => format!("{kind}-{number:04}"),
            Profile::Sensors => format!("{kind}-{number:05}"),
        }
    }

    /// The number of the device that has this name.
    pub fn device_number(self, name: &str) -> Option<u32> {
        let number = name.rsplit('-').next()?.parse().ok()?;
        (self.device_name(number) == name).then_some(number)
    }

    /// The type of a device, which its number decides.
    pub(super) fn kind_of(self, number: u32) -> &'static DeviceKind {
        let kinds: &[DeviceKind] = match self {
            Profile::Fleet => &FLEET,
            Profile::Iomt => &traffic::KINDS,
            Profile::Sensors => &SENSORS,
        };
        &kinds[number as usize % kinds.len()]
    }

    /// Whether every event says to which class it belongs, asked or not.
    pub(super) fn is_labelled(self) -> bool {
        self == Profile::Iomt
    }

    /// The fields that a fault can befall: numbers that move. Of the others nobody could tell.
    pub fn faultable(self) -> impl Iterator<Item = &'static str> {
        let signals = self.kind_of(0).signals.iter();
        let moving = |(field, signal): (&Field, &Signal)| {
            let is_number = matches!(field.field_type, FieldType::Decimal(_) | FieldType::Whole);
            (is_number && signal.spread() > 0.0).then_some(field.name)
        };
        self.fields().iter().zip(signals).filter_map(moving)
    }

    /// Those of them that the load moves, and whose dependence can break.
    pub fn correlated(self) -> impl Iterator<Item = &'static str> {
        self.faultable().filter(move |name| {
            let place = self.fields().iter().position(|field| field.name == *name);
            place.is_some_and(|place| self.kind_of(0).signals[place].gain != 0.0)
        })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_device_has_a_signal_for_every_field() {
        for profile in Profile::ALL {
            for number in 0..6 {
                assert_eq!(profile.kind_of(number).signals.len(), profile.fields().len(), "{profile}");
            }
        }
    }

    #[test]
    fn a_devices_name_gives_back_its_number_and_no_other_name_does() {
        for profile in Profile::ALL {
            for number in [0, 1, 7, 9_999, 123_456] {
                assert_eq!(profile.device_number(&profile.device_name(number)), Some(number));
            }
        }
        for wrong in ["pump", "pump-1", "pump-0001", "compressor-0000", "pump-0003x"] {
            assert_eq!(Profile::Fleet.device_number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_correlated_is_faultable_and_some_of_each_is_there() {
        for profile in Profile::ALL {
            let faultable: Vec<_> = profile.faultable().collect();
            assert!(profile.correlated().all(|name| faultable.contains(&name)));
            assert!(profile.correlated().count() >= 2, "{profile}");
        }
    }
}
