//! The ledger as a whole: what became of everything that was read.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::audit::AuditError;
use crate::audit::tables::Tables;

/// Sums over checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub read: i64,
    pub accepted: i64,
    pub too_late: i64,
    pub quarantined: i64,
    /// Offsets that hold no record, and such that retention had deleted.
    pub skipped: i64,
    pub lost: i64,
    pub checkpoints: usize,
    /// Rows that became visible, by table.
    pub published: BTreeMap<String, i64>,
    /// Of every partition, the offsets that follow each other without a gap: from the first to the next to read.
    pub offsets: BTreeMap<String, (i64, i64)>,
    /// Partitions whose offsets have a gap or an overlap between checkpoints.
    pub broken: Vec<String>,
}

impl Balance {
    /// Whether everything that was read is accounted for, without a gap.
    pub fn is_zero(&self) -> bool {
        let passed: i64 = self.offsets.values().map(|(from, to)| to - from).sum();
        self.broken.is_empty()
            && self.read == self.accepted + self.too_late + self.quarantined
            && passed == self.read + self.skipped + self.lost
    }
}

/// The balance of an output's visible ledger.
pub fn balance(tables: &Tables) -> Result<Balance, AuditError> {
    let mut rows = Vec::new();
    tables.read("ledger", &mut |batch| {
        stretches(&batch, &mut rows)?;
        Ok(())
    })?;
    let mut balance = Balance::default();
    rows.sort_by_key(|row| row.sequence);
    balance.checkpoints = rows.chunk_by(|a, b| a.sequence == b.sequence).count();
    for row in rows {
        balance.add(row);
    }
    Ok(balance)
}

/// One row of the ledger.
struct Stretch {
    sequence: i64,
    of: Of,
}

enum Of {
    Partition { name: String, from: i64, to: i64, counts: [i64; 6] },
    Table { name: String, published: i64 },
}

impl Balance {
    fn add(&mut self, row: Stretch) {
        match row.of {
            Of::Table { name, published } => *self.published.entry(name).or_default() += published,
            Of::Partition { name, from, to, counts } => {
                let [read, accepted, too_late, quarantined, skipped, lost] = counts;
                self.read += read;
                self.accepted += accepted;
                self.too_late += too_late;
                self.quarantined += quarantined;
                self.skipped += skipped;
                self.lost += lost;
                let known = self.offsets.entry(name.clone()).or_insert((from, from));
                if known.1 != from && !self.broken.contains(&name) {
                    self.broken.push(name);
                }
                known.1 = to;
            }
        }
    }
}

fn stretches(batch: &RecordBatch, rows: &mut Vec<Stretch>) -> Result<(), AuditError> {
    const COUNTS: [&str; 6] = ["read", "accepted", "too_late", "quarantined", "skipped", "lost"];
    let missing = |column| AuditError::Column { table: "ledger", column };
    let number = |name: &'static str| {
        let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
        column.ok_or_else(|| missing(name))
    };
    let text = |name: &'static str| {
        let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        column.ok_or_else(|| missing(name))
    };
    let (sequences, froms, tos) = (number("sequence")?, number("from_offset")?, number("to_offset")?);
    let (partitions, tables, published) = (text("partition")?, text("table")?, number("rows_published")?);
    let counts = COUNTS.map(number).into_iter().collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let of = if partitions.is_valid(row) {
            let counts = std::array::from_fn(|place| counts[place].value(row));
            Of::Partition { name: partitions.value(row).to_owned(), from: froms.value(row), to: tos.value(row), counts }
        } else {
            Of::Table { name: tables.value(row).to_owned(), published: published.value(row) }
        };
        rows.push(Stretch { sequence: sequences.value(row), of });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance_of(stretches: &[(i64, &str, i64, i64, [i64; 6])]) -> Balance {
        let mut balance = Balance::default();
        for (sequence, name, from, to, counts) in stretches {
            let of = Of::Partition { name: (*name).to_owned(), from: *from, to: *to, counts: *counts };
            balance.add(Stretch { sequence: *sequence, of });
        }
        balance
    }

    #[test]
    fn a_balance_is_zero_when_every_offset_is_read_skipped_or_lost_and_every_record_settled() {
        let sound =
            [(1, "t/0", 0, 10, [10, 8, 1, 1, 0, 0]), (1, "t/1", 5, 5, [0; 6]), (2, "t/0", 10, 20, [7, 7, 0, 0, 2, 1])];
        assert!(balance_of(&sound).is_zero());
        let mut unsettled = sound;
        unsettled[0].4[1] = 7;
        assert!(!balance_of(&unsettled).is_zero(), "a record is neither accepted nor refused");
        let mut gap = sound;
        gap[2].2 = 11;
        assert_eq!(balance_of(&gap).broken, ["t/0"]);
        assert!(!balance_of(&gap).is_zero(), "an offset is in no checkpoint");
        let mut twice = sound;
        twice[2].2 = 9;
        assert!(!balance_of(&twice).is_zero(), "an offset is in two checkpoints");
        let mut unread = sound;
        unread[2].4[4] = 1;
        assert!(!balance_of(&unread).is_zero(), "an offset was passed over for no reason");
    }
}
