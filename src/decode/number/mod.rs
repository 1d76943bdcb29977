//! Decimal numbers from text: exact integers, and the nearest double, in any spelling and of any length.
//!
//! Each file trusts that the grammar was proved before: by stage 1 for JSON, by `text` and `csv` for what stands alone.

pub(in crate::decode) mod decimal;
pub(in crate::decode) mod float;
pub(in crate::decode) mod integer;
pub(in crate::decode) mod spelling;

/// The length of the number of JSON at the start of `rest`; 0 if there is none.
pub(in crate::decode) fn number_length(rest: &[u8]) -> usize {
    let digits_end = |from: usize| {
        from + rest.get(from..).map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count())
    };
    let first = usize::from(rest.first() == Some(&b'-'));
    let mut end = digits_end(first);
    if end == first || (rest[first] == b'0' && end > first + 1) {
        return 0;
    }
    if rest.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits_end(fraction);
        if end == fraction {
            return 0;
        }
    }
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let digits = end + 1 + usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(digits);
        if end == digits {
            return 0;
        }
    }
    end
}
