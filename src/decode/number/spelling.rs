//! A number's token taken apart: for the ways of reading it that are exact at any length.

/// What a number's token says. Its value is `0.d1d2d3... * 10^point`, with the significant digits d1, d2, d3...
pub(in crate::decode) struct Spelling<'a> {
    pub is_negative: bool,
    /// Of the significant digits, how many stand before the decimal point; below zero, so many zeros follow it.
    pub point: i64,
    /// From the first digit that is not zero on, perhaps with a dot among them; empty if there is none.
    significant: &'a [u8],
}

impl<'a> Spelling<'a> {
    /// Takes a number of the grammar apart.
    pub(in crate::decode) fn of(token: &'a [u8]) -> Spelling<'a> {
        let (is_negative, token) = match token.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let (mantissa, exponent) = match token.iter().position(|byte| byte | 0x20 == b'e') {
            Some(at) => (&token[..at], exponent_of(&token[at + 1..])),
            None => (token, 0),
        };
        let before_dot = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let skipped = mantissa.iter().take_while(|byte| matches!(byte, b'0' | b'.')).count();
        let zeros = skipped - usize::from(skipped > before_dot);
        let point = before_dot as i64 - zeros as i64 + exponent;
        Spelling { is_negative, point, significant: &mantissa[skipped..] }
    }

    pub(in crate::decode) fn is_zero(&self) -> bool {
        self.significant.is_empty()
    }

    /// The significant digits as numbers.
    pub(in crate::decode) fn digits(&self) -> impl Iterator<Item = u8> + 'a {
        self.significant.iter().filter(|byte| **byte != b'.').map(|byte| byte - b'0')
    }
}

/// What follows the `e`. Far beyond any that matters it stays where it is.
fn exponent_of(text: &[u8]) -> i64 {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value = digits.iter().fold(0, |value: i64, byte| (value * 10 + i64::from(byte - b'0')).min(1 << 40));
    if is_negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_before_and_exponents_only_move_the_point() {
        for (token, wanted) in [
            ("123.45", (false, 3, "12345")),
            ("-0.00123e4", (true, 2, "123")),
            ("100", (false, 3, "100")),
            ("1E-10", (false, -9, "1")),
            ("0.000", (false, 0, "")),
        ] {
            let spelling = Spelling::of(token.as_bytes());
            let digits: String = spelling.digits().map(|digit| char::from(b'0' + digit)).collect();
            assert_eq!((spelling.is_negative, digits.as_str()), (wanted.0, wanted.2), "{token}");
            assert!(spelling.is_zero() || spelling.point == wanted.1, "{token}");
        }
    }
}
