//! From a record to where its wanted values start. Three tiers, each right by itself, behind one proof:
//!
//! 1. the record has the keys of one before (`template`): jump from colon to colon;
//! 2. it is an object of scalars in another order: look each key up;
//! 3. it is any other object: walk its tokens (`walk`).
//!
//! What stage 1 (`index`) calls faulty is decided by plain code (`lexer`), so that a mistake there costs time, not a record.

use super::index::{Index, Shape};
use super::paths::{NONE, Paths};
use super::template::{Templates, value_after};
use super::tokens::Tokens;
use super::walk::Walk;
use crate::decode::record::Record;
use crate::decode::simd::Simd;
use crate::domain::reject::RejectReason;

/// Finds values in records, and remembers what the records before looked like.
pub(super) struct Locator {
    paths: Paths,
    index: Index,
    templates: Templates,
    starts: Vec<u32>,
    scratch: Vec<u8>,
}

impl Locator {
    pub(super) fn new(paths: Paths) -> Locator {
        Locator {
            starts: vec![NONE; paths.len()],
            paths,
            index: Index::new(),
            templates: Templates::default(),
            scratch: Vec::new(),
        }
    }

    /// For each place where its value starts in the record, or `NONE`. What is at a start is proved to be a value of the grammar.
    #[inline(always)]
    pub(super) fn locate<S: Simd>(&mut self, simd: S, record: Record<'_>) -> Result<&[u32], RejectReason> {
        self.index.scan(simd, record);
        if self.index.has_beyond_ascii && simdutf8::basic::from_utf8(record.bytes()).is_err() {
            return Err(RejectReason::NotUtf8);
        }
        let is_like_another = self.index.shape == Shape::Flat
            && self.templates.locate(record, &self.index, &self.paths, &mut self.starts);
        if !is_like_another {
            self.locate_without_template(record)?;
        }
        Ok(&self.starts)
    }

    #[inline(never)]
    fn locate_without_template(&mut self, record: Record<'_>) -> Result<(), RejectReason> {
        if self.index.shape == Shape::Flat && !self.index.has_escapes {
            self.look_up(record.bytes());
            return Ok(());
        }
        if record.bytes().iter().all(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            return Err(RejectReason::Empty);
        }
        if self.index.shape == Shape::Faulty && !self.index.judge(record) {
            return Err(RejectReason::Syntax);
        }
        let walk = Walk {
            record: record.bytes(),
            tokens: Tokens::new(self.index.tokens()),
            paths: &self.paths,
            starts: &mut self.starts,
            has_escapes: self.index.has_escapes,
            scratch: &mut self.scratch,
        };
        walk.run()
    }

    /// Each key of a flat record without escapes; the last of equal ones wins.
    fn look_up(&mut self, record: &[u8]) {
        self.starts.fill(NONE);
        let keys = Tokens::new(self.index.tokens()).skip(1).step_by(4);
        for (key, colon) in keys.zip(self.index.colons()) {
            let name = &record[key + 1..*colon as usize];
            let end = name.iter().rposition(|byte| *byte == b'"').unwrap_or(name.len());
            if let Some(place) = self.paths.find(0, &name[..end]).and_then(|target| target.place) {
                self.starts[place] = value_after(record, *colon);
            }
        }
    }
}
