//! One simulated device: its values at any tick, and what else is left to chance there.
//!
//! Promise: everything is a function of seed, profile, device and tick, whatever was asked before, and has the same bits on
//! every machine. To that end a tick has a fixed number of words in the device's own ChaCha stream, chance is a sum of
//! integers, the day is a parabola, and values are computed with `+ - * /` and square roots alone and then rounded to few
//! decimal digits: no logarithm or sine, whose last bits differ between systems, has a part in them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::sources::simulator::SimulatorSpec;
use crate::sources::simulator::fault::{Fault, FaultKind};
use crate::sources::simulator::profile::{DeviceKind, FieldType, Profile};
use crate::sources::simulator::traffic;

/// What a value is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Term {
    level: f64,
    load: f64,
    noise: f64,
}

impl Term {
    pub(super) fn fixed(level: f64) -> Term {
        Term { level, load: 0.0, noise: 0.0 }
    }

    pub(super) fn moved(level: f64, load: f64, noise: f64) -> Term {
        Term { level, load, noise }
    }

    pub(super) fn value(self) -> f64 {
        self.level + self.load + self.noise
    }
}

/// A value as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// `units` divided by ten to the power of `digits`.
    Decimal {
        units: i64,
        digits: u8,
    },
    Whole(i64),
    Flag(bool),
    Text(&'static str),
}

/// Ticks between two points that the load wanders between.
const WANDER_TICKS: u64 = 32;
/// Words of a tick in front of those of the fields: the point of the load that begins here, and the message.
const WORDS_IN_FRONT: u64 = 2;

pub(super) struct Device {
    pub(super) name: String,
    pub(super) number: u32,
    /// Where in each interval its message comes.
    pub(super) phase_ms: i64,
    profile: Profile,
    kind: &'static DeviceKind,
    /// How this one differs from others of its kind: a factor for each level.
    personal: Box<[f64]>,
    /// How far its day is ahead, in shares of a day.
    day_ahead: f64,
    ticks_of_day: u64,
    random: ChaCha8Rng,
    words_per_tick: u64,
    /// The tick whose words come next, where that is known.
    at: Option<u64>,
    /// The stretch of the wandering load that is known, and its two ends.
    stretch: Option<(u64, [f64; 2])>,
    /// The class of traffic of that stretch.
    class: usize,
    /// What the values were before a stuck fault, which is known by its first tick.
    held: Option<(u64, Vec<f64>)>,
    terms: Vec<Term>,
    numbers: Vec<f64>,
}

/// A ChaCha stream of this simulation's own.
pub(super) fn random(spec: &SimulatorSpec, stream: u64) -> ChaCha8Rng {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&spec.seed.to_le_bytes());
    let name = spec.profile.name().as_bytes();
    seed[8..8 + name.len()].copy_from_slice(name);
    let mut random = ChaCha8Rng::from_seed(seed);
    random.set_stream(stream);
    random
}

/// In [0, 1).
pub(super) fn unit(word: u32) -> f64 {
    f64::from(word) / 4_294_967_296.0
}

/// Near a normal deviate, and never beyond 3.5: the sum of four uniform integers, less its mean, by its deviation.
pub(super) fn chance(word: u64) -> f64 {
    let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
    (sum as f64 - 131_070.0) / 37_837.2
}

/// Over a day from 0 to 1: up, down below the middle, and back, between -1 and 1; two parabolas.
fn rhythm(share: f64) -> f64 {
    if share < 0.5 { 16.0 * share * (0.5 - share) } else { -16.0 * (share - 0.5) * (1.0 - share) }
}

impl Device {
    pub(super) fn new(spec: &SimulatorSpec, number: u32) -> Device {
        let fields = spec.profile.fields().len();
        // The odd streams hold what a device is, the even ones what happens to it.
        let mut traits = random(spec, 2 * u64::from(number) + 1);
        let room = spec.every_ms() - spec.disorder_ms();
        let phase_ms = ((i128::from(traits.next_u32()) * i128::from(room)) >> 32) as i64;
        let day_ahead = 0.05 * unit(traits.next_u32());
        let personal = (0..fields).map(|_| 1.0 + 0.02 * chance(traits.next_u64())).collect();
        Device {
            name: spec.profile.device_name(number),
            number,
            phase_ms,
            profile: spec.profile,
            kind: spec.profile.kind_of(number),
            personal,
            day_ahead,
            ticks_of_day: spec.ticks_of_day(),
            random: random(spec, 2 * u64::from(number)),
            words_per_tick: WORDS_IN_FRONT + 2 * fields as u64,
            at: Some(0),
            stretch: None,
            class: 0,
            held: None,
            terms: vec![Term::default(); fields],
            numbers: vec![0.0; fields],
        }
    }

    /// Makes the words of a tick come next.
    fn seek(&mut self, tick: u64) {
        if self.at != Some(tick) {
            self.random.set_word_pos(u128::from(tick) * u128::from(self.words_per_tick));
            self.at = Some(tick);
        }
    }

    /// What decides about the message of a tick.
    pub(super) fn message_word(&mut self, tick: u64) -> u32 {
        self.seek(tick);
        self.random.next_u32();
        let word = self.random.next_u32();
        self.at = None;
        word
    }

    /// The values of a tick under a fault, into `out`; and the message's word.
    pub(super) fn values(&mut self, tick: u64, fault: Option<&Fault>, out: &mut Vec<Value>) -> u32 {
        if let Some(fault) = fault.filter(|fault| fault.kind == FaultKind::Stuck) {
            self.hold(fault);
        }
        let word = self.evaluate(tick);
        for (number, term) in self.numbers.iter_mut().zip(&self.terms) {
            *number = term.value();
        }
        if let Some(fault) = fault {
            self.befall(tick, fault);
        }
        out.clear();
        let signals = self.kind.signals.iter().zip(self.profile.fields());
        out.extend(self.numbers.iter().zip(signals).map(|(number, (signal, field))| {
            let number = number.clamp(signal.least, signal.greatest);
            match field.field_type {
                FieldType::Decimal(digits) => Value::Decimal { units: scaled(number, digits), digits },
                FieldType::Whole => Value::Whole(number.round() as i64),
                FieldType::Flag => Value::Flag(number > 0.0),
                FieldType::Text => Value::Text(self.kind.name),
            }
        }));
        word
    }

    /// The class of the traffic that was evaluated last, where the profile has classes.
    pub(super) fn class(&self) -> Option<&'static str> {
        self.profile.is_labelled().then(|| traffic::CLASSES[self.class])
    }

    /// Fills `terms` with what a tick is made of while nothing is wrong; gives the message's word.
    fn evaluate(&mut self, tick: u64) -> u32 {
        let load = self.load(tick);
        self.seek(tick);
        self.random.next_u32();
        let word = self.random.next_u32();
        let Device { random, terms, kind, personal, class, .. } = self;
        if self.profile == Profile::Iomt {
            traffic::flow(*class, load, personal, || chance(random.next_u64()), terms);
        } else {
            for ((term, signal), personal) in terms.iter_mut().zip(kind.signals).zip(&**personal) {
                let chance = chance(random.next_u64());
                *term = Term::moved(signal.level * personal, signal.gain * load, signal.noise * chance);
            }
        }
        self.at = Some(tick + 1);
        word
    }

    /// How hard the device works, between -1 and 1: the rhythm of the day, and a walk of its own.
    fn load(&mut self, tick: u64) -> f64 {
        let share = (tick % self.ticks_of_day) as f64 / self.ticks_of_day as f64 + self.day_ahead;
        let share = if share >= 1.0 { share - 1.0 } else { share };
        let stretch = tick / WANDER_TICKS;
        let ends = match self.stretch {
            Some((known, ends)) if known == stretch => ends,
            _ => {
                let before = if stretch == 0 { u32::MAX / 2 } else { self.point(stretch - 1) };
                let after = self.point(stretch);
                self.class = traffic::class_of(after);
                let ends = [before, after].map(|word| 2.0 * unit(word) - 1.0);
                self.stretch = Some((stretch, ends));
                ends
            }
        };
        let way = (tick % WANDER_TICKS) as f64 / WANDER_TICKS as f64;
        // Flat at both ends, so that no point shows.
        let way = way * way * (3.0 - 2.0 * way);
        0.6 * rhythm(share) + 0.4 * (ends[0] + (ends[1] - ends[0]) * way)
    }

    fn point(&mut self, stretch: u64) -> u32 {
        self.seek(stretch * WANDER_TICKS);
        let word = self.random.next_u32();
        self.at = None;
        word
    }

    /// Remembers what the fields were at the last tick before the fault, or at its first where there is none before.
    fn hold(&mut self, fault: &Fault) {
        if self.held.as_ref().is_none_or(|(from, _)| *from != fault.from) {
            self.evaluate(fault.from.saturating_sub(1));
            self.held = Some((fault.from, self.terms.iter().map(|term| term.value()).collect()));
        }
    }

    /// What a fault of values does to the numbers of this tick, which was evaluated.
    fn befall(&mut self, tick: u64, fault: &Fault) {
        for &field in &fault.fields {
            let (term, spread) = (self.terms[field], self.kind.signals[field].spread());
            let number = &mut self.numbers[field];
            match (fault.kind, &self.held) {
                (FaultKind::Spike, _) => *number += fault.magnitude * spread,
                (FaultKind::Drift, _) => *number += fault.magnitude * spread * fault.share(tick),
                (FaultKind::NoiseBurst, _) => *number += (fault.magnitude - 1.0) * term.noise,
                (FaultKind::BrokenCorrelation, _) => *number -= (1.0 + fault.magnitude) * term.load,
                (FaultKind::Stuck, Some((_, held))) => *number = held[field],
                _ => {}
            }
        }
    }
}

/// In units of the last digit.
fn scaled(number: f64, digits: u8) -> i64 {
    const POWERS: [f64; 10] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    // A profile's limits keep every number far from where a cast would saturate.
    (number * POWERS[usize::from(digits)]).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_has_mean_zero_and_deviation_one_and_stays_near() {
        let mut random = ChaCha8Rng::from_seed([7; 32]);
        let draws: Vec<f64> = (0..100_000).map(|_| chance(random.next_u64())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean) * (draw - mean)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(draws.iter().all(|draw| draw.abs() < 3.5));
    }

    #[test]
    fn a_day_rises_falls_and_ends_where_it_began() {
        let at = [0.0, 0.25, 0.5, 0.75, 1.0].map(rhythm);
        assert_eq!(at, [0.0, 1.0, 0.0, -1.0, 0.0]);
    }

    #[test]
    fn the_values_of_a_tick_do_not_depend_on_what_was_asked_before() {
        for profile in Profile::ALL {
            let spec = SimulatorSpec::new(profile);
            let mut device = Device::new(&spec, 1);
            let mut at = |tick| {
                let mut values = Vec::new();
                let word = device.values(tick, None, &mut values);
                (word, values)
            };
            let forwards: Vec<_> = (0..200).map(&mut at).collect();
            let backwards: Vec<_> = (0..200).rev().map(&mut at).collect();
            assert_eq!(forwards, backwards.into_iter().rev().collect::<Vec<_>>(), "{profile}");
        }
    }

    #[test]
    fn fields_that_share_the_load_move_together_and_others_do_not() {
        let spec = SimulatorSpec::new(Profile::Fleet);
        let mut device = Device::new(&spec, 0);
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); 9];
        for tick in (0..86_400).step_by(60) {
            device.values(tick, None, &mut Vec::new());
            columns.iter_mut().zip(&device.numbers).for_each(|(column, number)| column.push(*number));
        }
        let correlation = |a: usize, b: usize| correlation(&columns[a], &columns[b]);
        assert!(correlation(1, 4) > 0.9, "temperature and vibration: {}", correlation(1, 4));
        assert!(correlation(1, 6) < -0.9, "temperature and humidity: {}", correlation(1, 6));
        assert!(correlation(1, 8).abs() < 0.1, "temperature and mains: {}", correlation(1, 8));
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let mean = |column: &[f64]| column.iter().sum::<f64>() / column.len() as f64;
        let (of_a, of_b) = (mean(a), mean(b));
        let product = |a: &[f64], of_a: f64, b: &[f64], of_b: f64| -> f64 {
            a.iter().zip(b).map(|(a, b)| (a - of_a) * (b - of_b)).sum()
        };
        product(a, of_a, b, of_b) / (product(a, of_a, a, of_a) * product(b, of_b, b, of_b)).sqrt()
    }
}
