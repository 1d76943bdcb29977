//! Decimal numbers to the nearest double, exactly as IEEE 754 rounds.

use super::decimal::{self, Decimal, Window};
use super::number_length;
use super::spelling::Spelling;
use crate::decode::simd::Simd;

/// The number that begins both `window` and `rest`; `None` if it is beyond the largest double. Never -0.0.
#[inline(always)]
pub(in crate::decode) fn float<S: Simd>(simd: S, window: &Window, rest: &[u8]) -> Option<f64> {
    let value = match decimal::short(window) {
        // Both are exact, so the one division rounds once.
        Some((digits, after_dot)) => digits as i64 as f64 / POWERS_OF_TEN[after_dot & 7],
        None => match round(&simd.decimal(window)) {
            Some(value) => value,
            None => float_of_token(&rest[..number_length(rest)])?,
        },
    };
    // -0.0 + 0.0 is 0.0, and nothing else changes.
    Some(value + 0.0)
}

/// Any number of the grammar; `None` if it is beyond the largest double. Never -0.0.
#[cold]
#[inline(never)]
pub(in crate::decode) fn float_of_token(token: &[u8]) -> Option<f64> {
    let parse = |token: &[u8]| fast_float2::parse::<f64, _>(token).ok().filter(|value| value.is_finite());
    let value = if token.len() <= TOKEN_BYTES_MAX { parse(token) } else { parse(&shortened(token)) };
    value.map(|value| value + 0.0)
}

/// fast-float2 loses count of exponents beyond 65,536; in shorter tokens they decide nothing.
const TOKEN_BYTES_MAX: usize = 512;
/// No double, and no point half way between two, has more digits than 768.
const DIGITS_MAX: usize = 800;
/// Powers of ten far below the least double and far above the largest.
const POINT_MAX: i64 = 2_000;

/// A number that rounds as this long one does: beyond the digits that can matter, only whether any is not zero does.
fn shortened(token: &[u8]) -> Vec<u8> {
    let spelling = Spelling::of(token);
    let mut digits = spelling.digits();
    let mut text: Vec<u8> = if spelling.is_negative { b"-0.".into() } else { b"0.".into() };
    text.extend(digits.by_ref().take(DIGITS_MAX).map(|digit| b'0' + digit));
    text.push(b'0' + u8::from(digits.any(|digit| digit != 0)));
    text.extend_from_slice(format!("e{}", spelling.point.clamp(-POINT_MAX, POINT_MAX)).as_bytes());
    text
}

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Not 2^53, up to which integers are exact too: shortest doubles of 16 digits fall on either side of that, and the processor
/// cannot predict on which.
const MANTISSA_DIVIDED_MAX: u64 = 1_000_000_000_000_000;

/// `None`: it takes the slow way to tell.
#[inline(always)]
fn round(decimal: &Decimal) -> Option<f64> {
    if !decimal.is_exact {
        return None;
    }
    let is_small = decimal.mantissa < MANTISSA_DIVIDED_MAX && (-22..=22).contains(&decimal.exponent);
    let magnitude = if is_small {
        // Integer and power are exact, so the one operation rounds once (Clinger).
        let mantissa = decimal.mantissa as i64 as f64;
        let power = POWERS_OF_TEN[decimal.exponent.unsigned_abs() as usize];
        if decimal.exponent <= 0 { mantissa / power } else { mantissa * power }
    } else {
        eisel_lemire(decimal.mantissa, decimal.exponent)?
    };
    Some(if decimal.negative { -magnitude } else { magnitude })
}

/// The exponents that `POWERS_OF_FIVE` covers.
const EXPONENT_MIN: i32 = -54;
const EXPONENT_MAX: i32 = 55;

/// The upper 128 bits of 5^q for each exponent q, as (high, low): positive powers exact, negative ones rounded as Lemire does.
static POWERS_OF_FIVE: [(u64, u64); (EXPONENT_MAX - EXPONENT_MIN + 1) as usize] = powers_of_five();

const fn powers_of_five() -> [(u64, u64); (EXPONENT_MAX - EXPONENT_MIN + 1) as usize] {
    let mut table = [(0, 0); (EXPONENT_MAX - EXPONENT_MIN + 1) as usize];
    let mut five: u128 = 1;
    let mut power = 0;
    while power <= EXPONENT_MAX {
        let exact = five << five.leading_zeros(); // 5^55 has 128 bits: nothing is cut.
        table[(power - EXPONENT_MIN) as usize] = ((exact >> 64) as u64, exact as u64);
        if power > 0 && power <= -EXPONENT_MIN {
            // floor(2^(127 + bits) / 5^power) by long division, bit by bit; 5^54 < 2^126, so the doubled rest fits.
            let bits = 128 - five.leading_zeros();
            let (mut rest, mut quotient, mut step) = (1u128, 0u128, 0);
            while step < 127 + bits {
                rest <<= 1;
                quotient <<= 1;
                if rest >= five {
                    rest -= five;
                    quotient |= 1;
                }
                step += 1;
            }
            if power <= 27 {
                quotient += 1;
            }
            table[(-power - EXPONENT_MIN) as usize] = ((quotient >> 64) as u64, quotient as u64);
        }
        if power < EXPONENT_MAX {
            five *= 5;
        }
        power += 1;
    }
    table
}

/// `mantissa * 10^exponent` (Lemire, "Number Parsing at a Gigabyte per Second"), for results that are normal doubles; `None` where
/// it cannot decide.
#[inline(always)]
fn eisel_lemire(mantissa: u64, exponent: i32) -> Option<f64> {
    if mantissa == 0 {
        return Some(0.0);
    }
    if !(EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) {
        return None;
    }
    let leading_zeros = mantissa.leading_zeros() as i32;
    let mantissa = mantissa << leading_zeros;
    let (five_high, five_low) = POWERS_OF_FIVE[(exponent - EXPONENT_MIN) as usize];
    let product = u128::from(mantissa) * u128::from(five_high);
    let (mut low, mut high) = (product as u64, (product >> 64) as u64);
    if high & 0x1ff == 0x1ff {
        // The bits below might carry into the 54 that count: take the other half of the power in.
        let second = ((u128::from(mantissa) * u128::from(five_low)) >> 64) as u64;
        let (sum, has_carried) = low.overflowing_add(second);
        low = sum;
        high += u64::from(has_carried);
    }
    if low == u64::MAX && !(-27..=55).contains(&exponent) {
        return None;
    }
    let upper_bit = (high >> 63) as i32;
    let shift = upper_bit + 64 - 52 - 3;
    let mut bits = high >> shift;
    // 217706 / 2^16 is the binary logarithm of ten, closely enough for these exponents.
    let mut binary_exponent = ((exponent * 217_706) >> 16) + 63 + upper_bit - leading_zeros + 1023;
    if binary_exponent <= 0 {
        return None;
    }
    // Half way between two doubles, exactly: to the even one.
    if low <= 1 && (-4..=23).contains(&exponent) && bits & 3 == 1 && bits << shift == high {
        bits &= !1;
    }
    bits = (bits + (bits & 1)) >> 1;
    if bits >= 2 << 52 {
        bits = 1 << 52;
        binary_exponent += 1;
    }
    if binary_exponent >= 0x7ff {
        return None;
    }
    Some(f64::from_bits((bits & !(1 << 52)) | (binary_exponent as u64) << 52))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_rounding_agrees_with_the_standard_library() {
        let mut state = 1u64;
        let mut decided = 0;
        for _ in 0..300_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mantissa = state >> (state % 50);
            let exponent = ((state >> 32) % 80) as i32 - 40;
            let decimal = Decimal { negative: state & 1 == 1, mantissa, exponent, is_exact: true };
            if let Some(value) = round(&decimal) {
                let sign = if decimal.negative { "-" } else { "" };
                let wanted: f64 = format!("{sign}{mantissa}e{exponent}").parse().unwrap();
                assert_eq!(value.to_bits(), wanted.to_bits(), "{decimal:?}");
                decided += 1;
            }
        }
        assert!(decided > 290_000);
    }

    #[test]
    fn numbers_of_any_length_are_rounded_once() {
        let zeros = |count: usize| "0".repeat(count);
        for (token, wanted) in [
            (format!("1{}e-1000000", zeros(1_000_000)), 1.0),
            (format!("-0.{}125e1000000", zeros(1_000_000)), -0.125),
            (format!("9007199254740993.{}", zeros(2_000)), 9_007_199_254_740_992.0),
            (format!("9007199254740993.{}1", zeros(2_000)), 9_007_199_254_740_994.0),
            (format!("0.{}", zeros(2_000)), 0.0),
        ] {
            assert_eq!(float_of_token(token.as_bytes()), Some(wanted));
        }
        assert_eq!(float_of_token("9".repeat(1_000).as_bytes()), None);
    }

    #[test]
    fn halves_go_to_the_even_double() {
        for text in
            ["9007199254740993", "9007199254740995", "9007199254740992.5", "1.00000000000000011102230246251565404"]
        {
            let mut window = [b','; 64];
            window[..text.len()].copy_from_slice(text.as_bytes());
            let value = round(&decimal::decimal(&window)).or_else(|| float_of_token(text.as_bytes()));
            assert_eq!(value, text.parse().ok(), "{text}");
        }
    }
}
