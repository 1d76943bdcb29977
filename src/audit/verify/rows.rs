//! Rows told apart: each is there once, and the newest revisions of windows count every event that was counted.
//!
//! A row's identity stands in it as a digest of 128 bits. All revisions of a row lie in one folder, for its time decides; so one folder is
//! held at a time, and what waits for its file.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::audit::verify::finding::Finding;
use crate::audit::verify::look::whole;
use crate::domain::table::LateReason;
use crate::sinks::tables::TableShape;
use crate::storage::key::ObjectKey;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub table: String,
    pub file: ObjectKey,
}

/// A row, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    identity: [u64; 2],
    revision: i32,
    /// In `Rows::files`.
    file: u32,
    row: u32,
    count: u64,
}

/// What the rows of all tables add up to.
#[derive(Debug, Default)]
pub struct Rows {
    files: Vec<Source>,
    /// The folder that is being read.
    folder: Option<(String, String)>,
    entries: Vec<Entry>,
    /// Rows that wait for their file, by table and identity.
    waiting: BTreeMap<String, HashMap<[u64; 2], Vec<Entry>>>,
    /// The events in the newest revisions, by table of windows.
    pub counts: BTreeMap<String, u64>,
    /// Rows by table and partition, of what was refused.
    pub refused: BTreeMap<(String, String), u64>,
}

impl Rows {
    /// Takes a visible file. Gives how many rows it has.
    pub fn take(&mut self, source: Source, bytes: Bytes, findings: &mut Vec<Finding>) -> Result<u64, String> {
        let folder = source.file.as_str().rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let folder = Some((source.table.clone(), folder));
        if self.folder != folder {
            self.settle(findings);
            self.folder = folder;
        }
        let (rows, entries) = self.read(source, bytes)?;
        self.entries.extend(entries);
        Ok(rows)
    }

    /// Takes rows that are in no visible file yet. To be called before `take`.
    pub fn wait(&mut self, source: Source, bytes: Bytes) -> Result<u64, String> {
        debug_assert!(self.folder.is_none(), "what waits comes first");
        let table = source.table.clone();
        let (rows, entries) = self.read(source, bytes)?;
        let waiting = self.waiting.entry(table).or_default();
        for entry in entries {
            waiting.entry(entry.identity).or_default().push(entry);
        }
        Ok(rows)
    }

    /// Ends the last folder, and counts what waits and was in none.
    pub fn end(&mut self, findings: &mut Vec<Finding>) {
        self.settle(findings);
        for (table, waiting) in std::mem::take(&mut self.waiting) {
            let entries = waiting.into_values().flatten().collect();
            self.judge(&table, entries, findings);
        }
    }

    fn settle(&mut self, findings: &mut Vec<Finding>) {
        let Some((table, _)) = self.folder.take() else { return };
        let mut entries = std::mem::take(&mut self.entries);
        if let Some(waiting) = self.waiting.get_mut(&table).filter(|waiting| !waiting.is_empty()) {
            for at in 0..entries.len() {
                if let Some(more) = waiting.remove(&entries[at].identity) {
                    entries.extend(more);
                }
            }
        }
        self.judge(&table, entries, findings);
    }

    /// All revisions of some rows of a table.
    fn judge(&mut self, table: &str, mut entries: Vec<Entry>, findings: &mut Vec<Finding>) {
        entries.sort_unstable();
        let mut counted = 0u64;
        for revisions in entries.chunk_by(|a, b| a.identity == b.identity) {
            for pair in revisions.windows(2).filter(|pair| pair[0].revision == pair[1].revision) {
                findings.push(self.twice(table, &pair[0], &pair[1]));
            }
            counted = counted.saturating_add(revisions.last().map_or(0, |newest| newest.count));
        }
        if table.starts_with("windows/") {
            let sum = self.counts.entry(table.to_owned()).or_default();
            *sum = sum.saturating_add(counted);
        }
    }

    fn twice(&self, table: &str, one: &Entry, other: &Entry) -> Finding {
        let file = |entry: &Entry| self.files[entry.file as usize].file.clone();
        let what = match table.starts_with("windows/") || table == "anomalies" {
            true => format!("the same window or event, and the same revision {}", one.revision),
            false => "the same partition and offset".to_owned(),
        };
        Finding::RowTwice {
            table: table.to_owned(),
            file: file(other),
            row: u64::from(other.row),
            other: file(one),
            other_row: u64::from(one.row),
            what,
        }
    }

    fn read(&mut self, source: Source, bytes: Bytes) -> Result<(u64, Vec<Entry>), String> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| whole(&error))?;
        let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let wanted = columns(&source.table, &names)?;
        let places = wanted.iter().filter_map(|wanted| names.iter().position(|name| name == wanted));
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let reader = builder.with_projection(mask).with_batch_size(8192).build().map_err(|error| whole(&error))?;
        let (table, file) = (source.table.clone(), self.files.len() as u32);
        self.files.push(source);
        let (mut rows, mut entries) = (0, Vec::new());
        for batch in reader {
            let batch = batch.map_err(|error| whole(&error))?;
            self.batch(&table, &batch, (file, rows), &mut entries)?;
            rows += batch.num_rows() as u64;
        }
        Ok((rows, entries))
    }

    fn batch(
        &mut self,
        table: &str,
        batch: &RecordBatch,
        (file, first): (u32, u64),
        entries: &mut Vec<Entry>,
    ) -> Result<(), String> {
        let missing = |name: &str| format!("it has no usable column `{name}`");
        let identity = identity(table, batch)?;
        let revisions = batch
            .column_by_name("revision")
            .map(|column| column.as_primitive_opt::<Int32Type>().filter(|column| column.null_count() == 0));
        let revisions = revisions.map(|column| column.ok_or_else(|| missing("revision"))).transpose()?;
        let counts = match table.starts_with("windows/") {
            false => None,
            true => {
                let counts = batch.column_by_name("count").and_then(|column| column.as_primitive_opt::<Int64Type>());
                Some(counts.ok_or_else(|| missing("count"))?)
            }
        };
        let is_counted = self.refused(table, batch)?;
        for (row, identity) in identity.into_iter().enumerate().filter(|(row, _)| is_counted(*row)) {
            entries.push(Entry {
                identity,
                revision: revisions.map_or(0, |revisions| revisions.value(row)),
                file,
                row: u32::try_from(first + row as u64).unwrap_or(u32::MAX),
                count: counts.map_or(0, |counts| u64::try_from(counts.value(row)).unwrap_or(0)),
            });
        }
        Ok(())
    }

    /// Counts refused records by partition. Gives which rows are told apart: an accepted event that found a window final stands in `late` once
    /// for each such window.
    fn refused<'b>(&mut self, table: &str, batch: &'b RecordBatch) -> Result<Box<dyn Fn(usize) -> bool + 'b>, String> {
        if table != "late" && table != "quarantine" {
            return Ok(Box::new(|_| true));
        }
        let text = |name: &'static str| {
            let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            column.ok_or_else(|| format!("it has no usable column `{name}`"))
        };
        let (partitions, reasons) = (text("partition")?, text("reason")?);
        let accepted = [LateReason::WindowFinal, LateReason::BeforeWindow].map(|reason| reason.to_string());
        let is_counted = move |row: usize| !accepted.iter().any(|reason| reasons.value(row) == reason);
        for row in (0..batch.num_rows()).filter(|row| is_counted(*row)) {
            let key = (table.to_owned(), partitions.value(row).to_owned());
            *self.refused.entry(key).or_default() += 1;
        }
        Ok(Box::new(is_counted))
    }
}

/// The columns of a table that are read.
fn columns(table: &str, names: &[String]) -> Result<Vec<String>, String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Ok(match table {
        "events" => owned(&["partition", "offset"]),
        "late" | "quarantine" => owned(&["partition", "offset", "reason"]),
        _ if table.starts_with("windows/") => {
            let count = names.iter().position(|name| name == "count").ok_or("it has no column `count`")?;
            [&names[..=count], &owned(&["revision"])[..]].concat()
        }
        _ => {
            let shape = TableShape::named(table, &[]).map_err(|fault| whole(&fault))?;
            [shape.identity(), &owned(&["revision"])[..]].concat()
        }
    })
}

/// A digest of each row's identity.
fn identity(table: &str, batch: &RecordBatch) -> Result<Vec<[u64; 2]>, String> {
    let schema = batch.schema();
    let is_identity = |name: &str| match name {
        "revision" => false,
        // A group's field may have that name elsewhere.
        "reason" => !matches!(table, "late" | "quarantine"),
        "count" => table == "anomalies",
        _ => true,
    };
    let places = schema.fields().iter().enumerate().filter(|(_, field)| is_identity(field.name()));
    let columns: Vec<ArrayRef> = places.map(|(place, _)| Arc::clone(batch.column(place))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(|error| whole(&error))?;
    let rows = converter.convert_columns(&columns).map_err(|error| whole(&error))?;
    let digest = |salt: u8, bytes: &[u8]| {
        let mut hasher = DefaultHasher::new();
        (salt, bytes).hash(&mut hasher);
        hasher.finish()
    };
    Ok(rows.iter().map(|row| [digest(0, row.as_ref()), digest(1, row.as_ref())]).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn a_reason_is_no_part_of_a_refused_records_identity_and_is_one_of_a_group_of_that_name() {
        let columns: [(&str, ArrayRef); 2] = [
            ("offset", Arc::new(Int64Array::from(vec![7, 7]))),
            ("reason", Arc::new(StringArray::from(vec!["one", "other"]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let are_one = |table: &str| {
            let identities = identity(table, &batch).unwrap();
            identities[0] == identities[1]
        };
        let tables = ["late", "quarantine", "windows/by_reason"];
        assert_eq!(tables.map(are_one), [true, true, false]);
    }

    /// A file of windows: (start, device, count, revision) a row.
    fn windows(rows: &[(i64, &str, i64, i32)]) -> Bytes {
        let starts = || TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0)).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 5] = [
            ("window_start", Arc::new(starts())),
            ("window_end", Arc::new(starts())),
            ("device", Arc::new(rows.iter().map(|row| (!row.1.is_empty()).then_some(row.1)).collect::<StringArray>())),
            ("count", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)))),
            ("revision", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.3)))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    fn source(file: &str) -> Source {
        Source { table: "windows/w".into(), file: ObjectKey::try_from(file.to_owned()).unwrap() }
    }

    #[test]
    fn a_row_that_is_there_twice_is_named_in_both_its_places_and_the_newest_revision_counts() {
        let (mut rows, mut findings) = (Rows::default(), Vec::new());
        rows.wait(source("_staging/1/x"), windows(&[(10, "a", 9, 2), (70, "c", 5, 0)])).unwrap();
        let first = windows(&[(10, "a", 3, 0), (10, "", 4, 0), (20, "a", 6, 0)]);
        assert_eq!(rows.take(source("windows/w/hour=1/a"), first, &mut findings), Ok(3));
        rows.take(source("windows/w/hour=1/b"), windows(&[(10, "a", 7, 1), (10, "", 4, 0)]), &mut findings).unwrap();
        // Another folder holds other rows, whatever they look like.
        rows.take(source("windows/w/hour=2/c"), windows(&[(99, "a", 1, 0)]), &mut findings).unwrap();
        rows.end(&mut findings);
        assert_eq!(rows.counts["windows/w"], 9 + 4 + 6 + 1 + 5);
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("windows/w: row 1 of windows/w/hour=1/b is also row 1 of windows/w/hour=1/a"),
            "{said:?}"
        );
    }

    #[test]
    fn a_file_without_the_columns_that_tell_rows_apart_is_refused() {
        let told = Rows::default().take(
            Source { table: "late".into(), ..source("late/x") },
            windows(&[(1, "a", 1, 0)]),
            &mut Vec::new(),
        );
        assert!(told.is_err_and(|fault| fault.contains("partition") || fault.contains("reason")));
    }
}
