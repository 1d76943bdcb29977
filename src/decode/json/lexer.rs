//! Tokens from plain code, one byte at a time: the reference for stage 1, and the judge of what it calls faulty.

use crate::decode::number::number_length;

/// Marks the first byte of each token in `tokens`, one bit a byte. False if there is a byte that belongs to none, or a token
/// that is not of the grammar.
pub(super) fn find_tokens(record: &[u8], tokens: &mut [u64]) -> bool {
    tokens.fill(0);
    let mut at = 0;
    while let Some(byte) = record.get(at) {
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
            continue;
        }
        tokens[at / 64] |= 1 << (at % 64);
        let rest = &record[at..];
        let length = match byte {
            b'{' | b'}' | b'[' | b']' | b':' | b',' => 1,
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => number_length(rest),
            _ => literal_length(rest),
        };
        if length == 0 {
            return false;
        }
        at += length;
    }
    true
}

/// The length of the string at the start of `rest`, with its quotes; 0 if there is none.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match rest.get(at) {
            None | Some(0..0x20) => return 0,
            Some(b'"') => return at + 1,
            Some(b'\\') if !is_escape(&rest[at..]) => return 0,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// Whether `rest`, which begins with a backslash, begins with an escape of JSON. Surrogates may stand alone here.
#[inline]
pub(super) fn is_escape(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
        Some(b'u') => rest.get(2..6).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ => false,
    }
}

/// The length of `true`, `false` or `null` at the start of `rest`; 0 if there is none.
#[inline]
pub(super) fn literal_length(rest: &[u8]) -> usize {
    match rest {
        [b't', b'r', b'u', b'e', ..] | [b'n', b'u', b'l', b'l', ..] => 4,
        [b'f', b'a', b'l', b's', b'e', ..] => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_rfc_8259() {
        for text in ["0", "-0", "10", "0.5", "1e5", "1E+5", "-1.25e-10"] {
            assert_eq!(number_length(text.as_bytes()), text.len(), "{text}");
        }
        for text in ["", "-", "01", "+1", ".5", "1.", "1.e5", "1e", "1e+", "NaN", "Infinity"] {
            assert_eq!(number_length(text.as_bytes()), 0, "{text}");
        }
    }

    #[test]
    fn each_token_is_marked_at_its_first_byte() {
        let record = br#"{"a\"b":[1.5,true]}"#;
        let mut tokens = [0];
        assert!(find_tokens(record, &mut tokens));
        let places: Vec<usize> = (0..64).filter(|place| tokens[0] >> place & 1 == 1).collect();
        assert_eq!(places, [0, 1, 7, 8, 9, 12, 13, 17, 18]);
    }

    #[test]
    fn broken_tokens_are_found() {
        for record in ["{\"a", "\"\\x\"", "\"\\u12g4\"", "\"\t\"", "tru", "nul", "#", "{\"a\":01}", "\u{c}"] {
            assert!(!find_tokens(record.as_bytes(), &mut [0]), "{record}");
        }
    }
}
