//! The one place where an exact value is rounded to a double.

/// `mantissa * 2^exponent`: 64 leading bits of an exact value (the highest set, unless it is zero), and whether anything follows them.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    negative: bool,
    mantissa: u64,
    exponent: i64,
    inexact: bool,
}

impl Scaled {
    pub const ZERO: Scaled = Scaled { negative: false, mantissa: 0, exponent: 0, inexact: false };

    /// `magnitude * 2^exponent / divisor`; the divisor is not zero.
    #[inline]
    pub fn quotient(negative: bool, magnitude: &[u64], exponent: i64, divisor: u64) -> Scaled {
        let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else {
            return Scaled::ZERO;
        };
        let limb = |below: usize| if below <= top { magnitude[top - below] } else { 0 };
        let zeros = limb(0).leading_zeros();
        let mut leading = u128::from(limb(0)) << 64 | u128::from(limb(1));
        let mut next = limb(2);
        if zeros > 0 {
            leading = leading << zeros | u128::from(next >> (64 - zeros));
            next <<= zeros;
        }
        let inexact = next != 0 || magnitude[..top.saturating_sub(2)].iter().any(|limb| *limb != 0);
        let exponent = exponent + 64 * (top as i64 - 1) - i64::from(zeros);
        let (quotient, rest) = match divisor {
            1 => (leading, 0),
            divisor => (leading / u128::from(divisor), leading % u128::from(divisor)),
        };
        Scaled::of(negative, quotient, exponent, inexact || rest != 0)
    }

    #[inline]
    fn of(negative: bool, value: u128, exponent: i64, inexact: bool) -> Scaled {
        let zeros = value.leading_zeros();
        let value = value << zeros;
        let exponent = exponent + 64 - i64::from(zeros);
        Scaled { negative, mantissa: (value >> 64) as u64, exponent, inexact: inexact || value as u64 != 0 }
    }

    /// The same value with something behind its last bit.
    pub fn or_inexact(self, inexact: bool) -> Scaled {
        Scaled { inexact: self.inexact || inexact, ..self }
    }

    /// Rounded once, to the nearest and then to even, subnormals included; infinite beyond the range. Zero is `+0`.
    #[inline]
    pub fn to_f64(self) -> f64 {
        if self.mantissa == 0 {
            return 0.0;
        }
        let leading = self.exponent + 63;
        if leading > 1023 {
            return if self.negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        let is_normal = leading >= -1022;
        let dropped = if is_normal { 11 } else { 11 + (-1022 - leading) };
        if dropped > 64 {
            return 0.0;
        }
        let (kept, low, half) = match dropped {
            64 => (0, self.mantissa, 1u64 << 63),
            _ => (self.mantissa >> dropped, self.mantissa & ((1 << dropped) - 1), 1 << (dropped - 1)),
        };
        let up = low > half || (low == half && (self.inexact || kept & 1 == 1));
        let rounded = kept + u64::from(up);
        // The mantissa's leading bit adds one to the exponent field, and so does a carry out of the rounding.
        let bits = if is_normal { (((leading + 1022) as u64) << 52) + rounded } else { rounded };
        if bits == 0 { 0.0 } else { f64::from_bits(bits | u64::from(self.negative) << 63) }
    }

    /// A mantissa in [1, 4) and an even exponent, for roots and quotients that must not leave the range on the way.
    #[inline]
    pub fn even(self) -> (f64, i64) {
        if self.mantissa == 0 {
            return (0.0, 0);
        }
        let leading = self.exponent + 63;
        let odd = leading.rem_euclid(2);
        (Scaled { exponent: odd - 63, ..self }.to_f64(), leading - odd)
    }

    /// The square root of a value that is not negative.
    #[inline]
    pub fn root(self) -> f64 {
        let (mantissa, exponent) = self.even();
        times_power_of_two(mantissa.sqrt(), exponent / 2)
    }
}

/// `value * 2^exponent`, exact unless it leaves the normal range.
#[inline]
pub fn times_power_of_two(value: f64, exponent: i64) -> f64 {
    if (-1000..=1000).contains(&exponent) {
        return value * power_of_two(exponent);
    }
    let exponent = exponent.clamp(-2200, 2200);
    let third = exponent / 3;
    value * power_of_two(exponent - 2 * third) * power_of_two(third) * power_of_two(third)
}

/// `2^exponent` for exponents of normal doubles.
#[inline]
pub fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}
