//! The rows of one file of quarantined records, as columns that were checked once.

use arrow::array::{Array, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatchReader;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, Offsets, RawBatch};
use crate::observe::panic::guarded;

/// Invariant: all columns are of one length, and partition, offset and reason have no nulls.
#[derive(Clone, Debug)]
pub struct Rows {
    partition: StringArray,
    offset: Int64Array,
    received: TimestampMicrosecondArray,
    reason: StringArray,
    payload: BinaryArray,
    /// Files that were written before the table had this column are without.
    record_key: Option<BinaryArray>,
}

impl Rows {
    /// The bytes may be damaged.
    pub(super) fn read(bytes: Bytes) -> Result<Rows, String> {
        guarded(|| Rows::decode(bytes)).unwrap_or_else(|| Err("its parts do not fit together".to_owned()))
    }

    fn decode(bytes: Bytes) -> Result<Rows, String> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
        let reader = reader.map_err(|error| error.to_string())?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let batch = concat_batches(&schema, &batches).map_err(|error| error.to_string())?;
        Rows::of(&batch)
    }

    fn of(batch: &RecordBatch) -> Result<Rows, String> {
        let missing = |name: &str| format!("there is no usable column `{name}`");
        let column = |name: &str| batch.column_by_name(name);
        let text = |name: &str| {
            let column = column(name).and_then(|column| column.as_string_opt::<i32>());
            column.filter(|column| column.null_count() == 0).cloned().ok_or_else(|| missing(name))
        };
        let offset = column("offset").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let received = column("received").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let payload = column("payload").and_then(|column| column.as_binary_opt::<i32>());
        Ok(Rows {
            partition: text("partition")?,
            offset: offset.filter(|column| column.null_count() == 0).cloned().ok_or_else(|| missing("offset"))?,
            received: received.cloned().ok_or_else(|| missing("received"))?,
            reason: text("reason")?,
            payload: payload.cloned().ok_or_else(|| missing("payload"))?,
            record_key: column("record_key").and_then(|column| column.as_binary_opt::<i32>()).cloned(),
        })
    }

    pub fn len(&self) -> usize {
        self.offset.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the partition that a row's record was read from.
    pub fn partition(&self, row: usize) -> &str {
        self.partition.value(row)
    }

    pub fn offset(&self, row: usize) -> Offset {
        Offset(self.offset.value(row))
    }

    pub fn reason(&self, row: usize) -> &str {
        self.reason.value(row)
    }

    /// Bytes of the record.
    pub(super) fn bytes(&self, row: usize) -> usize {
        self.payload.value(row).len() + self.key(row).map_or(0, <[u8]>::len)
    }

    pub(super) fn was_stamped(&self, row: usize) -> bool {
        self.received.is_valid(row)
    }

    fn key(&self, row: usize) -> Option<&[u8]> {
        self.record_key.as_ref().filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row))
    }

    /// The records of these rows, whose offsets ascend, as they were read the first time. Times of receipt are there if all have one.
    pub fn raw(&self, partition: PartitionId, rows: &[u32], form: &Form) -> RawBatch {
        let mut raw = RawBatch {
            partition,
            form: form.clone(),
            bytes: Vec::new(),
            starts: Vec::with_capacity(rows.len()),
            ends: Vec::with_capacity(rows.len()),
            offsets: Offsets::Sparse(rows.iter().map(|row| self.offset.value(*row as usize)).collect()),
            received: rows.iter().all(|row| self.was_stamped(*row as usize)).then(Vec::new),
            keys: None,
            tombstones: Vec::new(),
        };
        // The caller keeps a batch far below the 4 GiB that these positions can tell.
        let append = |bytes: &mut Vec<u8>, more: &[u8]| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(more);
            (start, bytes.len() as u32)
        };
        let mut keys = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let row = *row as usize;
            if self.payload.is_null(row) {
                raw.tombstones.push(index as u32);
            }
            let (start, end) = append(&mut raw.bytes, self.payload.value(row));
            raw.starts.push(start);
            raw.ends.push(end);
            raw.received.iter_mut().for_each(|received| received.push(self.received.value(row)));
            keys.push(self.key(row).map(|key| append(&mut raw.bytes, key)));
        }
        raw.keys = keys.iter().any(Option::is_some).then_some(keys);
        raw
    }
}
