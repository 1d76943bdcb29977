//! One value of a record, read as the kind that is wanted. Stage 1 has proved its grammar.

use super::decimal::Window;
use super::float::{float, float_of_token};
use super::integer::{Fraction, NotInteger, integer, integer_of_token};
use super::lexer::number_length;
use super::record::Record;
use super::simd::Simd;
use super::string::{LoneSurrogate, unescape};

/// Why a value is not of the kind that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    WrongType,
    OutOfRange,
    LoneSurrogate,
}

impl From<NotInteger> for Misfit {
    fn from(fault: NotInteger) -> Misfit {
        match fault {
            NotInteger::HasFraction => Misfit::WrongType,
            NotInteger::OutOfRange => Misfit::OutOfRange,
        }
    }
}

impl From<LoneSurrogate> for Misfit {
    fn from(_: LoneSurrogate) -> Misfit {
        Misfit::LoneSurrogate
    }
}

/// A value. The methods give `None` for null.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// Its first bytes and what follows.
    window: &'a Window,
    /// The record from its first byte on.
    rest: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value that starts at byte `at` of `record`; `copy` as for [`Record::window`].
    #[inline(always)]
    pub(super) fn new(record: Record<'a>, at: usize, copy: &'a mut Window) -> Value<'a> {
        Value { window: record.window(at, copy), rest: record.rest(at) }
    }

    #[inline(always)]
    fn first(self) -> u8 {
        self.window[0]
    }

    #[inline(always)]
    fn is_number(self) -> bool {
        self.first().is_ascii_digit() || self.first() == b'-'
    }

    /// A number, or a string that is one.
    #[inline(always)]
    pub(super) fn float<S: Simd>(self, simd: S) -> Result<Option<f64>, Misfit> {
        if self.is_number() {
            return float(simd, self.window, self.rest).map(Some).ok_or(Misfit::OutOfRange);
        }
        self.quoted_number(|token| float_of_token(token).ok_or(Misfit::OutOfRange))
    }

    /// A number, or a string that is one, times `10^power`.
    #[inline(always)]
    pub(super) fn integer<S: Simd>(self, simd: S, power: u32, fraction: Fraction) -> Result<Option<i64>, Misfit> {
        if self.is_number() {
            return Ok(Some(integer(&simd.decimal(self.window), self.rest, power, fraction)?));
        }
        self.quoted_number(|token| Ok(integer_of_token(token, power, fraction)?))
    }

    /// What `read` makes of the number in a string.
    #[inline(never)]
    fn quoted_number<T>(self, read: impl Fn(&[u8]) -> Result<T, Misfit>) -> Result<Option<T>, Misfit> {
        let mut scratch = Vec::new();
        let text = match self.first() {
            b'n' => return Ok(None),
            b'"' => unescape(self.rest, &mut scratch)?,
            _ => return Err(Misfit::WrongType),
        };
        if text.is_empty() || number_length(text) != text.len() {
            return Err(Misfit::WrongType);
        }
        read(text).map(Some)
    }

    /// `true`, `false`, 1, 0, or the first two as strings.
    #[inline]
    pub(super) fn boolean(self) -> Result<Option<bool>, Misfit> {
        match self.first() {
            b't' => Ok(Some(true)),
            b'f' => Ok(Some(false)),
            b'n' => Ok(None),
            b'"' => match unescape(self.rest, &mut Vec::new())? {
                b"true" => Ok(Some(true)),
                b"false" => Ok(Some(false)),
                _ => Err(Misfit::WrongType),
            },
            first @ (b'0' | b'1') if number_length(self.rest) == 1 => Ok(Some(first == b'1')),
            _ => Err(Misfit::WrongType),
        }
    }

    /// A string of at most 16 bytes without escapes: its bytes (and what follows them), and how many.
    #[inline(always)]
    pub(super) fn short_text<S: Simd>(self, simd: S) -> Option<([u8; 16], usize)> {
        if self.first() != b'"' {
            return None;
        }
        let block = simd.load(self.window);
        // From the byte after the opening quote on.
        let ends = (simd.equal(block, b'"') | simd.equal(block, b'\\')) >> 1;
        let length = ends.trailing_zeros() as usize;
        if length > 16 || self.window[1 + length] != b'"' {
            return None;
        }
        self.window[1..].first_chunk().map(|bytes| (*bytes, length))
    }

    /// A string's text, or the spelling of a number or a boolean.
    #[inline(never)]
    pub(super) fn text<'b>(self, scratch: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, Misfit>
    where
        'a: 'b,
    {
        match self.first() {
            b'"' => Ok(Some(unescape(self.rest, scratch)?)),
            b'n' => Ok(None),
            b't' => Ok(Some(b"true")),
            b'f' => Ok(Some(b"false")),
            _ if self.is_number() => Ok(Some(&self.rest[..number_length(self.rest)])),
            _ => Err(Misfit::WrongType),
        }
    }
}
