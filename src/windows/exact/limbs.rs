//! Arithmetic on little-endian arrays of 64-bit limbs, two's complement where signed: what all exact sums are made of.

/// `a + b + carry`, and the carry out.
#[inline(always)]
pub fn add_with_carry(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// `a - b - borrow`, and the borrow out.
#[inline(always)]
pub fn subtract_with_borrow(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first | second)
}

/// `a += b`, wrapping.
#[inline]
pub fn add<const N: usize>(a: &mut [u64; N], b: &[u64; N]) {
    let mut carry = false;
    for (limb, addend) in a.iter_mut().zip(b) {
        (*limb, carry) = add_with_carry(*limb, *addend, carry);
    }
}

/// `a * 2^by`, wrapping.
pub fn shift_left<const N: usize>(a: &[u64; N], by: usize) -> [u64; N] {
    let (limbs, bits) = (by / 64, by % 64);
    let mut shifted = [0; N];
    for index in (limbs..N).rev() {
        shifted[index] = a[index - limbs] << bits;
        if bits > 0 && index > limbs {
            shifted[index] |= a[index - limbs - 1] >> (64 - bits);
        }
    }
    shifted
}

/// The bits that the number needs beside its sign.
pub fn bits<const N: usize>(a: &[u64; N]) -> i32 {
    let sign = ((a[N - 1] as i64) >> 63) as u64;
    let top = a.iter().enumerate().rev().find(|(_, limb)| **limb != sign);
    top.map_or(0, |(index, limb)| 64 * index as i32 + 64 - (limb ^ sign).leading_zeros() as i32)
}

/// `a = -a`.
pub fn negate(a: &mut [u64]) {
    let mut carry = true;
    for limb in a {
        (*limb, carry) = add_with_carry(!*limb, 0, carry);
    }
}

#[inline(always)]
pub fn signed_128(low: u64, high: u64) -> i128 {
    unsigned_128(low, high) as i128
}

#[inline(always)]
pub fn unsigned_128(low: u64, high: u64) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

/// The low and the high half.
#[inline(always)]
pub fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> 64) as u64)
}

/// `value * value` for a value below `2^127`.
#[inline(always)]
pub fn square(value: u128) -> [u64; 4] {
    let (low, high) = halves(value);
    let (low_low, high_high) = (u128::from(low) * u128::from(low), u128::from(high) * u128::from(high));
    let cross = (u128::from(low) * u128::from(high)) << 1;
    let middle = (low_low >> 64) + u128::from(cross as u64);
    let top = high_high + (cross >> 64) + (middle >> 64);
    [low_low as u64, middle as u64, top as u64, (top >> 64) as u64]
}
