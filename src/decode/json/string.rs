//! The text of a JSON string, its escapes resolved.

/// An escaped surrogate without its other half: no text has that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoneSurrogate;

/// The string that begins `rest` with its opening quote; its grammar is proved. Borrowed unless it has escapes.
pub(super) fn unescape<'a>(rest: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], LoneSurrogate> {
    let mut rest = &rest[1..];
    let (text, ends) = plain_part(rest);
    if ends {
        return Ok(text);
    }
    scratch.clear();
    loop {
        let (text, ends) = plain_part(rest);
        scratch.extend_from_slice(text);
        if ends {
            return Ok(scratch);
        }
        let escape = &rest[text.len()..];
        let (character, length) = resolve(escape)?;
        scratch.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &escape[length..];
    }
}

/// The text up to the next quote or backslash, and whether it is the quote: the string's end.
fn plain_part(rest: &[u8]) -> (&[u8], bool) {
    match memchr::memchr2(b'"', b'\\', rest) {
        Some(at) => (&rest[..at], rest[at] == b'"'),
        None => (rest, true),
    }
}

/// The character that the escape at the start of `escape` stands for, and the escape's length.
fn resolve(escape: &[u8]) -> Result<(char, usize), LoneSurrogate> {
    let character = match escape.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return resolve_unicode(escape),
        Some(byte) => char::from(*byte),
        None => return Err(LoneSurrogate),
    };
    Ok((character, 2))
}

/// `\u` and four digits, or two of them for a character beyond 0xffff.
fn resolve_unicode(escape: &[u8]) -> Result<(char, usize), LoneSurrogate> {
    let unit = code_unit(escape).ok_or(LoneSurrogate)?;
    if let Some(character) = char::from_u32(unit) {
        return Ok((character, 6));
    }
    let low = escape.get(6..).and_then(code_unit).ok_or(LoneSurrogate)?;
    if !(0xd800..0xdc00).contains(&unit) || !(0xdc00..0xe000).contains(&low) {
        return Err(LoneSurrogate);
    }
    let character = char::from_u32(0x10000 + ((unit - 0xd800) << 10 | (low - 0xdc00))).ok_or(LoneSurrogate)?;
    Ok((character, 12))
}

/// The number in `\uXXXX`.
fn code_unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, wanted: Result<&str, LoneSurrogate>) {
        assert_eq!(unescape(json.as_bytes(), &mut Vec::new()), wanted.map(str::as_bytes), "{json}");
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        check(r#""plain", "#, Ok("plain"));
        check(r#""""#, Ok(""));
        check(r#""a\"b\\c\/d\b\f\n\r\t""#, Ok("a\"b\\c/d\u{8}\u{c}\n\r\t"));
        check(r#""\u0041\u00e9\u65e5\ud83d\ude00é""#, Ok("Aé日😀é"));
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        for json in
            [r#""\ud800""#, r#""\ud800x""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#""\ud83d\n""#]
        {
            check(json, Err(LoneSurrogate));
        }
    }
}
