//! Bytes cut into records: lines, or rows of cells whose quotes may hold line breaks.
//!
//! Rules: a newline ends a record, and a carriage return before it belongs to it; what follows the last newline is one too
//! unless it is empty; a byte-order mark at the beginning belongs to none. Of a record longer than `record_bytes_max` one byte more
//! than that is handed on and the rest skipped, so memory holds at most that and a block, whatever comes. Which records there are
//! depends on the bytes and on that bound, not on how much is read at once.

use std::io::{self, Read};

use memchr::memchr;

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, Offsets, RawBatch};
use crate::sources::files::cells::CellEnds;

/// Where reading stands, so that a closed file can be opened again there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The first byte that was not consumed.
    pub(super) byte: u64,
    /// The next record.
    pub(super) next: i64,
    /// That byte lies inside a record of which enough was handed on.
    pub(super) in_long_record: bool,
}

/// How much at once, and how long a record may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) record_bytes_max: usize,
    pub(super) block_bytes: usize,
}

/// What ends a record.
#[derive(Clone, Debug)]
pub(super) enum Ends {
    /// Each newline. A blank line is a record.
    Lines,
    /// Each newline outside of quotes. A blank line is none, unless it is too long for a record.
    Cells(CellEnds),
}

impl Ends {
    /// The newline that ends the record which begins at `start`, looked for from `from` on; else how far there is none.
    #[inline]
    fn find(&mut self, buffer: &[u8], start: usize, from: usize, at_end: bool) -> Result<usize, usize> {
        match self {
            Ends::Lines => memchr(b'\n', &buffer[from..]).map(|at| from + at).ok_or(buffer.len()),
            Ends::Cells(ends) => ends.find(buffer, start, from, at_end),
        }
    }

    fn is_record(&self, line: &[u8]) -> bool {
        match self {
            Ends::Lines => true,
            Ends::Cells(ends) => !ends.is_blank(line),
        }
    }

    /// A record begins here, whatever came before.
    fn begin_anew(&mut self) {
        if let Ends::Cells(ends) = self {
            ends.begin_anew();
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// See the module.
pub(super) struct Cutter<R> {
    input: R,
    place: Place,
    limits: Limits,
    ends: Ends,
    /// Read and not consumed; the first `scanned` bytes hold no end of a record.
    buffer: Vec<u8>,
    scanned: usize,
    at_end: bool,
    /// The input failed behind what is in the buffer: told once that is cut.
    fault: Option<io::Error>,
}

impl<R: Read> Cutter<R> {
    /// Reads on at `place`; the input already stands at its byte.
    pub(super) fn at(place: Place, input: R, limits: Limits, ends: Ends) -> io::Result<Cutter<R>> {
        let mut cutter =
            Cutter { input, place, limits, ends, buffer: Vec::new(), scanned: 0, at_end: false, fault: None };
        if place.byte == 0 {
            while cutter.buffer.len() < BYTE_ORDER_MARK.len() && cutter.fill()? {}
            if cutter.buffer.starts_with(BYTE_ORDER_MARK) {
                cutter.consume(BYTE_ORDER_MARK.len(), 0);
            }
        }
        Ok(cutter)
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn input(&self) -> &R {
        &self.input
    }

    /// From here on records end otherwise.
    pub(super) fn set_ends(&mut self, ends: Ends) {
        self.ends = ends;
        self.scanned = 0;
    }

    /// Passes over records until `offset` is next. Returns how many records there are if they are fewer.
    pub(super) fn skip_to(&mut self, offset: Offset) -> io::Result<Result<(), u64>> {
        const ROWS: usize = 65_536;
        while self.place.next < offset.0 {
            let left = usize::try_from(offset.0 - self.place.next).unwrap_or(ROWS);
            let Some(cut) = self.advance(left.min(ROWS))? else { return Ok(Err(self.place.next as u64)) };
            self.pass(&cut);
        }
        Ok(Ok(()))
    }

    /// The next records, at most `rows_max` and about a block; none at the end.
    pub(super) fn next(
        &mut self,
        partition: PartitionId,
        form: &Form,
        rows_max: usize,
    ) -> io::Result<Option<RawBatch>> {
        let Some(cut) = self.advance(rows_max.max(1))? else { return Ok(None) };
        let first = Offset(self.place.next);
        // Room for the next block at once, so that it is read behind what is left without moving it again.
        let mut rest = Vec::with_capacity(self.buffer.len() - cut.consumed + self.limits.block_bytes);
        rest.extend_from_slice(&self.buffer[cut.consumed..]);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(cut.consumed);
        self.step(&cut);
        Ok(Some(RawBatch {
            partition,
            form: form.clone(),
            bytes,
            starts: cut.starts,
            ends: cut.ends,
            offsets: Offsets::Dense { first },
            received: None,
            keys: None,
            tombstones: Vec::new(),
        }))
    }

    /// The next record, which does not count as one.
    pub(super) fn take_uncounted(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(cut) = self.advance(1)? else { return Ok(None) };
        let record = self.buffer[cut.starts[0] as usize..cut.ends[0] as usize].to_vec();
        let next = self.place.next;
        self.pass(&cut);
        self.place.next = next;
        Ok(Some(record))
    }

    /// The line that comes next, quotes or not, without its newline: so much of it as a record may have, and whether that is all.
    pub(super) fn peek_line(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        while !self.leave_long_record() && self.fill()? {}
        let record_max = self.limits.record_bytes_max + 1;
        let end = loop {
            if let Some(newline) = memchr(b'\n', &self.buffer) {
                break newline;
            }
            if self.buffer.len() > record_max || !self.fill()? {
                break self.buffer.len();
            }
        };
        let is_nothing = self.buffer.is_empty();
        Ok((!is_nothing).then(|| (&self.buffer[..end.min(record_max)], end <= record_max)))
    }

    /// Passes over that line.
    pub(super) fn drop_line(&mut self) {
        let end = memchr(b'\n', &self.buffer).map_or(self.buffer.len(), |newline| newline + 1);
        self.place.in_long_record = end == self.buffer.len() && !self.buffer.ends_with(b"\n");
        self.consume(end, 0);
    }

    /// Finds the next records; none at the end.
    fn advance(&mut self, rows_max: usize) -> io::Result<Option<Cut>> {
        loop {
            self.leave_long_record();
            let cut = self.cut(rows_max);
            if !cut.starts.is_empty() {
                return Ok(Some(cut));
            }
            let scanned = self.scanned;
            self.consume(cut.consumed, 0);
            self.scanned = scanned;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Passes over what is left of a record that is too long, as far as it is in the buffer. Whether that was all.
    fn leave_long_record(&mut self) -> bool {
        if self.place.in_long_record {
            match memchr(b'\n', &self.buffer) {
                Some(end) => {
                    self.consume(end + 1, 0);
                    self.place.in_long_record = false;
                }
                None => self.consume(self.buffer.len(), 0),
            }
        }
        !self.place.in_long_record
    }

    /// Finds the records in the buffer.
    fn cut(&mut self, rows_max: usize) -> Cut {
        let mut cut = Cut::default();
        let record_max = self.limits.record_bytes_max + 1;
        let (buffer, mut scanned) = (&self.buffer, self.scanned);
        while cut.starts.len() < rows_max {
            let start = cut.consumed;
            let open = buffer.len() - start;
            let newline = match self.ends.find(buffer, start, scanned, self.at_end) {
                // A quote that is not closed within a record is none: the record ends with its line.
                Ok(newline) if newline - start >= record_max => first_newline(buffer, start),
                Ok(newline) => Some(newline),
                Err(_) if open > record_max || self.at_end => first_newline(buffer, start),
                Err(at) => {
                    scanned = at;
                    break;
                }
            };
            match newline {
                Some(newline) => {
                    let end = if newline > start && buffer[newline - 1] == b'\r' { newline - 1 } else { newline };
                    if newline - start > record_max || self.ends.is_record(&buffer[start..end]) {
                        cut.push(start, end.min(start + record_max));
                    }
                    cut.consumed = newline + 1;
                }
                None => {
                    cut.consumed = buffer.len();
                    cut.ends_inside = !self.at_end;
                    let is_record = open > record_max || (open > 0 && self.ends.is_record(&buffer[start..]));
                    if is_record && !self.place.in_long_record {
                        cut.push(start, start + open.min(record_max));
                    }
                }
            }
            self.ends.begin_anew();
            scanned = cut.consumed;
            if newline.is_none() {
                break;
            }
        }
        self.scanned = scanned - cut.consumed;
        cut
    }

    /// Drops the records from the buffer.
    fn pass(&mut self, cut: &Cut) {
        self.buffer.drain(..cut.consumed);
        self.step(cut);
    }

    fn step(&mut self, cut: &Cut) {
        self.place.byte += cut.consumed as u64;
        self.place.next += cut.starts.len() as i64;
        self.place.in_long_record = cut.ends_inside;
    }

    /// Drops bytes from the buffer's front that were `records` records.
    fn consume(&mut self, bytes: usize, records: usize) {
        self.buffer.drain(..bytes);
        self.scanned = 0;
        self.place.byte += bytes as u64;
        self.place.next += records as i64;
    }

    /// Reads one block more. False: there is none, and the buffer's last record has no end.
    fn fill(&mut self) -> io::Result<bool> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.at_end {
            return Ok(false);
        }
        self.buffer.reserve_exact(self.limits.block_bytes);
        let (block, before) = (self.limits.block_bytes as u64, self.buffer.len());
        match self.input.by_ref().take(block).read_to_end(&mut self.buffer) {
            Ok(read) => self.at_end = (read as u64) < block,
            Err(fault) if self.buffer.len() > before => self.fault = Some(fault),
            Err(fault) => return Err(fault),
        }
        Ok(true)
    }
}

fn first_newline(buffer: &[u8], start: usize) -> Option<usize> {
    memchr(b'\n', &buffer[start..]).map(|at| start + at)
}

/// The records found in a buffer.
#[derive(Default)]
struct Cut {
    starts: Vec<u32>,
    ends: Vec<u32>,
    consumed: usize,
    /// The last record goes on beyond what was read.
    ends_inside: bool,
}

impl Cut {
    /// Positions fit 32 bits: a buffer is at most one record and one block long, both bounded far below.
    fn push(&mut self, start: usize, end: usize) {
        self.starts.push(start as u32);
        self.ends.push(end as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines<R: Read>(input: R, place: Place, limits: Limits) -> Cutter<R> {
        Cutter::at(place, input, limits, Ends::Lines).unwrap()
    }

    fn records(text: &[u8], from: i64, limits: Limits, rows_max: usize) -> Vec<(i64, Vec<u8>)> {
        let mut lines = lines(text, Place::default(), limits);
        lines.skip_to(Offset(from)).unwrap().unwrap();
        let mut found = Vec::new();
        while let Some(batch) = lines.next(PartitionId(0), &Form::Objects, rows_max).unwrap() {
            assert!(batch.len() <= rows_max);
            found.extend((0..batch.len()).map(|index| (batch.offset(index).0, batch.payload(index).to_vec())));
        }
        assert_eq!(lines.place().byte, text.len() as u64);
        found
    }

    fn check(text: &str, expected: &[&str]) {
        for block_bytes in 1..text.len() + 3 {
            let limits = Limits { record_bytes_max: 100, block_bytes };
            let found: Vec<_> =
                records(text.as_bytes(), 0, limits, 1000).into_iter().map(|(_, record)| record).collect();
            assert_eq!(
                found,
                expected.iter().map(|record| record.as_bytes().to_vec()).collect::<Vec<_>>(),
                "{block_bytes}"
            );
        }
    }

    #[test]
    fn a_blank_line_is_a_record_and_the_end_after_the_last_newline_is_not() {
        check("a\n\nb\n", &["a", "", "b"]);
        check("a\nb", &["a", "b"]);
        check("\n", &[""]);
        check("", &[]);
    }

    #[test]
    fn a_carriage_return_belongs_to_the_line_end_only_before_a_newline() {
        check("a\r\n\r\nb\rc\r\nd\r", &["a", "", "b\rc", "d\r"]);
    }

    #[test]
    fn a_byte_order_mark_at_the_beginning_belongs_to_no_record() {
        check("\u{feff}a\nb", &["a", "b"]);
        check("\u{feff}", &[]);
        check("a\n\u{feff}b\n", &["a", "\u{feff}b"]);
    }

    #[test]
    fn of_a_record_that_is_too_long_one_byte_too_many_is_handed_on() {
        let text = b"ab\nabcdefghijkl\nabc\nabcd\r\nxyz9999";
        for block_bytes in 1..40 {
            let limits = Limits { record_bytes_max: 3, block_bytes };
            let found: Vec<_> = records(text, 0, limits, 100).into_iter().map(|(_, record)| record).collect();
            assert_eq!(found, [&b"ab"[..], b"abcd", b"abc", b"abcd", b"xyz9"], "{block_bytes}");
        }
    }

    #[test]
    fn a_long_record_does_not_grow_the_buffer() {
        let limits = Limits { record_bytes_max: 1000, block_bytes: 100 };
        let input = io::repeat(b'{').take(10_000_000);
        let mut lines = lines(input, Place::default(), limits);
        assert_eq!(lines.next(PartitionId(0), &Form::Objects, 10).unwrap().unwrap().payload(0).len(), 1001);
        assert!(lines.next(PartitionId(0), &Form::Objects, 10).unwrap().is_none());
        assert!(lines.buffer.capacity() < 5000, "{}", lines.buffer.capacity());
    }

    #[test]
    fn passing_over_more_records_than_there_are_tells_their_number() {
        for block_bytes in 1..8 {
            let limits = Limits { record_bytes_max: 100, block_bytes };
            let mut lines = lines(&b"a\nb\nc"[..], Place::default(), limits);
            assert_eq!(lines.skip_to(Offset(4)).unwrap(), Err(3));
        }
    }

    proptest! {
        #[test]
        fn any_blocks_and_any_start_give_the_same_records(
            text in proptest::collection::vec(prop_oneof![3 => Just(b'\n'), 1 => Just(b'\r'), 6 => Just(b'x'), 2 => Just(b'y')], 0..60),
            block_bytes in 1usize..20, rows_max in 1usize..7, record_bytes_max in 1usize..9,
        ) {
            let whole = Limits { record_bytes_max, block_bytes: 1000 };
            let all = records(&text, 0, whole, 1000);
            for from in 0..=all.len() {
                let limits = Limits { record_bytes_max, block_bytes };
                prop_assert_eq!(&records(&text, from as i64, limits, rows_max)[..], &all[from..]);
            }
        }

        #[test]
        fn reading_goes_on_at_any_place(text in "[ab\r\n]{0,40}", block_bytes in 1usize..9) {
            let limits = Limits { record_bytes_max: 4, block_bytes };
            let all = records(text.as_bytes(), 0, limits, 1000);
            let (mut place, mut found) = (Place::default(), Vec::new());
            loop {
                let mut lines = lines(&text.as_bytes()[place.byte as usize..], place, limits);
                let Some(batch) = lines.next(PartitionId(0), &Form::Objects, 2).unwrap() else { break };
                found.extend((0..batch.len()).map(|index| (batch.offset(index).0, batch.payload(index).to_vec())));
                place = lines.place();
            }
            prop_assert_eq!(found, all);
        }
    }
}
