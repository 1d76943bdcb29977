//! The tables of an output, as any reader of Parquet sees them.

use std::collections::BTreeMap;

use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::Field;
use parquet::record::reader::RowIter;
use tidewatch::storage::Storage;
use tidewatch::storage::key::ObjectKey;

/// A value that is equal only to its own bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Null,
    Int(i64),
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Cell {
    pub fn number(&self) -> Option<f64> {
        match self {
            Cell::Int(value) => Some(*value as f64),
            Cell::Float(bits) => Some(f64::from_bits(*bits)),
            _ => None,
        }
    }

    pub fn int(&self) -> i64 {
        if let Cell::Int(value) = self { *value } else { panic!("{self:?} is no whole number") }
    }

    pub fn text(&self) -> &str {
        if let Cell::Text(text) = self { text } else { panic!("{self:?} is no text") }
    }
}

/// By column.
pub type Row = BTreeMap<String, Cell>;

/// All rows of a table, in the order of the files' names. `columns`: only those; empty: all.
pub fn rows(storage: &Storage, table: &str, columns: &[&str]) -> Vec<Row> {
    let mut rows = Vec::new();
    for listed in storage.list(&ObjectKey::of(table.split('/'))).unwrap() {
        assert!(listed.key.as_str().ends_with(".parquet"), "{} stands among the files of {table}", listed.key.as_str());
        let bytes = storage.get(&listed.key).unwrap();
        let file = SerializedFileReader::new(bytes).unwrap();
        for row in RowIter::from_file_into(Box::new(file)) {
            let row = row.unwrap();
            let wanted =
                row.get_column_iter().filter(|(name, _)| columns.is_empty() || columns.contains(&name.as_str()));
            rows.push(wanted.map(|(name, field)| (name.clone(), cell(field))).collect());
        }
    }
    rows
}

fn cell(field: &Field) -> Cell {
    match field {
        Field::Null => Cell::Null,
        Field::Bool(flag) => Cell::Int(i64::from(*flag)),
        Field::Int(value) => Cell::Int(i64::from(*value)),
        Field::Long(value) | Field::TimestampMicros(value) => Cell::Int(*value),
        Field::Double(value) => Cell::Float(value.to_bits()),
        Field::Str(text) => Cell::Text(text.clone()),
        Field::Bytes(bytes) => Cell::Bytes(bytes.data().to_vec()),
        nested @ (Field::ListInternal(_) | Field::Group(_)) => Cell::Text(format!("{nested:?}")),
        other => panic!("a type that no table has: {other:?}"),
    }
}

/// The newest revision of every window, without `revision` and `epoch`, in the order of start and group. Those that only
/// close others are left out.
pub fn newest(storage: &Storage, window: &str, group: &str) -> Vec<Row> {
    let mut newest: BTreeMap<(i64, String), (i64, Row)> = BTreeMap::new();
    for mut row in rows(storage, &format!("windows/{window}"), &[]) {
        let revision = row.remove("revision").unwrap().int();
        row.remove("epoch").unwrap();
        let key = (row["window_start"].int(), row[group].text().to_owned());
        match newest.get(&key) {
            Some((other, _)) => {
                assert_ne!(*other, revision, "{window}: revision {revision} of {key:?} is there twice");
                if *other < revision {
                    newest.insert(key, (revision, row));
                }
            }
            None => drop(newest.insert(key, (revision, row))),
        }
    }
    let is_flow = |row: &Row| row[group].text() != super::events::CLOSER;
    newest.into_values().map(|(_, row)| row).filter(is_flow).collect()
}

/// What the ledger says of a partition in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub next: i64,
    pub read: i64,
    pub accepted: i64,
    pub too_late: i64,
    pub quarantined: i64,
    pub skipped: i64,
    pub lost: i64,
}

/// By the number at the end of the partition's name. Each row is in balance and begins where the one before it ended.
pub fn accounts(storage: &Storage) -> BTreeMap<usize, Account> {
    let mut ledger = rows(storage, "ledger", &[]);
    ledger.retain(|row| row["partition"] != Cell::Null);
    ledger.sort_by_key(|row| (row["partition"].clone(), row["epoch"].int()));
    let mut accounts: BTreeMap<usize, Account> = BTreeMap::new();
    for row in &ledger {
        let of = |name: &str| row[name].int();
        let account = accounts.entry(partition(row)).or_default();
        assert_eq!(account.next, of("from_offset"), "the account before ended elsewhere: {row:?}");
        assert_eq!(of("read"), of("accepted") + of("too_late") + of("quarantined"), "out of balance: {row:?}");
        assert_eq!(of("to_offset") - of("from_offset"), of("read") + of("skipped") + of("lost"), "{row:?}");
        account.next = of("to_offset");
        account.read += of("read");
        account.accepted += of("accepted");
        account.too_late += of("too_late");
        account.quarantined += of("quarantined");
        account.skipped += of("skipped");
        account.lost += of("lost");
    }
    accounts
}

/// The number of a row's partition: of `topic/7` and of `flows-7.ndjson`.
pub fn partition(row: &Row) -> usize {
    let name = row["partition"].text().trim_end_matches(".ndjson");
    name.rsplit(['/', '-']).next().unwrap().parse().unwrap()
}

/// The partition and offset of every row, sorted; twice where a row is twice.
pub fn addresses(storage: &Storage, table: &str) -> Vec<(usize, i64)> {
    let rows = rows(storage, table, &["partition", "offset"]);
    let mut addresses: Vec<(usize, i64)> = rows.iter().map(|row| (partition(row), row["offset"].int())).collect();
    addresses.sort_unstable();
    addresses
}
