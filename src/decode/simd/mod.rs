//! 64 bytes at a time: which of them equal a byte, are digits, are blank. Nothing here knows the grammar of JSON.
//!
//! A [`Simd`] value is the proof that this machine has its instructions: only `detect` makes one. So its methods are safe to
//! call. They are fast only where they are inlined into a function compiled for those instructions ([`Backend::run`]):
//! hence `inline(always)` on everything between.

use crate::decode::number::decimal::{Decimal, Window};

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse42;

#[cfg(target_arch = "x86_64")]
use avx2::Avx2;
use portable::Portable;
#[cfg(target_arch = "x86_64")]
use sse42::Sse42;

/// The sets of instructions that the decoder is written for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Avx2,
    Sse42,
    /// Plain integer arithmetic, for any machine.
    Portable,
}

impl Backend {
    /// Those that this machine has, best first; `Portable` is always among them.
    pub fn available() -> Vec<Backend> {
        [Backend::Avx2, Backend::Sse42, Backend::Portable]
            .into_iter()
            .filter(|backend| backend.is_available())
            .collect()
    }

    pub(in crate::decode) fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Backend::Sse42 => Sse42::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Backend::Avx2 | Backend::Sse42 => false,
            Backend::Portable => true,
        }
    }

    /// Runs `work` compiled for the backend's instructions, or for any machine's where this one lacks them.
    pub(in crate::decode) fn run<W: Work>(self, work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Backend::Avx2 => {
                if let Some(simd) = Avx2::detect() {
                    return simd.run(work);
                }
            }
            Backend::Sse42 => {
                if let Some(simd) = Sse42::detect() {
                    return simd.run(work);
                }
            }
            Backend::Portable => {}
        }
        work.run(Portable)
    }
}

/// What is to be compiled once for each backend. A trait, for a closure cannot be `inline(always)`.
pub(in crate::decode) trait Work {
    type Output;

    /// Implementations are `inline(always)`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// One bit for each byte of a block: the lowest bit is the first byte.
pub(in crate::decode) type Mask = u64;

/// Questions to 64 bytes at once.
pub(in crate::decode) trait Simd: Copy {
    type Block: Copy;

    fn load(self, bytes: &[u8; 64]) -> Self::Block;
    /// The first `count` bytes of `block`, then blanks.
    fn keep(self, block: Self::Block, count: usize) -> Self::Block;
    fn or(self, left: Self::Block, right: Self::Block) -> Self::Block;

    fn equal(self, block: Self::Block, byte: u8) -> Mask;
    /// Equal to `byte` once the bits of `fold` are set: with 0x20, `E` is `e`.
    fn equal_folded(self, block: Self::Block, fold: u8, byte: u8) -> Mask;
    /// `{ } [ ] : ,`, and perhaps the control bytes 0x0c and 0x1a.
    fn structural(self, block: Self::Block) -> Mask;
    /// Blank, tab, newline, carriage return.
    fn white(self, block: Self::Block) -> Mask;
    fn digits(self, block: Self::Block) -> Mask;
    /// Below 0x20.
    fn control(self, block: Self::Block) -> Mask;
    /// 0x80 and above.
    fn beyond_ascii(self, block: Self::Block) -> Mask;

    /// Bit i of the result is the parity of the bits 0 to i: set from each odd bit up to the even one that follows.
    fn prefix_xor(self, mask: Mask) -> Mask;
    /// The number that begins `window`; its grammar is proved.
    fn decimal(self, window: &Window) -> Decimal;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::number::decimal::decimal;

    /// Every question answered byte by byte.
    fn check<S: Simd>(simd: S) {
        let mut bytes = [0u8; 64];
        for round in 0..256usize {
            for (place, byte) in bytes.iter_mut().enumerate() {
                *byte = (place * 4 + round * 67 + round * place) as u8;
            }
            let block = simd.load(&bytes);
            let by = |is: &dyn Fn(u8) -> bool| {
                bytes.iter().enumerate().fold(0, |mask, (place, byte)| mask | u64::from(is(*byte)) << place)
            };
            let lenient = by(&|byte| matches!(byte, 0x0c | 0x1a));
            assert_eq!(simd.equal(block, round as u8), by(&|byte| byte == round as u8));
            assert_eq!(simd.equal_folded(block, 0x20, b'e'), by(&|byte| byte | 0x20 == b'e'));
            assert_eq!(
                simd.structural(block) & !lenient,
                by(&|byte| matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b','))
            );
            assert_eq!(simd.white(block), by(&|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')));
            assert_eq!(simd.digits(block), by(&|byte| byte.is_ascii_digit()));
            assert_eq!(simd.control(block), by(&|byte| byte < 0x20));
            assert_eq!(simd.beyond_ascii(block), by(&|byte| byte >= 0x80));
            let mask = by(&|byte| byte & 4 != 0);
            let parity = |place: u32| u64::from((mask << (63 - place)).count_ones() % 2) << place;
            assert_eq!(simd.prefix_xor(mask), (0..64).map(parity).sum::<u64>());
            let kept = simd.keep(block, round % 64);
            let mut wanted = bytes;
            wanted[round % 64..].fill(b' ');
            for byte in 0..=255 {
                assert_eq!(simd.equal(kept, byte), simd.equal(simd.load(&wanted), byte));
            }
        }
        for text in
            ["0", "-7.25", "123456789012345", "0.000123456789", "12345678.9012345678", "-1e5", "99999999999999.9"]
        {
            let mut window = [b','; 64];
            window[..text.len()].copy_from_slice(text.as_bytes());
            assert_eq!(simd.decimal(&window), decimal(&window), "{text}");
        }
    }

    #[test]
    fn every_backend_answers_as_plain_code_does() {
        check(Portable);
        #[cfg(target_arch = "x86_64")]
        {
            Avx2::detect().into_iter().for_each(check);
            Sse42::detect().into_iter().for_each(check);
        }
    }
}
