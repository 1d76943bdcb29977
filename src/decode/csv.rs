//! Rows of cells to event batches.
//!
//! The columns' names stand in the batch's layout, so each file may have its own order, and lack what it does not have. All cells of a row
//! are told apart, so that a row with too few or too many is seen; only the configured ones are read. Blanks around a cell do not
//! matter. An empty cell is missing; an empty text is written as `""`. Of equal names the last counts, as in an object.

use std::sync::Arc;

use crate::decode::events::{Address, Events, Place};
use crate::decode::number::decimal::{WINDOW, Window};
use crate::decode::number::float::float;
use crate::decode::number::integer::{Fraction, integer};
use crate::decode::record::Record;
use crate::decode::simd::{Backend, Mask, Simd, Work};
use crate::decode::text;
use crate::decode::value::{Misfit, Row, Value};
use crate::decode::{BATCH_BYTES_MAX, DecodeError, Decoded};
use crate::domain::raw::{CellLayout, RawBatch};
use crate::domain::reject::{Reject, RejectReason};
use crate::domain::schema::EventSchema;

/// Layouts that are remembered: a folder's files mostly share one.
const LAYOUTS_MAX: usize = 16;

/// Decodes batches of rows by one schema.
pub struct CsvDecoder {
    backend: Backend,
    record_bytes_max: usize,
    events: Events,
    layouts: Vec<(Arc<CellLayout>, Arc<Columns>)>,
    /// Where the cells of a row end.
    ends: Vec<u32>,
}

/// Where a layout has what is wanted.
struct Columns {
    separator: u8,
    decimal_comma: bool,
    count: usize,
    of_place: Vec<Option<usize>>,
}

impl CsvDecoder {
    pub fn new(schema: &EventSchema) -> Result<CsvDecoder, DecodeError> {
        CsvDecoder::with_backend(schema, Backend::available()[0])
    }

    /// A decoder for a certain set of instructions: all give the same events and rejects.
    pub fn with_backend(schema: &EventSchema, backend: Backend) -> Result<CsvDecoder, DecodeError> {
        if !backend.is_available() {
            return Err(DecodeError::Backend { backend });
        }
        let (events, record_bytes_max) = (Events::new(schema)?, schema.record_bytes_max);
        Ok(CsvDecoder { backend, record_bytes_max, events, layouts: Vec::new(), ends: Vec::new() })
    }

    /// One event or one reject for each row of `raw`, which are laid out as `layout` says.
    pub fn decode(&mut self, raw: &RawBatch, layout: &Arc<CellLayout>, partition_name: &str) -> Decoded {
        assert!(raw.bytes.len() <= BATCH_BYTES_MAX, "sources cut their batches below a gibibyte");
        let columns = self.columns(layout);
        self.events.begin(raw, partition_name);
        // Rows end at newlines, so the parts of valid text are valid.
        let is_utf8 = simdutf8::basic::from_utf8(&raw.bytes).is_ok();
        let rejects = self.backend.run(Decode { decoder: self, raw, columns: &columns, is_utf8 });
        Decoded { events: self.events.finish(raw), rejects }
    }

    fn columns(&mut self, layout: &Arc<CellLayout>) -> Arc<Columns> {
        if let Some((_, columns)) = self.layouts.iter().find(|(known, _)| known == layout) {
            return Arc::clone(columns);
        }
        let column_of = |path: &Vec<String>| {
            let name = path.join(".");
            layout.names.iter().rposition(|found| *found == name)
        };
        let of_place = self.events.places().iter().map(column_of).collect();
        let CellLayout { separator, decimal_comma, ref names } = **layout;
        let columns = Columns { separator, decimal_comma, count: names.len(), of_place };
        let columns = Arc::new(columns);
        self.layouts.truncate(LAYOUTS_MAX - 1);
        self.layouts.insert(0, (Arc::clone(layout), Arc::clone(&columns)));
        columns
    }
}

/// All rows of a batch, on one backend.
struct Decode<'a> {
    decoder: &'a mut CsvDecoder,
    raw: &'a RawBatch,
    columns: &'a Columns,
    is_utf8: bool,
}

impl Work for Decode<'_> {
    type Output = Vec<Reject>;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> Vec<Reject> {
        let mut rejects = Vec::new();
        for index in 0..self.raw.len() {
            if let Err(reason) = self.row(simd, index) {
                rejects.push(Reject { offset: self.raw.offset(index), reason });
            }
        }
        rejects
    }
}

impl Decode<'_> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, index: usize) -> Result<(), RejectReason> {
        let (raw, columns) = (self.raw, self.columns);
        let (start, end) = (raw.starts[index] as usize, raw.ends[index] as usize);
        let record = Record::new(&raw.bytes[start..], end - start);
        if end - start > self.decoder.record_bytes_max {
            return Err(RejectReason::TooLarge);
        }
        if !self.is_utf8 && simdutf8::basic::from_utf8(record.bytes()).is_err() {
            return Err(RejectReason::NotUtf8);
        }
        let CsvDecoder { events, ends, .. } = &mut *self.decoder;
        ends.clear();
        if split(simd, record, columns.separator, ends) {
            split_quoted(record.bytes(), columns.separator, ends)?;
        }
        if ends.len() != columns.count {
            refuse_ragged(record.bytes(), ends, columns.count)?;
        }
        let Columns { of_place, decimal_comma, .. } = columns;
        let cells = Cells { simd, record, ends, of_place, decimal_comma: *decimal_comma };
        events.push(&cells, Address { raw, index })
    }
}

/// Appends where cells end if no quote is in the row; tells whether one is.
#[inline(always)]
fn split<S: Simd>(simd: S, record: Record<'_>, separator: u8, ends: &mut Vec<u32>) -> bool {
    let length = record.bytes().len();
    let mut copy: Window = [0; WINDOW];
    let mut at = 0;
    while at < length {
        let block = simd.load(record.window(at, &mut copy));
        let within: Mask = if length - at >= WINDOW { Mask::MAX } else { (1 << (length - at)) - 1 };
        if simd.equal(block, b'"') & within != 0 {
            return true;
        }
        let mut separators = simd.equal(block, separator) & within;
        while separators != 0 {
            ends.push((at + separators.trailing_zeros() as usize) as u32);
            separators &= separators - 1;
        }
        at += WINDOW;
    }
    ends.push(length as u32);
    false
}

/// The same where there are quotes, with proof that they are balanced.
#[cold]
#[inline(never)]
fn split_quoted(row: &[u8], separator: u8, ends: &mut Vec<u32>) -> Result<(), RejectReason> {
    ends.clear();
    let mut at = 0;
    loop {
        let blanks = row[at..].iter().take_while(|byte| **byte != separator && matches!(byte, b' ' | b'\t')).count();
        if row.get(at + blanks) == Some(&b'"') {
            at = closing_quote(row, at + blanks + 1).ok_or(RejectReason::Syntax)? + 1;
            let end = memchr::memchr(separator, &row[at..]).map_or(row.len(), |found| at + found);
            if !row[at..end].trim_ascii().is_empty() {
                return Err(RejectReason::Syntax);
            }
            at = end;
        } else {
            at = memchr::memchr(separator, &row[at..]).map_or(row.len(), |found| at + found);
        }
        ends.push(at as u32);
        if at >= row.len() {
            return Ok(());
        }
        at += 1;
    }
}

/// The quote that ends a quoted cell whose text begins at `at`.
fn closing_quote(row: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr(b'"', row.get(at..)?)?;
        if row.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// Nothing but empty cells behind the last name: some programs end each row with a separator.
#[cold]
fn refuse_ragged(row: &[u8], ends: &[u32], count: usize) -> Result<(), RejectReason> {
    if row.trim_ascii().is_empty() {
        return Err(RejectReason::Empty);
    }
    let is_blank = |pair: &[u32]| row[pair[0] as usize + 1..pair[1] as usize].trim_ascii().is_empty();
    let has_more = count > 0 && ends.len() > count;
    if has_more && ends[count - 1..].windows(2).all(is_blank) { Ok(()) } else { Err(RejectReason::Syntax) }
}

/// A row that was told apart.
struct Cells<'a, S> {
    simd: S,
    record: Record<'a>,
    ends: &'a [u32],
    of_place: &'a [Option<usize>],
    decimal_comma: bool,
}

impl<S: Simd> Row for Cells<'_, S> {
    type Value<'v>
        = Cell<'v, S>
    where
        Self: 'v;

    #[inline(always)]
    fn value<'v>(&'v self, place: Place, copy: &'v mut Window) -> Option<Cell<'v, S>> {
        let column = self.of_place[place]?;
        let start = if column == 0 { 0 } else { self.ends[column - 1] as usize + 1 };
        let cell = &self.record.bytes()[start..self.ends[column] as usize];
        let start = start + cell.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let cell = cell.trim_ascii();
        let (start, text, is_quoted) = match cell {
            [] => return None,
            [b'"', quoted @ .., b'"'] => (start + 1, quoted, true),
            plain => (start, plain, false),
        };
        let (window, rest) = (self.record.window(start, copy), self.record.rest(start));
        Some(Cell { simd: self.simd, window, rest, text, is_quoted, decimal_comma: self.decimal_comma })
    }
}

/// A cell that is not empty.
#[derive(Clone, Copy)]
struct Cell<'a, S> {
    simd: S,
    /// Its first bytes and what follows.
    window: &'a Window,
    /// The row from its first byte on.
    rest: &'a [u8],
    /// Without blanks around it and without its quotes.
    text: &'a [u8],
    is_quoted: bool,
    decimal_comma: bool,
}

impl<S: Simd> Cell<'_, S> {
    /// Whether the text is a number of digits, a dot among them and a minus before them: what the quick readers trust in.
    #[inline(always)]
    fn is_plain_number(self) -> bool {
        let length = self.text.len();
        if length >= WINDOW || length == 0 {
            return false;
        }
        let block = self.simd.load(self.window);
        let (digits, dots) = (self.simd.digits(block), self.simd.equal(block, b'.'));
        let first = usize::from(self.window[0] == b'-');
        let within: Mask = ((1 << length) - 1) & !(first as u64);
        let dots = dots & within;
        let ends = 1 << first | 1 << (length - 1);
        let has_zeros = self.window[first] == b'0' && length > first + 1 && self.window[first + 1] != b'.';
        (digits | dots) & within == within
            && digits & ends == ends
            && dots & dots.wrapping_sub(1) == 0
            && within != 0
            && !has_zeros
    }
}

/// A number with a comma before its fraction, as others write it. A dot would be one between thousands, which nobody needs.
#[inline(never)]
fn with_dot(text: &[u8]) -> Result<Vec<u8>, Misfit> {
    let dotted = |byte: &u8| match byte {
        b'.' => Err(Misfit::WrongType),
        b',' => Ok(b'.'),
        other => Ok(*other),
    };
    text.iter().map(dotted).collect()
}

impl<'a, S: Simd> Value<'a> for Cell<'a, S> {
    #[inline(always)]
    fn float(self) -> Result<Option<f64>, Misfit> {
        if self.decimal_comma {
            return text::float(&with_dot(self.text)?);
        }
        if self.is_plain_number() {
            return float(self.simd, self.window, self.rest).map(Some).ok_or(Misfit::OutOfRange);
        }
        text::float(self.text)
    }

    #[inline(always)]
    fn integer(self, power: u32, fraction: Fraction) -> Result<Option<i64>, Misfit> {
        if self.decimal_comma {
            return text::integer(&with_dot(self.text)?, power, fraction);
        }
        if self.is_plain_number() {
            return Ok(Some(integer(&self.simd.decimal(self.window), self.rest, power, fraction)?));
        }
        text::integer(self.text, power, fraction)
    }

    #[inline]
    fn boolean(self) -> Result<Option<bool>, Misfit> {
        text::boolean(self.text)
    }

    #[inline(always)]
    fn short_text(self) -> Option<([u8; 16], usize)> {
        if self.text.len() > 16 || self.is_quoted {
            return None;
        }
        self.window.first_chunk().map(|bytes| (*bytes, self.text.len()))
    }

    #[inline(never)]
    fn text<'b>(self, scratch: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, Misfit>
    where
        'a: 'b,
    {
        if !self.is_quoted || memchr::memchr(b'"', self.text).is_none() {
            return Ok(Some(self.text));
        }
        scratch.clear();
        // Every quote within is doubled: of each pair the first is kept.
        let mut is_second = false;
        for byte in self.text {
            is_second = *byte == b'"' && !is_second;
            if *byte != b'"' || is_second {
                scratch.push(*byte);
            }
        }
        Ok(Some(scratch))
    }
}
