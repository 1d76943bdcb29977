//! What an output's stored files alone say, read as any stranger would read them.
//!
//! Promise: nothing here looks at a running process, and but for `verify` nothing at a manifest: what is told stands in the tables.

pub mod anomalies;
pub mod ledger;
pub mod refused;
pub mod tables;
pub mod verify;

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
    #[error("the source cannot be read")]
    Source(#[from] crate::sources::SourceError),
    #[error(transparent)]
    Decode(#[from] crate::decode::DecodeError),
    #[error("the source gave nothing for {} s", waited.as_secs())]
    Silent { waited: std::time::Duration },
    #[error("there is no output: neither a manifest nor a table")]
    NoOutput,
    #[error("there are files in `{folder}` and no manifest: either it is no output, or all of `_checkpoints` is gone")]
    NoManifest { folder: &'static str },
    #[error("the pipeline has committed in each of {looks} looks at its output: try again when it commits less often")]
    Restless { looks: usize },
    #[error("`{table}` has no column `{column}` of the type that it should have")]
    Column { table: &'static str, column: &'static str },
}
