//! Typed values from text: the one place that says what a string of JSON, a cell of CSV or a text column may mean.
//!
//! Blanks around a value do not matter. Nothing at all, `NaN`, `NA`, `N/A`, `null` and `none`, whatever their capitals, mean "missing".
//! A number may have a plus sign, zeros at its front, and nothing on one side of its dot. A boolean is `true` or `false`, whatever its
//! capitals, or 1 or 0.

use std::borrow::Cow;

use crate::decode::number::float::float_of_token;
use crate::decode::number::integer::{Fraction, integer_of_token};
use crate::decode::number::number_length;
use crate::decode::value::Misfit;

/// What people and programs write where there is no value.
const MISSING: [&[u8]; 5] = [b"nan", b"na", b"n/a", b"null", b"none"];
const INFINITE: [&[u8]; 2] = [b"inf", b"infinity"];

/// The nearest double, never -0.0.
pub(super) fn float(text: &[u8]) -> Result<Option<f64>, Misfit> {
    number(text, |token| float_of_token(token).ok_or(Misfit::OutOfRange))
}

/// The integer times `10^power`, exactly.
pub(super) fn integer(text: &[u8], power: u32, fraction: Fraction) -> Result<Option<i64>, Misfit> {
    number(text, |token| Ok(integer_of_token(token, power, fraction)?))
}

pub(super) fn boolean(text: &[u8]) -> Result<Option<bool>, Misfit> {
    let text = text.trim_ascii();
    match text {
        b"1" => Ok(Some(true)),
        b"0" => Ok(Some(false)),
        _ if text.eq_ignore_ascii_case(b"true") => Ok(Some(true)),
        _ if text.eq_ignore_ascii_case(b"false") => Ok(Some(false)),
        _ if is_missing(text) => Ok(None),
        _ => Err(Misfit::WrongType),
    }
}

/// What `read` makes of the number that `text` writes.
#[inline(never)]
fn number<T>(text: &[u8], read: impl Fn(&[u8]) -> Result<T, Misfit>) -> Result<Option<T>, Misfit> {
    let text = text.trim_ascii();
    if is_missing(text) {
        return Ok(None);
    }
    if let Some(token) = token(text) {
        return read(&token).map(Some);
    }
    let magnitude = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let is_infinite = INFINITE.iter().any(|word| magnitude.eq_ignore_ascii_case(word));
    Err(if is_infinite { Misfit::OutOfRange } else { Misfit::WrongType })
}

fn is_missing(text: &[u8]) -> bool {
    text.is_empty() || MISSING.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// The number as JSON would write it, if it is one.
fn token(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if number_length(text) == text.len() {
        return Some(Cow::Borrowed(text));
    }
    let (sign, magnitude): (&[u8], _) = match text {
        [b'-', magnitude @ ..] => (b"-", magnitude),
        [b'+', magnitude @ ..] => (b"", magnitude),
        magnitude => (b"", magnitude),
    };
    let mantissa = magnitude.iter().position(|byte| byte | 0x20 == b'e').unwrap_or(magnitude.len());
    let (mantissa, exponent) = magnitude.split_at(mantissa);
    let dot = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let (whole, fraction) = (&mantissa[..dot], mantissa.get(dot + 1..).unwrap_or_default());
    let are_digits = [whole, fraction].concat().iter().all(u8::is_ascii_digit);
    if !are_digits || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
    let pad = |digits: &[u8]| if digits.is_empty() { b"0".to_vec() } else { digits.to_vec() };
    let plain = [sign, &pad(&whole[zeros..]), b".", &pad(fraction), exponent].concat();
    (number_length(&plain) == plain.len()).then_some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Result<Option<f64>, Misfit>) {
        assert_eq!(float(text.as_bytes()), wanted, "{text:?}");
    }

    #[test]
    fn numbers_are_read_as_people_and_programs_write_them() {
        for (text, value) in [
            ("1.5", 1.5),
            (" -2e3\t", -2000.0),
            ("+5", 5.0),
            (".5", 0.5),
            ("-.5e1", -5.0),
            ("5.", 5.0),
            ("5.e2", 500.0),
            ("007", 7.0),
            ("-0", 0.0),
            ("00.10", 0.1),
        ] {
            check(text, Ok(Some(value)));
        }
        assert_eq!(integer(b"+0012", 0, Fraction::Refuse), Ok(Some(12)));
        assert_eq!(integer(b"12.0", 0, Fraction::Refuse), Ok(Some(12)));
    }

    #[test]
    fn nothing_and_the_words_for_it_are_missing() {
        for text in ["", "  ", "NaN", "nan", "NA", "n/a", "NULL", "None"] {
            check(text, Ok(None));
            assert_eq!(boolean(text.as_bytes()), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in
            [".", "-", "+", "e5", "1e", "1,5", "0x10", "1 2", "--1", "+-1", "0-5", "1.-5", "1_000", "1.2.3", "é"]
        {
            check(text, Err(Misfit::WrongType));
        }
        for text in ["inf", "-Infinity", "1e999"] {
            check(text, Err(Misfit::OutOfRange));
        }
        assert_eq!(integer(b"0.5", 0, Fraction::Refuse), Err(Misfit::WrongType));
    }

    #[test]
    fn booleans_have_any_capitals() {
        for (text, value) in [("true", true), ("True", true), ("FALSE", false), (" 1 ", true), ("0", false)] {
            assert_eq!(boolean(text.as_bytes()), Ok(Some(value)), "{text:?}");
        }
        for text in ["yes", "t", "2", "1.0", "truee"] {
            assert_eq!(boolean(text.as_bytes()), Err(Misfit::WrongType), "{text:?}");
        }
    }
}
