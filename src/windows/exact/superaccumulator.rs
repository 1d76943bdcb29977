//! An integer as long as it needs to be, in units of any power of two: exact for every finite double.

use crate::windows::exact::limbs::{add_with_carry, halves, negate, subtract_with_borrow};

/// `sum(limbs[i] * 2^(64 * (base + i)))` in two's complement.
///
/// Invariant: what is added lies below the top limb, so that it holds nothing but the sign and carries.
#[derive(Clone, Default, Debug)]
pub struct Superaccumulator {
    base: i32,
    limbs: Vec<u64>,
}

impl Superaccumulator {
    /// The exponent of the lowest bit, and the limbs; no limbs for zero.
    pub fn parts(&self) -> (i64, &[u64]) {
        (64 * i64::from(self.base), &self.limbs)
    }

    /// The lowest limb's place, unless this is zero and has none.
    pub fn base(&self) -> Option<i32> {
        (!self.limbs.is_empty()).then_some(self.base)
    }

    pub fn heap_bytes(&self) -> usize {
        8 * self.limbs.capacity()
    }

    /// Makes room from limb `low` to limb `high`.
    fn reach(&mut self, low: i32, high: i32) {
        if self.limbs.is_empty() {
            self.base = low;
            self.limbs.resize((high - low) as usize + 1, 0);
            return;
        }
        if low < self.base {
            let more = (self.base - low) as usize;
            self.limbs.splice(0..0, std::iter::repeat_n(0, more));
            self.base = low;
        }
        let sign = self.limbs.last().map_or(0, |top| ((*top as i64) >> 63) as u64);
        let top = self.base + self.limbs.len() as i32 - 1;
        if high > top {
            self.limbs.resize(self.limbs.len() + (high - top) as usize, sign);
        }
    }

    /// Adds (or, if negative, takes away) `magnitude * 2^exponent`.
    #[inline]
    pub fn add(&mut self, magnitude: u128, exponent: i32, negative: bool) {
        if magnitude == 0 {
            return;
        }
        let (place, shift) = (exponent >> 6, (exponent & 63) as u32);
        let (low, high) = halves(magnitude);
        let shifted = match shift {
            0 => [low, high, 0],
            _ => [low << shift, (magnitude >> (64 - shift)) as u64, high >> (64 - shift)],
        };
        if place < self.base || place + 3 >= self.base + self.limbs.len() as i32 {
            self.reach(place, place + 3);
        }
        let (addends, above) = self.limbs[(place - self.base) as usize..].split_at_mut(3);
        let mut carry = false;
        for (limb, addend) in addends.iter_mut().zip(shifted) {
            (*limb, carry) = if negative {
                subtract_with_borrow(*limb, addend, carry)
            } else {
                add_with_carry(*limb, addend, carry)
            };
        }
        for limb in above {
            if !carry {
                break;
            }
            (*limb, carry) = if negative { limb.overflowing_sub(1) } else { limb.overflowing_add(1) };
        }
    }

    /// Adds (or takes away) a magnitude of limbs in units of `2^exponent`.
    pub fn add_magnitude(&mut self, magnitude: &[u64], exponent: i32, negative: bool) {
        for (index, limb) in magnitude.iter().enumerate() {
            self.add(u128::from(*limb), exponent + 64 * index as i32, negative);
        }
    }

    /// Adds a two's complement integer in units of `2^exponent`.
    pub fn add_twos(&mut self, twos: &[u64], exponent: i32) {
        let negative = twos.last().is_some_and(|top| (*top as i64) < 0);
        let mut magnitude = twos.to_vec();
        if negative {
            negate(&mut magnitude);
        }
        self.add_magnitude(&magnitude, exponent, negative);
    }

    pub fn merge(&mut self, other: &Superaccumulator) {
        let Some(top) = other.limbs.last() else {
            return;
        };
        self.reach(other.base, other.base + other.limbs.len() as i32 - 1);
        let sign = ((*top as i64) >> 63) as u64;
        let mut carry = false;
        let addends = other.limbs.iter().copied().chain(std::iter::repeat(sign));
        for (limb, addend) in self.limbs[(other.base - self.base) as usize..].iter_mut().zip(addends) {
            (*limb, carry) = add_with_carry(*limb, addend, carry);
        }
    }
}
