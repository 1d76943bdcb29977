//! A 64-bit hash that is the same on every machine and in every version: states and routes are decided by it.

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const WORD: u64 = 0xd6e8_feb8_6659_fd93;

/// Of a missing value.
pub const NULL: u64 = 0x6a09_e667_f3bc_c909;
/// What the hash of a row starts from.
pub const ROW: u64 = 0xbb67_ae85_84ca_a73b;

/// Both halves of a product, folded.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Spreads every bit over all of them.
#[inline(always)]
fn spread(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(WORD);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), WORD).wrapping_add(SEED);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    spread(fold(hash ^ u64::from_le_bytes(last), WORD))
}

#[inline]
pub fn of_bits(bits: u64) -> u64 {
    spread(bits ^ SEED)
}

/// The hash of a row so far, and its next column's.
#[inline]
pub fn combine(row: u64, value: u64) -> u64 {
    spread(row.rotate_left(23) ^ value)
}
