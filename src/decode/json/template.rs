//! Records that look like one before: the same keys in the same order. Then the wanted values stand behind known colons, and no key
//! needs to be looked up.
//!
//! Invariant: a record matches a template only if its keys are, byte for byte, those of the record it was learned from. All of them, so that
//! "the last of two equal keys" is the same one too.

use super::index::Index;
use super::paths::{NONE, Paths};
use super::tokens::Tokens;
use crate::decode::record::Record;

/// How many orders of keys are remembered.
const TEMPLATES_MAX: usize = 4;
/// So many misses in a row, and learning becomes rare: shuffled records have no order to learn.
const MISSES_EAGER: u32 = 16;
const MISSES_BETWEEN_LEARNING: u32 = 256;

/// The templates learned so far.
#[derive(Default)]
pub(super) struct Templates {
    templates: Vec<Template>,
    /// The one that matched last.
    current: usize,
    misses: u32,
}

struct Template {
    /// The bytes before each colon: the key with its quotes and the byte before it, as far as 16 bytes reach.
    endings: Vec<Ending>,
    /// The parts of longer keys: the colon's number, how far before it the 16 bytes end, and what they are.
    longer: Vec<(usize, usize, Ending)>,
    /// For each wanted place the number of its colon, or `NONE`.
    colons: Vec<u32>,
}

/// 16 bytes, of which those in `mask` count.
#[derive(Clone, Copy)]
struct Ending {
    bytes: u128,
    mask: u128,
}

impl Ending {
    #[inline(always)]
    fn difference(self, bytes: u128) -> u128 {
        (bytes ^ self.bytes) & self.mask
    }
}

impl Templates {
    /// If a template fits the flat `record`: fills in where each wanted value starts.
    #[inline(always)]
    pub(super) fn locate(&mut self, record: Record<'_>, index: &Index, paths: &Paths, starts: &mut [u32]) -> bool {
        let fits = self.templates.get(self.current).is_some_and(|template| template.fits(record, index));
        if !fits && !self.choose(record, index, paths) {
            return false;
        }
        let bytes = record.bytes();
        for (start, colon) in starts.iter_mut().zip(&self.templates[self.current].colons) {
            *start = match index.colons().get(*colon as usize) {
                Some(colon) => value_after(bytes, *colon),
                None => NONE,
            };
        }
        true
    }

    /// Another template that fits, or a new one.
    #[inline(never)]
    fn choose(&mut self, record: Record<'_>, index: &Index, paths: &Paths) -> bool {
        if let Some(other) = self.templates.iter().position(|template| template.fits(record, index)) {
            (self.current, self.misses) = (other, 0);
            return true;
        }
        self.misses = self.misses.saturating_add(1);
        if self.misses > MISSES_EAGER && !self.misses.is_multiple_of(MISSES_BETWEEN_LEARNING) {
            return false;
        }
        let Some(template) = Template::learn(record, index, paths) else {
            return false;
        };
        if self.templates.len() < TEMPLATES_MAX {
            self.current = self.templates.len();
            self.templates.push(template);
        } else {
            self.current = (self.current + 1) % TEMPLATES_MAX;
            self.templates[self.current] = template;
        }
        true
    }
}

/// Where the value after a colon starts.
#[inline(always)]
pub(super) fn value_after(record: &[u8], colon: u32) -> u32 {
    let mut at = colon as usize + 1;
    // A value follows: stage 1 found the record flat. Within it, nothing but white space is at or below a blank.
    while record.get(at).is_some_and(|byte| *byte <= b' ') {
        at += 1;
    }
    at as u32
}

/// The 16 bytes before byte `at`; zeros before the record's first.
#[inline(always)]
fn before(record: &[u8], at: usize) -> u128 {
    match record[..at].last_chunk() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => before_near_start(record, at),
    }
}

#[cold]
#[inline(never)]
fn before_near_start(record: &[u8], at: usize) -> u128 {
    let mut bytes = [0; 16];
    bytes[16 - at..].copy_from_slice(&record[..at]);
    u128::from_le_bytes(bytes)
}

impl Template {
    /// Not inlined: a loop as tight as this one needs the registers for itself.
    #[inline(never)]
    fn fits(&self, record: Record<'_>, index: &Index) -> bool {
        let (bytes, colons) = (record.bytes(), index.colons());
        if self.endings.len() != colons.len() {
            return false;
        }
        let mut pairs = self.endings.iter().zip(colons);
        if !pairs.all(|(ending, colon)| ending.difference(before(bytes, *colon as usize)) == 0) {
            return false;
        }
        self.longer.iter().all(|(number, back, ending)| {
            let end = (colons[*number] as usize).checked_sub(*back);
            end.is_some_and(|end| ending.difference(before(bytes, end)) == 0)
        })
    }

    /// From a flat record. `None` if a key is written in a way that cannot be compared by its bytes alone.
    fn learn(record: Record<'_>, index: &Index, paths: &Paths) -> Option<Template> {
        let bytes = record.bytes();
        let mut template = Template { endings: Vec::new(), longer: Vec::new(), colons: vec![NONE; paths.len()] };
        let keys = Tokens::new(index.tokens()).skip(1).step_by(4);
        for (number, (key, colon)) in keys.zip(index.colons()).enumerate() {
            let colon = *colon as usize;
            let name = bytes[key + 1..colon].strip_suffix(b"\"")?;
            if name.contains(&b'\\') {
                return None;
            }
            // With the byte before the opening quote: in `"x\"a":` the key is not `a`.
            let text = &bytes[key - 1..colon];
            let mut parts = text.rchunks(16).enumerate().map(|(part, chunk)| {
                let mask = u128::MAX << (128 - 8 * chunk.len());
                (16 * part, Ending { bytes: before(bytes, colon - 16 * part) & mask, mask })
            });
            template.endings.extend(parts.next().map(|(_, ending)| ending));
            template.longer.extend(parts.map(|(back, ending)| (number, back, ending)));
            if let Some(place) = paths.find(0, name).and_then(|target| target.place) {
                template.colons[place] = number as u32;
            }
        }
        Some(template)
    }
}
