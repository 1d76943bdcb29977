//! Signed integers of at most `L` limbs on the stack: the numerators and denominators of the statistics.

use std::cmp::Ordering;

use crate::windows::exact::limbs::{add_with_carry, halves, negate, subtract_with_borrow};
use crate::windows::exact::scaled::Scaled;

/// Sign and magnitude. Invariant: `limbs[length - 1]` is not zero, limbs from `length` on are; zero is not negative.
#[derive(Clone)]
pub struct Integer<const L: usize> {
    negative: bool,
    length: usize,
    limbs: [u64; L],
}

impl<const L: usize> Integer<L> {
    pub const ZERO: Self = Integer { negative: false, length: 0, limbs: [0; L] };

    /// From two's complement limbs, the least significant first.
    #[inline]
    pub fn from_twos(twos: &[u64]) -> Self {
        let mut limbs = [0; L];
        limbs[..twos.len()].copy_from_slice(twos);
        let negative = twos.last().is_some_and(|top| (*top as i64) < 0);
        if negative {
            negate(&mut limbs[..twos.len()]);
        }
        Integer { negative, length: twos.len(), limbs }.trimmed()
    }

    pub fn from_i128(value: i128) -> Self {
        let (low, high) = halves(value.unsigned_abs());
        let mut limbs = [0; L];
        (limbs[0], limbs[1]) = (low, high);
        Integer { negative: value < 0, length: 2, limbs }.trimmed()
    }

    #[inline]
    fn trimmed(mut self) -> Self {
        while self.length > 0 && self.limbs[self.length - 1] == 0 {
            self.length -= 1;
        }
        self.negative &= self.length > 0;
        self
    }

    pub fn is_zero(&self) -> bool {
        self.length == 0
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The magnitude, without leading zero limbs.
    pub fn magnitude(&self) -> &[u64] {
        &self.limbs[..self.length]
    }

    #[inline]
    pub fn times(&self, other: &Self) -> Self {
        let mut product = Self::ZERO;
        for (i, a) in self.magnitude().iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.magnitude().iter().enumerate() {
                let sum = u128::from(*a) * u128::from(*b) + u128::from(product.limbs[i + j]) + u128::from(carry);
                (product.limbs[i + j], carry) = halves(sum);
            }
            if carry != 0 {
                product.limbs[i + other.length] = carry;
            }
        }
        product.length = (self.length + other.length).min(L);
        product.negative = self.negative != other.negative;
        product.trimmed()
    }

    #[inline]
    pub fn times_u64(&self, factor: u64) -> Self {
        let mut product = Self::ZERO;
        let mut carry = 0u64;
        for (limb, a) in product.limbs.iter_mut().zip(self.magnitude()) {
            (*limb, carry) = halves(u128::from(*a) * u128::from(factor) + u128::from(carry));
        }
        product.length = self.length;
        if carry != 0 {
            product.limbs[self.length] = carry;
            product.length += 1;
        }
        product.negative = self.negative;
        product.trimmed()
    }

    /// `self * 2^by`.
    pub fn shift_left(&self, by: usize) -> Self {
        if self.is_zero() || by == 0 {
            return self.clone();
        }
        let (whole, bits) = (by / 64, by % 64);
        let mut shifted = Self::ZERO;
        for (index, limb) in self.magnitude().iter().enumerate() {
            shifted.limbs[index + whole] |= limb << bits;
            let spill = if bits > 0 { limb >> (64 - bits) } else { 0 };
            if spill != 0 {
                shifted.limbs[index + whole + 1] = spill;
            }
        }
        shifted.length = (self.length + whole + 1).min(L);
        shifted.negative = self.negative;
        shifted.trimmed()
    }

    fn compare_magnitudes(&self, other: &Self) -> Ordering {
        let digits = || self.magnitude().iter().rev().cmp(other.magnitude().iter().rev());
        self.length.cmp(&other.length).then_with(digits)
    }

    #[inline]
    pub fn minus(&self, other: &Self) -> Self {
        self.combined(other, !other.negative)
    }

    #[inline]
    pub fn plus(&self, other: &Self) -> Self {
        self.combined(other, other.negative)
    }

    /// `self` and the magnitude of `other` under the given sign.
    fn combined(&self, other: &Self, negative: bool) -> Self {
        let mut result = Self::ZERO;
        let mut carry = false;
        if self.negative == negative {
            let length = self.length.max(other.length);
            for index in 0..length {
                (result.limbs[index], carry) = add_with_carry(self.limbs[index], other.limbs[index], carry);
            }
            result.length = length;
            if carry {
                result.limbs[length] = 1;
                result.length += 1;
            }
            result.negative = negative;
        } else {
            let self_is_greater = self.compare_magnitudes(other).is_ge();
            let (greater, lesser) = if self_is_greater { (self, other) } else { (other, self) };
            for index in 0..greater.length {
                (result.limbs[index], carry) = subtract_with_borrow(greater.limbs[index], lesser.limbs[index], carry);
            }
            result.length = greater.length;
            result.negative = if self_is_greater { self.negative } else { negative };
        }
        result.trimmed()
    }

    /// `self * 2^exponent / (first * second)`, known well enough to be rounded once. The divisors are not zero.
    #[inline]
    pub fn ratio(&self, exponent: i64, first: u64, second: u64) -> Scaled {
        match first.checked_mul(second) {
            Some(divisor) => Scaled::quotient(self.negative, self.magnitude(), exponent, divisor),
            None => self.ratio_of_two(exponent, first, second),
        }
    }

    /// The product of the divisors leaves 64 bits: divide by one after the other, with well over 64 bits of quotient.
    #[cold]
    fn ratio_of_two(&self, exponent: i64, first: u64, second: u64) -> Scaled {
        const EXTRA: usize = 5;
        let mut digits: Vec<u64> = vec![0; EXTRA];
        digits.extend_from_slice(self.magnitude());
        let mut inexact = false;
        for divisor in [first, second] {
            let mut rest = 0u128;
            for limb in digits.iter_mut().rev() {
                let part = rest << 64 | u128::from(*limb);
                *limb = (part / u128::from(divisor)) as u64;
                rest = part % u128::from(divisor);
            }
            inexact |= rest != 0;
        }
        Scaled::quotient(self.negative, &digits, exponent - 64 * EXTRA as i64, 1).or_inexact(inexact)
    }

    /// `self * 2^exponent`.
    pub fn scaled(&self, exponent: i64) -> Scaled {
        Scaled::quotient(self.negative, self.magnitude(), exponent, 1)
    }
}
