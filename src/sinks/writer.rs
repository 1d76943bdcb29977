//! Rows to Parquet bytes and back.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::observe::panic::guarded;

/// Rows of a row group; larger ones cost memory while they are written and save nothing.
const ROW_GROUP_ROWS: usize = 65_536;

/// A dictionary that grows beyond this does not pay: a column of means has as many values as rows.
const DICTIONARY_BYTES: usize = 64 << 10;

/// Who is to read the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Anybody: with statistics, and without the Arrow schema, which would tie the file to its writer's types.
    Anyone,
    /// A later start of ours: without statistics, and with the schema, so that the same types come back.
    Ourselves,
}

fn properties(schema: &SchemaRef, reader: Reader) -> WriterProperties {
    let statistics = match reader {
        Reader::Anyone => EnabledStatistics::Page,
        Reader::Ourselves => EnabledStatistics::None,
    };
    let mut properties = WriterProperties::builder()
        // Higher levels cost half of the speed and save nothing on such columns.
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("tidewatch ", env!("CARGO_PKG_VERSION")).into())
        .set_dictionary_enabled(true)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(statistics);
    for field in schema.fields() {
        if field.data_type() == &DataType::Float64 {
            let column = ColumnPath::from(field.name().as_str());
            // What doubles fall back to when their dictionary is full.
            properties = properties.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
        }
    }
    properties.build()
}

/// A Parquet file in memory.
pub(super) fn encode(
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, ParquetError>>,
    reader: Reader,
) -> Result<Bytes, ParquetError> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties(schema, reader))
        .with_skip_arrow_metadata(reader == Reader::Anyone);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.into_inner().map(Bytes::from)
}

/// The rows of a Parquet file, which may be damaged.
pub(super) fn decode(bytes: Bytes) -> Result<Vec<RecordBatch>, ParquetError> {
    let read = || {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(ROW_GROUP_ROWS).build()?;
        reader.map(|batch| batch.map_err(ParquetError::from)).collect()
    };
    guarded(read).unwrap_or_else(|| Err(ParquetError::General("its parts do not fit together".to_owned())))
}
