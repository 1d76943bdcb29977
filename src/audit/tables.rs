//! The tables under an output's URL, file by file.

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use crate::audit::AuditError;
use crate::observe::panic::guarded;
use crate::storage::key::ObjectKey;
use crate::storage::patience::Patience;
use crate::storage::{Listed, S3Options, Storage};

/// An output, opened to be read.
#[derive(Debug)]
pub struct Tables {
    storage: Storage,
}

impl Tables {
    pub fn open(url: &str, options: &S3Options) -> Result<Tables, AuditError> {
        Ok(Tables { storage: Storage::open(url, options, Patience::at_start())? })
    }

    /// The visible files of a table, such as `windows/by_label`, in the order of their names.
    pub fn files(&self, table: &str) -> Result<Vec<Listed>, AuditError> {
        let mut files = self.storage.list(&ObjectKey::of(table.split('/')))?;
        files.retain(|file| file.key.name().ends_with(".parquet"));
        files.sort();
        Ok(files)
    }

    /// Hands all rows of a table to `each`, one file in memory at a time.
    pub fn read(
        &self,
        table: &str,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        for file in self.files(table)? {
            let bytes = self.storage.get(&file.key)?;
            for batch in batches(&file.key, bytes)? {
                each(batch)?;
            }
        }
        Ok(())
    }
}

fn batches(file: &ObjectKey, bytes: Bytes) -> Result<Vec<RecordBatch>, AuditError> {
    let parquet = |source| AuditError::Parquet { file: file.clone(), source };
    let read = || {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build()).map_err(parquet)?;
        reader.collect::<Result<_, _>>().map_err(|source| AuditError::Rows { file: file.clone(), source })
    };
    guarded(read).unwrap_or_else(|| Err(parquet(ParquetError::General("its parts do not fit together".to_owned()))))
}
