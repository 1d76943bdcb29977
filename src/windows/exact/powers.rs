//! Exact sums of the first four powers, for skewness and kurtosis.

use crate::windows::exact::integer::Integer;
use crate::windows::exact::limbs::{add_with_carry, halves, subtract_with_borrow};
use crate::windows::exact::number::{Number, Run};
use crate::windows::exact::scaled::{power_of_two, times_power_of_two};
use crate::windows::exact::sums::Exact;
use crate::windows::exact::superaccumulator::Superaccumulator;

/// Limbs of the sums of `x`, `x^2`, `x^3`, `x^4` for values below `2^63` units; odd powers are signed.
const LIMBS: [usize; 4] = [2, 3, 4, 5];

/// `sum(x^k)` in units of `2^(k * unit)`; in superaccumulators once a value did not fit.
///
/// Invariant: `unit` lies in -1000..=0.
#[derive(Clone, Debug, Default)]
pub struct Powers {
    unit: i16,
    /// Whether a value other than zero came, so that `unit` means something.
    has_unit: bool,
    sums: [[u64; 5]; 4],
    wide: Option<Box<[Superaccumulator; 4]>>,
}

/// Skewness and excess kurtosis of the values themselves (`g1`, `g2`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub skewness: f64,
    pub kurtosis: f64,
}

#[inline]
fn add(sum: &mut [u64], addend: &[u64], negative: bool) {
    let mut carry = false;
    for (limb, addend) in sum.iter_mut().zip(addend.iter().copied().chain(std::iter::repeat(0))) {
        (*limb, carry) =
            if negative { subtract_with_borrow(*limb, addend, carry) } else { add_with_carry(*limb, addend, carry) };
    }
}

impl Powers {
    pub fn add_run<N: Number>(&mut self, run: impl Run<N>) {
        for index in 0..run.length() {
            let value = run.at(index);
            let (magnitude, exponent, _) = value.parts();
            if magnitude == 0 {
                continue;
            }
            if !self.has_unit {
                let lowest = exponent + magnitude.trailing_zeros() as i32;
                self.unit = if N::IS_WHOLE { 0 } else { (lowest - 5).clamp(-1000, 0) as i16 };
                self.has_unit = true;
            }
            let scale = power_of_two(-i64::from(self.unit));
            match value.whole(scale).filter(|_| self.wide.is_none()) {
                Some(value) => self.add_narrow(value),
                None => self.add_wide(value),
            }
        }
    }

    #[inline]
    fn add_narrow(&mut self, value: i64) {
        let (base, negative) = (value.unsigned_abs(), value < 0);
        let square = u128::from(base) * u128::from(base);
        let (low, high) = halves(square);
        let first = u128::from(low) * u128::from(base);
        let second = u128::from(high) * u128::from(base) + (first >> 64);
        let cube = [first as u64, second as u64, (second >> 64) as u64];
        let low_low = u128::from(low) * u128::from(low);
        let cross = (u128::from(low) * u128::from(high)) << 1;
        let middle = (low_low >> 64) + u128::from(cross as u64);
        let top = u128::from(high) * u128::from(high) + (cross >> 64) + (middle >> 64);
        let fourth = [low_low as u64, middle as u64, top as u64, (top >> 64) as u64];
        add(&mut self.sums[0][..LIMBS[0]], &[base], negative);
        add(&mut self.sums[1][..LIMBS[1]], &[low, high], false);
        add(&mut self.sums[2][..LIMBS[2]], &cube, negative);
        add(&mut self.sums[3][..LIMBS[3]], &fourth, false);
    }

    #[cold]
    fn add_wide<N: Number>(&mut self, value: N) {
        let (magnitude, exponent, negative) = value.parts();
        let base = Integer::<8>::from_i128(i128::from(magnitude));
        let mut power = base.clone();
        for (k, sum) in (1..).zip(self.widened()) {
            sum.add_magnitude(power.magnitude(), exponent * k, negative && k % 2 == 1);
            power = power.times(&base);
        }
    }

    fn widened(&mut self) -> &mut [Superaccumulator; 4] {
        let (sums, unit) = (std::mem::take(&mut self.sums), i32::from(self.unit));
        self.wide.get_or_insert_with(|| {
            let mut wide = Box::<[Superaccumulator; 4]>::default();
            for (k, sum) in wide.iter_mut().enumerate() {
                sum.add_twos(&sums[k][..LIMBS[k]], unit * (k as i32 + 1));
            }
            wide
        })
    }

    pub fn merge(&mut self, other: &Powers) {
        if !other.has_unit {
            return;
        }
        if !self.has_unit {
            *self = other.clone();
            return;
        }
        if self.wide.is_none() && other.wide.is_none() && self.unit == other.unit {
            for (k, length) in LIMBS.into_iter().enumerate() {
                add(&mut self.sums[k][..length], &other.sums[k][..length], false);
            }
            return;
        }
        for (k, sum) in self.widened().iter_mut().enumerate() {
            match &other.wide {
                Some(wide) => sum.merge(&wide[k]),
                None => sum.add_twos(&other.sums[k][..LIMBS[k]], i32::from(other.unit) * (k as i32 + 1)),
            }
        }
    }

    /// Of `count` values; nothing if they are all the same.
    pub fn shape(&self, count: u64) -> Option<Shape> {
        let Some(wide) = &self.wide else {
            return shape_of(&std::array::from_fn(|k| Integer::<24>::from_twos(&self.sums[k][..LIMBS[k]])), count);
        };
        let bases = (1..).zip(wide.iter()).filter_map(|(k, sum)| sum.base().map(|base| base.div_euclid(k)));
        let base = i64::from(bases.min()?);
        let sums = std::array::from_fn(|k| {
            let (exponent, limbs) = wide[k].parts();
            let above = exponent - 64 * base * (k as i64 + 1);
            Integer::<320>::from_twos(limbs).shift_left(above.max(0) as usize)
        });
        shape_of(&sums, count)
    }

    /// Hands on the exact sum of the power `k + 1`.
    pub fn with_number<T>(&self, k: usize, take: impl FnOnce(i64, &[u64]) -> T) -> T {
        match &self.wide {
            Some(wide) => {
                let (exponent, limbs) = wide[k].parts();
                take(exponent, limbs)
            }
            None => take(i64::from(self.unit) * (k as i64 + 1), &self.sums[k][..LIMBS[k]]),
        }
    }

    /// The sums of these four numbers, whose bits are those of powers of doubles.
    pub fn from_numbers(numbers: &[Exact; 4]) -> Powers {
        let occupied = (1..).zip(numbers).filter(|(_, number)| !number.magnitude.is_empty());
        let Some(unit) = occupied.map(|(k, number)| number.exponent.div_euclid(k)).min() else {
            return Powers::default();
        };
        let unit = unit.min(0);
        let mut powers = Powers { unit: unit.max(-1000) as i16, has_unit: true, ..Powers::default() };
        let twos: [Option<[u64; 5]>; 4] = std::array::from_fn(|k| {
            let room = 64 * LIMBS[k] as i32 - 16;
            numbers[k].twos::<5>(unit * (k as i32 + 1), room)
        });
        if let ([Some(a), Some(b), Some(c), Some(d)], true) = (twos, unit >= -1000) {
            powers.sums = [a, b, c, d].map(|sum| sum);
            for (sum, length) in powers.sums.iter_mut().zip(LIMBS) {
                sum[length..].fill(0);
            }
            return powers;
        }
        for (sum, number) in powers.widened().iter_mut().zip(numbers) {
            sum.add_magnitude(&number.magnitude, number.exponent, number.negative);
        }
        powers
    }

    pub fn heap_bytes(&self) -> usize {
        let bytes = |sum: &Superaccumulator| size_of::<Superaccumulator>() + sum.heap_bytes();
        self.wide.as_deref().map_or(0, |wide| wide.iter().map(bytes).sum())
    }
}

/// `g1 = N3 / N2^1.5` and `g2 = N4 / N2^2 - 3` with `N2 = n S2 - S1^2`, `N3 = n^2 S3 - 3 n S1 S2 + 2 S1^3` and
/// `N4 = n^3 S4 - 4 n^2 S1 S3 + 6 n S1^2 S2 - 3 S1^4`, exact integers whose unit cancels.
fn shape_of<const L: usize>(sums: &[Integer<L>; 4], n: u64) -> Option<Shape> {
    let [s1, s2, s3, s4] = sums;
    let s1_squared = s1.times(s1);
    let n2 = s2.times_u64(n).minus(&s1_squared);
    if n2.is_zero() {
        return None;
    }
    let n3 = s3
        .times_u64(n)
        .times_u64(n)
        .minus(&s1.times(s2).times_u64(n).times_u64(3))
        .plus(&s1_squared.times(s1).times_u64(2));
    let n4 = s4
        .times_u64(n)
        .times_u64(n)
        .times_u64(n)
        .minus(&s1.times(s3).times_u64(n).times_u64(n).times_u64(4))
        .plus(&s1_squared.times(s2).times_u64(n).times_u64(6))
        .minus(&s1_squared.times(&s1_squared).times_u64(3));
    let (a, a_exponent) = n2.scaled(0).even();
    let (b, b_exponent) = n3.scaled(0).even();
    let (c, c_exponent) = n4.scaled(0).even();
    Some(Shape {
        skewness: times_power_of_two(b / (a * a.sqrt()), b_exponent - a_exponent / 2 * 3),
        kurtosis: times_power_of_two(c / (a * a), c_exponent - 2 * a_exponent) - 3.0,
    })
}
