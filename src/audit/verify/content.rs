//! Reading files and objects: footers alone, or all bytes with their digests and the columns that tell rows apart.
//!
//! Memory: two files at a time, and 40 bytes for each row of one folder of a table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::audit::AuditError;
use crate::audit::verify::files::{Named, Needed};
use crate::audit::verify::finding::Finding;
use crate::audit::verify::look::{Look, whole};
use crate::audit::verify::rows::{Rows, Source};
use crate::checkpoint::manifest::{Checkpoint, Sequence};
use crate::observe::panic::guarded;
use crate::storage::Storage;
use crate::storage::digest::Sha256;
use crate::storage::error::StorageError;
use crate::storage::key::ObjectKey;
use crate::storage::pieces::{Fetch, Found};

/// Requests under way at once while footers are read.
const FOOTERS_AHEAD: usize = 16;
/// Enough for the footer of nearly every file.
const FOOTER_BYTES: u64 = 64 << 10;

/// A named file that is there, with the size that it should have.
pub struct Present<'a> {
    pub named: &'a Named,
    pub found: &'a Found,
}

/// Fetches one after another, so many ahead.
fn ahead<'a, T>(
    storage: &Storage,
    mut rest: impl Iterator<Item = (T, &'a Found, std::ops::Range<u64>)>,
    many: usize,
    each: &mut dyn FnMut(T, Result<Bytes, StorageError>) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let mut underway: VecDeque<(T, Fetch)> = VecDeque::new();
    loop {
        while underway.len() < many {
            let Some((what, found, range)) = rest.next() else { break };
            underway.push_back((what, storage.fetch(found, range)));
        }
        let Some((what, fetch)) = underway.pop_front() else { return Ok(()) };
        each(what, fetch.wait())?;
    }
}

/// Whether a file has the rows that it should have, by its footer.
pub fn footers(storage: &Storage, files: &[Present], findings: &mut Vec<Finding>) -> Result<(), AuditError> {
    let range = |found: &Found| found.size.saturating_sub(FOOTER_BYTES)..found.size;
    let all = files.iter().map(|file| (file, file.found, range(file.found)));
    ahead(storage, all, FOOTERS_AHEAD, &mut |Present { named, found }, read| {
        let (file, sequence, wanted) = (found.key.clone(), named.sequence, named.account.rows);
        match rows_of_footer(storage, found, read) {
            Ok(rows) if rows == wanted => {}
            Ok(rows) => findings.push(Finding::FileRows { file, sequence, found: rows, wanted }),
            Err(AuditError::Parquet { source, .. }) => {
                findings.push(Finding::FileUnreadable { file, fault: whole(&source) });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    })
}

fn rows_of_footer(storage: &Storage, found: &Found, read: Result<Bytes, StorageError>) -> Result<u64, AuditError> {
    let damaged = |source| AuditError::Parquet { file: found.key.clone(), source };
    let mut bytes = read?;
    loop {
        let mut reader = ParquetMetaDataReader::new();
        let parsed = guarded(|| {
            reader.try_parse_sized(&bytes, found.size)?;
            Ok(reader.finish()?.file_metadata().num_rows())
        });
        match parsed.unwrap_or_else(|| Err(ParquetError::General("its parts do not fit together".to_owned()))) {
            Ok(rows) => return Ok(u64::try_from(rows).unwrap_or(0)),
            Err(ParquetError::NeedMoreData(needed)) if needed > bytes.len() && needed as u64 <= found.size => {
                bytes = storage.fetch(found, found.size - needed as u64..found.size).wait()?;
            }
            Err(source) => return Err(damaged(source)),
        }
    }
}

/// Whether every file is the one that was published, and every row is there once. Files come in the order of their names, folder by
/// folder.
pub fn files(
    storage: &Storage,
    files: &[Present],
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<(), AuditError> {
    let all = files.iter().map(|file| (file, file.found, 0..file.found.size));
    ahead(storage, all, 2, &mut |Present { named, found }, read| {
        let (file, sequence, bytes) = (found.key.clone(), named.sequence, read?);
        let digest = Sha256::of(&bytes);
        if digest != named.account.sha256 {
            let wanted = named.account.sha256;
            findings.push(Finding::FileDigest { file, sequence, found: digest, wanted });
            return Ok(());
        }
        let source = Source { table: named.table.clone(), file: file.clone() };
        match rows.take(source, bytes, findings) {
            Ok(found) if found != named.account.rows => {
                findings.push(Finding::FileRows { file, sequence, found, wanted: named.account.rows });
            }
            Ok(_) => {}
            Err(fault) => findings.push(Finding::FileUnreadable { file, fault }),
        }
        Ok(())
    })
}

/// Whether every hidden object that is needed is the one that was written; takes the rows that wait in them. State that was found `sound`
/// by an earlier look is so still, for nobody writes an object twice: with much of it, no look would end before the next checkpoint.
pub fn objects(
    storage: &Storage,
    look: &Look,
    (checkpoint, sequence): (&Checkpoint, Sequence),
    (needed, sound): (&[Needed], &mut BTreeSet<ObjectKey>),
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<(), AuditError> {
    let listed: BTreeMap<&ObjectKey, &Found> = look.objects.iter().map(|found| (&found.key, found)).collect();
    let unread: Vec<&Needed> = needed.iter().filter(|needed| !sound.contains(&needed.file)).collect();
    let there = unread.into_iter().filter_map(|needed| {
        let found = listed.get(&needed.file).filter(|found| found.size == needed.size)?;
        Some((needed, *found, 0..found.size))
    });
    let staged = checkpoint.staged.iter().map(|staged| (&staged.key, &staged.table, &staged.key));
    let publish = checkpoint.publish.iter().map(|file| (&file.staged, &file.table, &file.target));
    let tables: BTreeMap<&ObjectKey, (&String, &ObjectKey)> =
        staged.chain(publish).map(|(key, table, file)| (key, (table, file))).collect();
    ahead(storage, there, 2, &mut |needed, read| {
        let (bytes, file) = (read?, needed.file.clone());
        let found = Sha256::of(&bytes);
        if found != needed.sha256 {
            let (what, wanted) = (needed.what.clone(), needed.sha256);
            findings.push(Finding::ObjectDigest { file, sequence, what, found, wanted });
            return Ok(());
        }
        let Some((table, name)) = tables.get(&needed.file).filter(|(table, _)| *table != "ledger") else {
            sound.insert(file);
            return Ok(());
        };
        let source = Source { table: (*table).clone(), file: (*name).clone() };
        if let Err(fault) = rows.wait(source, bytes) {
            findings.push(Finding::FileUnreadable { file, fault });
        }
        Ok(())
    })
}
