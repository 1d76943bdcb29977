//! The digits of a number, as an integer and a power of ten. The grammar is proved before; nothing here can fail.

/// How many bytes from its first on a number is read from; what is longer is read in other ways.
pub(in crate::decode) const WINDOW: usize = 64;
/// A value and what follows it.
pub(in crate::decode) type Window = [u8; WINDOW];

/// `mantissa * 10^exponent`, below zero if `negative`; with `is_exact` false the other fields mean nothing.
///
/// Backends differ in what they find too long, so whoever gets an inexact one must arrive at the same value in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) struct Decimal {
    pub negative: bool,
    pub mantissa: u64,
    pub exponent: i32,
    pub is_exact: bool,
}

/// More digits than a `u64` holds; zeros at the front do not count.
const SIGNIFICANT_MAX: usize = 19;
const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The highest bit of each byte that is no digit: right up to the first such byte, and perhaps wrong after it.
#[inline(always)]
fn not_digits(word: u64) -> u64 {
    let values = word ^ 0x3030_3030_3030_3030;
    // A byte of 0 to 9 does not reach 0x80 by this addition. Larger ones do, or had the bit before; only those carry.
    (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080
}

/// The number that the first `bits / 8` bytes of `word` (1 to 8 of them) write: neighbours are added up in pairs.
#[inline(always)]
fn digits_value(word: u64, bits: u32) -> u64 {
    debug_assert!((8..=64).contains(&bits));
    let ones = (word << (64 - bits)) & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (ones.wrapping_mul(10).wrapping_add(ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

#[inline(always)]
fn word_at(window: &Window, at: usize) -> u64 {
    window[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A number of up to seven bytes without a sign or an exponent: most of them are. (Its digits, how many stand after the dot.)
#[inline(always)]
pub(in crate::decode) fn short(window: &Window) -> Option<(u64, usize)> {
    let word = word_at(window, 0);
    let others = not_digits(word);
    let whole = others.trailing_zeros() & !7;
    if whole == 0 || whole == 64 {
        return None; // A sign, or no end in sight.
    }
    let byte = (word >> whole) as u8;
    if byte == b'.' {
        let end = (others & others.wrapping_sub(1)).trailing_zeros() & !7;
        if end == 64 || (word >> end) as u8 | 0x20 == b'e' {
            return None;
        }
        let before_dot = (1u64 << whole) - 1;
        let joined = (word & before_dot) | ((word >> 8) & !before_dot);
        let bits = end - 8;
        Some((digits_value(joined, bits), ((bits - whole) / 8) as usize))
    } else if byte | 0x20 == b'e' {
        None
    } else {
        Some((digits_value(word, whole), 0))
    }
}

/// Digits read so far.
struct Reading<'a> {
    window: &'a Window,
    at: usize,
    mantissa: u64,
    digits: usize,
}

impl Reading<'_> {
    /// Reads a run of digits, at most 24 of them; says how many.
    #[inline(always)]
    fn run(&mut self) -> usize {
        let from = self.at;
        for _ in 0..3 {
            let word = word_at(self.window, self.at);
            let bits = not_digits(word).trailing_zeros() & !7;
            if bits == 0 {
                break;
            }
            let count = (bits / 8) as usize;
            self.mantissa = self.mantissa.wrapping_mul(POWERS_OF_TEN[count]).wrapping_add(digits_value(word, bits));
            self.at += count;
            if count < 8 {
                break;
            }
        }
        self.digits += self.at - from;
        self.at - from
    }

    #[inline(always)]
    fn byte(&self) -> u8 {
        self.window[self.at]
    }
}

/// The number that begins `window`.
#[inline(always)]
pub(in crate::decode) fn decimal(window: &Window) -> Decimal {
    let negative = window[0] == b'-';
    let first = usize::from(negative);
    let mut reading = Reading { window, at: first, mantissa: 0, digits: 0 };
    // At most 1 + 24 + 1 + 24 + 2 bytes are read before the last eight, so all of them lie in the window.
    reading.run();
    let mut exponent = 0;
    let mut leading_zeros = 0;
    if reading.byte() == b'.' {
        reading.at += 1;
        let fraction = reading.at;
        exponent = -(reading.run() as i32);
        if window[first] == b'0' {
            leading_zeros = 1 + window[fraction..reading.at].iter().take_while(|byte| **byte == b'0').count();
        }
    }
    let mut is_exact =
        reading.digits - leading_zeros.min(reading.digits) <= SIGNIFICANT_MAX && !reading.byte().is_ascii_digit();
    if is_exact && reading.byte() | 0x20 == b'e' {
        reading.at += 1;
        let is_minus = reading.byte() == b'-';
        reading.at += usize::from(is_minus || reading.byte() == b'+');
        let word = word_at(window, reading.at);
        let bits = not_digits(word).trailing_zeros() & !7;
        is_exact = (8..=32).contains(&bits);
        if is_exact {
            let value = digits_value(word, bits) as i32;
            exponent += if is_minus { -value } else { value };
        }
    }
    Decimal { negative, mantissa: reading.mantissa, exponent, is_exact }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        let mut window = [b','; WINDOW];
        window[..text.len()].copy_from_slice(text.as_bytes());
        window
    }

    #[test]
    fn digits_and_their_power_of_ten_are_read() {
        let read = |text: &str| {
            let decimal = decimal(&window(text));
            decimal.is_exact.then_some((decimal.negative, decimal.mantissa, decimal.exponent))
        };
        assert_eq!(read("0"), Some((false, 0, 0)));
        assert_eq!(read("-12.50"), Some((true, 1250, -2)));
        assert_eq!(read("1e5"), Some((false, 1, 5)));
        assert_eq!(read("7.25E-12"), Some((false, 725, -14)));
        assert_eq!(read("9999999999999999999"), Some((false, 9_999_999_999_999_999_999, 0)));
        assert_eq!(read("0.00001234567890123456789"), Some((false, 1_234_567_890_123_456_789, -23)));
    }

    #[test]
    fn numbers_that_are_too_long_are_called_inexact() {
        for text in
            ["12345678901234567890", "1.2345678901234567890", "1e12345", "1234567890123456789012345678901234567890.5"]
        {
            assert!(!decimal(&window(text)).is_exact, "{text}");
        }
    }

    #[test]
    fn short_numbers_are_read_from_one_word() {
        assert_eq!(short(&window("0")), Some((0, 0)));
        assert_eq!(short(&window("1234567")), Some((1_234_567, 0)));
        assert_eq!(short(&window("12.345")), Some((12_345, 3)));
        for text in ["-1", "1e5", "1.5e5", "12345678", "12.34567"] {
            assert_eq!(short(&window(text)), None, "{text}");
        }
    }
}
