//! Texts as small numbers: a dictionary that lives as long as its decoder, or until it has grown too large.
//!
//! Promises: the cost of a batch is linear in its rows and texts, however many different texts there are and however they were chosen;
//! batches that bring no new text share one values array. Codes are given in the order of first appearance; the hash
//! (seeded differently in every process, so that nobody can choose texts that collide) decides nothing that can be seen.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, StringArray, UInt32Array};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::UInt32Type;

/// A dictionary beyond either is given up at the next batch.
const WORDS_MAX: usize = 65_536;
const BYTES_MAX: usize = 4 << 20;

const SLOTS_MIN: usize = 1024;
/// What a row pays for building values arrays, in bytes copied.
const CREDIT_PER_ROW: usize = 64;
/// What an entry costs beside its text.
const COST_PER_WORD: usize = 8;
/// A text of at most this many bytes is compared as one number.
pub(super) const SHORT_MAX: usize = 16;

/// The words known so far.
pub(super) struct Dictionary {
    /// Open addressing, at most half full; a power of two.
    slots: Vec<Slot>,
    secrets: [u64; 2],
    /// Word `code` is `bytes[offsets[code]..offsets[code + 1]]`.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    /// The first words as an array, shared by all batches that need no more than these.
    shared: ArrayRef,
    /// What rows have paid since `shared` was built.
    credit: usize,
    /// While a batch is renumbered: where a code stands among those used; valid only if it is found there.
    renumbered: Vec<u32>,
}

/// A word's place in the hash table.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The word itself if it is short, filled up with zeros; else its hash.
    digest: u128,
    length: u32,
    /// The word's code plus one; 0 if the slot is free.
    entry: u32,
}

impl Dictionary {
    pub(super) fn new() -> Dictionary {
        let random = RandomState::new();
        Dictionary {
            slots: vec![Slot::default(); SLOTS_MIN],
            // Odd, so that multiplying loses nothing.
            secrets: [random.hash_one(0) | 1, random.hash_one(1) | 1],
            offsets: vec![0],
            bytes: Vec::new(),
            shared: Arc::new(StringArray::new_null(0)),
            credit: 0,
            renumbered: Vec::new(),
        }
    }

    /// To be called before a batch: forgets everything if it has become too much.
    pub(super) fn begin(&mut self) {
        if self.len() > WORDS_MAX || self.bytes.len() > BYTES_MAX {
            *self = Dictionary::new();
        }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The code of a word of at most 16 bytes: the first `length` of `bytes`.
    #[inline(always)]
    pub(super) fn code_of_short(&mut self, bytes: [u8; SHORT_MAX], length: usize) -> u32 {
        debug_assert!(length <= SHORT_MAX);
        let bytes = u128::from_le_bytes(bytes);
        let digest = if length == 0 { 0 } else { bytes & (u128::MAX >> (128 - 8 * length)) };
        let mut slot = self.home(digest, length);
        loop {
            let found = self.slots[slot];
            if found.digest == digest && found.length == length as u32 && found.entry != 0 {
                return found.entry - 1;
            }
            if found.entry == 0 {
                return self.add(slot, digest, &digest.to_le_bytes()[..length]);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// The code of a word, which is UTF-8.
    pub(super) fn code_of(&mut self, word: &[u8]) -> u32 {
        if word.len() <= SHORT_MAX {
            let mut bytes = [0; SHORT_MAX];
            bytes[..word.len()].copy_from_slice(word);
            return self.code_of_short(bytes, word.len());
        }
        let digest = self.digest(word);
        let mut slot = self.home(digest, word.len());
        loop {
            let found = self.slots[slot];
            if found.entry == 0 {
                return self.add(slot, digest, word);
            }
            if found.digest == digest && found.length == word.len() as u32 && self.word(found.entry - 1) == word {
                return found.entry - 1;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn word(&self, code: u32) -> &[u8] {
        let code = code as usize;
        &self.bytes[self.offsets[code] as usize..self.offsets[code + 1] as usize]
    }

    /// The slot at which the search for a word begins.
    #[inline(always)]
    fn home(&self, digest: u128, length: usize) -> usize {
        let (low, high) = (digest as u64, (digest >> 64) as u64);
        folded(low ^ self.secrets[0], high ^ self.secrets[1] ^ length as u64) as usize & (self.slots.len() - 1)
    }

    /// A long word's hash.
    fn digest(&self, word: &[u8]) -> u128 {
        let mut hash = [self.secrets[0], self.secrets[1]];
        for chunk in word.chunks(16) {
            let mut bytes = [0; 16];
            bytes[..chunk.len()].copy_from_slice(chunk);
            let chunk = u128::from_le_bytes(bytes);
            let (low, high) = (chunk as u64, (chunk >> 64) as u64);
            hash = [
                folded(hash[0] ^ low, self.secrets[1] ^ high),
                folded(hash[1] ^ high, self.secrets[0] ^ low.rotate_left(32)),
            ];
        }
        u128::from(hash[0]) << 64 | u128::from(hash[1])
    }

    #[cold]
    #[inline(never)]
    fn add(&mut self, slot: usize, digest: u128, word: &[u8]) -> u32 {
        let code = self.len() as u32;
        self.slots[slot] = Slot { digest, length: word.len() as u32, entry: code + 1 };
        self.bytes.extend_from_slice(word);
        let end =
            i32::try_from(self.bytes.len()).expect("a batch has less than 2^30 bytes, the dictionary before it 4 MiB");
        self.offsets.push(end);
        if self.len() * 2 > self.slots.len() {
            self.grow();
        }
        code
    }

    fn grow(&mut self) {
        let doubled = vec![Slot::default(); self.slots.len() * 2];
        let known = std::mem::replace(&mut self.slots, doubled);
        for known in known.into_iter().filter(|slot| slot.entry != 0) {
            let mut slot = self.home(known.digest, known.length as usize);
            while self.slots[slot].entry != 0 {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = known;
        }
    }

    /// A batch's column from its codes.
    pub(super) fn column(&mut self, mut codes: Vec<u32>, nulls: Option<NullBuffer>) -> ArrayRef {
        if self.len() == 0 {
            self.code_of(b""); // Null rows have code 0: let it be one.
        }
        self.credit += codes.len() * CREDIT_PER_ROW;
        let is_grown = self.shared.len() < self.len();
        let values = if !is_grown {
            Arc::clone(&self.shared)
        } else if self.len() <= SLOTS_MIN || self.bytes.len() + self.len() * COST_PER_WORD <= self.credit {
            self.credit = 0;
            self.shared = Arc::new(strings(self.offsets.clone(), &self.bytes));
            Arc::clone(&self.shared)
        } else {
            self.renumber(&mut codes)
        };
        let codes = UInt32Array::new(ScalarBuffer::from(codes), nulls);
        let column = DictionaryArray::<UInt32Type>::try_new(codes, values);
        Arc::new(column.expect("every code was given for a word that the values hold"))
    }

    /// A values array of the words that `codes` use, and the codes changed to fit: few rows need not copy many words.
    fn renumber(&mut self, codes: &mut [u32]) -> ArrayRef {
        let mut used: Vec<u32> = Vec::new();
        let (mut offsets, mut bytes) = (vec![0], Vec::new());
        self.renumbered.resize(self.len(), 0);
        for code in codes {
            let known = self.renumbered[*code as usize];
            if used.get(known as usize) == Some(code) {
                *code = known;
                continue;
            }
            let new = used.len() as u32;
            self.renumbered[*code as usize] = new;
            used.push(*code);
            bytes.extend_from_slice(self.word(*code));
            // All words together had offsets in an i32, so some of them have.
            offsets.push(bytes.len() as i32);
            *code = new;
        }
        Arc::new(strings(offsets, &bytes))
    }
}

/// Both halves of the product, folded into one.
#[inline(always)]
fn folded(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

fn strings(offsets: Vec<i32>, bytes: &[u8]) -> StringArray {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, Buffer::from_slice_ref(bytes), None)
        .expect("every word is UTF-8, and offsets ascend to the end")
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    fn texts(column: &ArrayRef) -> Vec<String> {
        let column = column.as_dictionary::<UInt32Type>();
        let values = column.values().as_string::<i32>();
        column.keys().values().iter().map(|code| values.value(*code as usize).to_owned()).collect()
    }

    fn values(column: &ArrayRef) -> ArrayRef {
        Arc::clone(column.as_dictionary::<UInt32Type>().values())
    }

    #[test]
    fn words_of_any_length_keep_their_codes() {
        let mut dictionary = Dictionary::new();
        let words =
            ["", "a", "a\0", "sixteen bytes ok", "seventeen bytes!!", &"long ".repeat(100), &"long ".repeat(101), "é"];
        let first: Vec<u32> = words.iter().map(|word| dictionary.code_of(word.as_bytes())).collect();
        let second: Vec<u32> = words.iter().rev().map(|word| dictionary.code_of(word.as_bytes())).collect();
        assert_eq!(first, (0..words.len() as u32).collect::<Vec<_>>());
        assert!(second.iter().rev().eq(&first));
        assert_eq!(texts(&dictionary.column(first, None)), words);
    }

    #[test]
    fn batches_without_new_words_share_their_values() {
        let mut dictionary = Dictionary::new();
        let code = dictionary.code_of(b"pump-1");
        let first = dictionary.column(vec![code; 3], None);
        let second = dictionary.column(vec![code; 2], None);
        assert!(Arc::ptr_eq(&values(&first), &values(&second)));
        let other = dictionary.code_of(b"pump-2");
        assert_eq!(texts(&dictionary.column(vec![code, other], None)), ["pump-1", "pump-2"]);
    }

    #[test]
    fn a_small_batch_does_not_copy_a_large_dictionary() {
        let mut dictionary = Dictionary::new();
        let many: Vec<u32> = (0..20_000).map(|word| dictionary.code_of(format!("device-{word}").as_bytes())).collect();
        let shared = values(&dictionary.column(many.clone(), None));
        assert_eq!(shared.len(), 20_000);
        let fresh = dictionary.code_of(b"a new one");
        let few = dictionary.column(vec![many[7], fresh, many[7]], None);
        assert_eq!(texts(&few), ["device-7", "a new one", "device-7"]);
        assert_eq!(values(&few).len(), 2);
    }

    #[test]
    fn a_dictionary_that_is_too_large_starts_again() {
        let mut dictionary = Dictionary::new();
        for batch in 0..40 {
            dictionary.begin();
            let words: Vec<String> = (0..4096).map(|word| format!("{batch}/{word}")).collect();
            let codes = words.iter().map(|word| dictionary.code_of(word.as_bytes())).collect();
            assert_eq!(texts(&dictionary.column(codes, None)), words);
            assert!(dictionary.len() <= WORDS_MAX + 4096);
        }
        dictionary.code_of(&vec![b'x'; BYTES_MAX + 1]);
        dictionary.begin();
        assert_eq!(dictionary.len(), 0);
    }

    #[test]
    fn a_column_of_nulls_alone_has_values_to_point_at() {
        let mut dictionary = Dictionary::new();
        let column = dictionary.column(vec![0, 0], Some(NullBuffer::new_null(2)));
        assert_eq!((column.null_count(), values(&column).len()), (2, 1));
    }
}
