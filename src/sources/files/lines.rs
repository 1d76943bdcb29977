//! Bytes cut into lines: the records of every format that has one a line.
//!
//! Rules: a newline ends a record, and a carriage return before it belongs to it; a blank line is a record; what follows the
//! last newline is one too unless it is empty. Of a record longer than `record_bytes_max` one byte more than that is handed
//! on and the rest skipped, so memory holds at most that and a block, whatever comes.

use std::io::{self, Read};

use memchr::{memchr, memchr_iter};

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Offsets, RawBatch};

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

/// See the module.
pub(super) struct Lines<R> {
    input: R,
    place: Place,
    limits: Limits,
    /// Read and not consumed; the first `scanned` bytes hold no newline.
    buffer: Vec<u8>,
    scanned: usize,
    at_end: bool,
}

impl<R: Read> Lines<R> {
    /// Reads on at `place`; the input already stands at its byte.
    pub(super) fn at(place: Place, input: R, limits: Limits) -> Lines<R> {
        Lines { input, place, limits, buffer: Vec::new(), scanned: 0, at_end: false }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Passes over records until `offset` is next. Returns how many records there are if they are fewer.
    pub(super) fn skip_to(&mut self, offset: Offset) -> io::Result<Result<(), u64>> {
        while self.place.next < offset.0 {
            if self.buffer.is_empty() && !self.at_end {
                self.fill()?;
            }
            let left = (offset.0 - self.place.next) as usize;
            let lines = memchr_iter(b'\n', &self.buffer).count();
            if lines >= left {
                // There are `lines` newlines, so the one of index `left - 1` is there.
                let end = memchr_iter(b'\n', &self.buffer).nth(left - 1).map_or(0, |at| at + 1);
                self.consume(end, left);
            } else {
                let open = memchr::memrchr(b'\n', &self.buffer).map_or(0, |at| at + 1) < self.buffer.len();
                self.consume(self.buffer.len(), lines);
                self.place.in_long_record = open || self.place.in_long_record && lines == 0;
                if self.at_end {
                    // What follows the last newline is a record as well.
                    self.place.next += i64::from(std::mem::take(&mut self.place.in_long_record));
                    return Ok(if self.place.next < offset.0 { Err(self.place.next as u64) } else { Ok(()) });
                }
            }
        }
        self.place.in_long_record = false;
        Ok(Ok(()))
    }

    /// The next records, at most `rows_max` and about a block; none at the end.
    pub(super) fn next(&mut self, partition: PartitionId, rows_max: usize) -> io::Result<Option<RawBatch>> {
        loop {
            if self.place.in_long_record {
                match memchr(b'\n', &self.buffer) {
                    Some(end) => {
                        self.consume(end + 1, 0);
                        self.place.in_long_record = false;
                    }
                    None => self.consume(self.buffer.len(), 0),
                }
            }
            let cut = self.cut(rows_max.max(1));
            if !cut.starts.is_empty() {
                return Ok(Some(self.hand_on(partition, cut)));
            }
            if self.at_end {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// Finds the records in the buffer.
    fn cut(&mut self, rows_max: usize) -> Cut {
        let mut cut = Cut::default();
        let record_max = self.limits.record_bytes_max + 1;
        let (buffer, scanned) = (&self.buffer, self.scanned);
        for newline in memchr_iter(b'\n', &buffer[scanned..]).take(rows_max) {
            let newline = scanned + newline;
            let start = cut.consumed;
            let end = if newline > start && buffer[newline - 1] == b'\r' { newline - 1 } else { newline };
            cut.push(start, end.min(start + record_max));
            cut.consumed = newline + 1;
        }
        let open = buffer.len() - cut.consumed;
        if cut.starts.len() == rows_max {
            self.scanned = 0;
            return cut;
        }
        if self.at_end && open > 0 && !self.place.in_long_record {
            cut.push(cut.consumed, cut.consumed + open.min(record_max));
            cut.consumed = buffer.len();
        } else if open > record_max {
            cut.push(cut.consumed, cut.consumed + record_max);
            cut.consumed = buffer.len();
            cut.ends_inside = true;
        }
        self.scanned = buffer.len() - cut.consumed;
        cut
    }

    fn hand_on(&mut self, partition: PartitionId, cut: Cut) -> RawBatch {
        let first = Offset(self.place.next);
        // Room for the next block at once, so that it is read behind what is left without moving it again.
        let mut rest = Vec::with_capacity(self.buffer.len() - cut.consumed + self.limits.block_bytes);
        rest.extend_from_slice(&self.buffer[cut.consumed..]);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(cut.consumed);
        self.place.byte += cut.consumed as u64;
        self.place.next += cut.starts.len() as i64;
        self.place.in_long_record = cut.ends_inside;
        RawBatch {
            partition,
            bytes,
            starts: cut.starts,
            ends: cut.ends,
            offsets: Offsets::Dense { first },
            received: None,
            keys: None,
            tombstones: Vec::new(),
        }
    }

    /// Drops bytes from the buffer's front that were `records` records.
    fn consume(&mut self, bytes: usize, records: usize) {
        self.buffer.drain(..bytes);
        self.scanned = 0;
        self.place.byte += bytes as u64;
        self.place.next += records as i64;
    }

    /// Reads one block more.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve_exact(self.limits.block_bytes);
        let block = self.limits.block_bytes as u64;
        let read = self.input.by_ref().take(block).read_to_end(&mut self.buffer)?;
        self.at_end = (read as u64) < block;
        Ok(())
    }
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

    fn records(text: &[u8], from: i64, limits: Limits, rows_max: usize) -> Vec<(i64, Vec<u8>)> {
        let mut lines = Lines::at(Place::default(), text, limits);
        lines.skip_to(Offset(from)).unwrap().unwrap();
        let mut found = Vec::new();
        while let Some(batch) = lines.next(PartitionId(0), rows_max).unwrap() {
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
        let mut lines = Lines::at(Place::default(), input, limits);
        assert_eq!(lines.next(PartitionId(0), 10).unwrap().unwrap().payload(0).len(), 1001);
        assert!(lines.next(PartitionId(0), 10).unwrap().is_none());
        assert!(lines.buffer.capacity() < 5000, "{}", lines.buffer.capacity());
    }

    #[test]
    fn passing_over_more_records_than_there_are_tells_their_number() {
        for block_bytes in 1..8 {
            let limits = Limits { record_bytes_max: 100, block_bytes };
            let mut lines = Lines::at(Place::default(), &b"a\nb\nc"[..], limits);
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
                let mut lines = Lines::at(place, &text.as_bytes()[place.byte as usize..], limits);
                let Some(batch) = lines.next(PartitionId(0), 2).unwrap() else { break };
                found.extend((0..batch.len()).map(|index| (batch.offset(index).0, batch.payload(index).to_vec())));
                place = lines.place();
            }
            prop_assert_eq!(found, all);
        }
    }
}
