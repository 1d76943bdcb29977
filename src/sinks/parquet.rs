//! One worker's rows into Parquet files: staged at every checkpoint, made into files when they are old or many.
//!
//! Promises: whatever was pushed before a checkpoint is, after it, in exactly one file or staged object that the checkpoint names;
//! memory is bounded by `file_size` a table; a restart, on any worker, goes on with the same rows. Synchronous: it makes bytes, others upload them.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::checkpoint::manifest::{PublishFile, StagedRows, WallTime};
use crate::checkpoint::places::Generation;
use crate::domain::ids::{Epoch, PartitionId};
use crate::domain::table::Rows;
use crate::domain::time::micros;
use crate::sinks::pending::{FileFault, folder_files, memory_bytes};
use crate::sinks::tables::{PartitionBy, PartitionNames, TableShape, WindowTable, written};
use crate::sinks::writer::{Reader, decode, encode};
use crate::storage::digest::Sha256;
use crate::storage::key::ObjectKey;

/// `[output]`, as far as files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// In the order of the configuration: that is how `Table::Windows` numbers them.
    pub windows: Vec<WindowTable>,
    /// Rows become visible at the first checkpoint after the oldest of them is this old.
    pub publish_every: Duration,
    /// Or once they take this many bytes in memory. (The file is smaller: it is compressed.)
    pub file_size: u64,
    pub partition_by: PartitionBy,
}

/// Who writes: the owner's generation, and which of its workers.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    pub generation: Generation,
    pub worker: usize,
}

/// Bytes that have to be durable before the next checkpoint is committed.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: ObjectKey,
    pub bytes: Bytes,
}

/// Whether a checkpoint makes files of rows that are neither old nor many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    WhenDue,
    /// A clean stop, or the end of a replay.
    All,
}

/// What a checkpoint has to name of this worker's rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub staged: Vec<StagedRows>,
    pub publish: Vec<PublishFile>,
    pub tables: Vec<TableCounts>,
}

/// A table's rows since the last checkpoint. `open before + rows = published + superseded + open`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounts {
    pub table: String,
    pub rows: u64,
    pub published: u64,
    pub superseded: u64,
    pub open: u64,
}

/// What a checkpoint makes of a worker's rows.
#[derive(Debug, Default)]
pub struct Staged {
    pub objects: Vec<Object>,
    pub part: Part,
}

impl Part {
    /// The parts of all workers as one, in an order that does not depend on who came first.
    pub fn merged(parts: impl IntoIterator<Item = Part>) -> Part {
        let mut tables: BTreeMap<String, TableCounts> = BTreeMap::new();
        let mut merged = Part::default();
        for part in parts {
            merged.staged.extend(part.staged);
            merged.publish.extend(part.publish);
            for counts in part.tables {
                let sum = tables.entry(counts.table.clone()).or_default();
                *sum = TableCounts {
                    table: counts.table,
                    rows: sum.rows + counts.rows,
                    published: sum.published + counts.published,
                    superseded: sum.superseded + counts.superseded,
                    open: sum.open + counts.open,
                };
            }
        }
        merged.staged.sort_by(|a, b| a.key.cmp(&b.key));
        merged.publish.sort_by(|a, b| a.target.cmp(&b.target));
        merged.tables = tables.into_values().collect();
        merged
    }
}

/// A worker's rows that are not in a visible file.
#[derive(Debug)]
pub struct TableSink {
    spec: FileSpec,
    writer: Writer,
    names: PartitionNames,
    tables: BTreeMap<String, Pending>,
    /// The epoch of the last checkpoint, and of the newest rows.
    committed: Option<Epoch>,
    newest: Option<Epoch>,
    last_checkpoint: Option<WallTime>,
}

/// The rows of a table that wait.
#[derive(Debug)]
struct Pending {
    shape: TableShape,
    /// In written form; those before `fresh` are in the staged objects.
    pieces: Vec<RecordBatch>,
    fresh: usize,
    staged: Vec<StagedRows>,
    bytes: usize,
    oldest: Option<WallTime>,
    /// Made before the checkpoint that is to name them, for want of room.
    files: Vec<PublishFile>,
    counts: TableCounts,
}

/// Arrow counts the bytes of a column's texts in 31 bits.
const BYTES_MAX: u64 = 1 << 30;

impl TableSink {
    pub fn new(spec: FileSpec, writer: Writer) -> TableSink {
        let (names, tables) = (PartitionNames::new(), BTreeMap::new());
        TableSink { spec, writer, names, tables, committed: None, newest: None, last_checkpoint: None }
    }

    /// How rows of a partition name it. To be called before they are pushed.
    pub fn name_partition(&mut self, id: PartitionId, name: &str) {
        self.names.insert(id, name.to_string());
    }

    /// Takes staged rows back, before the first push. Any worker may take any object, but each only one of them.
    pub fn restore(&mut self, staged: &StagedRows, bytes: Bytes) -> Result<(), FileFault> {
        assert!(self.newest.is_none(), "rows were pushed before the staged ones were taken back");
        let pieces = decode(bytes).map_err(|source| FileFault::Read { table: staged.table.clone(), source })?;
        let shape = TableShape::named(&staged.table, &self.spec.windows)?;
        let pending = self.tables.entry(shape.name.clone()).or_insert_with(|| Pending::new(shape));
        pending.bytes += pieces.iter().map(memory_bytes).sum::<usize>();
        pending.pieces.splice(0..0, pieces);
        pending.fresh = pending.pieces.len();
        pending.oldest = Some(pending.oldest.map_or(staged.oldest, |oldest| oldest.min(staged.oldest)));
        pending.staged.push(staged.clone());
        Ok(())
    }

    /// Takes rows of an epoch. What it gives has to be uploaded, and durable before the next checkpoint: usually nothing.
    ///
    /// Invariant: epochs never fall, and rows of epochs behind a checkpoint's come only after `on_checkpoint`; the caller holds them back.
    pub fn push(&mut self, epoch: Epoch, rows: Rows) -> Result<Vec<Object>, FileFault> {
        assert!(self.newest.is_none_or(|newest| newest <= epoch), "rows of epochs that fall would mix checkpoints");
        assert!(self.committed.is_none_or(|committed| committed < epoch), "rows of a checkpoint came after it");
        self.newest = Some(epoch);
        let bytes_max = self.bytes_max();
        let shape = TableShape::of(rows.table, &self.spec.windows)?;
        let batch = written(&shape, &rows.batch, epoch, &self.names)?;
        let pending = self.tables.entry(shape.name.clone()).or_insert_with(|| Pending::new(shape));
        let bytes = memory_bytes(&batch);
        let mut objects = Vec::new();
        if !pending.pieces.is_empty() && pending.bytes + bytes > bytes_max {
            pending.make_files(self.writer, self.spec.partition_by, epoch, &mut objects)?;
        }
        pending.counts.rows += batch.num_rows() as u64;
        pending.bytes += bytes;
        pending.pieces.push(batch);
        Ok(objects)
    }

    /// Ends a checkpoint's epoch: all rows that were pushed are in files or staged.
    pub fn on_checkpoint(
        &mut self,
        now: WallTime,
        epoch: Epoch,
        publication: Publication,
    ) -> Result<Staged, FileFault> {
        assert!(self.newest.is_none_or(|newest| newest <= epoch), "rows of later epochs came before the checkpoint");
        let (bytes_max, publish_every) = (self.bytes_max(), micros(self.spec.publish_every));
        // Rows may have come right after the last checkpoint.
        let since = self.last_checkpoint.unwrap_or(now);
        let mut staged = Staged::default();
        for pending in self.tables.values_mut() {
            if !pending.pieces.is_empty() {
                let oldest = *pending.oldest.get_or_insert(since);
                let is_old = now.0.saturating_sub(oldest.0) >= publish_every;
                if publication == Publication::All || is_old || pending.bytes >= bytes_max {
                    pending.make_files(self.writer, self.spec.partition_by, epoch, &mut staged.objects)?;
                } else if pending.fresh < pending.pieces.len() {
                    pending.stage(self.writer, epoch, oldest, &mut staged.objects)?;
                }
            }
            pending.tell(&mut staged.part);
        }
        (self.committed, self.last_checkpoint) = (Some(epoch), Some(now));
        Ok(staged)
    }

    /// The bytes of rows held in memory.
    pub fn held_bytes(&self) -> usize {
        self.tables.values().map(|pending| pending.bytes).sum()
    }

    fn bytes_max(&self) -> usize {
        // At most 1 GiB, which is a `usize` everywhere.
        self.spec.file_size.min(BYTES_MAX) as usize
    }
}

impl Pending {
    fn new(shape: TableShape) -> Pending {
        let counts = TableCounts { table: shape.name.clone(), ..TableCounts::default() };
        let (pieces, staged, files) = (Vec::new(), Vec::new(), Vec::new());
        Pending { shape, pieces, fresh: 0, staged, bytes: 0, oldest: None, files, counts }
    }

    fn rows(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.num_rows() as u64).sum()
    }

    /// Makes files of all rows. Staged objects are no longer named by the checkpoint that names the files.
    fn make_files(
        &mut self,
        writer: Writer,
        by: PartitionBy,
        epoch: Epoch,
        objects: &mut Vec<Object>,
    ) -> Result<(), FileFault> {
        let rows = self.rows();
        let mut published = 0;
        for file in folder_files(&self.shape, &self.pieces, by)? {
            let sha256 = Sha256::of(&file.bytes);
            let staged = writer.generation.staged(epoch, writer.worker, &self.shape.name, &sha256);
            let name = file_name(epoch, writer.worker, &sha256);
            let segments = by.folder(file.hour);
            let folder = segments.iter().fold(self.shape.folder.clone(), |folder, segment| folder.child(segment));
            let publish = PublishFile {
                table: self.shape.name.clone(),
                staged: staged.clone(),
                target: folder.child(&name),
                size: file.bytes.len() as u64,
                sha256,
                rows: file.rows as u64,
            };
            published += publish.rows;
            self.files.push(publish);
            objects.push(Object { key: staged, bytes: file.bytes });
        }
        self.counts.published += published;
        self.counts.superseded += rows - published;
        self.pieces.clear();
        self.staged.clear();
        (self.fresh, self.bytes, self.oldest) = (0, 0, None);
        Ok(())
    }

    /// Stages the rows since the last checkpoint.
    fn stage(
        &mut self,
        writer: Writer,
        epoch: Epoch,
        oldest: WallTime,
        objects: &mut Vec<Object>,
    ) -> Result<(), FileFault> {
        let fresh = &self.pieces[self.fresh..];
        let schema = fresh[0].schema();
        // A change of configuration needs a restart, so fresh rows have one schema.
        let bytes = encode(&schema, fresh.iter().cloned().map(Ok), Reader::Ourselves)
            .map_err(|source| FileFault::Write { table: self.shape.name.clone(), source })?;
        let sha256 = Sha256::of(&bytes);
        let key = writer.generation.staged(epoch, writer.worker, &self.shape.name, &sha256);
        self.staged.push(StagedRows {
            table: self.shape.name.clone(),
            key: key.clone(),
            size: bytes.len() as u64,
            sha256,
            rows: fresh.iter().map(|piece| piece.num_rows() as u64).sum(),
            oldest,
        });
        objects.push(Object { key, bytes });
        self.fresh = self.pieces.len();
        Ok(())
    }

    /// What the checkpoint has to name, and the counts since the last one.
    fn tell(&mut self, part: &mut Part) {
        part.staged.extend(self.staged.iter().cloned());
        part.publish.append(&mut self.files);
        let table = self.shape.name.clone();
        let counts = std::mem::replace(&mut self.counts, TableCounts { table, ..TableCounts::default() });
        part.tables.push(TableCounts { open: self.rows(), ..counts });
    }
}

/// The name of a visible file. Epoch and worker show where it comes from; the digest makes it the name of these bytes alone.
pub(super) fn file_name(epoch: Epoch, worker: usize, sha256: &Sha256) -> String {
    format!("{:020}-{worker}-{}.parquet", epoch.0, sha256.short())
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
