//! Stage 1: reads a record 64 bytes at a time, proves its tokens, and says where they begin.
//!
//! Every rule about strings, numbers and literals is an equation between masks of one bit a byte, so there is no branch for each
//! token. What a block needs to know of the one before is carried as single bits. After `scan`:
//! - `Shape::Flat`: the record is an object of scalars, valid to its last byte;
//! - `Shape::Other`: every token is valid, but the grammar between them is still to be checked;
//! - `Shape::Faulty`: some token is not valid (that the bytes are UTF-8 is for the caller to check, if `has_beyond_ascii`).

use super::lexer;
use super::strange::{self, Strange};
use crate::decode::record::Record;
use crate::decode::simd::{Mask, Simd};

/// What `scan` proved about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Flat,
    Other,
    Faulty,
}

/// A record with more members than this is not called flat. So what an index keeps does not grow with a record's colons.
const COLONS_MAX: usize = 4096;
/// As many as one block may add, and what the first quick write of eight may touch beyond.
const COLONS_SPARE: usize = 64 + 8;

/// What stage 1 found in one record.
pub(super) struct Index {
    pub shape: Shape,
    /// Some string has a backslash.
    pub has_escapes: bool,
    /// Some byte is 0x80 or above.
    pub has_beyond_ascii: bool,
    /// One bit a byte of the record: the first byte of each token.
    tokens: Vec<u64>,
    blocks: usize,
    colons: Box<[u32]>,
    colon_count: usize,
}

impl Index {
    pub(super) fn new() -> Index {
        Index {
            shape: Shape::Faulty,
            has_escapes: false,
            has_beyond_ascii: false,
            tokens: Vec::new(),
            blocks: 0,
            colons: vec![0; COLONS_MAX + COLONS_SPARE].into(),
            colon_count: 0,
        }
    }

    /// The token bits, 64 bytes of the record in each.
    pub(super) fn tokens(&self) -> &[u64] {
        &self.tokens[..self.blocks]
    }

    /// Where the colons of a flat record are; of another one perhaps only the first.
    #[inline(always)]
    pub(super) fn colons(&self) -> &[u32] {
        &self.colons[..self.colon_count]
    }

    /// Reads a record.
    #[inline(always)]
    pub(super) fn scan<S: Simd>(&mut self, simd: S, record: Record<'_>) {
        let bytes = record.bytes();
        self.blocks = bytes.len().div_ceil(64);
        if self.tokens.len() < self.blocks {
            self.tokens.resize(self.blocks, 0);
        }
        let mut scanner = Scanner::new(simd, bytes, &mut self.colons);
        for (index, tokens) in self.tokens[..self.blocks].iter_mut().enumerate() {
            let at = index * 64;
            let mut copy = [0; 64];
            let block = simd.load(record.window(at, &mut copy));
            let left = bytes.len() - at;
            *tokens = scanner.block(at, if left < 64 { simd.keep(block, left) } else { block });
        }
        self.shape = scanner.shape();
        self.has_escapes = scanner.strings.has_escapes;
        self.has_beyond_ascii = simd.beyond_ascii(scanner.seen) != 0;
        self.colon_count = scanner.colon_count;
    }

    /// Finds the tokens by the plain lexer instead; false if there is a fault.
    #[cold]
    #[inline(never)]
    pub(super) fn judge(&mut self, record: Record<'_>) -> bool {
        let is_sound = lexer::find_tokens(record.bytes(), &mut self.tokens[..self.blocks]);
        // What stage 1 took for escapes may be none, or the other way round: let the walk look for itself.
        (self.shape, self.has_escapes) = (if is_sound { Shape::Other } else { Shape::Faulty }, true);
        is_sound
    }
}

/// `mask` one byte further on; the last bit goes over to the next block.
#[inline(always)]
pub(super) fn shifted(mask: Mask, carry: &mut u64) -> Mask {
    let result = mask << 1 | *carry;
    *carry = mask >> 63;
    result
}

/// The byte just after each run of `run` that begins at a bit of `starts` (bits of `run`, or none). Adding a bit to a run of ones
/// carries through it and comes out behind; a run that reaches the next block hands its carry on.
#[inline(always)]
pub(super) fn run_ends(starts: Mask, run: Mask, carry: &mut u64) -> Mask {
    let (sum, first_over) = run.overflowing_add(starts);
    let (sum, second_over) = sum.overflowing_add(*carry);
    *carry = u64::from(first_over | second_over);
    sum & !run
}

/// The state of a scan between two blocks.
struct Scanner<'a, S: Simd> {
    simd: S,
    bytes: &'a [u8],
    colons: &'a mut [u32],
    colon_count: usize,
    /// All bytes so far, or'ed into one block.
    seen: S::Block,
    /// Not 0: some token is not valid.
    faulty: Mask,
    /// Not 0: not a flat object.
    unflat: Mask,
    brackets: u32,
    strings: Strings,
    numbers: Numbers,
    strange: Strange,
    members: Members,
}

impl<'a, S: Simd> Scanner<'a, S> {
    #[inline(always)]
    fn new(simd: S, bytes: &'a [u8], colons: &'a mut [u32]) -> Scanner<'a, S> {
        Scanner {
            simd,
            bytes,
            colons,
            colon_count: 0,
            seen: simd.load(&[0; 64]),
            faulty: 0,
            unflat: 0,
            brackets: 0,
            strings: Strings::default(),
            numbers: Numbers::default(),
            strange: Strange::default(),
            members: Members::default(),
        }
    }

    /// Reads the block that begins at byte `at` of the record; gives its token bits.
    #[inline(always)]
    fn block(&mut self, at: usize, block: S::Block) -> Mask {
        let simd = self.simd;
        self.seen = simd.or(self.seen, block);
        let quotes = self.strings.quotes(simd, block, &self.bytes[at..], &mut self.faulty);
        let inside = self.strings.inside(simd, quotes);
        let outside = !(inside | quotes);
        let white = simd.white(block);
        self.faulty |= simd.control(block) & !(white & outside);

        let structural = simd.structural(block) & outside;
        let colons = simd.equal(block, b':') & structural;
        // All brackets have the bits of 0x59 and not that of 0x80; the only ones among what is structural.
        self.brackets += (simd.equal_folded(block, 0x26, 0x7f) & structural).count_ones();
        let scalars = outside & !white & !structural;
        let scalar_starts = self.scalar_starts(at, block, scalars);

        let tokens = structural | (quotes & inside) | scalar_starts;
        self.unflat |= self.members.misplaced(simd, tokens, structural, colons, quotes);
        self.keep_colons(at, colons);
        tokens
    }

    /// Checks numbers and literals; gives the first byte of each.
    #[inline(always)]
    fn scalar_starts(&mut self, at: usize, block: S::Block, scalars: Mask) -> Mask {
        let simd = self.simd;
        let starts = scalars & !shifted(scalars, &mut self.numbers.in_scalar);
        let digits = simd.digits(block);
        let dots = simd.equal(block, b'.');
        if scalars & !(digits | dots) == 0 && !self.strange.is_open {
            self.strange.in_number = self.numbers.in_scalar;
            self.faulty |= self.numbers.faults(simd.equal(block, b'0') & starts, digits & scalars, dots & scalars);
            return starts;
        }
        let seen =
            strange::Seen { bytes: &self.bytes[at..], scalars, starts, digits, digit_before: self.numbers.after_digit };
        let found = self.strange.read(simd, block, seen);
        let first_digits = found.number_starts | found.after_minus;
        let zeros = simd.equal(block, b'0') & first_digits & found.numbers;
        self.faulty |= found.faults | self.numbers.faults(zeros, digits & found.numbers, dots & found.numbers);
        found.number_starts | found.literal_starts
    }

    /// Notes where the colons are: eight at once, for most blocks have fewer.
    #[inline(always)]
    fn keep_colons(&mut self, at: usize, mut colons: Mask) {
        let count = colons.count_ones() as usize;
        let Some(places) = self.colons.get_mut(self.colon_count..self.colon_count + COLONS_SPARE) else {
            return; // `shape` will say that it is not flat.
        };
        let (first, more) = places.split_at_mut(8);
        for place in first {
            *place = at as u32 | colons.trailing_zeros();
            colons &= colons.wrapping_sub(1);
        }
        if count > 8 {
            for place in &mut more[..count - 8] {
                *place = at as u32 | colons.trailing_zeros();
                colons &= colons.wrapping_sub(1);
            }
        }
        self.colon_count += count;
    }

    /// The verdict, after the last block.
    #[inline(always)]
    fn shape(&self) -> Shape {
        if self.faulty != 0 || self.strings.are_open() {
            return Shape::Faulty;
        }
        // Two brackets in all, the first byte and the last but white space: so all that `misplaced` took for commas are commas.
        let last = self.bytes.iter().rposition(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        let is_object = self.brackets == 2
            && self.bytes.first() == Some(&b'{')
            && last.is_some_and(|last| last > 0 && self.bytes[last] == b'}');
        let has_room = self.colon_count <= COLONS_MAX;
        if is_object && has_room && self.unflat == 0 && self.members.are_complete() {
            Shape::Flat
        } else {
            Shape::Other
        }
    }
}

/// Strings: from the opening quote to the byte before the closing one.
#[derive(Default)]
struct Strings {
    /// 1: the next block's first byte is escaped.
    escaped: u64,
    /// All ones: the next block begins inside a string.
    inside: Mask,
    has_escapes: bool,
}

impl Strings {
    /// The quotes that are not escaped.
    #[inline(always)]
    fn quotes<S: Simd>(&mut self, simd: S, block: S::Block, rest: &[u8], faulty: &mut Mask) -> Mask {
        let quotes = simd.equal(block, b'"');
        let backslashes = simd.equal(block, b'\\');
        if backslashes | self.escaped == 0 {
            return quotes;
        }
        // In a run of backslashes every second one is escaped by the one before. Subtracting the runs' bits from ones at odd
        // places flips places behind a run by its length's parity (simdjson's `find_escaped`).
        const ODD: Mask = 0xaaaa_aaaa_aaaa_aaaa;
        let unescaped = backslashes & !self.escaped;
        let both = ((unescaped << 1) | ODD).wrapping_sub(unescaped) ^ ODD;
        let escaped = both ^ (backslashes | self.escaped);
        let mut starts = both & backslashes;
        self.escaped = starts >> 63;
        self.has_escapes |= starts != 0;
        while starts != 0 {
            let start = starts.trailing_zeros() as usize;
            starts &= starts - 1;
            if !rest.get(start..).is_some_and(lexer::is_escape) {
                *faulty = 1;
            }
        }
        quotes & !escaped
    }

    #[inline(always)]
    fn inside<S: Simd>(&mut self, simd: S, quotes: Mask) -> Mask {
        let inside = simd.prefix_xor(quotes) ^ self.inside;
        self.inside = all_like_last(inside);
        inside
    }

    fn are_open(&self) -> bool {
        self.inside != 0 || self.escaped != 0
    }
}

/// All ones if the highest bit is one, else zero.
#[inline(always)]
fn all_like_last(mask: Mask) -> Mask {
    ((mask as i64) >> 63) as u64
}

/// Numbers: digits, then perhaps one dot between digits; no zero before another digit at the front.
#[derive(Default)]
struct Numbers {
    in_scalar: u64,
    after_digit: u64,
    after_dot: u64,
    after_zero: u64,
    in_fraction: u64,
}

impl Numbers {
    /// Bits where the rules are broken. `zeros`: those that begin a number. `digits`, `dots`: those in numbers.
    #[inline(always)]
    fn faults(&mut self, zeros: Mask, digits: Mask, dots: Mask) -> Mask {
        let after_digit = shifted(digits, &mut self.after_digit);
        let after_dot = shifted(dots, &mut self.after_dot);
        let after_zero = shifted(zeros, &mut self.after_zero);
        let second_dots = run_ends(after_dot & digits, digits, &mut self.in_fraction) & dots;
        (dots & !after_digit) | (after_dot & !digits) | second_dots | (after_zero & digits)
    }
}

/// The flat form `{ key : value , key : value }`: its tokens counted modulo four, by two parities.
#[derive(Default)]
struct Members {
    odd: Mask,
    upper: Mask,
}

impl Members {
    /// Tokens that stand where their kind must not: brackets and commas are the 0th of four, keys the 1st, colons the 2nd, and what
    /// is left for the 3rd are scalars.
    #[inline(always)]
    fn misplaced<S: Simd>(&mut self, simd: S, tokens: Mask, structural: Mask, colons: Mask, quotes: Mask) -> Mask {
        // At the token of number n (from 0): `odd` is set where n is even, `upper` where n is 1 or 2 modulo 4.
        let odd = simd.prefix_xor(tokens) ^ self.odd;
        self.odd = all_like_last(odd);
        let upper = simd.prefix_xor(tokens & !odd) ^ self.upper;
        self.upper = all_like_last(upper);
        ((tokens & odd & !upper) ^ (structural & !colons))
            | (tokens & !odd & upper & !quotes)
            | ((tokens & odd & upper) ^ colons)
    }

    /// Whether the last token was the 0th of four: the closing bracket.
    fn are_complete(&self) -> bool {
        self.odd != 0 && self.upper == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::simd::{Backend, Work};

    struct Scan<'a>(&'a mut Index, Record<'a>);

    impl Work for Scan<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            self.0.scan(simd, self.1);
        }
    }

    fn check(json: &str, wanted: Shape) {
        for backend in Backend::available() {
            // Every construct across every edge of a block.
            for shift in 0..70 {
                let text = json.replacen('{', &format!("{{\"{}\":0,", "k".repeat(shift)), 1);
                let mut index = Index::new();
                backend.run(Scan(&mut index, Record::new(text.as_bytes(), text.len())));
                assert_eq!(index.shape, wanted, "{text} on {backend:?}");
                let mut tokens = vec![0; text.len().div_ceil(64)];
                // The lexer sees two tokens where two touch (`1-2`), and leaves them to the walk.
                let is_sound = lexer::find_tokens(text.as_bytes(), &mut tokens);
                if wanted != Shape::Faulty {
                    assert!(is_sound, "{text}");
                    assert_eq!(index.tokens(), tokens, "{text} on {backend:?}");
                }
            }
        }
    }

    #[test]
    fn objects_of_scalars_are_flat() {
        for json in [
            r#"{"a":1}"#,
            r#"{"a":-0.5e+10,"b":true,"c":null,"d":false,"e":"x\"y\\"} "#,
            r#"{ "a" : 1 , "b" : "\\\\\"" , "c":10}"#,
            r#"{"a":"{[:,","é":"日本","b":1E5}"#,
        ] {
            check(json, Shape::Flat);
        }
    }

    #[test]
    fn other_forms_are_left_to_the_walk() {
        for json in [
            r#"{"a":[1]}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 2}"#,
            r#"{"a":1}}"#,
            r#"{"a":true5}"#,
            r#"{"a":1"b"}"#,
            r#"{1:1}"#,
            r#"{"a":1:"b"}"#,
            r#"{"a":1"#,
            r#" {"a":1}"#,
        ] {
            check(json, Shape::Other);
        }
    }

    #[test]
    fn broken_tokens_are_faults() {
        for value in [
            "01",
            "-01",
            "00",
            "-",
            "+1",
            ".5",
            "1.",
            "1..2",
            "1.2.3",
            "1.e5",
            "1e",
            "1e+",
            "1e5.5",
            "1e5e5",
            "1-2",
            "--1",
            "1e--5",
            "tru",
            "nulL",
            "truex",
            "truefalse",
            "1true",
            "NaN",
            "-Infinity",
            "#",
            "'a'",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\t\"",
            "\u{c}1",
            "1\u{1a}",
            "\"a",
            "\"a\\\"",
            "\\",
            "1\u{0}",
            "0x10",
            "1_000",
        ] {
            check(&format!("{{\"a\":{value}}}"), Shape::Faulty);
        }
    }

    #[test]
    fn more_members_than_are_counted_are_not_called_flat() {
        for (members, wanted) in [(COLONS_MAX, Shape::Flat), (COLONS_MAX + 1, Shape::Other), (100_000, Shape::Other)] {
            let text = format!("{{{}}}", vec!["\"a\":1"; members].join(","));
            let mut index = Index::new();
            Backend::Portable.run(Scan(&mut index, Record::new(text.as_bytes(), text.len())));
            assert_eq!(index.shape, wanted);
        }
        let mut index = Index::new();
        let colons = ":".repeat(100_000);
        Backend::Portable.run(Scan(&mut index, Record::new(colons.as_bytes(), colons.len())));
        assert_eq!(index.shape, Shape::Other);
    }
}
