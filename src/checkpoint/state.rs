//! The state of a stage as bytes: its batches one after another, each an Arrow stream that describes itself.
//!
//! Promise: damaged bytes are an error. Arrow's reader trusts the lengths inside of a stream, so that a stream is read only if its digest is right.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use crate::storage::digest::Sha256;

/// State that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error("batch {index} of the state is no Arrow stream")]
    Arrow { index: usize, source: ArrowError },
    #[error("batch {index} of the state is cut short")]
    CutShort { index: usize },
    #[error("batch {index} of the state is damaged: its digest is of other bytes")]
    Damaged { index: usize },
}

/// Each batch is preceded by its length in bytes, 8 bytes with the lowest first, and the first 8 bytes of its digest.
const LENGTH_BYTES: usize = 8;
const DIGEST_BYTES: usize = 8;
const HEAD_BYTES: usize = LENGTH_BYTES + DIGEST_BYTES;

/// About what a stream takes beside its columns' bytes.
const FRAME_BYTES: usize = 2048;

/// Writes batches, which may differ in schema.
pub fn encode(batches: &[RecordBatch]) -> Result<Bytes, StateFault> {
    // At once: growing step by step would copy a large state several times.
    let size: usize = batches.iter().map(|batch| batch.get_array_memory_size() + FRAME_BYTES).sum();
    let mut bytes = Vec::with_capacity(size);
    for (index, batch) in batches.iter().enumerate() {
        let start = bytes.len();
        bytes.resize(start + HEAD_BYTES, 0);
        write(&mut bytes, batch).map_err(|source| StateFault::Arrow { index, source })?;
        let length = (bytes.len() - start - HEAD_BYTES) as u64;
        let digest = short_digest(&bytes[start + HEAD_BYTES..]);
        bytes[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        bytes[start + LENGTH_BYTES..start + HEAD_BYTES].copy_from_slice(&digest);
    }
    Ok(Bytes::from(bytes))
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
        let (digest, stream, after) = split(rest).ok_or(StateFault::CutShort { index })?;
        if short_digest(stream) != digest {
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

/// The digest of the next stream, the stream, and what follows.
fn split(bytes: &[u8]) -> Option<([u8; DIGEST_BYTES], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let (digest, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let (stream, after) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((*digest, stream, after))
}

fn short_digest(stream: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&Sha256::of(stream).bytes()[..DIGEST_BYTES]);
    short
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
