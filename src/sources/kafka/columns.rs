//! Kafka records on their way into a raw batch.

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, Offsets, RawBatch};

/// Records of one partition as they come in.
#[derive(Default)]
pub(super) struct Columns {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    ends: Vec<u32>,
    offsets: Vec<i64>,
    received: Vec<i64>,
    keys: Vec<Option<(u32, u32)>>,
    tombstones: Vec<u32>,
    has_keys: bool,
    lacks_stamps: bool,
}

impl Columns {
    /// Beyond this a batch is cut, so that positions in it fit 32 bits: one record has at most 2 GiB.
    pub(super) const BYTES_MAX: usize = 16 << 20;

    /// Room for about as much as the last batch had.
    pub(super) fn like(rows: usize, bytes: usize) -> Columns {
        Columns {
            bytes: Vec::with_capacity(bytes),
            starts: Vec::with_capacity(rows),
            ends: Vec::with_capacity(rows),
            offsets: Vec::with_capacity(rows),
            received: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows),
            ..Columns::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= Columns::BYTES_MAX
    }

    /// `stamped` in milliseconds, negative where there is none.
    pub(super) fn push(&mut self, offset: i64, stamped: i64, key: Option<&[u8]>, payload: Option<&[u8]>) {
        if payload.is_none() {
            self.tombstones.push(self.starts.len() as u32);
        }
        let (start, end) = self.append(payload.unwrap_or_default());
        self.starts.push(start);
        self.ends.push(end);
        self.offsets.push(offset);
        self.lacks_stamps |= stamped < 0;
        self.received.push(stamped.saturating_mul(1000));
        self.has_keys |= key.is_some();
        let key = key.map(|key| self.append(key));
        self.keys.push(key);
    }

    fn append(&mut self, bytes: &[u8]) -> (u32, u32) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        (start, self.bytes.len() as u32)
    }

    pub(super) fn finish(self, partition: PartitionId) -> RawBatch {
        let first = self.offsets.first().copied().unwrap_or_default();
        let dense = self.offsets.last().is_none_or(|last| last - first + 1 == self.offsets.len() as i64);
        RawBatch {
            partition,
            form: Form::Objects,
            bytes: self.bytes,
            starts: self.starts,
            ends: self.ends,
            offsets: if dense { Offsets::Dense { first: Offset(first) } } else { Offsets::Sparse(self.offsets) },
            received: (!self.lacks_stamps).then_some(self.received),
            keys: self.has_keys.then_some(self.keys),
            tombstones: self.tombstones,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_payload_is_no_tombstone_and_keys_are_kept_apart() {
        let mut columns = Columns::default();
        columns.push(7, 3, Some(b"k"), Some(b"one"));
        columns.push(8, 4, None, Some(b""));
        columns.push(10, 5, Some(b"gone"), None);
        let batch = columns.finish(PartitionId(1));
        assert_eq!((batch.payload(0), batch.payload(1), batch.payload(2)), (&b"one"[..], &b""[..], &b""[..]));
        assert_eq!((batch.key(0), batch.key(1), batch.key(2)), (Some(&b"k"[..]), None, Some(&b"gone"[..])));
        assert_eq!(batch.tombstones, [2]);
        assert_eq!(batch.offsets, Offsets::Sparse(vec![7, 8, 10]));
        assert_eq!(batch.received, Some(vec![3000, 4000, 5000]));
    }

    #[test]
    fn offsets_without_holes_are_dense() {
        let mut columns = Columns::default();
        columns.push(7, -1, None, Some(b"1"));
        columns.push(8, 1, None, Some(b"2"));
        let batch = columns.finish(PartitionId(1));
        assert_eq!(batch.offsets, Offsets::Dense { first: Offset(7) });
        assert_eq!((batch.received, batch.keys), (None, None));
    }
}
