//! Events as columns: the proof that a batch's own columns are there and typed.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType, UInt64Type};

use crate::domain::schema::{self, EVENT_TIME, KEY, OFFSET, PARTITION};

/// Decoded events. Columns: `event_time`, `key`, `partition`, `offset`, then whatever follows (`EventSchema::arrow`, or a projection
/// of it that kept the first four).
#[derive(Clone, Debug)]
pub struct EventBatch(RecordBatch);

/// A record batch that is not one of events.
#[derive(Debug, thiserror::Error)]
#[error("column {index} of an event batch is `{found}`, not `{wanted}`")]
pub struct SchemaMismatch {
    index: usize,
    found: String,
    wanted: &'static str,
}

impl TryFrom<RecordBatch> for EventBatch {
    type Error = SchemaMismatch;

    fn try_from(batch: RecordBatch) -> Result<EventBatch, SchemaMismatch> {
        let wanted = [
            (EVENT_TIME, "timestamp[us, UTC]", schema::time_type()),
            (KEY, "dictionary<u32, utf8>", schema::text_type()),
            (PARTITION, "uint64", arrow::datatypes::DataType::UInt64),
            (OFFSET, "int64", arrow::datatypes::DataType::Int64),
        ];
        for (index, wanted, data_type) in wanted {
            let found = batch.columns().get(index).map(|column| column.data_type().clone());
            let whole = batch.columns().get(index).is_some_and(|column| column.null_count() == 0);
            if found.as_ref() != Some(&data_type) || !whole {
                return Err(SchemaMismatch { index, found: format!("{found:?}"), wanted });
            }
        }
        Ok(EventBatch(batch))
    }
}

impl EventBatch {
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Event times in microseconds.
    pub fn times(&self) -> &[i64] {
        self.0.column(EVENT_TIME).as_primitive::<TimestampMicrosecondType>().values()
    }

    pub fn offsets(&self) -> &[i64] {
        self.0.column(OFFSET).as_primitive::<Int64Type>().values()
    }

    /// `PartitionId`s.
    pub fn partitions(&self) -> &[u64] {
        self.0.column(PARTITION).as_primitive::<UInt64Type>().values()
    }

    pub fn columns(&self) -> &RecordBatch {
        &self.0
    }

    pub fn into_columns(self) -> RecordBatch {
        self.0
    }
}
