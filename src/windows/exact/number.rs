//! What can be summed: finite doubles and 64-bit integers, both as mantissa times a power of two.

use std::cmp::Ordering;
use std::fmt::Debug;

/// A value of a numeric field. Doubles are finite.
pub trait Number: Copy + Debug + Default + PartialOrd + 'static {
    /// The least and the greatest value there is: what an empty minimum and maximum start from.
    const LEAST: Self;
    const GREATEST: Self;
    /// Whether every value is a whole multiple of one below `2^63`, so that units of one serve all.
    const IS_WHOLE: bool;

    /// `magnitude * 2^exponent`, and the sign.
    fn parts(self) -> (u64, i32, bool);

    /// The value times `scale` (a power of two, at least one) if that is a whole 64-bit number.
    fn whole(self, scale: f64) -> Option<i64>;

    /// The value in units of `2^unit` and whether it is below zero, if it is whole and below `2^126`.
    fn units(self, unit: i32) -> Option<(u128, bool)>;

    /// The same value, with minus zero turned into zero: which of two zeros came first must not matter.
    fn plain(self) -> Self;

    /// The nearest double; minus zero becomes zero.
    fn to_f64(self) -> f64;

    /// `high - low`, rounded once.
    fn difference(high: Self, low: Self) -> f64;

    fn order(&self, other: &Self) -> Ordering;

    /// Equal numbers have equal bits.
    fn to_bits(self) -> u64;

    /// Nothing for bits that no value gives.
    fn from_bits(bits: u64) -> Option<Self>;

    /// The whole number that is the value times `10^decimals`, if `from_decimal` gives the value back.
    fn to_decimal(self, decimals: usize) -> Option<i64>;

    /// Nothing where `to_decimal` never gives that.
    fn from_decimal(whole: i64, decimals: usize) -> Option<Self>;
}

/// What sensors tell has few decimals.
pub const DECIMALS_MAX: usize = 6;
const POWERS_OF_TEN: [f64; DECIMALS_MAX + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

/// Ten times this, and its double, are whole numbers that doubles hold and round to.
const DECIMAL_MOST: i64 = 1 << 49;

/// Whether a whole number of so many decimals may stand for a double.
pub fn is_decimal(whole: i64) -> bool {
    whole.unsigned_abs() <= DECIMAL_MOST as u64
}

impl Number for f64 {
    const LEAST: f64 = f64::NEG_INFINITY;
    const GREATEST: f64 = f64::INFINITY;
    const IS_WHOLE: bool = false;

    #[inline(always)]
    fn parts(self) -> (u64, i32, bool) {
        let bits = Self::to_bits(self);
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        match exponent {
            0 => (fraction, -1074, bits >> 63 != 0),
            _ => (fraction | 1 << 52, exponent - 1075, bits >> 63 != 0),
        }
    }

    #[inline(always)]
    fn whole(self, scale: f64) -> Option<i64> {
        let scaled = self * scale;
        let whole = truncated(scaled);
        // One comparison proves both that nothing was cut off and that it is in range.
        (whole as f64 == scaled).then_some(whole)
    }

    #[inline(always)]
    fn units(self, unit: i32) -> Option<(u128, bool)> {
        let bits = self.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        // Zeros are common in real columns: no branch for them.
        let mantissa = (bits & ((1 << 52) - 1)) | u64::from(exponent != 0) << 52;
        let shift = if mantissa == 0 { 0 } else { (exponent - 1075 - unit) as u32 };
        if shift <= 72 {
            return Some((u128::from(mantissa) << shift, bits >> 63 != 0 && mantissa != 0));
        }
        // Subnormal, or with zeros that reach below the unit, or it does not fit.
        let (mantissa, exponent, negative) = self.parts();
        let zeros = mantissa.trailing_zeros() as i32;
        let shift = exponent + zeros - unit;
        let bits = 64 - mantissa.leading_zeros() as i32 - zeros;
        let fits = shift >= 0 && shift + bits <= 126;
        fits.then(|| (u128::from(mantissa >> zeros) << shift, negative))
    }

    #[inline(always)]
    fn plain(self) -> f64 {
        self + 0.0
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self + 0.0
    }

    fn difference(high: f64, low: f64) -> f64 {
        high - low
    }

    #[inline(always)]
    fn order(&self, other: &f64) -> Ordering {
        self.total_cmp(other)
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        f64::to_bits(self + 0.0)
    }

    fn from_bits(bits: u64) -> Option<f64> {
        let value = f64::from_bits(bits);
        (value.is_finite() && Number::to_bits(value) == bits).then_some(value)
    }

    #[inline(always)]
    fn to_decimal(self, decimals: usize) -> Option<i64> {
        let power = POWERS_OF_TEN[decimals];
        // A whole number that was rounded by less than a half is found again; anything else fails the last comparison.
        let whole = truncated(self * power + 0.5f64.copysign(self));
        (is_decimal(whole) && whole as f64 / power == self).then_some(whole)
    }

    #[inline(always)]
    fn from_decimal(whole: i64, decimals: usize) -> Option<f64> {
        is_decimal(whole).then(|| whole as f64 / POWERS_OF_TEN[decimals])
    }
}

impl Number for i64 {
    const LEAST: i64 = i64::MIN;
    const GREATEST: i64 = i64::MAX;
    const IS_WHOLE: bool = true;

    #[inline(always)]
    fn parts(self) -> (u64, i32, bool) {
        (self.unsigned_abs(), 0, self < 0)
    }

    #[inline(always)]
    fn whole(self, scale: f64) -> Option<i64> {
        debug_assert_eq!(scale, 1.0);
        Some(self)
    }

    #[inline(always)]
    fn units(self, unit: i32) -> Option<(u128, bool)> {
        let shift = u32::try_from(-unit).ok().filter(|shift| *shift <= 62)?;
        Some((u128::from(self.unsigned_abs()) << shift, self < 0))
    }

    #[inline(always)]
    fn plain(self) -> i64 {
        self
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self as f64
    }

    fn difference(high: i64, low: i64) -> f64 {
        (i128::from(high) - i128::from(low)) as f64
    }

    #[inline(always)]
    fn order(&self, other: &i64) -> Ordering {
        self.cmp(other)
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self as u64
    }

    fn from_bits(bits: u64) -> Option<i64> {
        Some(bits as i64)
    }

    fn to_decimal(self, _: usize) -> Option<i64> {
        Some(self)
    }

    fn from_decimal(whole: i64, decimals: usize) -> Option<i64> {
        (decimals == 0).then_some(whole)
    }
}

/// The whole part; `i64::MIN` beyond the range, which as a double differs from anything there but itself.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn truncated(value: f64) -> i64 {
    use std::arch::x86_64::{_mm_cvttsd_si64, _mm_set_sd};
    // `as` would saturate, at the price of three more instructions a value.
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_cvttsd_si64(_mm_set_sd(value)) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn truncated(value: f64) -> i64 {
    if value.abs() < 9.2e18 { value as i64 } else { i64::MIN }
}

/// Values of one group: side by side, or picked from a column by row numbers.
pub trait Run<N>: Copy {
    fn length(&self) -> usize;
    fn at(&self, index: usize) -> N;
    fn from(&self, index: usize) -> Self;
}

impl<N: Number> Run<N> for &[N] {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn at(&self, index: usize) -> N {
        self[index]
    }

    #[inline(always)]
    fn from(&self, index: usize) -> Self {
        &self[index..]
    }
}

/// The rows of a column that belong to one group.
#[derive(Clone, Copy)]
pub struct Picked<'a, N> {
    pub column: &'a [N],
    pub rows: &'a [u32],
}

impl<N: Number> Run<N> for Picked<'_, N> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.rows.len()
    }

    #[inline(always)]
    fn at(&self, index: usize) -> N {
        self.column[self.rows[index] as usize]
    }

    #[inline(always)]
    fn from(&self, index: usize) -> Self {
        Picked { column: self.column, rows: &self.rows[index..] }
    }
}
