//! The part of stage 1 for signs, exponents, `true`, `false` and `null`: most blocks have none of them.

use super::index::{run_ends, shifted};
use super::lexer;
use crate::decode::simd::{Mask, Simd};

/// What of these is under way at the end of a block; each one bit unless it says otherwise.
#[derive(Default)]
pub(super) struct Strange {
    /// Something is: the next block must be looked at here, whatever it holds.
    pub is_open: bool,
    /// The block ended within a number, as far as its next byte tells.
    pub in_number: u64,
    after_minus: u64,
    after_e: u64,
    after_sign: u64,
    after_exponent_sign: u64,
    in_exponent: u64,
    /// The first bytes of the next block that a literal reaches.
    literal: Mask,
}

/// A block as stage 1 sees it up to here.
pub(super) struct Seen<'a> {
    /// The record from the block on.
    pub bytes: &'a [u8],
    /// Bytes that are neither in strings nor structural nor white.
    pub scalars: Mask,
    /// Their runs' first bytes.
    pub starts: Mask,
    pub digits: Mask,
    /// 1: the block before ended with a digit of a number.
    pub digit_before: u64,
}

/// What is now known of the block's scalars.
pub(super) struct Found {
    /// Bytes of numbers.
    pub numbers: Mask,
    pub number_starts: Mask,
    pub literal_starts: Mask,
    /// The byte after a minus that begins a number.
    pub after_minus: Mask,
    pub faults: Mask,
}

impl Strange {
    /// Reads a block.
    #[inline(always)]
    pub(super) fn read<S: Simd>(&mut self, simd: S, block: S::Block, seen: Seen<'_>) -> Found {
        let minus = simd.equal(block, b'-');
        let (literals, literal_starts, mut faults) = self.literals(seen.bytes, seen.starts & !seen.digits & !minus);
        let numbers = seen.scalars & !literals;
        let number_starts = numbers & !shifted(numbers, &mut self.in_number);

        let minus = minus & numbers;
        let plus = simd.equal(block, b'+') & numbers;
        let e = simd.equal_folded(block, 0x20, b'e') & numbers;
        let dots = simd.equal(block, b'.') & numbers;
        let digits = seen.digits & numbers;
        let signs = minus | plus;
        faults |= numbers & !(digits | dots | signs | e);
        let after_minus = shifted(minus & number_starts, &mut self.after_minus);

        // An `e` follows a digit, and is followed by a digit or a sign; a sign begins a number or follows an `e`, and a digit follows it.
        let after_e = shifted(e, &mut self.after_e);
        faults |= e & !(digits << 1 | seen.digit_before);
        faults |= after_e & !(digits | signs);
        faults |= signs & !(after_e | (minus & number_starts));
        faults |= shifted(signs, &mut self.after_sign) & !digits;
        // The digits of an exponent end the number: no dot and no `e` behind them.
        let exponents = (after_e | shifted(after_e & signs, &mut self.after_exponent_sign)) & digits;
        faults |= run_ends(exponents, digits, &mut self.in_exponent) & (dots | e);

        let carried = self.after_minus
            | self.after_e
            | self.after_sign
            | self.after_exponent_sign
            | self.in_exponent
            | self.literal;
        // A literal that ends with the block: the next one's first byte begins a token of its own if it is a scalar's.
        let literal_is_last = (seen.scalars ^ numbers) >> 63;
        self.is_open = carried | literal_is_last != 0;
        Found { numbers, number_starts, literal_starts, after_minus, faults }
    }

    /// The bytes of literals, where they begin, and faults: `words` are the first bytes of what can only be literals.
    #[inline(always)]
    fn literals(&mut self, bytes: &[u8], mut words: Mask) -> (Mask, Mask, Mask) {
        let mut literals = std::mem::take(&mut self.literal);
        let mut starts = 0;
        let mut faults = 0;
        while words != 0 {
            let place = words.trailing_zeros() as usize;
            words &= words - 1;
            let length = bytes.get(place..).map_or(0, lexer::literal_length);
            if length == 0 {
                faults = 1;
                continue;
            }
            starts |= 1 << place;
            literals |= ((1 << length) - 1) << place;
            if place + length > 64 {
                self.literal = (1 << (place + length - 64)) - 1;
            }
        }
        (literals, starts, faults)
    }
}
