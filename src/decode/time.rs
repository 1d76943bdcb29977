//! Event times from text: RFC 3339 and strptime patterns, to microseconds since 1970 UTC.
//!
//! Times outside the years 0 to 9999 are refused, wherever they come from: tables are stored in folders by date, and RFC 3339 knows no
//! others. So no time is near the ends of `i64`, which mean "before everything" and "nothing more".

use std::fmt::Write;
use std::ops::RangeInclusive;

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveTime, Utc};

/// 0000-01-01T00:00:00 to 9999-12-31T23:59:59.999999.
const MICROS: RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

/// `micros`, if it is a time that an event may have.
#[inline(always)]
pub(super) fn checked(micros: i64) -> Option<i64> {
    MICROS.contains(&micros).then_some(micros)
}

/// How a time is written as text.
#[derive(Debug)]
pub(super) enum TimeText {
    Rfc3339,
    Pattern(Pattern),
}

impl TimeText {
    /// The time that `text` writes; blanks around it do not matter.
    pub(super) fn read(&self, text: &[u8]) -> Option<i64> {
        let text = text.trim_ascii();
        let micros = match self {
            TimeText::Rfc3339 => rfc3339(text),
            TimeText::Pattern(pattern) => pattern.read(std::str::from_utf8(text).ok()?),
        };
        micros.and_then(checked)
    }
}

/// A strptime pattern. Without a zone it is UTC, without a time of day midnight.
#[derive(Debug)]
pub(super) struct Pattern {
    items: Vec<Item<'static>>,
}

impl Pattern {
    /// `None` if it is not a pattern, or if what it reads is not enough to tell a time.
    pub(super) fn new(pattern: &str) -> Option<Pattern> {
        let items = StrftimeItems::new(pattern).parse_to_owned().ok()?;
        // Some day, written by the pattern: it must be possible to read it back.
        let day = DateTime::<Utc>::from_timestamp(1_556_220_000, 0)?;
        let mut text = String::new();
        write!(text, "{}", day.format_with_items(items.iter())).ok()?;
        let pattern = Pattern { items };
        pattern.read(text.trim()).map(|_| pattern)
    }

    fn read(&self, text: &str) -> Option<i64> {
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).ok()?;
        if parsed.offset().is_some() {
            return parsed.to_datetime().ok().map(|time| time.timestamp_micros());
        }
        let time = match parsed.to_naive_datetime_with_offset(0) {
            Ok(time) => time,
            Err(_) if parsed.hour_mod_12().is_none() && parsed.minute().is_none() => {
                parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN)
            }
            Err(_) => return None,
        };
        Some(time.and_utc().timestamp_micros())
    }
}

/// `2024-05-01T12:34:56[.digits](Z|+hh:mm|-hh:mm)`; `t`, `z`, and a blank for the `T` too. Digits beyond microseconds are cut. A leap
/// second is the second after it.
fn rfc3339(text: &[u8]) -> Option<i64> {
    let [y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0, b'T' | b't' | b' ', h1, h0, b':', n1, n0, b':', s1, s0, rest @ ..] =
        text
    else {
        return None;
    };
    let year = two(*y3, *y2)? * 100 + two(*y1, *y0)?;
    let (month, day) = (two(*m1, *m0)?, two(*d1, *d0)?);
    let (hour, minute, second) = (two(*h1, *h0)?, two(*n1, *n0)?, two(*s1, *s0)?);
    if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (fraction_micros(&rest[..digits])?, &rest[digits..])
        }
        rest => (0, rest),
    };
    let minutes = hour * 60 + minute - offset_minutes(zone)?;
    let is_leap = second == 60 && minutes.rem_euclid(24 * 60) == 24 * 60 - 1;
    if second > 59 && !is_leap {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + minutes * 60 + second;
    Some(seconds * 1_000_000 + fraction)
}

/// Two digits as a number.
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(i64::from(tens * 10 + ones))
}

/// Microseconds from the digits after the dot, of which there is one at least.
fn fraction_micros(digits: &[u8]) -> Option<i64> {
    digits.first()?;
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
    Some(padded.take(6).fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0')))
}

/// Minutes east of UTC.
fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h0, b':', m1, m0] => {
            let (hours, minutes) = (two(*h1, *h0)?, two(*m1, *m0)?);
            let east = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -east } else { east })
        }
        _ => None,
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in years that begin in March (Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read_in_all_its_forms() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T23:59:59.123456789+01:30", 1_709_245_799_123_456),
            ("1969-12-31T23:59:59.5Z", -500_000),
            ("2024-05-01 12:34:56z", 1_714_566_896_000_000),
            (" 2024-05-01t12:34:56.5-00:00\n", 1_714_566_896_500_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
            ("2017-01-01T00:59:60+01:00", 1_483_228_800_000_000),
            ("0000-01-01T00:00:00Z", *MICROS.start()),
            ("9999-12-31T23:59:59.9999999Z", *MICROS.end()),
        ] {
            assert_eq!(TimeText::Rfc3339.read(text.as_bytes()), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc_3339_time_is_refused() {
        for text in [
            "",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024/01/01T00:00:00Z",
            "2024-01-01T00:0x:00Z",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00ZZ",
            "0000-01-01T00:00:00+00:01",
            "2024-01-01T00:00:00é",
        ] {
            assert_eq!(TimeText::Rfc3339.read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn rfc_3339_agrees_with_chrono() {
        for day in 0..5_000 {
            let time = DateTime::<Utc>::from_timestamp(day * 5_432_107 - 9_000_000_000, 0).unwrap();
            let text = time.to_rfc3339();
            assert_eq!(TimeText::Rfc3339.read(text.as_bytes()), Some(time.timestamp_micros()), "{text}");
        }
    }

    fn check(pattern: &str, text: &str, wanted: Option<&str>) {
        let micros = TimeText::Pattern(Pattern::new(pattern).unwrap()).read(text.as_bytes());
        let time = micros.map(|micros| DateTime::<Utc>::from_timestamp_micros(micros).unwrap().to_rfc3339());
        assert_eq!(time.as_deref(), wanted, "{text:?} by {pattern}");
    }

    #[test]
    fn patterns_are_read_as_strptime_reads_them() {
        check("%d-%b-%y %H:%M:%S", "25-Apr-19 19:19:40", Some("2019-04-25T19:19:40+00:00"));
        check("%d-%b-%y %H:%M:%S", "  25-Apr-19 19:19:40 ", Some("2019-04-25T19:19:40+00:00"));
        check("%d-%b-%y %H:%M:%S", "25-April-19 19:19:40", None);
        check("%d-%b-%y %H:%M:%S", "25-Apr-99 19:19:40", Some("1999-04-25T19:19:40+00:00"));
        check("%Y-%m-%d %H:%M:%S%.f", "2020-03-09 10:14:33.25", Some("2020-03-09T10:14:33.250+00:00"));
        check("%Y-%m-%dT%H:%M:%S%z", "2020-03-09T10:14:33+0200", Some("2020-03-09T08:14:33+00:00"));
        check("%d/%m/%Y %I:%M %p", "09/03/2020 01:05 PM", Some("2020-03-09T13:05:00+00:00"));
        check("%s", "1583748873", Some("2020-03-09T10:14:33+00:00"));
        check("%Y%m%d", "20200309", Some("2020-03-09T00:00:00+00:00"));
        check("%Y-%m-%d", "2020-02-30", None);
        check("%Y-%m-%d", "2020-03-09x", None);
        check("%Y-%m-%d", "+12020-03-09", None);
    }

    #[test]
    fn patterns_that_give_no_time_are_refused() {
        for pattern in ["%Q", "%H:%M:%S", "%Y-%m", "%d-%b", "", "time", "%Y-%m-%d %H"] {
            assert!(Pattern::new(pattern).is_none(), "{pattern}");
        }
    }
}
