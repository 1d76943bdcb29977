//! The state of a stage as bytes: its batches one after another, each an Arrow stream that describes itself.
//!
//! Promise: damaged bytes are an error. Arrow's reader trusts the lengths inside of a stream, so that a stream is read only if its checksum is
//! right. Whether the object is the one that was meant is told by its SHA-256, which is not kept here: one pass over large state is enough.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use crc32fast::hash as checksum_of;

/// State that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error("batch {index} of the state is no Arrow stream")]
    Arrow { index: usize, source: ArrowError },
    #[error("batch {index} of the state is cut short")]
    CutShort { index: usize },
    #[error("batch {index} of the state is damaged: its checksum is of other bytes")]
    Damaged { index: usize },
}

/// Each batch is preceded by its length in bytes and the CRC-32 of them, 8 bytes each with the lowest first.
const LENGTH_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 8;
const HEAD_BYTES: usize = LENGTH_BYTES + CHECKSUM_BYTES;

/// Batches on their way into the bytes of a state. They may differ in schema.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    count: usize,
}

impl Encoder {
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), StateFault> {
        let (index, start) = (self.count, self.bytes.len());
        self.bytes.resize(start + HEAD_BYTES, 0);
        write(&mut self.bytes, batch).map_err(|source| StateFault::Arrow { index, source })?;
        let (head, stream) = self.bytes[start..].split_at_mut(HEAD_BYTES);
        head[..LENGTH_BYTES].copy_from_slice(&(stream.len() as u64).to_le_bytes());
        head[LENGTH_BYTES..].copy_from_slice(&u64::from(checksum_of(stream)).to_le_bytes());
        self.count += 1;
        Ok(())
    }

    pub fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

/// Writes batches, which may differ in schema.
pub fn encode(batches: &[RecordBatch]) -> Result<Bytes, StateFault> {
    let mut encoder = Encoder::default();
    batches.iter().try_for_each(|batch| encoder.add(batch))?;
    Ok(encoder.finish())
}

fn write(bytes: &mut Vec<u8>, batch: &RecordBatch) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(bytes, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()
}

/// Reads the batches back.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, StateFault> {
    let (mut batches, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let index = batches.len();
        let (checksum, stream, after) = split(rest).ok_or(StateFault::CutShort { index })?;
        if u64::from(checksum_of(stream)) != checksum {
            return Err(StateFault::Damaged { index });
        }
        let batch = StreamReader::try_new(stream, None).and_then(|mut reader| reader.next().transpose());
        match batch.map_err(|source| StateFault::Arrow { index, source })? {
            Some(batch) => batches.push(batch),
            None => return Err(StateFault::CutShort { index }),
        }
        rest = after;
    }
    Ok(batches)
}

/// The checksum of the next stream, the stream, and what follows.
fn split(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let (checksum, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
    let (stream, after) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((u64::from_le_bytes(*checksum), stream, after))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use arrow::compute::cast;

    use super::*;
    use crate::domain::schema::text_type;

    fn batches() -> Vec<RecordBatch> {
        let keys = cast(&StringArray::from(vec![Some("a"), None, Some("a")]), &text_type()).unwrap();
        let counts = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        let sums = Arc::new(Float64Array::from(vec![f64::NAN, -0.0])) as ArrayRef;
        vec![
            RecordBatch::try_from_iter([("key", keys), ("count", counts.clone())]).unwrap(),
            RecordBatch::try_from_iter([("sum", sums)]).unwrap(),
            RecordBatch::try_from_iter([("count", counts.slice(0, 0))]).unwrap(),
        ]
    }

    #[test]
    fn batches_of_different_schemas_come_back_as_they_were() {
        let back = decode(&encode(&batches()).unwrap()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{:?}", batches()));
        assert!(decode(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_length_beyond_the_bytes_is_an_error_and_not_a_reservation() {
        let bytes = encode(&batches()[..1]).unwrap();
        for length in [u64::MAX, 1 << 60, 1 << 40, bytes.len() as u64] {
            let mut bomb = bytes.to_vec();
            bomb[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            assert!(decode(&bomb).is_err(), "{length}");
        }
    }

    #[test]
    fn a_byte_of_a_stream_that_was_changed_is_found_before_it_is_read() {
        let bytes = encode(&batches()[..1]).unwrap();
        for at in LENGTH_BYTES..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(matches!(decode(&damaged), Err(StateFault::Damaged { index: 0 })), "{at}");
        }
    }

    #[test]
    fn state_that_is_cut_short_is_an_error_at_every_length() {
        let bytes = encode(&batches()[..1]).unwrap();
        for length in 1..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}
