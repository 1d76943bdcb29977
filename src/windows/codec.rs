//! Accumulators as bytes: short, the same for equal content, and read back with every doubt.
//!
//! Numbers are varints; exact sums are sign, exponent and magnitude without trailing zero bits, so that unit and form do not show. Values are
//! whole numbers of some decimals, each told by its distance from the one before, wherever doubles can be told so; else their bits.

use crate::windows::cells::{Accumulators, FieldCells, Has, NumberCells, TextCells};
use crate::windows::exact::distinct::{DISTINCT_EXACT_MAX, Distinct, REGISTER_MAX, REGISTERS};
use crate::windows::exact::ends::{Ends, Place};
use crate::windows::exact::extremes::Extremes;
use crate::windows::exact::kept::{Crowd, Held, KEPT_MAX};
use crate::windows::exact::number::{DECIMALS_MAX, Number, is_decimal};
use crate::windows::exact::powers::Powers;
use crate::windows::exact::sketch::Sketch;
use crate::windows::exact::slope::Slope;
use crate::windows::exact::sums::{Exact, Sums};
use crate::windows::plan::Needs;

/// How values are told: by their bits, or as whole numbers of this many decimals and more.
const BITS: u64 = 0;
const DECIMALS: u64 = 1;

/// More events than any cell can have.
pub const EVENTS_MAX: u64 = 1 << 48;

/// Bytes under construction.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
    magnitude: Vec<u64>,
    wholes: Vec<i64>,
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
            self.values(&[least, greatest]);
        }
    }

    /// Ascending values.
    fn values<N: Number>(&mut self, values: &[N]) {
        let Some(decimals) = self.as_wholes(values) else {
            self.unsigned(BITS);
            let start = self.bytes.len();
            self.bytes.resize(start + 8 * values.len(), 0);
            let (words, _) = self.bytes[start..].as_chunks_mut::<8>();
            return words.iter_mut().zip(values).for_each(|(word, value)| *word = value.to_bits().to_le_bytes());
        };
        self.unsigned(DECIMALS + decimals as u64);
        let mut last = 0i64;
        for index in 0..values.len() {
            let whole = self.wholes[index];
            match index {
                0 => self.signed(whole),
                _ => self.unsigned(whole.wrapping_sub(last) as u64),
            }
            last = whole;
        }
    }

    /// Makes the values whole numbers of as few decimals as serve all of them, if any do.
    fn as_wholes<N: Number>(&mut self, values: &[N]) -> Option<usize> {
        self.wholes.clear();
        let mut decimals = 0;
        for value in values {
            loop {
                if let Some(whole) = value.to_decimal(decimals) {
                    self.wholes.push(whole);
                    break;
                }
                decimals += 1;
                if decimals > DECIMALS_MAX || !self.wholes.iter().all(|whole| is_decimal(*whole)) {
                    return None;
                }
                self.wholes.iter_mut().for_each(|whole| *whole *= 10);
            }
        }
        let are_decimals = decimals == 0 || self.wholes.iter().all(|whole| is_decimal(*whole));
        are_decimals.then_some(decimals)
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
                self.values(values);
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
        let values = self.values::<N>(2)?;
        (values[0] <= values[1]).then(|| Extremes::from_values(Some((values[0], values[1]))))
    }

    fn values<N: Number>(&mut self, count: usize) -> Option<Vec<N>> {
        let form = self.unsigned()?;
        if form == BITS {
            return (0..count).map(|_| self.number()).collect();
        }
        let decimals = usize::try_from(form - DECIMALS).ok().filter(|decimals| *decimals <= DECIMALS_MAX)?;
        let mut last = None;
        let mut value = || {
            let whole = match last {
                None => self.signed()?,
                Some(last) => i64::wrapping_add(last, self.unsigned()? as i64),
            };
            last = Some(whole);
            N::from_decimal(whole, decimals)
        };
        (0..count).map(|_| value()).collect()
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
            let values = self.values::<N>(count)?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written<N: Number>(values: &[N]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.values(values);
        let mut reader = Reader(&writer.bytes);
        let back: Vec<u64> = reader.values::<N>(values.len()).unwrap().into_iter().map(N::to_bits).collect();
        assert_eq!(back, values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>());
        assert!(reader.0.is_empty());
        writer.bytes
    }

    #[test]
    fn readings_of_few_decimals_take_little_and_others_their_bits() {
        assert_eq!(
            written(&[20.0, 20.001, 20.25]),
            [4, 0xc0, 0xb8, 2, 1, 249, 1],
            "three decimals: 20000, 1 and 249 more"
        );
        assert_eq!(written(&[-3.0, 0.0, 7.0]), [1, 5, 3, 7]);
        assert_eq!(written::<f64>(&[0.1 + 0.2]).len(), 1 + 8);
        assert_eq!(written(&[0.5, 562_949_953_421_312.0]).len(), 1 + 16, "too large for a tenth");
        assert_eq!(written(&[i64::MIN, -1, i64::MAX])[0], 1);
    }

    proptest! {
        #[test]
        fn values_come_back_to_the_bit_however_they_are_told(
            wholes in prop::collection::vec(-1i64 << 50..1 << 50, 0..20), decimals in 0usize..8, odd in prop::option::of(any::<f64>()),
        ) {
            let odd = odd.filter(|odd| odd.is_finite());
            let values = wholes.iter().map(|whole| *whole as f64 / 10f64.powi(decimals as i32)).chain(odd);
            let mut values: Vec<f64> = values.map(Number::plain).collect();
            values.sort_by(f64::total_cmp);
            written(&values);
            let mut whole = wholes;
            whole.sort_unstable();
            written(&whole);
        }
    }
}
