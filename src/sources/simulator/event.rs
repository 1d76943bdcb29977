//! A message as it is written: its time, its device, its values, and perhaps its label.

use crate::sources::simulator::device::Value;
use crate::sources::simulator::profile::Field;

/// One message. It borrows what it shows from the stream it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// When the reading was taken, as the device says, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it arrives, by the clock of who receives it.
    pub arrival_ms: i64,
    pub device: &'a str,
    pub fields: &'static [Field],
    /// One for each field.
    pub values: &'a [Value],
    pub label: Option<&'static str>,
}

/// The names of what is no measurement.
pub(super) const TIME: &str = "ts";
pub(super) const DEVICE: &str = "device";
pub(super) const LABEL: &str = "label";

/// What stands in front of the device in JSON, whose digits may be more or fewer.
const BEFORE_TIME: &[u8] = b"{\"ts\":";
const BEFORE_DEVICE: &[u8] = b",\"device\":\"";

impl Event<'_> {
    /// Appends the event as a JSON object, without a line's end, and gives where in `out` the device's name stands. No name and no
    /// text of a profile needs an escape.
    pub fn write_json(&self, out: &mut Vec<u8>) -> (usize, usize) {
        out.extend_from_slice(BEFORE_TIME);
        write_integer(self.at_ms, out);
        out.extend_from_slice(BEFORE_DEVICE);
        let from = out.len();
        out.extend_from_slice(self.device.as_bytes());
        let device = (from, out.len());
        out.push(b'"');
        for (field, value) in self.fields.iter().zip(self.values) {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b"\":");
            if let Value::Text(text) = value {
                write_quoted(text, out);
            } else {
                value.write(out);
            }
        }
        if let Some(label) = self.label {
            out.extend_from_slice(b",\"label\":");
            write_quoted(label, out);
        }
        out.push(b'}');
        device
    }

    /// Appends the event as a line of CSV, without its end.
    pub(super) fn write_csv(&self, out: &mut Vec<u8>) {
        write_integer(self.at_ms, out);
        out.push(b',');
        out.extend_from_slice(self.device.as_bytes());
        for value in self.values {
            out.push(b',');
            value.write(out);
        }
        if let Some(label) = self.label {
            out.push(b',');
            out.extend_from_slice(label.as_bytes());
        }
    }
}

fn write_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

impl Value {
    /// Appends the value as JSON and CSV write numbers and flags; a text without quotes.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Value::Decimal { units, digits } => write_decimal(units, digits, out),
            Value::Whole(number) => write_integer(number, out),
            Value::Flag(true) => out.extend_from_slice(b"true"),
            Value::Flag(false) => out.extend_from_slice(b"false"),
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// The double that is nearest to the decimal number; `None` for what is no number.
    pub fn number(self) -> Option<f64> {
        match self {
            // Both are exact below 2^53, so one division rounds once, as a reader of the decimal does.
            Value::Decimal { units, digits } => Some(units as f64 / 10_i64.pow(u32::from(digits)) as f64),
            Value::Whole(number) => Some(number as f64),
            Value::Flag(_) | Value::Text(_) => None,
        }
    }
}

/// Digits from the last to the first, at the end of a buffer that is long enough for any number.
struct Digits {
    bytes: [u8; 24],
    from: usize,
}

impl Digits {
    fn new() -> Digits {
        Digits { bytes: [0; 24], from: 24 }
    }

    fn put(&mut self, byte: u8) {
        self.from -= 1;
        self.bytes[self.from] = byte;
    }

    /// At least `least` digits of a number; the rest of it where more are there.
    fn digits(&mut self, mut number: u64, least: u8, most: u8) -> u64 {
        let mut count = 0;
        while count < least || (number > 0 && count < most) {
            self.put(b'0' + (number % 10) as u8);
            number /= 10;
            count += 1;
        }
        number
    }
}

fn write_integer(number: i64, out: &mut Vec<u8>) {
    write_decimal(number, 0, out);
}

fn write_decimal(units: i64, digits: u8, out: &mut Vec<u8>) {
    let mut text = Digits::new();
    let mut rest = units.unsigned_abs();
    if digits > 0 {
        rest = text.digits(rest, digits, digits);
        text.put(b'.');
    }
    text.digits(rest, 1, u8::MAX);
    if units < 0 {
        text.put(b'-');
    }
    out.extend_from_slice(&text.bytes[text.from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(units: i64, digits: u8) -> String {
        let mut out = Vec::new();
        write_decimal(units, digits, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_are_written_with_all_their_digits_and_their_sign() {
        let cases = [(0, 3), (5, 3), (-5, 3), (1000, 3), (-12_345, 3), (7, 0), (-70, 0), (i64::MIN, 4), (i64::MAX, 7)];
        let expected = [
            "0.000",
            "0.005",
            "-0.005",
            "1.000",
            "-12.345",
            "7",
            "-70",
            "-922337203685477.5808",
            "922337203685.4775807",
        ];
        assert_eq!(cases.map(|(units, digits)| written(units, digits)), expected);
    }

    #[test]
    fn the_number_of_a_decimal_is_what_its_text_is_read_as() {
        for units in (-3_000_000..3_000_000).step_by(977) {
            for digits in [3, 4, 7] {
                let value = Value::Decimal { units, digits };
                assert_eq!(value.number(), written(units, digits).parse().ok());
            }
        }
    }
}
