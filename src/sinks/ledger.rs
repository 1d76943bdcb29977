//! The ledger as a table: what became of every offset and of every row, checkpoint by checkpoint.
//!
//! Promise: each row of the ledger is in exactly one file, or in the manifest in force. Kept by the coordinator, who alone knows all
//! workers' counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, StructBuilder,
    TimestampMicrosecondArray, builder::Int64Builder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::checkpoint::chain::LedgerChain;
use crate::checkpoint::manifest::{
    Account, Checkpoint, FileAccount, Ledger, LedgerRow, PartitionAccount, PublishFile, Sequence, TableAccount,
    WallTime,
};
use crate::domain::ids::Epoch;
use crate::domain::membership::Memberships;
use crate::domain::schema::time_type;
use crate::domain::time::micros;
use crate::sinks::parquet::{Object, Part, Publication, Writer, file_name};
use crate::sinks::pending::FileFault;
use crate::sinks::tables::TableFault;
use crate::sinks::writer::{Reader, encode};
use crate::storage::digest::Sha256;
use crate::storage::key::ObjectKey;

pub(super) const TABLE: &str = "ledger";

/// What is told of a partition, of the windows of a table, and of a table's rows.
pub(super) const PARTITION_COUNTS: [&str; 8] =
    ["from_offset", "to_offset", "read", "accepted", "too_late", "quarantined", "skipped", "lost"];
pub(super) const MEMBERSHIPS: [&str; 5] =
    ["events", "memberships", "memberships_refused", "memberships_published", "memberships_open"];
pub(super) const TABLE_COUNTS: [&str; 4] = ["rows", "rows_published", "rows_superseded", "rows_open"];

/// Epochs a folder of the ledger: about seven hours of live running.
const FOLDER_EPOCHS: u64 = 100_000;

/// Rows that may wait in the manifest, which is written anew at each checkpoint.
const OPEN_ROWS_MAX: usize = 2_000;

/// The rows that are in no file yet.
#[derive(Debug)]
pub struct LedgerSink {
    writer: Writer,
    publish_every: Duration,
    open: Vec<LedgerRow>,
    chain: LedgerChain,
    oldest: Option<WallTime>,
}

/// What a checkpoint has to name of the ledger.
#[derive(Debug)]
pub struct LedgerPart {
    /// For `Checkpoint::ledger`.
    pub ledger: Ledger,
    /// For `Checkpoint::chain`.
    pub chain: LedgerChain,
    /// For `Checkpoint::publish`.
    pub publish: Vec<PublishFile>,
    /// To be uploaded before the commit.
    pub objects: Vec<Object>,
}

impl LedgerSink {
    /// Goes on after the checkpoint in force, if there is one.
    pub fn new(writer: Writer, publish_every: Duration, resume: Option<&Checkpoint>) -> LedgerSink {
        let open = resume.map_or(Vec::new(), |checkpoint| checkpoint.ledger.open().to_vec());
        let oldest = resume.map(|checkpoint| checkpoint.at).filter(|_| !open.is_empty());
        let chain = resume.map_or(LedgerChain::empty(), |checkpoint| checkpoint.chain);
        LedgerSink { writer, publish_every, open, chain, oldest }
    }

    /// Adds a checkpoint's accounts.
    pub fn on_checkpoint(
        &mut self,
        accounts: Vec<Account>,
        (sequence, epoch): (Sequence, Epoch),
        now: WallTime,
        publication: Publication,
    ) -> Result<LedgerPart, FileFault> {
        let rows: Vec<LedgerRow> =
            accounts.into_iter().map(|account| self.chain.link(sequence, epoch, account)).collect();
        let oldest = *self.oldest.get_or_insert(now);
        let is_old = now.0.saturating_sub(oldest.0) >= micros(self.publish_every);
        self.open.extend(rows.iter().cloned());
        if publication == Publication::WhenDue && !is_old && self.open.len() <= OPEN_ROWS_MAX {
            let ledger = Ledger::Open(self.open.clone());
            return Ok(LedgerPart { ledger, chain: self.chain, publish: Vec::new(), objects: Vec::new() });
        }
        let ledger = Ledger::Filed(rows);
        let mut part = LedgerPart { ledger, chain: self.chain, publish: Vec::new(), objects: Vec::new() };
        for rows in self.open.chunk_by(|a, b| folder(a.epoch) == folder(b.epoch)) {
            self.file(rows, epoch, &mut part)?;
        }
        self.open.clear();
        self.oldest = None;
        Ok(part)
    }

    fn file(&self, rows: &[LedgerRow], epoch: Epoch, part: &mut LedgerPart) -> Result<(), FileFault> {
        let batch = batch(rows)?;
        let bytes = encode(&batch.schema(), [Ok(batch.clone())], Reader::Anyone)
            .map_err(|source| FileFault::Write { table: TABLE.into(), source })?;
        let sha256 = Sha256::of(&bytes);
        let staged = self.writer.generation.staged(epoch, self.writer.worker, TABLE, &sha256);
        let target = ObjectKey::of([TABLE, &folder(rows[0].epoch), &file_name(epoch, self.writer.worker, &sha256)]);
        part.publish.push(PublishFile {
            table: TABLE.into(),
            staged: staged.clone(),
            target,
            size: bytes.len() as u64,
            sha256,
            rows: rows.len() as u64,
        });
        part.objects.push(Object { key: staged, bytes });
        Ok(())
    }
}

fn folder(epoch: Epoch) -> String {
    format!("from_epoch={}", epoch.0 / FOLDER_EPOCHS * FOLDER_EPOCHS)
}

/// The accounts of all tables at a checkpoint: the sinks' counts, the files that it publishes, and what became of the events in each
/// window's table.
pub fn table_accounts(part: &Part, members: &BTreeMap<String, Memberships>) -> Vec<TableAccount> {
    let mut accounts: BTreeMap<&str, TableAccount> = BTreeMap::new();
    // A window is told of even where it gave no row.
    for table in part.tables.iter().map(|counts| &counts.table).chain(members.keys()) {
        accounts.insert(table, TableAccount { table: table.clone(), ..TableAccount::default() });
    }
    for counts in &part.tables {
        let Some(account) = accounts.get_mut(counts.table.as_str()) else { continue };
        (account.rows, account.published) = (counts.rows, counts.published);
        (account.superseded, account.open) = (counts.superseded, counts.open);
    }
    for file in &part.publish {
        let Some(account) = accounts.get_mut(file.table.as_str()) else { continue };
        let (path, rows, size, sha256) = (file.target.clone(), file.rows, file.size, file.sha256);
        account.files.push(FileAccount { path, rows, size, sha256 });
    }
    for (table, memberships) in members {
        let Some(account) = accounts.get_mut(table.as_str()) else { continue };
        account.memberships = Some(*memberships);
    }
    accounts.into_values().collect()
}

/// The written columns of the ledger. A row is of a partition or of a table; the other's columns are null.
pub fn schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let mut fields = vec![
        Field::new("sequence", DataType::Int64, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("partition", DataType::Utf8, true),
    ];
    fields.extend(PARTITION_COUNTS.map(number));
    fields.push(Field::new("trace", DataType::Utf8, true));
    fields.push(Field::new("watermark", time_type(), true));
    fields.push(Field::new("table", DataType::Utf8, true));
    fields.extend(MEMBERSHIPS.map(number));
    fields.extend(TABLE_COUNTS.map(number));
    let file = Field::new("item", DataType::Struct(file_fields()), false);
    fields.push(Field::new("files", DataType::List(Arc::new(file)), true));
    fields.push(Field::new("chain", DataType::Utf8, false));
    Arc::new(Schema::new(fields))
}

fn file_fields() -> Fields {
    Fields::from(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("rows", DataType::Int64, false),
        Field::new("size", DataType::Int64, false),
        Field::new("sha256", DataType::Utf8, false),
    ])
}

/// No count of ours comes near the bound of either.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn batch(rows: &[LedgerRow]) -> Result<RecordBatch, FileFault> {
    let partition = |row: &LedgerRow| match &row.account {
        Account::Partition(account) => Some(account.clone()),
        Account::Table(_) => None,
    };
    let table = |row: &LedgerRow| match &row.account {
        Account::Table(account) => Some(account.clone()),
        Account::Partition(_) => None,
    };
    let partitions: Vec<Option<PartitionAccount>> = rows.iter().map(partition).collect();
    let tables: Vec<Option<TableAccount>> = rows.iter().map(table).collect();
    let of_partition = |number: &dyn Fn(&PartitionAccount) -> i64| -> ArrayRef {
        Arc::new(partitions.iter().map(|account| account.as_ref().map(number)).collect::<Int64Array>())
    };
    let of_table = |number: &dyn Fn(&TableAccount) -> u64| -> ArrayRef {
        let counts = tables.iter().map(|account| account.as_ref().map(|account| signed(number(account))));
        Arc::new(counts.collect::<Int64Array>())
    };
    let of_windows = |number: &dyn Fn(&Memberships) -> u64| -> ArrayRef {
        let members = tables.iter().map(|account| account.as_ref().and_then(|account| account.memberships));
        Arc::new(members.map(|members| members.as_ref().map(|members| signed(number(members)))).collect::<Int64Array>())
    };
    let watermarks = partitions.iter().map(|account| account.as_ref().and_then(|account| account.watermark));
    let traces = partitions.iter().map(|account| account.as_ref().map(|account| format!("{:016x}", account.trace.0)));
    let names = partitions.iter().map(|account| account.as_ref().map(|account| account.partition.as_str()));
    let table_names = tables.iter().map(|account| account.as_ref().map(|account| account.table.as_str()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| signed(row.sequence.0)))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| signed(row.epoch.0)))),
        Arc::new(names.collect::<StringArray>()),
        of_partition(&|account| account.from.0),
        of_partition(&|account| account.to.0),
        of_partition(&|account| signed(account.counts.read)),
        of_partition(&|account| signed(account.counts.accepted)),
        of_partition(&|account| signed(account.counts.too_late)),
        of_partition(&|account| signed(account.counts.quarantined)),
        of_partition(&|account| signed(account.counts.skipped)),
        of_partition(&|account| signed(account.counts.lost)),
        Arc::new(traces.collect::<StringArray>()),
        Arc::new(watermarks.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(table_names.collect::<StringArray>()),
        of_windows(&|members| members.events),
        of_windows(&|members| members.given),
        of_windows(&|members| members.refused),
        of_windows(&|members| members.published),
        of_windows(&|members| members.open),
        of_table(&|account| account.rows),
        of_table(&|account| account.published),
        of_table(&|account| account.superseded),
        of_table(&|account| account.open),
        file_lists(&tables),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.link.to_string()))),
    ];
    let arrow = |source| TableFault::Arrow { table: TABLE.into(), source };
    Ok(RecordBatch::try_new(schema(), columns).map_err(arrow)?)
}

fn file_lists(tables: &[Option<TableAccount>]) -> ArrayRef {
    let item = Field::new("item", DataType::Struct(file_fields()), false);
    let (paths, digests) = (Box::new(StringBuilder::new()), Box::new(StringBuilder::new()));
    let (rows, sizes) = (Box::new(Int64Builder::new()), Box::new(Int64Builder::new()));
    let files = StructBuilder::new(file_fields(), vec![paths, rows, sizes, digests]);
    let mut lists = ListBuilder::new(files).with_field(item);
    for table in tables {
        for file in table.iter().flat_map(|table| &table.files) {
            let one = lists.values();
            // The builders are those of `new` above, in the same order.
            one.field_builder::<StringBuilder>(0).expect("paths are texts").append_value(file.path.as_str());
            one.field_builder::<Int64Builder>(1).expect("rows are numbers").append_value(signed(file.rows));
            one.field_builder::<Int64Builder>(2).expect("sizes are numbers").append_value(signed(file.size));
            one.field_builder::<StringBuilder>(3).expect("digests are texts").append_value(file.sha256.to_string());
            one.append(true);
        }
        lists.append(table.is_some());
    }
    Arc::new(lists.finish())
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
