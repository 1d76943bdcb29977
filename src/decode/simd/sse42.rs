//! The SSE4.2 backend: four registers of 16 bytes a block; and what AVX2 shares with it.
//!
//! Every `unsafe` here is a call of intrinsics, or a load from an array of at least that size. Each rests on one fact: a value
//! of `Sse42` is only made by `detect`, which asked the processor.

use std::arch::x86_64::*;

use super::{Mask, Simd, Work};
use crate::decode::number::decimal::{self, Decimal, Window};

/// Proof of sse4.2 (with all before it), pclmulqdq and popcnt.
#[derive(Clone, Copy)]
pub(super) struct Sse42(());

impl Sse42 {
    pub(super) fn detect() -> Option<Sse42> {
        let has_all = is_x86_feature_detected!("sse4.2")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Sse42(()))
    }

    /// Runs `work`, and what is inlined into it, compiled for these instructions.
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "sse4.2,pclmulqdq,popcnt")]
        fn compiled_for_sse42<W: Work>(simd: Sse42, work: W) -> W::Output {
            work.run(simd)
        }
        // SAFETY: `self` proves the features.
        unsafe { compiled_for_sse42(self, work) }
    }
}

type Block = [__m128i; 4];

/// One bit for each byte whose highest bit is set.
///
/// # Safety
/// The processor has sse2.
#[inline(always)]
unsafe fn highest_bits(block: Block) -> Mask {
    // SAFETY: as promised.
    let bits = unsafe {
        [
            _mm_movemask_epi8(block[0]),
            _mm_movemask_epi8(block[1]),
            _mm_movemask_epi8(block[2]),
            _mm_movemask_epi8(block[3]),
        ]
    };
    Mask::from(bits[0] as u32)
        | Mask::from(bits[1] as u32) << 16
        | Mask::from(bits[2] as u32) << 32
        | Mask::from(bits[3] as u32) << 48
}

/// `$instruction` on the registers of two blocks. A macro, for a function that takes the instruction as a closure might not be
/// compiled for the features.
macro_rules! each {
    ($instruction:ident, $left:expr, $right:expr) => {{
        let (left, right): (Block, Block) = ($left, $right);
        [
            $instruction(left[0], right[0]),
            $instruction(left[1], right[1]),
            $instruction(left[2], right[2]),
            $instruction(left[3], right[3]),
        ]
    }};
}

/// One bit for each byte that is at most `last`.
///
/// # Safety
/// The processor has sse2.
#[inline(always)]
unsafe fn at_most(block: Block, last: u8) -> Mask {
    // SAFETY: as promised.
    unsafe {
        let least = each!(_mm_min_epu8, block, [_mm_set1_epi8(last as i8); 4]);
        highest_bits(each!(_mm_cmpeq_epi8, block, least))
    }
}

/// For each byte, the row of `table` that its low four bits pick.
///
/// # Safety
/// The processor has ssse3.
#[inline(always)]
unsafe fn rows(table: &[u8; 16], block: Block) -> Block {
    // SAFETY: as promised; the table has 16 bytes.
    unsafe {
        let table = _mm_loadu_si128(table.as_ptr().cast());
        each!(_mm_shuffle_epi8, [table; 4], block)
    }
}

impl Simd for Sse42 {
    type Block = Block;

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Block {
        let from = bytes.as_ptr();
        // SAFETY: `self` proves the features; 16 bytes at 0, 16, 32 and 48 are those of the array.
        unsafe {
            [
                _mm_loadu_si128(from.cast()),
                _mm_loadu_si128(from.add(16).cast()),
                _mm_loadu_si128(from.add(32).cast()),
                _mm_loadu_si128(from.add(48).cast()),
            ]
        }
    }

    #[inline(always)]
    fn keep(self, block: Block, count: usize) -> Block {
        let places = self.load(&PLACES);
        // SAFETY: `self` proves the features.
        unsafe {
            let blanks = _mm_set1_epi8(b' ' as i8);
            let kept = each!(_mm_cmpgt_epi8, [_mm_set1_epi8(count as i8); 4], places);
            [
                _mm_blendv_epi8(blanks, block[0], kept[0]),
                _mm_blendv_epi8(blanks, block[1], kept[1]),
                _mm_blendv_epi8(blanks, block[2], kept[2]),
                _mm_blendv_epi8(blanks, block[3], kept[3]),
            ]
        }
    }

    #[inline(always)]
    fn or(self, left: Block, right: Block) -> Block {
        // SAFETY: `self` proves the features.
        unsafe { each!(_mm_or_si128, left, right) }
    }

    #[inline(always)]
    fn equal(self, block: Block, byte: u8) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { highest_bits(each!(_mm_cmpeq_epi8, block, [_mm_set1_epi8(byte as i8); 4])) }
    }

    #[inline(always)]
    fn equal_folded(self, block: Block, fold: u8, byte: u8) -> Mask {
        // SAFETY: `self` proves the features.
        let fold = unsafe { [_mm_set1_epi8(fold as i8); 4] };
        self.equal(self.or(block, fold), byte)
    }

    #[inline(always)]
    fn structural(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe {
            let folded = self.or(block, [_mm_set1_epi8(0x20); 4]);
            highest_bits(each!(_mm_cmpeq_epi8, folded, rows(&OPERATORS, block)))
        }
    }

    #[inline(always)]
    fn white(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { highest_bits(each!(_mm_cmpeq_epi8, block, rows(&WHITES, block))) }
    }

    #[inline(always)]
    fn digits(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { at_most(each!(_mm_sub_epi8, block, [_mm_set1_epi8(b'0' as i8); 4]), 9) }
    }

    #[inline(always)]
    fn control(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { at_most(block, 0x1f) }
    }

    #[inline(always)]
    fn beyond_ascii(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { highest_bits(block) }
    }

    #[inline(always)]
    fn prefix_xor(self, mask: Mask) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { prefix_xor(mask) }
    }

    #[inline(always)]
    fn decimal(self, window: &Window) -> Decimal {
        // SAFETY: `self` proves the features.
        unsafe { decimal(window) }
    }
}

/// The place of each byte in a block.
pub(super) static PLACES: [u8; 64] = {
    let mut places = [0; 64];
    let mut place = 0;
    while place < 64 {
        places[place] = place as u8;
        place += 1;
    }
    places
};

/// A byte shuffle picks a row by the low four bits of its input, and gives zero where the highest bit is set. So a byte with 0x20 set
/// equals its row exactly if it is one of these: `:` and 0x1a by row 10, `{` `[` by 11, `,` and 0x0c by 12, `}` `]` by 13.
pub(super) static OPERATORS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b':', b'{', b',', b'}', 0, 0];
/// The same for white space; the other rows hold a byte that never stands in that row.
pub(super) static WHITES: [u8; 16] =
    [b' ', 100, 100, 100, 17, 100, 113, 2, 100, b'\t', b'\n', 112, 100, b'\r', 100, 100];

/// Row `n`: the shuffle that drops byte `n` and moves those after it forward; row 16 drops none.
static DROP: [[u8; 16]; 17] = {
    let mut rows = [[0; 16]; 17];
    let mut dropped = 0;
    while dropped < 17 {
        let mut place = 0;
        while place < 16 {
            rows[dropped][place] = if place < dropped {
                place as u8
            } else if place < 15 {
                place as u8 + 1
            } else {
                0x80
            };
            place += 1;
        }
        dropped += 1;
    }
    rows
};

/// The 16 bytes from `n` on: the shuffle that moves the first `n` bytes to the right end, zeros before them.
static PUSH: [u8; 32] = {
    let mut places = [0x80; 32];
    let mut place = 0;
    while place < 16 {
        places[16 + place] = place as u8;
        place += 1;
    }
    places
};

/// The parity of all lower bits, as a carry-less product with all ones.
///
/// # Safety
/// The processor has pclmulqdq.
#[inline(always)]
pub(super) unsafe fn prefix_xor(mask: Mask) -> Mask {
    // SAFETY: as promised.
    unsafe {
        let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(mask as i64), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product) as u64
    }
}

/// A number of up to 15 bytes (and a sign), without a loop: drop the dot, push the digits right, add neighbours up in pairs. Longer ones,
/// and those with an exponent, by words.
///
/// # Safety
/// The processor has ssse3 and sse4.1.
#[inline(always)]
pub(super) unsafe fn decimal(window: &Window) -> Decimal {
    // SAFETY: as promised; the loads read 16 bytes of an array: `window` has 64 and begins at 0 or 1, a row of `DROP` has 16,
    // and `PUSH` has 32 from which at most the first 16 are left out.
    unsafe {
        let negative = window[0] == b'-';
        let first = usize::from(negative);
        let text = _mm_loadu_si128(window.as_ptr().add(first).cast());
        let value = _mm_sub_epi8(text, _mm_set1_epi8(b'0' as i8));
        let digits = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value)) as u32;
        let dots = _mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(b'.' as i8))) as u32;
        let others = !digits & 0xffff;
        let whole = others.trailing_zeros();
        // The dot counts if it is the first byte that is no digit.
        let dot = dots & others & others.wrapping_neg();
        let others = others & !dot;
        if others == 0 || window[first + others.trailing_zeros() as usize] | 0x20 == b'e' {
            return decimal::decimal(window);
        }
        let count = others.trailing_zeros() - u32::from(dot != 0);
        debug_assert!(whole <= 16 && count <= 16);
        let packed = _mm_shuffle_epi8(value, _mm_loadu_si128(DROP[whole as usize].as_ptr().cast()));
        let pushed = _mm_shuffle_epi8(packed, _mm_loadu_si128(PUSH.as_ptr().add(count as usize).cast()));
        let pairs = _mm_maddubs_epi16(pushed, _mm_set1_epi16(0x010a));
        let fours = _mm_madd_epi16(pairs, _mm_set1_epi32(0x0001_0064));
        let eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(0x0001_2710));
        let both = _mm_cvtsi128_si64(eights) as u64;
        Decimal {
            negative,
            mantissa: (both & 0xffff_ffff) * 100_000_000 + (both >> 32),
            exponent: whole as i32 - count as i32,
            is_exact: true,
        }
    }
}
