//! What can be wrong with an output: each finding names what is at fault, what was found there, and what it should be.

use std::fmt;

use serde::Serialize;

use crate::checkpoint::manifest::Sequence;
use crate::storage::digest::Sha256;
use crate::storage::key::ObjectKey;

/// A fault of an output. In JSON `kind` is the variant's name, and its fields say where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    // Of manifests.
    #[error("manifest {sequence} is missing: {file} should be there")]
    ManifestMissing { sequence: Sequence, file: ObjectKey },
    #[error("manifest {sequence} ({file}) cannot be read: {fault}")]
    ManifestUnreadable { sequence: Sequence, file: ObjectKey, fault: String },
    #[error(
        "manifest {sequence} ({file}) names {wanted} as the digest of the manifest before it, which has {found}: \
         one of the two was rewritten"
    )]
    ManifestUnlinked { sequence: Sequence, file: ObjectKey, wanted: String, found: String },
    #[error("manifest {sequence} ({file}) is of `{found}`, and the newest one is of `{wanted}`")]
    ManifestForeign { sequence: Sequence, file: ObjectKey, found: String, wanted: String },
    #[error(
        "{file} is of epoch {epoch}, and the newest manifest, {newest}, is of epoch {newest_epoch}: a later manifest is missing"
    )]
    ManifestBehind { file: ObjectKey, epoch: u64, newest: Sequence, newest_epoch: u64 },
    #[error("{file} was written under claim {claim}, and the newest manifest is {newest}: a later manifest is missing")]
    ClaimMissing { file: ObjectKey, claim: Sequence, newest: Sequence },

    // Of the ledger.
    #[error("the ledger's file {file} cannot be read: {fault}")]
    LedgerUnreadable { file: ObjectKey, fault: String },
    #[error("the ledger's file {file} was edited: its name says {wanted}, and its bytes digest to {found}")]
    LedgerEdited { file: ObjectKey, wanted: String, found: String },
    #[error(
        "the ledger is broken at checkpoint {sequence}, in front of its row of `{about}`{place}: rows before it were cut, added, \
         edited or moved"
    )]
    LedgerBroken { sequence: Sequence, about: String, file: Option<ObjectKey>, place: Place },
    #[error(
        "the ledger ends after {found} rows{last}, and the manifest in force counts {wanted}: rows were cut or added at its end"
    )]
    LedgerEnd { found: u64, wanted: u64, last: Place },

    // Of what was read.
    #[error(
        "`{partition}`: offsets {from} to {to} are in no checkpoint; they should be in or before checkpoint {sequence}"
    )]
    OffsetsMissing { partition: String, from: i64, to: i64, sequence: Sequence },
    #[error("`{partition}`: offsets {from} to {to} are accounted for twice, the second time in checkpoint {sequence}")]
    OffsetsTwice { partition: String, from: i64, to: i64, sequence: Sequence },
    #[error(
        "`{partition}`: checkpoint {sequence} passed over offsets {from} to {to}, and accounts for them like this: {fault}"
    )]
    OffsetsUnbalanced { partition: String, from: i64, to: i64, sequence: Sequence, fault: String },
    #[error("`{partition}`: the ledger ends at offset {found}, and the manifest in force goes on from {wanted}")]
    OffsetsEnd { partition: String, found: i64, wanted: i64 },
    #[error("`{partition}`: {found} records {what} by the ledger, and {wanted} by the manifest in force")]
    Totals { partition: String, what: &'static str, found: u64, wanted: u64 },
    #[error("`{partition}` is known to {known}, and not to {unknown}")]
    PartitionUnknown { partition: String, known: &'static str, unknown: &'static str },

    // Of the source.
    #[error("`{partition}` was read, and the source has no such partition any more")]
    SourceMissing { partition: String },
    #[error(
        "`{partition}`: the source ends at offset {found}, and was read up to {wanted}: it was made anew or cut short"
    )]
    SourceEnds { partition: String, found: i64, wanted: i64 },
    #[error(
        "`{partition}`: offsets {from} to {to}, as checkpoint {sequence} read them, are not what the source holds there: {what}"
    )]
    SourceDiffers { partition: String, from: i64, to: i64, sequence: Sequence, what: String },

    // Of tables.
    #[error("{table}: checkpoint {sequence} is out of balance: {fault}")]
    TableUnbalanced { table: String, sequence: Sequence, fault: String },
    #[error("{table}: {found} rows wait for their file by the ledger, and {wanted} by the manifest in force")]
    TableOpen { table: String, found: u64, wanted: u64 },
    #[error("{table}: the newest rows count {found} events in windows, and should count {wanted}")]
    Counts { table: String, found: u64, wanted: u64 },
    #[error("{table}: {found} rows of `{partition}`, and the ledger has {wanted}")]
    Refused { table: String, partition: String, found: u64, wanted: u64 },
    #[error("{table}: row {row} of {file} is also row {other_row} of {other}: {what}")]
    RowTwice { table: String, file: ObjectKey, row: u64, other: ObjectKey, other_row: u64, what: String },

    // Of files and objects.
    #[error("{file} is missing: checkpoint {sequence} published {rows} rows in it")]
    FileMissing { file: ObjectKey, sequence: Sequence, rows: u64 },
    #[error("{file} is named by no row of the ledger: it should not be there")]
    FileUnknown { file: ObjectKey },
    #[error("{file} has {found} bytes, and checkpoint {sequence} published {wanted}")]
    FileSize { file: ObjectKey, sequence: Sequence, found: u64, wanted: u64 },
    #[error("{file} has {found} rows, and checkpoint {sequence} published {wanted}")]
    FileRows { file: ObjectKey, sequence: Sequence, found: u64, wanted: u64 },
    #[error("{file} is not the file of checkpoint {sequence}: its bytes digest to {found}, not {wanted}")]
    FileDigest { file: ObjectKey, sequence: Sequence, found: Sha256, wanted: Sha256 },
    #[error("{file} cannot be read: {fault}")]
    FileUnreadable { file: ObjectKey, fault: String },
    #[error("{file} is named by two rows of the ledger, of checkpoints {sequence} and {other}")]
    FileTwice { file: ObjectKey, sequence: Sequence, other: Sequence },
    #[error("{file} is to be published by manifest {sequence}, and its ledger says otherwise: {fault}")]
    FileDisputed { file: ObjectKey, sequence: Sequence, fault: String },
    #[error("{file} is missing: manifest {sequence} names it as {what}, and no start could go on without it")]
    ObjectMissing { file: ObjectKey, sequence: Sequence, what: String },
    #[error("{file} has {found} bytes, and manifest {sequence} names it as {what} of {wanted}")]
    ObjectSize { file: ObjectKey, sequence: Sequence, what: String, found: u64, wanted: u64 },
    #[error(
        "{file} was edited or is damaged: manifest {sequence} names it as {what} with the digest {wanted}, and it has {found}"
    )]
    ObjectDigest { file: ObjectKey, sequence: Sequence, what: String, found: Sha256, wanted: Sha256 },
}

/// Where in the ledger, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Place(pub String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => Ok(()),
            place => write!(f, " ({place})"),
        }
    }
}

/// What is no fault, and worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remark {
    #[error(
        "{files} files of the newest checkpoint are not visible yet: the pipeline, or its next start, publishes them"
    )]
    NotVisibleYet { files: usize },
    #[error("{rows} rows of {table} wait for their file")]
    Waiting { table: String, rows: u64 },
    #[error(
        "{objects} objects of earlier checkpoints or processes are left over: the pipeline, or its next start, sweeps them"
    )]
    LeftOver { objects: usize },
    #[error("{objects} objects of a checkpoint that is not committed")]
    Underway { objects: usize },
    #[error("`{partition}`: the source has deleted offsets below {from}, so its records cannot be compared")]
    SourceDeleted { partition: String, from: i64 },
    #[error("nothing is committed yet: the output is claimed, and that is all")]
    OnlyClaimed,
}
