//! The state of a stage as bytes: its batches one after another, each an Arrow stream that describes itself.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

/// State that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error("batch {index} of the state is no Arrow stream")]
    Arrow { index: usize, source: ArrowError },
    #[error("batch {index} of the state is cut short")]
    CutShort { index: usize },
}

/// Each batch is preceded by its length in bytes, 8 bytes with the lowest first.
const LENGTH_BYTES: usize = 8;

/// Writes batches, which may differ in schema.
pub fn encode(batches: &[RecordBatch]) -> Result<Bytes, StateFault> {
    let mut bytes = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        let start = bytes.len();
        bytes.resize(start + LENGTH_BYTES, 0);
        write(&mut bytes, batch).map_err(|source| StateFault::Arrow { index, source })?;
        let length = (bytes.len() - start - LENGTH_BYTES) as u64;
        bytes[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }
    Ok(Bytes::from(bytes))
}

fn write(bytes: &mut Vec<u8>, batch: &RecordBatch) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(bytes, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()
}

/// Reads the batches back. To be given bytes whose digest was checked.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, StateFault> {
    let (mut batches, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let index = batches.len();
        let (stream, after) = split(rest).ok_or(StateFault::CutShort { index })?;
        let batch = StreamReader::try_new(stream, None).and_then(|mut reader| reader.next().transpose());
        match batch.map_err(|source| StateFault::Arrow { index, source })? {
            Some(batch) => batches.push(batch),
            None => return Err(StateFault::CutShort { index }),
        }
        rest = after;
    }
    Ok(batches)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
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
        // Behind the first 8 bytes and the mark of the stream stands the length of its head.
        for length in [i32::MAX, i32::MIN, -1, 1 << 30] {
            let mut bomb = bytes.to_vec();
            bomb[12..16].copy_from_slice(&length.to_le_bytes());
            assert!(decode(&bomb).is_err(), "{length}");
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
