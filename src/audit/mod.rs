//! What an output's stored files alone say, read as any stranger would read them.
//!
//! Promise: nothing here looks at a manifest, at state, or at a running process: what is told stands in the tables.

pub mod anomalies;
pub mod ledger;
pub mod refused;
pub mod tables;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::storage::error::StorageError;
use crate::storage::key::ObjectKey;

/// Stored files that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("`{file}` is no Parquet file that can be read")]
    Parquet { file: ObjectKey, source: ParquetError },
    #[error("rows of `{file}` cannot be read")]
    Rows { file: ObjectKey, source: ArrowError },
    #[error("`{table}` has no column `{column}` of the type that it should have")]
    Column { table: &'static str, column: &'static str },
}
