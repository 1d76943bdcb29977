//! One consistent look at everything that an output consists of, while its pipeline may be running.
//!
//! Promise: what is found belongs to one manifest in force, from the first listing to the last read. Where the pipeline moved on
//! meanwhile, all is looked at again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::audit::AuditError;
use crate::checkpoint::manifest::{Ledger, LedgerRow, Manifest, ManifestFault, Sequence};
use crate::checkpoint::newest;
use crate::checkpoint::places::{self, TABLE_FOLDERS};
use crate::sinks::ledger_rows;
use crate::storage::Storage;
use crate::storage::digest::Sha256;
use crate::storage::error::StorageError;
use crate::storage::key::ObjectKey;
use crate::storage::pieces::Found;

/// A manifest as it was found.
#[derive(Debug)]
pub struct FoundManifest {
    pub sequence: Sequence,
    pub digest: Sha256,
    pub read: Result<Manifest, ManifestFault>,
}

/// A file of the ledger, under its visible or its hidden name.
#[derive(Clone, Debug)]
pub struct LedgerFile {
    /// The name that it has or will have.
    pub file: ObjectKey,
    pub digest: Sha256,
    pub rows: Result<Arc<[LedgerRow]>, String>,
}

/// Everything but the rows of the tables.
#[derive(Debug)]
pub struct Look {
    /// In the order of their numbers; the last one is the newest.
    pub manifests: Vec<FoundManifest>,
    /// The files in the tables' folders, the ledger's included.
    pub files: Vec<Found>,
    /// State and staged objects.
    pub objects: Vec<Found>,
    pub ledger: Vec<LedgerFile>,
}

/// How often to look again at an output that moves on.
const LOOKS_MAX: usize = 50;

impl Look {
    pub fn newest(&self) -> Option<&Manifest> {
        self.manifests.last().and_then(|manifest| manifest.read.as_ref().ok())
    }

    /// The rows that the manifest in force holds itself, and no file does.
    pub fn open_rows(&self) -> &[LedgerRow] {
        let ledger = self.newest().and_then(Manifest::checkpoint).map(|checkpoint| &checkpoint.ledger);
        ledger.map_or(&[], Ledger::open)
    }
}

/// Looks until nothing moved meanwhile. `more` is done within the same look: for objects that the next checkpoint sweeps.
pub fn look<T>(
    storage: &Storage,
    mut more: impl FnMut(&Look) -> Result<T, AuditError>,
) -> Result<(Look, T), AuditError> {
    let mut known = BTreeMap::new();
    for _ in 0..LOOKS_MAX {
        let Some(before) = newest::find(storage)?.map(|row| row.newest) else {
            return Err(no_output(storage)?);
        };
        let looked = once(storage, before, &mut known).and_then(|look| {
            let more = more(&look)?;
            Ok((look, more))
        });
        let is_same = newest::find(storage)?.is_some_and(|row| row.newest == before);
        match looked {
            Ok(looked) if is_same => return Ok(looked),
            // What was listed is gone: swept in that moment.
            Err(AuditError::Storage(StorageError::NotFound { .. })) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(AuditError::Restless { looks: LOOKS_MAX })
}

fn no_output(storage: &Storage) -> Result<AuditError, AuditError> {
    for folder in TABLE_FOLDERS {
        if storage.holds_any(&ObjectKey::of([folder]))? {
            return Ok(AuditError::NoManifest { folder });
        }
    }
    Ok(AuditError::NoOutput)
}

fn once(storage: &Storage, newest: Sequence, known: &mut BTreeMap<ObjectKey, LedgerFile>) -> Result<Look, AuditError> {
    // Before the tables: what is published and swept meanwhile is seen in one of both.
    let staged = storage.find_below(&places::staging())?;
    let mut files = Vec::new();
    for folder in TABLE_FOLDERS {
        files.extend(storage.find_below(&ObjectKey::of([folder]))?);
    }
    let listed = storage.find_below(&places::manifests())?;
    let (mut manifests, mut objects) = (Vec::new(), Vec::new());
    for found in listed {
        match places::sequence_of(&found.key) {
            Some(sequence) if sequence <= newest => manifests.extend(manifest(storage, sequence, newest)?),
            Some(_) => {}
            None => objects.push(found),
        }
    }
    if manifests.last().is_none_or(|last| last.sequence != newest) {
        manifests.extend(manifest(storage, newest, newest)?);
    }
    objects.extend(staged);
    let mut look = Look { manifests, files, objects, ledger: Vec::new() };
    look.ledger = ledger(storage, &look, known)?;
    Ok(look)
}

/// None if it was swept in that moment, as older ones are.
fn manifest(storage: &Storage, sequence: Sequence, newest: Sequence) -> Result<Option<FoundManifest>, AuditError> {
    match storage.get(&places::manifest(sequence)) {
        Ok(bytes) => {
            let read = Manifest::from_bytes(&bytes, sequence);
            Ok(Some(FoundManifest { sequence, digest: Sha256::of(&bytes), read }))
        }
        Err(StorageError::NotFound { .. }) if sequence < newest => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The files of the ledger; of those that the newest manifest has yet to publish, what is staged.
fn ledger(
    storage: &Storage,
    look: &Look,
    known: &mut BTreeMap<ObjectKey, LedgerFile>,
) -> Result<Vec<LedgerFile>, AuditError> {
    let folder = ObjectKey::of(["ledger"]);
    let visible = look.files.iter().filter(|found| found.key.is_under(&folder)).map(|found| (&found.key, &found.key));
    let mut places: BTreeMap<&ObjectKey, &ObjectKey> = visible.collect();
    let publish = look.newest().and_then(Manifest::checkpoint).map_or(&[][..], |checkpoint| &checkpoint.publish);
    for file in publish.iter().filter(|file| file.target.is_under(&folder)) {
        if look.objects.iter().any(|found| found.key == file.staged) {
            places.entry(&file.target).or_insert(&file.staged);
        }
    }
    let mut files = Vec::new();
    for (file, place) in places {
        let read = match known.remove(file) {
            Some(read) => read,
            None => ledger_file(file, storage.get(place)?),
        };
        files.push(read);
    }
    known.extend(files.iter().map(|file| (file.file.clone(), file.clone())));
    Ok(files)
}

fn ledger_file(file: &ObjectKey, bytes: Bytes) -> LedgerFile {
    let digest = Sha256::of(&bytes);
    LedgerFile {
        file: file.clone(),
        digest,
        rows: ledger_rows::read(bytes).map(Arc::from).map_err(|fault| whole(&fault)),
    }
}

/// The digest that stands in a file's name.
pub(super) fn named_digest(file: &ObjectKey) -> &str {
    let name = file.name();
    name.strip_suffix(".parquet").and_then(|name| name.rsplit('-').next()).unwrap_or(name)
}

/// An error with its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
