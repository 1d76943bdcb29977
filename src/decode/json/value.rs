//! One value of a record, read as the kind that is wanted. Stage 1 has proved its grammar.

use super::paths::NONE;
use super::string::{LoneSurrogate, unescape};
use crate::decode::events::Place;
use crate::decode::number::decimal::Window;
use crate::decode::number::float::float;
use crate::decode::number::integer::{Fraction, integer};
use crate::decode::number::number_length;
use crate::decode::record::Record;
use crate::decode::simd::Simd;
use crate::decode::text;
use crate::decode::value::{Misfit, Row, Value};

impl From<LoneSurrogate> for Misfit {
    fn from(_: LoneSurrogate) -> Misfit {
        Misfit::LoneSurrogate
    }
}

/// A record whose wanted values were found.
#[derive(Clone, Copy)]
pub(super) struct Located<'a, S> {
    pub simd: S,
    pub record: Record<'a>,
    /// For each place where its value starts in the record, or `NONE`.
    pub starts: &'a [u32],
}

impl<S: Simd> Row for Located<'_, S> {
    type Value<'v>
        = Scalar<'v, S>
    where
        Self: 'v;

    #[inline(always)]
    fn value<'v>(&'v self, place: Place, copy: &'v mut Window) -> Option<Scalar<'v, S>> {
        let start = self.starts[place];
        (start != NONE).then(|| Scalar::new(self.simd, self.record, start as usize, copy))
    }
}

/// A value. The methods give `None` for null.
#[derive(Clone, Copy)]
pub(super) struct Scalar<'a, S> {
    simd: S,
    /// Its first bytes and what follows.
    window: &'a Window,
    /// The record from its first byte on.
    rest: &'a [u8],
}

impl<'a, S: Simd> Scalar<'a, S> {
    /// The value that starts at byte `at` of `record`; `copy` as for [`Record::window`].
    #[inline(always)]
    fn new(simd: S, record: Record<'a>, at: usize, copy: &'a mut Window) -> Scalar<'a, S> {
        Scalar { simd, window: record.window(at, copy), rest: record.rest(at) }
    }

    #[inline(always)]
    fn first(self) -> u8 {
        self.window[0]
    }

    #[inline(always)]
    fn is_number(self) -> bool {
        self.first().is_ascii_digit() || self.first() == b'-'
    }

    /// What `read` makes of a string, if it is not null.
    #[inline(never)]
    fn quoted<T>(self, read: impl Fn(&[u8]) -> Result<Option<T>, Misfit>) -> Result<Option<T>, Misfit> {
        match self.first() {
            b'n' => Ok(None),
            b'"' => read(unescape(self.rest, &mut Vec::new())?),
            _ => Err(Misfit::WrongType),
        }
    }
}

impl<'a, S: Simd> Value<'a> for Scalar<'a, S> {
    /// A number, or a string that is one.
    #[inline(always)]
    fn float(self) -> Result<Option<f64>, Misfit> {
        if self.is_number() {
            return float(self.simd, self.window, self.rest).map(Some).ok_or(Misfit::OutOfRange);
        }
        self.quoted(text::float)
    }

    /// A number, or a string that is one.
    #[inline(always)]
    fn integer(self, power: u32, fraction: Fraction) -> Result<Option<i64>, Misfit> {
        if self.is_number() {
            return Ok(Some(integer(&self.simd.decimal(self.window), self.rest, power, fraction)?));
        }
        self.quoted(|quoted| text::integer(quoted, power, fraction))
    }

    /// `true`, `false`, 1, 0, or a string that is one of them.
    #[inline]
    fn boolean(self) -> Result<Option<bool>, Misfit> {
        match self.first() {
            b't' => Ok(Some(true)),
            b'f' => Ok(Some(false)),
            first @ (b'0' | b'1') if number_length(self.rest) == 1 => Ok(Some(first == b'1')),
            _ => self.quoted(text::boolean),
        }
    }

    /// A string of at most 16 bytes without escapes.
    #[inline(always)]
    fn short_text(self) -> Option<([u8; 16], usize)> {
        if self.first() != b'"' {
            return None;
        }
        let block = self.simd.load(self.window);
        // From the byte after the opening quote on.
        let ends = (self.simd.equal(block, b'"') | self.simd.equal(block, b'\\')) >> 1;
        let length = ends.trailing_zeros() as usize;
        if length > 16 || self.window[1 + length] != b'"' {
            return None;
        }
        self.window[1..].first_chunk().map(|bytes| (*bytes, length))
    }

    /// A string's text, or the spelling of a number or a boolean.
    #[inline(never)]
    fn text<'b>(self, scratch: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, Misfit>
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
