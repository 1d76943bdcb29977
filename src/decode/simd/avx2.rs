//! The AVX2 backend: two registers of 32 bytes a block.
//!
//! Every `unsafe` here is a call of intrinsics, or a load from an array of at least that size. Each rests on one fact: a value
//! of `Avx2` is only made by `detect`, which asked the processor.

use std::arch::x86_64::*;

use super::sse42::{self, OPERATORS, PLACES, WHITES};
use super::{Mask, Simd, Work};
use crate::decode::number::decimal::{Decimal, Window};

/// Proof of avx2 (with all before it), pclmulqdq, popcnt, lzcnt, bmi1 and bmi2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Avx2> {
        let has_scalar = is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        let has_vector = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq");
        (has_scalar && has_vector).then_some(Avx2(()))
    }

    /// Runs `work`, and what is inlined into it, compiled for these instructions.
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,pclmulqdq,popcnt,lzcnt,bmi1,bmi2")]
        fn compiled_for_avx2<W: Work>(simd: Avx2, work: W) -> W::Output {
            work.run(simd)
        }
        // SAFETY: `self` proves the features.
        unsafe { compiled_for_avx2(self, work) }
    }
}

type Block = [__m256i; 2];

/// One bit for each byte whose highest bit is set.
///
/// # Safety
/// The processor has avx2.
#[inline(always)]
unsafe fn highest_bits([first, second]: Block) -> Mask {
    // SAFETY: as promised.
    unsafe { Mask::from(_mm256_movemask_epi8(first) as u32) | Mask::from(_mm256_movemask_epi8(second) as u32) << 32 }
}

/// One bit for each byte that is the same in both.
///
/// # Safety
/// The processor has avx2.
#[inline(always)]
unsafe fn same(left: Block, right: Block) -> Mask {
    // SAFETY: as promised.
    unsafe { highest_bits([_mm256_cmpeq_epi8(left[0], right[0]), _mm256_cmpeq_epi8(left[1], right[1])]) }
}

/// One bit for each byte that is at most `last`.
///
/// # Safety
/// The processor has avx2.
#[inline(always)]
unsafe fn at_most(block: Block, last: u8) -> Mask {
    // SAFETY: as promised.
    unsafe {
        let last = _mm256_set1_epi8(last as i8);
        same(block, [_mm256_min_epu8(block[0], last), _mm256_min_epu8(block[1], last)])
    }
}

/// For each byte, the row of `table` that its low four bits pick.
///
/// # Safety
/// The processor has avx2.
#[inline(always)]
unsafe fn rows(table: &[u8; 16], block: Block) -> Block {
    // SAFETY: as promised; the table has 16 bytes.
    unsafe {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        [_mm256_shuffle_epi8(table, block[0]), _mm256_shuffle_epi8(table, block[1])]
    }
}

impl Simd for Avx2 {
    type Block = Block;

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Block {
        let from = bytes.as_ptr();
        // SAFETY: `self` proves the features; 32 bytes at 0 and at 32 are those of the array.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    fn keep(self, block: Block, count: usize) -> Block {
        let places = self.load(&PLACES);
        // SAFETY: `self` proves the features.
        unsafe {
            let (count, blanks) = (_mm256_set1_epi8(count as i8), _mm256_set1_epi8(b' ' as i8));
            [
                _mm256_blendv_epi8(blanks, block[0], _mm256_cmpgt_epi8(count, places[0])),
                _mm256_blendv_epi8(blanks, block[1], _mm256_cmpgt_epi8(count, places[1])),
            ]
        }
    }

    #[inline(always)]
    fn or(self, left: Block, right: Block) -> Block {
        // SAFETY: `self` proves the features.
        unsafe { [_mm256_or_si256(left[0], right[0]), _mm256_or_si256(left[1], right[1])] }
    }

    #[inline(always)]
    fn equal(self, block: Block, byte: u8) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { same(block, [_mm256_set1_epi8(byte as i8); 2]) }
    }

    #[inline(always)]
    fn equal_folded(self, block: Block, fold: u8, byte: u8) -> Mask {
        // SAFETY: `self` proves the features.
        let fold = unsafe { [_mm256_set1_epi8(fold as i8); 2] };
        self.equal(self.or(block, fold), byte)
    }

    #[inline(always)]
    fn structural(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { same(self.or(block, [_mm256_set1_epi8(0x20); 2]), rows(&OPERATORS, block)) }
    }

    #[inline(always)]
    fn white(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe { same(block, rows(&WHITES, block)) }
    }

    #[inline(always)]
    fn digits(self, block: Block) -> Mask {
        // SAFETY: `self` proves the features.
        unsafe {
            let zero = _mm256_set1_epi8(b'0' as i8);
            at_most([_mm256_sub_epi8(block[0], zero), _mm256_sub_epi8(block[1], zero)], 9)
        }
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
        unsafe { sse42::prefix_xor(mask) }
    }

    #[inline(always)]
    fn decimal(self, window: &Window) -> Decimal {
        // SAFETY: `self` proves the features.
        unsafe { sse42::decimal(window) }
    }
}
