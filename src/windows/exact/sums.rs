//! Exact sums of values and of their squares, as integers in units of a power of two.
//!
//! The number is the same in every form and unit, and each result is rounded once from it; so neither the order of values, nor
//! how they were cut and merged, nor the form they met can show in a result.

use crate::windows::exact::integer::Integer;
use crate::windows::exact::limbs;
use crate::windows::exact::number::{Number, Run};
use crate::windows::exact::scaled::{Scaled, power_of_two};
use crate::windows::exact::superaccumulator::Superaccumulator;

/// The cheapest integers that hold what came so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Nothing but zeros so far.
    Empty,
    /// Values below `2^63` units: `sum[..2]` and `squares[..3]` are alive, which `2^62` values cannot overflow.
    Narrow,
    /// Values below `2^126` units: all limbs are alive.
    Broad,
    /// Anything, in superaccumulators.
    Wide,
}

#[derive(Clone, Default, Debug)]
struct WideSums {
    sum: Superaccumulator,
    squares: Superaccumulator,
}

/// `sum(x)` in units of `2^unit`, `sum(x * x)` in units of `2^(2 * unit)`.
///
/// Invariant: `unit` lies in -1000..=0, for a scale below one could underflow and hide a bit.
#[derive(Clone, Debug)]
pub struct Sums {
    sum: [u64; 3],
    squares: [u64; 5],
    wide: Option<Box<WideSums>>,
    unit: i16,
    form: Form,
    /// How often a value did not fit; a few times cost more than the broader form.
    misfits: u8,
}

/// How a cell came to hold its sums, as a hint for the next cell of its column.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    unit: i16,
    form: Form,
}

const MISFITS_MAX: u8 = 4;
const UNIT_LEAST: i32 = -1000;
/// Bits of values in the broad form, and bits that its sums keep for themselves when the unit is lowered.
const BROAD_BITS: i32 = 125;
/// `2^48` values in the narrow form, and room to merge ten thousand such sums.
const NARROW_SUM_BITS: i32 = 111;
const NARROW_SQUARES_BITS: i32 = 174;
const SUM_BITS: i32 = 175;
const SQUARES_BITS: i32 = 300;

impl Default for Sums {
    fn default() -> Sums {
        Sums { sum: [0; 3], squares: [0; 5], wide: None, unit: 0, form: Form::Empty, misfits: 0 }
    }
}

/// The lowest and the highest bit set in any value of the run, as exponents of two; nothing if all are zero.
fn span<N: Number>(run: impl Run<N>, length: usize) -> Option<(i32, i32)> {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for index in 0..length {
        let (magnitude, exponent, _) = run.at(index).parts();
        if magnitude != 0 {
            low = low.min(exponent + magnitude.trailing_zeros() as i32);
            high = high.max(exponent + 63 - magnitude.leading_zeros() as i32);
        }
    }
    (low <= high).then_some((low, high))
}

impl Sums {
    /// The unit and form that serve here, if they may serve a neighbour too.
    pub fn habit(&self) -> Option<Habit> {
        matches!(self.form, Form::Narrow | Form::Broad).then_some(Habit { unit: self.unit, form: self.form })
    }

    /// Takes over a neighbour's habit while empty: saves looking for one, and cannot change a result.
    #[inline]
    pub fn adopt(&mut self, habit: Option<Habit>) {
        if let (Form::Empty, Some(habit)) = (self.form, habit) {
            (self.unit, self.form) = (habit.unit, habit.form);
        }
    }

    /// Adds a run. With `SQUARES` in every call or in none.
    #[inline]
    pub fn add_run<const SQUARES: bool, N: Number>(&mut self, mut run: impl Run<N>) {
        loop {
            let added = match self.form {
                Form::Narrow => self.add_narrow::<SQUARES, N>(run),
                Form::Broad => self.add_broad::<SQUARES, N>(run),
                Form::Wide => return self.add_wide::<SQUARES, N>(run),
                Form::Empty => {
                    if !self.start(run) {
                        return;
                    }
                    continue;
                }
            };
            if added == run.length() {
                return;
            }
            run = run.from(added);
            if self.take_misfit::<SQUARES, N>(run) {
                run = run.from(1);
                if run.length() == 0 {
                    return;
                }
            }
        }
    }

    /// Adds values while they are whole multiples of the unit below `2^63`: one conversion, one multiplication. Returns how many.
    #[inline]
    fn add_narrow<const SQUARES: bool, N: Number>(&mut self, run: impl Run<N>) -> usize {
        let scale = power_of_two(-i64::from(self.unit));
        let mut sum = limbs::signed_128(self.sum[0], self.sum[1]);
        let (mut low, mut high) = (limbs::unsigned_128(self.squares[0], self.squares[1]), self.squares[2]);
        let mut added = run.length();
        for index in 0..run.length() {
            let Some(value) = run.at(index).whole(scale) else {
                added = index;
                break;
            };
            sum += i128::from(value);
            if SQUARES {
                let (total, carry) = low.overflowing_add((i128::from(value) * i128::from(value)) as u128);
                low = total;
                high += u64::from(carry);
            }
        }
        (self.sum[0], self.sum[1]) = limbs::halves(sum as u128);
        if SQUARES {
            (self.squares[0], self.squares[1]) = limbs::halves(low);
            self.squares[2] = high;
        }
        added
    }

    /// Adds values while they are whole multiples of the unit below `2^126`. Returns how many.
    #[inline]
    fn add_broad<const SQUARES: bool, N: Number>(&mut self, run: impl Run<N>) -> usize {
        let unit = i32::from(self.unit);
        let (mut low, mut high) = (0u128, 0i64);
        let mut squares = [0u64; 5];
        let mut added = run.length();
        for index in 0..run.length() {
            let Some((magnitude, negative)) = run.at(index).units(unit) else {
                added = index;
                break;
            };
            let sign = -i128::from(negative) as u128;
            let (total, carry) = low.overflowing_add((magnitude ^ sign).wrapping_sub(sign));
            low = total;
            high += i64::from(carry) - i64::from(negative);
            if SQUARES {
                let [a, b, c, d] = limbs::square(magnitude);
                limbs::add(&mut squares, &[a, b, c, d, 0]);
            }
        }
        let (first, second) = limbs::halves(low);
        limbs::add(&mut self.sum, &[first, second, high as u64]);
        if SQUARES {
            limbs::add(&mut self.squares, &squares);
        }
        added
    }

    fn add_wide<const SQUARES: bool, N: Number>(&mut self, run: impl Run<N>) {
        let wide = self.wide.get_or_insert_default();
        for index in 0..run.length() {
            let (magnitude, exponent, negative) = run.at(index).parts();
            wide.sum.add(u128::from(magnitude), exponent, negative);
            if SQUARES {
                wide.squares.add(u128::from(magnitude) * u128::from(magnitude), 2 * exponent, false);
            }
        }
    }

    /// Chooses unit and form by the first values; no, if they are all zero.
    #[cold]
    fn start<N: Number>(&mut self, run: impl Run<N>) -> bool {
        if N::IS_WHOLE {
            (self.unit, self.form) = (0, Form::Narrow);
            return true;
        }
        let length = run.length();
        let Some((low, high)) = span(run, length.min(256)).or_else(|| span(run, length)) else {
            return false;
        };
        self.choose(low, high);
        true
    }

    fn choose(&mut self, low: i32, high: i32) {
        if !(UNIT_LEAST..=900).contains(&low) || high - low > 120 {
            return self.widen();
        }
        // On a coarse grid, so that panes of one column mostly share a unit and merge without shifting.
        let is_narrow = high - low < 60;
        let unit = if is_narrow {
            let grid = (low - 1) & !3;
            if high - grid < 62 { grid } else { low }
        } else {
            let room = ((120 - (high - low)) / 2).min(20);
            let grid = (low - room) & !7;
            if high - grid <= BROAD_BITS { grid } else { low - room }
        };
        let unit = unit.min(0);
        if unit < UNIT_LEAST || high - unit > BROAD_BITS {
            return self.widen();
        }
        self.unit = unit as i16;
        self.form = if is_narrow && high - unit < 62 { Form::Narrow } else { Form::Broad };
    }

    /// Makes room for the first value of the run, which does not fit. Whether that value is added already.
    #[cold]
    #[inline(never)]
    fn take_misfit<const SQUARES: bool, N: Number>(&mut self, run: impl Run<N>) -> bool {
        let Some((low, high)) = span(run, 1) else {
            // Zero fits anywhere, so this is not reached; adding it changes nothing.
            return true;
        };
        self.misfits = self.misfits.saturating_add(1);
        let unit = i32::from(self.unit);
        let may_stay_narrow = self.form == Form::Narrow && self.misfits < MISFITS_MAX;
        if low < unit {
            let grid = (low - 1) & !3;
            let to = if high - grid < 62 { grid } else { low & !7 };
            if to >= UNIT_LEAST && high - to <= BROAD_BITS && self.fits_lowered(unit - to) {
                let (sum, squares) = self.lowered(unit - to);
                self.unit = to as i16;
                self.set_limbs(sum, squares, may_stay_narrow && high - to < 62);
            } else {
                self.widen();
            }
            return false;
        }
        if high - unit > BROAD_BITS {
            self.widen();
            return false;
        }
        // One large value takes all limbs, and leaves the form as it was unless that happens again and again.
        (self.sum, self.squares) = self.all_limbs();
        self.form = Form::Broad;
        let added = self.add_broad::<SQUARES, N>(Only(run.at(0)));
        debug_assert_eq!(added, 1, "what spans no more than the broad form's bits fits it");
        let (sum, squares) = (self.sum, self.squares);
        self.set_limbs(sum, squares, may_stay_narrow);
        true
    }

    fn fits_lowered(&self, by: i32) -> bool {
        let (sum, squares) = self.all_limbs();
        limbs::bits(&sum) + by <= SUM_BITS && limbs::bits(&squares) + 2 * by <= SQUARES_BITS
    }

    fn lowered(&self, by: i32) -> ([u64; 3], [u64; 5]) {
        let (sum, squares) = self.all_limbs();
        (limbs::shift_left(&sum, by as usize), limbs::shift_left(&squares, 2 * by as usize))
    }

    #[cold]
    #[inline(never)]
    fn widen(&mut self) {
        let mut wide = Box::<WideSums>::default();
        let (sum, squares) = self.all_limbs();
        wide.sum.add_twos(&sum, i32::from(self.unit));
        wide.squares.add_twos(&squares, 2 * i32::from(self.unit));
        *self = Sums { wide: Some(wide), form: Form::Wide, ..Sums::default() };
    }

    /// The sums with every limb alive.
    fn all_limbs(&self) -> ([u64; 3], [u64; 5]) {
        let mut sum = self.sum;
        if self.form == Form::Narrow {
            sum[2] = ((sum[1] as i64) >> 63) as u64;
        }
        (sum, self.squares)
    }

    fn set_limbs(&mut self, sum: [u64; 3], squares: [u64; 5], is_narrow: bool) {
        (self.sum, self.squares) = (sum, squares);
        self.form = Form::Broad;
        if is_narrow && limbs::bits(&sum) <= NARROW_SUM_BITS && limbs::bits(&squares) <= NARROW_SQUARES_BITS {
            self.form = Form::Narrow;
            self.sum[2] = 0;
        }
    }

    /// Adds another's sums.
    #[inline]
    pub fn merge(&mut self, other: &Sums) {
        if self.unit == other.unit && self.form == Form::Narrow && other.form == Form::Narrow {
            let sum = limbs::signed_128(self.sum[0], self.sum[1]) + limbs::signed_128(other.sum[0], other.sum[1]);
            (self.sum[0], self.sum[1]) = limbs::halves(sum as u128);
            let low = limbs::unsigned_128(self.squares[0], self.squares[1]);
            let (low, carry) = low.overflowing_add(limbs::unsigned_128(other.squares[0], other.squares[1]));
            (self.squares[0], self.squares[1]) = limbs::halves(low);
            self.squares[2] += other.squares[2] + u64::from(carry);
        } else if self.unit == other.unit && self.form == Form::Broad && other.form == Form::Broad {
            limbs::add(&mut self.sum, &other.sum);
            limbs::add(&mut self.squares, &other.squares);
        } else if other.form != Form::Empty {
            self.merge_unlike(other);
        }
    }

    #[inline(never)]
    fn merge_unlike(&mut self, other: &Sums) {
        if self.form == Form::Empty {
            *self = other.clone();
            return;
        }
        if let (None, None) = (&self.wide, &other.wide) {
            let by = i32::from(self.unit) - i32::from(other.unit);
            let is_narrow = self.form == Form::Narrow && other.form == Form::Narrow;
            if self.fits_lowered(by.max(0)) && other.fits_lowered((-by).max(0)) {
                let (mut sum, mut squares) = self.lowered(by.max(0));
                let (other_sum, other_squares) = other.lowered((-by).max(0));
                limbs::add(&mut sum, &other_sum);
                limbs::add(&mut squares, &other_squares);
                self.unit = self.unit.min(other.unit);
                self.set_limbs(sum, squares, is_narrow);
                return;
            }
        }
        if self.form != Form::Wide {
            self.widen();
        }
        let wide = self.wide.get_or_insert_default();
        match &other.wide {
            Some(other) => {
                wide.sum.merge(&other.sum);
                wide.squares.merge(&other.squares);
            }
            None => {
                let (sum, squares) = other.all_limbs();
                wide.sum.add_twos(&sum, i32::from(other.unit));
                wide.squares.add_twos(&squares, 2 * i32::from(other.unit));
            }
        }
    }

    /// Hands the two exact numbers on: `(exponent, two's complement limbs)` of the sum and of the squares.
    pub fn with_numbers<T>(&self, take: impl FnOnce((i64, &[u64]), (i64, &[u64])) -> T) -> T {
        match &self.wide {
            Some(wide) => take(wide.sum.parts(), wide.squares.parts()),
            None => {
                let (sum, squares) = self.all_limbs();
                let unit = i64::from(self.unit);
                take((unit, &sum), (2 * unit, &squares))
            }
        }
    }

    /// The sums whose sum is `first` and whose squares are `second`: sign, magnitude and exponent of each. Their bits are
    /// those of doubles.
    pub fn from_numbers(first: &Exact, second: &Exact) -> Sums {
        let lowest = |number: &Exact| if number.magnitude.is_empty() { 0 } else { number.exponent };
        let unit = lowest(first).min(lowest(second).div_euclid(2)).min(0);
        let mut sums = Sums::default();
        if first.magnitude.is_empty() && second.magnitude.is_empty() {
            return sums;
        }
        let sum = first.twos::<3>(unit, SUM_BITS);
        let squares = second.twos::<5>(2 * unit, SQUARES_BITS);
        if let (true, Some(sum), Some(squares)) = (unit >= UNIT_LEAST, sum, squares) {
            sums.unit = unit as i16;
            sums.set_limbs(sum, squares, true);
            return sums;
        }
        let mut wide = Box::<WideSums>::default();
        wide.sum.add_magnitude(&first.magnitude, first.exponent, first.negative);
        wide.squares.add_magnitude(&second.magnitude, second.exponent, second.negative);
        Sums { wide: Some(wide), form: Form::Wide, ..sums }
    }

    pub fn heap_bytes(&self) -> usize {
        let bytes = |wide: &WideSums| size_of::<WideSums>() + wide.sum.heap_bytes() + wide.squares.heap_bytes();
        self.wide.as_deref().map_or(0, bytes)
    }

    /// The narrow form's sum, its squares and its unit, for results without loops.
    pub(super) fn narrow(&self) -> Option<(i128, [u64; 3], i64)> {
        let sum = limbs::signed_128(self.sum[0], self.sum[1]);
        let [low, middle, high, ..] = self.squares;
        (self.form == Form::Narrow).then_some((sum, [low, middle, high], i64::from(self.unit)))
    }

    /// The sum, to be rounded.
    pub fn sum(&self) -> Scaled {
        self.with_numbers(|(exponent, sum), _| match self.is_wide() {
            false => Integer::<3>::from_twos(sum).scaled(exponent),
            true => Integer::<80>::from_twos(sum).scaled(exponent),
        })
    }

    pub(super) fn is_wide(&self) -> bool {
        self.form == Form::Wide
    }
}

/// One value as a run.
#[derive(Clone, Copy)]
struct Only<N>(N);

impl<N: Number> Run<N> for Only<N> {
    fn length(&self) -> usize {
        1
    }

    fn at(&self, _: usize) -> N {
        self.0
    }

    fn from(&self, _: usize) -> Self {
        *self
    }
}

/// An exact number as snapshots hold it: without trailing zero bits, so that equal numbers look equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exact {
    pub negative: bool,
    pub exponent: i32,
    /// Empty for zero.
    pub magnitude: Vec<u64>,
}

impl Exact {
    pub fn bits(&self) -> i32 {
        self.magnitude.last().map_or(0, |top| 64 * self.magnitude.len() as i32 - top.leading_zeros() as i32)
    }

    /// In two's complement and units of `2^unit`, if it takes at most that many bits there.
    pub fn twos<const N: usize>(&self, unit: i32, bits_max: i32) -> Option<[u64; N]> {
        let mut twos = [0; N];
        if self.magnitude.is_empty() {
            return Some(twos);
        }
        let shift = self.exponent - unit;
        if shift < 0 || self.bits() + shift > bits_max || self.magnitude.len() > N {
            return None;
        }
        twos[..self.magnitude.len()].copy_from_slice(&self.magnitude);
        let mut twos = limbs::shift_left(&twos, shift as usize);
        if self.negative {
            limbs::negate(&mut twos);
        }
        Some(twos)
    }
}
