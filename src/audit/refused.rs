//! What was not accepted, by its reason.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};

use crate::audit::AuditError;
use crate::audit::tables::Tables;

/// The tables of what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Late,
    Quarantine,
}

impl Refused {
    fn table(self) -> &'static str {
        match self {
            Refused::Late => "late",
            Refused::Quarantine => "quarantine",
        }
    }
}

/// Records by reason.
pub fn by_reason(tables: &Tables, refused: Refused) -> Result<BTreeMap<String, u64>, AuditError> {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let table = refused.table();
    tables.read(table, &mut |batch| {
        let column = batch.column_by_name("reason").and_then(|column| column.as_string_opt::<i32>());
        let column = column.ok_or(AuditError::Column { table, column: "reason" })?;
        for reason in (0..column.len()).map(|row| column.value(row)) {
            match reasons.get_mut(reason) {
                Some(records) => *records += 1,
                None => drop(reasons.insert(reason.to_owned(), 1)),
            }
        }
        Ok(())
    })?;
    Ok(reasons)
}
