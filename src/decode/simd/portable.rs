//! The portable backend: eight bytes in a 64-bit integer, compared by arithmetic that never carries from byte to byte.

use super::{Mask, Simd};
use crate::decode::number::decimal::{self, Decimal, Window};

/// Any machine.
#[derive(Clone, Copy)]
pub(in crate::decode) struct Portable;

type Words = [u64; 8];

/// All bits of each byte but the highest.
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// `byte` in every byte.
#[inline(always)]
const fn splat(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// The highest bit of each byte that is zero.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
}

/// The highest bit of each byte below `bound`, which is at most 128.
#[inline(always)]
fn bytes_below(word: u64, bound: u8) -> u64 {
    !((word & LOW) + splat(128 - bound)) & !word & !LOW
}

/// The highest bits of 64 bytes, as one mask. The product moves the eight bits of a word next to each other.
#[inline(always)]
fn gather(words: Words) -> Mask {
    words.iter().rev().fold(0, |mask, word| mask << 8 | ((word & !LOW) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56)
}

impl Simd for Portable {
    type Block = Words;

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Words {
        let (words, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|index| u64::from_le_bytes(words[index]))
    }

    #[inline(always)]
    fn keep(self, block: Words, count: usize) -> Words {
        std::array::from_fn(|index| match count.saturating_sub(8 * index) {
            0 => splat(b' '),
            bytes @ 1..8 => {
                let kept = (1 << (8 * bytes)) - 1;
                block[index] & kept | splat(b' ') & !kept
            }
            _ => block[index],
        })
    }

    #[inline(always)]
    fn or(self, left: Words, right: Words) -> Words {
        std::array::from_fn(|index| left[index] | right[index])
    }

    #[inline(always)]
    fn equal(self, block: Words, byte: u8) -> Mask {
        gather(block.map(|word| zero_bytes(word ^ splat(byte))))
    }

    #[inline(always)]
    fn equal_folded(self, block: Words, fold: u8, byte: u8) -> Mask {
        gather(block.map(|word| zero_bytes((word | splat(fold)) ^ splat(byte))))
    }

    #[inline(always)]
    fn structural(self, block: Words) -> Mask {
        gather(block.map(|word| {
            // `[` and `]` differ from `{` and `}` in this bit alone.
            let folded = word | splat(0x20);
            zero_bytes(word ^ splat(b':'))
                | zero_bytes(word ^ splat(b','))
                | zero_bytes(folded ^ splat(b'{'))
                | zero_bytes(folded ^ splat(b'}'))
        }))
    }

    #[inline(always)]
    fn white(self, block: Words) -> Mask {
        gather(block.map(|word| {
            zero_bytes(word ^ splat(b' '))
                | zero_bytes(word ^ splat(b'\n'))
                | zero_bytes(word ^ splat(b'\r'))
                | zero_bytes(word ^ splat(b'\t'))
        }))
    }

    #[inline(always)]
    fn digits(self, block: Words) -> Mask {
        gather(block.map(|word| bytes_below(word ^ splat(b'0'), 10)))
    }

    #[inline(always)]
    fn control(self, block: Words) -> Mask {
        gather(block.map(|word| bytes_below(word, 32)))
    }

    #[inline(always)]
    fn beyond_ascii(self, block: Words) -> Mask {
        gather(block)
    }

    #[inline(always)]
    fn prefix_xor(self, mut mask: Mask) -> Mask {
        for shift in [1, 2, 4, 8, 16, 32] {
            mask ^= mask << shift;
        }
        mask
    }

    #[inline(always)]
    fn decimal(self, window: &Window) -> Decimal {
        decimal::decimal(window)
    }
}
