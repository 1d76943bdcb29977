//! Accumulators as bytes: short, the same for equal content, and read back with every doubt.
//!
//! Numbers are varints; exact sums are sign, exponent and magnitude without trailing zero bits, so that unit and form do not show.

use crate::windows::cells::{Accumulators, FieldCells, Has, NumberCells, TextCells};
use crate::windows::exact::distinct::{DISTINCT_EXACT_MAX, Distinct, REGISTER_MAX, REGISTERS};
use crate::windows::exact::ends::{Ends, Place};
use crate::windows::exact::extremes::Extremes;
use crate::windows::exact::kept::{Crowd, Held, KEPT_MAX};
use crate::windows::exact::number::Number;
use crate::windows::exact::powers::Powers;
use crate::windows::exact::sketch::Sketch;
use crate::windows::exact::slope::Slope;
use crate::windows::exact::sums::{Exact, Sums};
use crate::windows::plan::Needs;

/// More events than any cell can have.
pub const EVENTS_MAX: u64 = 1 << 48;

/// Bytes under construction.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
    magnitude: Vec<u64>,
}

/// Bytes yet to be read. Every method gives nothing where they are not what a `Writer` wrote.
pub struct Reader<'a>(pub &'a [u8]);

impl Writer {
    pub fn unsigned(&mut self, mut value: u64) {
        while value >= 128 {
            self.bytes.push(value as u8 | 128);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn signed(&mut self, value: i64) {
        self.unsigned((value << 1 ^ value >> 63) as u64);
    }

    fn word(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A two's complement integer in units of `2^exponent`.
    fn exact(&mut self, exponent: i64, twos: &[u64]) {
        self.magnitude.clear();
        self.magnitude.extend_from_slice(twos);
        let negative = twos.last().is_some_and(|top| (*top as i64) < 0);
        if negative {
            crate::windows::exact::negate(&mut self.magnitude);
        }
        let Some(top) = self.magnitude.iter().rposition(|limb| *limb != 0) else {
            return self.unsigned(0);
        };
        let lowest = self.magnitude.iter().position(|limb| *limb != 0).unwrap_or(0);
        let zeros = 64 * lowest + self.magnitude[lowest].trailing_zeros() as usize;
        let bits = 64 * top + 64 - self.magnitude[top].leading_zeros() as usize;
        let length = (bits - zeros).div_ceil(8);
        self.unsigned((length as u64) << 1 | u64::from(negative));
        self.signed(exponent + zeros as i64);
        for index in (0..length).step_by(8) {
            let (limb, shift) = ((zeros + 8 * index) / 64, (zeros + 8 * index) % 64);
            let above = self.magnitude.get(limb + 1).copied().unwrap_or(0);
            let spill = if shift > 0 { above << (64 - shift) } else { 0 };
            let word = self.magnitude[limb] >> shift | spill;
            self.bytes.extend_from_slice(&word.to_le_bytes()[..(length - index).min(8)]);
        }
    }

    fn sums(&mut self, sums: &Sums, has_squares: bool) {
        sums.with_numbers(|(exponent, sum), (squares_exponent, squares)| {
            self.exact(exponent, sum);
            if has_squares {
                self.exact(squares_exponent, squares);
            }
        });
    }

    fn powers(&mut self, powers: &Powers) {
        (0..4).for_each(|k| powers.with_number(k, |exponent, sum| self.exact(exponent, sum)));
    }

    fn extremes<N: Number>(&mut self, extremes: &Extremes<N>) {
        let values = extremes.of_values();
        self.unsigned(u64::from(values.is_some()));
        if let Some((least, greatest)) = values {
            self.word(Number::to_bits(least));
            self.word(Number::to_bits(greatest));
        }
    }

    fn ends<T>(&mut self, ends: &Ends<T>, mut value: impl FnMut(&mut Writer, &T)) {
        self.unsigned(u64::from(ends.first.is_some()));
        for (place, end) in ends.first.iter().chain(&ends.last) {
            self.signed(place.time);
            self.unsigned(place.partition);
            self.signed(place.offset);
            value(self, end);
        }
    }

    fn distinct(&mut self, distinct: &Distinct) {
        match distinct {
            Distinct::Hashes(hashes) => {
                self.unsigned(hashes.len() as u64);
                hashes.iter().for_each(|hash| self.word(*hash));
            }
            Distinct::Registers(registers) => {
                self.unsigned(DISTINCT_EXACT_MAX as u64 + 1);
                self.bytes.extend_from_slice(&registers[..]);
            }
        }
    }

    fn held<N: Number>(&mut self, held: Held<'_, N>, needs: Needs) {
        match held {
            Held::Values(values) => {
                debug_assert!(
                    values.is_sorted_by(|a, b| a.order(b).is_le()),
                    "the pane is settled before it is written"
                );
                self.unsigned(values.len() as u64);
                let start = self.bytes.len();
                self.bytes.resize(start + 8 * values.len(), 0);
                let (words, _) = self.bytes[start..].as_chunks_mut::<8>();
                words.iter_mut().zip(values).for_each(|(word, value)| *word = Number::to_bits(*value).to_le_bytes());
            }
            Held::Crowd(crowd) => {
                self.unsigned(KEPT_MAX as u64 + 1);
                self.unsigned(crowd.count);
                self.sums(&crowd.sums, true);
                self.extremes(&crowd.extremes);
                if needs.powers {
                    self.powers(&crowd.powers);
                }
                self.unsigned(crowd.sketch.buckets().count() as u64);
                let mut last = 0;
                for (bucket, count) in crowd.sketch.buckets() {
                    self.signed(i64::from(bucket) - last);
                    self.unsigned(count);
                    last = i64::from(bucket);
                }
            }
        }
    }

    /// One cell of a field, in a pane that is settled.
    pub fn cell(&mut self, cells: &FieldCells, cell: usize, needs: Needs) {
        self.unsigned(cells.missing(cell));
        match &cells.accumulators {
            Accumulators::Float(numbers) => self.number_cell(numbers, cell, needs),
            Accumulators::Integer(numbers) => self.number_cell(numbers, cell, needs),
            Accumulators::Text(texts) => {
                if let Some(ends) = texts.ends.get(cell) {
                    self.ends(ends, |writer, text| {
                        writer.unsigned(text.len() as u64);
                        writer.bytes.extend_from_slice(text.as_bytes());
                    });
                }
                if let Some(distinct) = texts.distinct.get(cell) {
                    self.distinct(distinct);
                }
            }
        }
    }

    fn number_cell<N: Number>(&mut self, cells: &NumberCells<N>, cell: usize, needs: Needs) {
        if let Some(sums) = cells.sums.get(cell) {
            self.sums(sums, needs.squares);
        }
        if let Some(extremes) = cells.extremes.get(cell) {
            self.extremes(extremes);
        }
        if let Some(powers) = cells.powers.get(cell) {
            self.powers(powers);
        }
        if let Some(kept) = &cells.kept {
            self.held(kept.held(cell), needs);
        }
        if let Some(slope) = cells.slopes.get(cell) {
            slope.for_each_number(|exponent, sum| self.exact(exponent, sum));
        }
        if let Some(ends) = cells.ends.get(cell) {
            self.ends(ends, |writer, value| writer.word(Number::to_bits(*value)));
        }
        if let Some(distinct) = cells.distinct.get(cell) {
            self.distinct(distinct);
        }
    }
}

impl<'a> Reader<'a> {
    pub fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 127);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    pub fn signed(&mut self) -> Option<i64> {
        self.unsigned().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn word(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.unsigned().filter(|flag| *flag < 2).map(|flag| flag == 1)
    }

    fn number<N: Number>(&mut self) -> Option<N> {
        N::from_bits(self.word()?)
    }

    /// An exact sum of `power`-th powers of numbers, or of numbers times something below `2^room`.
    fn exact(&mut self, power: i32, room: i32, is_whole: bool) -> Option<Exact> {
        let head = self.unsigned()?;
        let length = usize::try_from(head >> 1).ok()?;
        if head == 0 {
            return Some(Exact::default());
        }
        let exponent = i32::try_from(self.signed()?).ok()?;
        let bytes = self.take(length).filter(|bytes| !bytes.is_empty())?;
        let limb = |chunk: &[u8]| {
            let mut limb = [0; 8];
            limb[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(limb)
        };
        let exact = Exact { negative: head & 1 == 1, exponent, magnitude: bytes.chunks(8).map(limb).collect() };
        let is_plain = bytes[0] & 1 == 1 && *bytes.last()? != 0;
        let least = if is_whole { 0 } else { -1074 * power };
        let greatest = if is_whole { 64 * power } else { 1024 * power };
        let fits = exponent >= least && exponent <= greatest && exact.bits() + exponent <= greatest + room;
        (is_plain && fits).then_some(exact)
    }

    fn sums<N: Number>(&mut self, has_squares: bool) -> Option<Sums> {
        let sum = self.exact(1, 48, N::IS_WHOLE)?;
        let squares = if has_squares { self.exact(2, 48, N::IS_WHOLE)? } else { Exact::default() };
        (!squares.negative).then(|| Sums::from_numbers(&sum, &squares))
    }

    fn powers<N: Number>(&mut self) -> Option<Powers> {
        let mut numbers: [Exact; 4] = Default::default();
        for (power, number) in (1..).zip(&mut numbers) {
            *number = self.exact(power, 48, N::IS_WHOLE)?;
        }
        Some(Powers::from_numbers(&numbers))
    }

    fn extremes<N: Number>(&mut self) -> Option<Extremes<N>> {
        if !self.flag()? {
            return Some(Extremes::default());
        }
        let (least, greatest) = (self.number::<N>()?, self.number::<N>()?);
        (least <= greatest).then(|| Extremes::from_values(Some((least, greatest))))
    }

    fn ends<T>(&mut self, mut value: impl FnMut(&mut Self) -> Option<T>) -> Option<Ends<T>> {
        if !self.flag()? {
            return Some(Ends::default());
        }
        let mut end = || {
            let place = Place { time: self.signed()?, partition: self.unsigned()?, offset: self.signed()? };
            Some((place, value(self)?))
        };
        let (first, last) = (end()?, end()?);
        (first.0 <= last.0).then_some(Ends { first: Some(first), last: Some(last) })
    }

    fn distinct(&mut self) -> Option<Distinct> {
        let count = usize::try_from(self.unsigned()?).ok()?;
        if count <= DISTINCT_EXACT_MAX {
            let hashes = (0..count).map(|_| self.word()).collect::<Option<Vec<u64>>>()?;
            return hashes.is_sorted_by(|a, b| a < b).then_some(Distinct::Hashes(hashes));
        }
        let registers: &[u8; REGISTERS] = self.take(REGISTERS)?.try_into().ok()?;
        let is_sound = count == DISTINCT_EXACT_MAX + 1 && registers.iter().all(|register| *register <= REGISTER_MAX);
        is_sound.then(|| Distinct::Registers(Box::new(*registers)))
    }

    /// Appends a cell of `present` values to the field's cells.
    fn held<N: Number>(&mut self, cells: &mut NumberCells<N>, cell: usize, present: u64, needs: Needs) -> Option<()> {
        let kept = cells.kept.as_mut()?;
        let count = usize::try_from(self.unsigned()?).ok()?;
        if count <= KEPT_MAX {
            let values = (0..count).map(|_| self.number()).collect::<Option<Vec<N>>>()?;
            kept.add_run(cell, values.as_slice());
            return (count as u64 == present).then_some(());
        }
        let mut crowd = Crowd { count: self.unsigned()?, sums: self.sums::<N>(true)?, ..Crowd::default() };
        crowd.extremes = self.extremes()?;
        if needs.powers {
            crowd.powers = self.powers::<N>()?;
        }
        let (mut bucket, mut total) = (0i64, 0u64);
        let mut buckets = Vec::new();
        for _ in 0..self.unsigned()? {
            let step = self.signed()?;
            bucket = bucket.checked_add(step).filter(|_| buckets.is_empty() || step > 0)?;
            let count = self.unsigned()?;
            total = total.checked_add(count)?;
            buckets.push((i32::try_from(bucket).ok()?, count));
        }
        crowd.sketch = Sketch::from_buckets(&buckets)?;
        let is_sound = count == KEPT_MAX + 1 && crowd.count == present && total == present && count as u64 <= present;
        kept.set_crowd(cell, crowd);
        (is_sound && present > 0).then_some(())
    }

    /// Reads what `Writer::cell` wrote into a cell that is empty. The group has this many events there.
    pub fn cell(&mut self, cells: &mut FieldCells, cell: usize, needs: Needs, events: u64) -> Option<()> {
        let missing = self.unsigned().filter(|missing| *missing <= events)?;
        cells.add_missing(cell, missing);
        match &mut cells.accumulators {
            Accumulators::Float(numbers) => self.number_cell(numbers, cell, needs, events - missing),
            Accumulators::Integer(numbers) => self.number_cell(numbers, cell, needs, events - missing),
            Accumulators::Text(texts) => self.text_cell(texts, cell, needs),
        }
    }

    fn text_cell(&mut self, texts: &mut TextCells, cell: usize, needs: Needs) -> Option<()> {
        if needs.ends {
            texts.ends[cell] = self.ends(|reader| {
                let length = usize::try_from(reader.unsigned()?).ok()?;
                std::str::from_utf8(reader.take(length)?).ok().map(Box::from)
            })?;
        }
        if needs.distinct {
            texts.distinct[cell] = self.distinct()?;
        }
        Some(())
    }

    fn number_cell<N: Number>(
        &mut self,
        cells: &mut NumberCells<N>,
        cell: usize,
        needs: Needs,
        present: u64,
    ) -> Option<()> {
        let has = Has::of(needs);
        if has.sums {
            cells.sums[cell] = self.sums::<N>(needs.squares)?;
        }
        if has.extremes {
            cells.extremes[cell] = self.extremes()?;
        }
        if has.powers {
            cells.powers[cell] = self.powers::<N>()?;
        }
        if has.kept {
            self.held(cells, cell, present, needs)?;
        }
        if needs.slope {
            let times = (self.exact(1, 64, true)?, self.exact(2, 64, true)?);
            let values = (self.exact(1, 48, N::IS_WHOLE)?, self.exact(1, 112, N::IS_WHOLE)?);
            cells.slopes[cell] = Slope::from_numbers(&[times.0, times.1, values.0, values.1])?;
        }
        if needs.ends {
            cells.ends[cell] = self.ends(|reader| reader.number())?;
        }
        if needs.distinct {
            cells.distinct[cell] = self.distinct()?;
        }
        Some(())
    }
}
