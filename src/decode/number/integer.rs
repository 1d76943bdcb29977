//! Numbers as integers: exact, or refused. In any spelling of JSON: `3`, `3.0` and `30e-1` are one value.

use super::decimal::Decimal;
use super::number_length;
use super::spelling::Spelling;

/// What is left of a number once its whole part is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Fraction {
    /// An integer is asked for: a fraction is refused.
    Refuse,
    /// Towards the past, for times.
    RoundDown,
}

/// A number that is no integer of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum NotInteger {
    HasFraction,
    OutOfRange,
}

/// The number that begins `rest` times `10^power`, where `decimal` is its quick reading.
#[inline(always)]
pub(in crate::decode) fn integer(
    decimal: &Decimal,
    rest: &[u8],
    power: u32,
    fraction: Fraction,
) -> Result<i64, NotInteger> {
    // Below 2^43, a million times that is still an i64.
    if decimal.is_exact && decimal.exponent == 0 && decimal.mantissa < 1 << 43 && power <= 6 {
        let value = decimal.mantissa as i64 * 10i64.pow(power);
        return Ok(if decimal.negative { -value } else { value });
    }
    integer_of_token(&rest[..number_length(rest)], power, fraction)
}

/// More digits than any `i64` has.
const WHOLE_DIGITS_MAX: i64 = 19;

/// Any number of the grammar times `10^power`, of any length.
#[inline(never)]
pub(in crate::decode) fn integer_of_token(token: &[u8], power: u32, fraction: Fraction) -> Result<i64, NotInteger> {
    let spelling = Spelling::of(token);
    if spelling.is_zero() {
        return Ok(0);
    }
    let whole_digits = spelling.point + i64::from(power);
    if whole_digits > WHOLE_DIGITS_MAX {
        return Err(NotInteger::OutOfRange);
    }
    let mut digits = spelling.digits().map(i128::from);
    let magnitude = (0..whole_digits).fold(0, |value, _| value * 10 + digits.next().unwrap_or(0));
    let has_fraction = digits.any(|digit| digit != 0);
    if has_fraction && fraction == Fraction::Refuse {
        return Err(NotInteger::HasFraction);
    }
    let value = if spelling.is_negative { -magnitude - i128::from(has_fraction) } else { magnitude };
    i64::try_from(value).map_err(|_| NotInteger::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_integer_is_that_integer() {
        for (text, wanted) in [
            ("0", 0),
            ("-0", 0),
            ("0.000", 0),
            ("0e999999999999999999999", 0),
            ("3.0", 3),
            ("-30e-1", -3),
            ("0.0012e4", 12),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("922337203685477580.7e1", i64::MAX),
            ("1.00000000000000000000000000000000000000000000000000000000", 1),
            ("100000000000000000000000000000000000000000000000000e-50", 1),
        ] {
            assert_eq!(integer_of_token(text.as_bytes(), 0, Fraction::Refuse), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_integer_or_too_large_is_refused() {
        for (text, wanted) in [
            ("0.5", NotInteger::HasFraction),
            ("1e-400", NotInteger::HasFraction),
            ("9223372036854775808", NotInteger::OutOfRange),
            ("-9223372036854775809", NotInteger::OutOfRange),
            ("1e400", NotInteger::OutOfRange),
            ("1e99999999999999999999999", NotInteger::OutOfRange),
            ("99999999999999999999999999999999999999999999.5", NotInteger::OutOfRange),
        ] {
            assert_eq!(integer_of_token(text.as_bytes(), 0, Fraction::Refuse), Err(wanted), "{text}");
        }
    }

    #[test]
    fn fractions_of_a_microsecond_are_cut_towards_the_past() {
        let micros = |text: &str| integer_of_token(text.as_bytes(), 3, Fraction::RoundDown);
        assert_eq!(micros("1700000000123.7504"), Ok(1_700_000_000_123_750));
        assert_eq!(micros("-0.0001"), Ok(-1));
        assert_eq!(micros("1.7e12"), Ok(1_700_000_000_000_000));
    }
}
