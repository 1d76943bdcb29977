//! Mean, variance, deviation and root mean square from exact sums: each rounded once (a root, twice).

use crate::windows::exact::integer::Integer;
use crate::windows::exact::limbs::halves;
use crate::windows::exact::scaled::Scaled;
use crate::windows::exact::sums::Sums;

/// What a variance is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// `n - 1`: the variance of what the values are a sample of.
    Sample,
    /// `n`: the variance of the values themselves.
    Population,
}

impl Sums {
    /// `sum(x) / n` for the `count` values added; nothing without values.
    #[inline]
    pub fn mean(&self, count: u64) -> Option<Scaled> {
        if count == 0 {
            return None;
        }
        if let Some((sum, _, unit)) = self.narrow() {
            let (low, high) = halves(sum.unsigned_abs());
            return Some(Scaled::quotient(sum < 0, &[low, high], unit, count));
        }
        Some(self.with_numbers(|(exponent, sum), _| match self.is_wide() {
            false => Integer::<3>::from_twos(sum).ratio(exponent, count, 1),
            true => Integer::<80>::from_twos(sum).ratio(exponent, count, 1),
        }))
    }

    /// `(n sum(x^2) - sum(x)^2) / (n (n - 1))`, or over `n^2`; nothing for too few values.
    #[inline]
    pub fn variance(&self, count: u64, divisor: Divisor) -> Option<Scaled> {
        let second = match divisor {
            Divisor::Sample => count.checked_sub(1).filter(|rest| *rest > 0)?,
            Divisor::Population => Some(count).filter(|count| *count > 0)?,
        };
        if let (Some((sum, squares, unit)), Some(divisor)) = (self.narrow(), count.checked_mul(second)) {
            let numerator = spread(sum.unsigned_abs(), squares, count);
            return Some(Scaled::quotient(false, &numerator, 2 * unit, divisor));
        }
        // Outside the wide form, sum and squares share a unit, so that neither is shifted far.
        Some(self.with_numbers(|sum, squares| match self.is_wide() {
            false => variance_of::<10>(sum, squares, count, second),
            true => variance_of::<160>(sum, squares, count, second),
        }))
    }

    /// `sqrt(sum(x^2) / n)`; nothing without values.
    pub fn root_mean_square(&self, count: u64) -> Option<f64> {
        if count == 0 {
            return None;
        }
        let mean = self.with_numbers(|_, (exponent, squares)| match self.is_wide() {
            false => Integer::<5>::from_twos(squares).ratio(exponent, count, 1),
            true => Integer::<160>::from_twos(squares).ratio(exponent, count, 1),
        });
        Some(mean.root())
    }
}

/// `count * squares - sum^2` of the narrow form, in four limbs without loops.
#[inline]
fn spread(sum: u128, squares: [u64; 3], count: u64) -> [u64; 4] {
    let count = u128::from(count);
    let first = u128::from(squares[0]) * count;
    let second = u128::from(squares[1]) * count + (first >> 64);
    let third = u128::from(squares[2]) * count + (second >> 64);
    let (low, high) = halves(sum);
    let low_low = u128::from(low) * u128::from(low);
    let cross = u128::from(low) * u128::from(high);
    let middle = (low_low >> 64) + u128::from(cross as u64) * 2;
    let top = u128::from(high) * u128::from(high) + (cross >> 64) * 2 + (middle >> 64);
    let (low, borrow) =
        (u128::from(first as u64) | second << 64).overflowing_sub(u128::from(low_low as u64) | middle << 64);
    let high = third.wrapping_sub(top).wrapping_sub(u128::from(borrow));
    let ((first, second), (third, fourth)) = (halves(low), halves(high));
    [first, second, third, fourth]
}

fn variance_of<const L: usize>(sum: (i64, &[u64]), squares: (i64, &[u64]), count: u64, second: u64) -> Scaled {
    let square_of_sum = Integer::<L>::from_twos(sum.1);
    let square_of_sum = square_of_sum.times(&square_of_sum);
    let squares_by_count = Integer::<L>::from_twos(squares.1).times_u64(count);
    if squares_by_count.is_zero() {
        return Scaled::ZERO;
    }
    // A sum of zero has no unit of its own.
    let sum_exponent = if square_of_sum.is_zero() { squares.0 } else { 2 * sum.0 };
    let unit = squares.0.min(sum_exponent);
    let squares_by_count = squares_by_count.shift_left((squares.0 - unit) as usize);
    let square_of_sum = square_of_sum.shift_left((sum_exponent - unit) as usize);
    squares_by_count.minus(&square_of_sum).ratio(unit, count, second)
}
