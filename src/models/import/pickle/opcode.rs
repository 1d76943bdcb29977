//! The instructions of a pickle, one after the other.
//!
//! Promise: an instruction is whole or refused, and its texts and bytes lie within the file: nothing is allocated for a length that the
//! file merely claims. What Python 3 writes in protocols 0 to 5 for numbers, texts, arrays and instances is known; instructions
//! that only Python 2, out-of-band buffers or foreign picklers write are refused.

use std::borrow::Cow;

use super::fault::PickleFault;

/// How many instructions are followed at most: a forest of 1,000 trees has 150,000 to 300,000.
const STEPS_MAX: u64 = 1 << 21;

/// An instruction with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Opcode<'a> {
    /// Protocol numbers and frames, which say nothing of the content.
    Ignored,
    Stop,
    Mark,
    Pop,
    PopMark,
    Duplicate,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    /// Of so many values from the stack.
    TupleOf(usize),
    TupleSinceMark,
    EmptyList,
    ListSinceMark,
    EmptyDict,
    DictSinceMark,
    Append,
    AppendSinceMark,
    SetItem,
    SetItemsSinceMark,
    Get(u32),
    Put(u32),
    /// Put under the next number.
    Memoize,
    Global {
        module: &'a str,
        name: &'a str,
    },
    GlobalOfStack,
    NewObject,
    Reduce,
    Build,
}

/// A place in the bytes of a pickle.
///
/// Invariant: `at` is at most the number of bytes.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    steps: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, steps: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn damaged(&self, what: &'static str) -> PickleFault {
        PickleFault::Damaged { at: self.at, what }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], PickleFault> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(PickleFault::Cut { at: self.bytes.len() })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn next(&mut self) -> Result<Opcode<'a>, PickleFault> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(PickleFault::TooLarge { what: "its instructions", max: STEPS_MAX });
        }
        let at = self.at;
        let opcode = self.byte()?;
        match self.of_protocol_0(opcode)? {
            Some(known) => Ok(known),
            None => self.of_later_protocols(opcode)?.ok_or(PickleFault::Opcode { opcode, at }),
        }
    }

    /// Instructions whose argument, if any, is a line of text.
    fn of_protocol_0(&mut self, opcode: u8) -> Result<Option<Opcode<'a>>, PickleFault> {
        Ok(Some(match opcode {
            b'.' => Opcode::Stop,
            b'(' => Opcode::Mark,
            b'0' => Opcode::Pop,
            b'1' => Opcode::PopMark,
            b'2' => Opcode::Duplicate,
            b'N' => Opcode::None,
            b'I' => match self.line()? {
                "00" => Opcode::Bool(false),
                "01" => Opcode::Bool(true),
                number => Opcode::Int(self.parsed(number)?),
            },
            b'L' => {
                let line = self.line()?;
                Opcode::Int(self.parsed(line.strip_suffix('L').unwrap_or(line))?)
            }
            b'F' => {
                let line = self.line()?;
                Opcode::Float(self.parsed(line)?)
            }
            b'V' => {
                let line = self.line_of_bytes()?;
                Opcode::Text(unescaped(line).ok_or_else(|| self.damaged("a text is not written as it should be"))?)
            }
            b't' => Opcode::TupleSinceMark,
            b'l' => Opcode::ListSinceMark,
            b'd' => Opcode::DictSinceMark,
            b'a' => Opcode::Append,
            b's' => Opcode::SetItem,
            b'g' => {
                let line = self.line()?;
                Opcode::Get(self.parsed(line)?)
            }
            b'p' => {
                let line = self.line()?;
                Opcode::Put(self.parsed(line)?)
            }
            b'c' => Opcode::Global { module: self.line()?, name: self.line()? },
            b'R' => Opcode::Reduce,
            b'b' => Opcode::Build,
            _ => return Ok(None),
        }))
    }

    fn of_later_protocols(&mut self, opcode: u8) -> Result<Option<Opcode<'a>>, PickleFault> {
        Ok(Some(match opcode {
            0x80 => {
                if self.byte()? > 5 {
                    return Err(self.damaged("its protocol is newer than 5"));
                }
                Opcode::Ignored
            }
            0x95 => {
                self.take(8)?;
                Opcode::Ignored
            }
            0x88 => Opcode::Bool(true),
            0x89 => Opcode::Bool(false),
            b'K' => Opcode::Int(i64::from(self.byte()?)),
            b'M' => Opcode::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'J' => Opcode::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0x8a => Opcode::Int(self.long()?),
            b'G' => Opcode::Float(f64::from_be_bytes(self.array()?)),
            0x8c => Opcode::Text(self.text(Length::One)?),
            b'X' => Opcode::Text(self.text(Length::Four)?),
            0x8d => Opcode::Text(self.text(Length::Eight)?),
            b'C' => Opcode::Bytes(self.counted(Length::One)?),
            b'B' => Opcode::Bytes(self.counted(Length::Four)?),
            // A bytearray serves as bytes: nothing writes into it.
            0x8e | 0x96 => Opcode::Bytes(self.counted(Length::Eight)?),
            b')' => Opcode::TupleOf(0),
            0x85..=0x87 => Opcode::TupleOf(usize::from(opcode - 0x84)),
            b']' => Opcode::EmptyList,
            b'}' => Opcode::EmptyDict,
            b'e' => Opcode::AppendSinceMark,
            b'u' => Opcode::SetItemsSinceMark,
            b'h' => Opcode::Get(u32::from(self.byte()?)),
            b'j' => Opcode::Get(u32::from_le_bytes(self.array()?)),
            b'q' => Opcode::Put(u32::from(self.byte()?)),
            b'r' => Opcode::Put(u32::from_le_bytes(self.array()?)),
            0x94 => Opcode::Memoize,
            0x93 => Opcode::GlobalOfStack,
            0x81 => Opcode::NewObject,
            _ => return Ok(None),
        }))
    }

    fn byte(&mut self) -> Result<u8, PickleFault> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleFault> {
        let cut = PickleFault::Cut { at: self.bytes.len() };
        self.take(N)?.try_into().map_err(|_| cut)
    }

    fn line_of_bytes(&mut self) -> Result<&'a [u8], PickleFault> {
        let length = memchr::memchr(b'\n', &self.bytes[self.at..]);
        let length = length.ok_or(PickleFault::Cut { at: self.bytes.len() })?;
        let line = self.take(length)?;
        self.take(1)?;
        Ok(line)
    }

    fn line(&mut self) -> Result<&'a str, PickleFault> {
        let line = self.line_of_bytes()?;
        str::from_utf8(line).map_err(|_| self.damaged("a line is not text"))
    }

    fn parsed<T: std::str::FromStr>(&self, number: &str) -> Result<T, PickleFault> {
        number.parse().map_err(|_| self.damaged("a number is not written as one, or is beyond 64 bits"))
    }

    /// A little-endian two's complement of as many bytes as the first one says.
    fn long(&mut self) -> Result<i64, PickleFault> {
        let digits = self.counted(Length::One)?;
        let is_negative = digits.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if is_negative { 0xff } else { 0 }; 8];
        let places = whole.get_mut(..digits.len()).ok_or_else(|| self.damaged("an integer is beyond 64 bits"))?;
        places.copy_from_slice(digits);
        Ok(i64::from_le_bytes(whole))
    }

    /// As many bytes as the length in front of them says.
    fn counted(&mut self, length: Length) -> Result<&'a [u8], PickleFault> {
        let length = match length {
            Length::One => u64::from(self.byte()?),
            Length::Four => u64::from(u32::from_le_bytes(self.array()?)),
            Length::Eight => u64::from_le_bytes(self.array()?),
        };
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self, length: Length) -> Result<Cow<'a, str>, PickleFault> {
        let bytes = self.counted(length)?;
        str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| self.damaged("a text is not UTF-8"))
    }
}

/// How many bytes a length has.
#[derive(Clone, Copy)]
enum Length {
    One,
    Four,
    Eight,
}

/// Python's `raw-unicode-escape`: Latin-1, in which `\uXXXX` and `\UXXXXXXXX` are characters.
fn unescaped(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [first, behind @ ..] = rest {
        let digits = match rest {
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            _ => {
                text.push(char::from(*first));
                rest = behind;
                continue;
            }
        };
        let number = str::from_utf8(rest.get(2..2 + digits)?).ok()?;
        text.push(char::from_u32(u32::from_str_radix(number, 16).ok()?)?);
        rest = &rest[2 + digits..];
    }
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<Opcode<'_>, PickleFault> {
        Cursor::new(bytes).next()
    }

    #[test]
    fn integers_of_every_width_keep_their_sign() {
        for (bytes, number) in [
            (b"I-5\n".as_slice(), -5),
            (b"L123L\n", 123),
            (b"K\xff", 255),
            (b"M\xff\xff", 65_535),
            (b"J\xff\xff\xff\xff", -1),
            (b"\x8a\x00", 0),
            (b"\x8a\x01\xff", -1),
            (b"\x8a\x02\xff\x00", 255),
            (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80", i64::MIN),
        ] {
            assert_eq!(check(bytes).unwrap(), Opcode::Int(number), "{bytes:?}");
        }
        assert_eq!(check(b"I01\n").unwrap(), Opcode::Bool(true));
        assert!(matches!(check(b"\x8a\x09\0\0\0\0\0\0\0\0\x01"), Err(PickleFault::Damaged { .. })));
    }

    #[test]
    fn floats_are_read_to_the_last_bit() {
        assert_eq!(check(b"F0.1\n").unwrap(), Opcode::Float(0.1));
        assert_eq!(check(b"F-inf\n").unwrap(), Opcode::Float(f64::NEG_INFINITY));
        assert_eq!(check(b"G\x3f\xb9\x99\x99\x99\x99\x99\x9a").unwrap(), Opcode::Float(0.1));
    }

    #[test]
    fn texts_of_protocol_0_are_latin_1_with_escapes() {
        for (bytes, text) in [
            (b"Vmean_\n".as_slice(), "mean_"),
            (b"V\\u005c\\u000a\xe9\n", "\\\n\u{e9}"),
            (b"V\\U0001f600\n", "\u{1f600}"),
        ] {
            assert_eq!(check(bytes).unwrap(), Opcode::Text(Cow::Borrowed(text)));
        }
        assert!(matches!(check(b"V\\u12\n"), Err(PickleFault::Damaged { .. })));
        assert!(matches!(check(b"V\\ud800\n"), Err(PickleFault::Damaged { .. })));
    }

    #[test]
    fn a_length_beyond_the_file_is_a_cut() {
        for bytes in
            [b"B\xff\xff\xff\xff".as_slice(), b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", b"X\x02\0\0\0a", b"V", b""]
        {
            assert!(matches!(check(bytes), Err(PickleFault::Cut { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn instructions_that_call_outside_are_refused() {
        // A persistent id, an extension's code, an instance of an old class, an object with keywords, an out-of-band buffer.
        for opcode in [b"Pid\n".as_slice(), b"Q", b"\x82\x01", b"iposix\nsystem\n", b"o", b"\x92", b"\x97"] {
            let Err(PickleFault::Opcode { opcode: found, at: 0 }) = check(opcode) else { panic!("{opcode:?}") };
            assert_eq!(found, opcode[0]);
        }
    }

    #[test]
    fn instructions_without_end_are_stopped() {
        let bytes = vec![b'N'; STEPS_MAX as usize + 1];
        let mut cursor = Cursor::new(&bytes);
        let fault = std::iter::from_fn(|| Some(cursor.next())).find_map(Result::err).unwrap();
        assert!(matches!(fault, PickleFault::TooLarge { what: "its instructions", .. }));
    }
}
