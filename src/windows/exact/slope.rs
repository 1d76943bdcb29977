//! Exact sums for a least-squares line over event time.

use crate::windows::exact::integer::Integer;
use crate::windows::exact::limbs::{self, halves};
use crate::windows::exact::number::Number;
use crate::windows::exact::scaled::times_power_of_two;
use crate::windows::exact::sums::Exact;
use crate::windows::exact::superaccumulator::Superaccumulator;

/// Sums of `t`, `t^2`, `x` and `t x`, with `t` in microseconds from an origin that the owner knows (a pane's start).
#[derive(Clone, Debug, Default)]
pub struct Slope {
    time: i128,
    time_squared: [u64; 3],
    value: Superaccumulator,
    product: Superaccumulator,
}

impl Slope {
    pub fn add<N: Number>(&mut self, time: i64, value: N) {
        self.time += i128::from(time);
        let magnitude = u128::from(time.unsigned_abs());
        let (low, high) = halves(magnitude * magnitude);
        limbs::add(&mut self.time_squared, &[low, high, 0]);
        let (magnitude, exponent, negative) = value.parts();
        self.value.add(u128::from(magnitude), exponent, negative);
        let product = u128::from(magnitude) * u128::from(time.unsigned_abs());
        self.product.add(product, exponent, negative != (time < 0));
    }

    /// Merges sums of `count` values whose origin lies `later` microseconds after this one's: `t' = t + later`.
    pub fn merge(&mut self, other: &Slope, later: i64, count: u64) {
        let shift = Integer::<8>::from_i128(i128::from(later));
        let squares = Integer::<8>::from_twos(&other.time_squared)
            .plus(&Integer::from_i128(other.time).times(&shift).times_u64(2))
            .plus(&shift.times(&shift).times_u64(count));
        // A sum of squares: not negative, and below 2^192 for any window that the shape admits.
        let mut addend = [0; 3];
        let digits = &squares.magnitude()[..squares.magnitude().len().min(3)];
        addend[..digits.len()].copy_from_slice(digits);
        limbs::add(&mut self.time_squared, &addend);
        self.time += other.time + i128::from(later) * i128::from(count);
        self.value.merge(&other.value);
        self.product.merge(&other.product);
        let (exponent, value) = other.value.parts();
        let moved = Integer::<48>::from_twos(value).times(&Integer::from_i128(i128::from(later)));
        self.product.add_magnitude(moved.magnitude(), exponent as i32, moved.is_negative());
    }

    /// `(n Stx - St Sx) / (n Stt - St^2)` a second, for the `count` values added; nothing if all have one time.
    pub fn per_second(&self, count: u64) -> Option<f64> {
        let times = Integer::<96>::from_i128(self.time);
        let spread = Integer::from_twos(&self.time_squared).times_u64(count).minus(&times.times(&times));
        if spread.is_zero() {
            return None;
        }
        let ((value_exponent, value), (product_exponent, product)) = (self.value.parts(), self.product.parts());
        // A sum without limbs has no unit of its own.
        let unit = match (value.is_empty(), product.is_empty()) {
            (true, _) => product_exponent,
            (false, true) => value_exponent,
            (false, false) => value_exponent.min(product_exponent),
        };
        let value = Integer::from_twos(value).shift_left((value_exponent - unit).max(0) as usize);
        let product = Integer::from_twos(product).shift_left((product_exponent - unit).max(0) as usize);
        let rise = product.times_u64(count).minus(&times.times(&value)).times_u64(1_000_000);
        let (rise, rise_exponent) = rise.scaled(unit).even();
        let (spread, spread_exponent) = spread.scaled(0).even();
        Some(times_power_of_two(rise / spread, rise_exponent - spread_exponent))
    }

    /// Hands on the exact sums of `t`, `t^2`, `x`, `t x` as (exponent, two's complement).
    pub fn for_each_number(&self, mut take: impl FnMut(i64, &[u64])) {
        let (low, high) = halves(self.time as u128);
        take(0, &[low, high]);
        take(0, &[self.time_squared[0], self.time_squared[1], self.time_squared[2], 0]);
        for sum in [&self.value, &self.product] {
            let (exponent, limbs) = sum.parts();
            take(exponent, limbs);
        }
    }

    /// The sums of these four numbers; nothing if the times leave what they may be.
    pub fn from_numbers([time, time_squared, value, product]: &[Exact; 4]) -> Option<Slope> {
        let [low, high] = time.twos::<2>(0, 111)?;
        let squared = time_squared.twos::<3>(0, 176).filter(|_| !time_squared.negative)?;
        let mut slope = Slope { time: limbs::signed_128(low, high), time_squared: squared, ..Slope::default() };
        slope.value.add_magnitude(&value.magnitude, value.exponent, value.negative);
        slope.product.add_magnitude(&product.magnitude, product.exponent, product.negative);
        Some(slope)
    }

    pub fn heap_bytes(&self) -> usize {
        self.value.heap_bytes() + self.product.heap_bytes()
    }
}
