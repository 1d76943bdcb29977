//! A record in its buffer: what may be read of it, and a little beyond.

use crate::decode::number::decimal::{WINDOW, Window};

/// A record, and the bytes of its buffer that follow it: reading ahead there is quicker than stopping at the record's end.
#[derive(Clone, Copy)]
pub(in crate::decode) struct Record<'a> {
    /// From the record's first byte to the buffer's end.
    tail: &'a [u8],
    /// Invariant: at most `tail.len()`.
    length: usize,
}

impl<'a> Record<'a> {
    /// The first `length` bytes of `tail`.
    #[inline(always)]
    pub(in crate::decode) fn new(tail: &'a [u8], length: usize) -> Record<'a> {
        assert!(length <= tail.len(), "a record ends within its buffer");
        Record { tail, length }
    }

    #[inline(always)]
    pub(in crate::decode) fn bytes(self) -> &'a [u8] {
        &self.tail[..self.length]
    }

    /// The record from byte `at` on.
    #[inline(always)]
    pub(in crate::decode) fn rest(self, at: usize) -> &'a [u8] {
        &self.tail[at..self.length]
    }

    /// 64 bytes from byte `at` on: of the record, then of whatever follows it, then blanks. `copy` is where the buffer's end
    /// must be padded.
    #[inline(always)]
    pub(in crate::decode) fn window<'b>(self, at: usize, copy: &'b mut Window) -> &'b Window
    where
        'a: 'b,
    {
        let tail = &self.tail[at..];
        match tail.first_chunk() {
            Some(window) => window,
            None => pad(tail, copy),
        }
    }
}

#[cold]
#[inline(never)]
fn pad<'b>(tail: &[u8], copy: &'b mut Window) -> &'b Window {
    *copy = [b' '; WINDOW];
    copy[..tail.len()].copy_from_slice(tail);
    copy
}
