//! What is committed: one manifest a checkpoint, the truth about everything else under the output's URL.
//!
//! Promise: bytes that are not a manifest of this format are an error, never a panic and never half a manifest. These types
//! are the stored form; the numbers in them are in microseconds since 1970 where they are times.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::checkpoint::chain::{LedgerChain, Link};
use crate::checkpoint::schedule::ModelSchedule;
use crate::checkpoint::seal::{self, SealFault};
use crate::domain::ids::{Epoch, Offset, PartitionId};
use crate::domain::membership::Memberships;
use crate::domain::time::EventTime;
use crate::domain::trace::Trace;
use crate::storage::digest::{Sha256, hex, unhex};
use crate::storage::key::ObjectKey;

/// The format that is written and read.
pub const FORMAT: u32 = 4;

/// A manifest's place in the dense row of manifests, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The clock on the wall, in microseconds since 1970. Decides when rows become visible, never what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WallTime(pub i64);

/// 128 random bits: what makes the bytes of a manifest those of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token([u8; 16]);

impl Token {
    /// None if the machine has no randomness to give.
    pub fn random() -> Option<Token> {
        let mut bits = [0; 16];
        SystemRandom::new().fill(&mut bits).ok()?;
        Some(Token(bits))
    }
}

impl From<Token> for String {
    fn from(token: Token) -> String {
        hex(&token.0)
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Token, &'static str> {
        unhex(&text).map(Token).ok_or("a token has 32 hexadecimal digits")
    }
}

/// One link of the row of manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub sequence: Sequence,
    pub token: Token,
    /// Of the bytes of the manifest before; none for the first. An edited manifest breaks the row.
    pub previous: Option<Sha256>,
    /// Whose output this is.
    pub pipeline: String,
    pub source: String,
    pub entry: Entry,
}

/// Why a manifest was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A process has taken over. It carries the last checkpoint on, if there was one, so that a reader needs no other manifest.
    Claim(Option<Box<Checkpoint>>),
    Checkpoint(Box<Checkpoint>),
}

/// The state of everything at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    #[serde(with = "EpochNumber")]
    pub epoch: Epoch,
    pub at: WallTime,
    /// What follows.
    #[serde(default)]
    pub outlook: Outlook,
    /// The keys of the configuration that state and tables depend on, with their values.
    pub configuration: BTreeMap<String, String>,
    pub partitions: Vec<PartitionState>,
    pub state: Vec<StateObject>,
    /// Rows that are not in a file to be published yet.
    pub staged: Vec<StagedRows>,
    /// Files that become visible with this manifest.
    pub publish: Vec<PublishFile>,
    pub ledger: Ledger,
    /// The end of the chain of all rows of the ledger, those of this checkpoint included.
    pub chain: LedgerChain,
    /// Which versions of its model each detector scores by; those of detectors that are configured no longer stay.
    pub models: Vec<ModelSchedule>,
    /// Event time: windows that end at or before it may have been published. None before the first, `i64::MAX` once all are closed.
    #[serde(default)]
    pub published: Option<i64>,
}

/// What follows a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// More of them, unless the process is gone.
    #[default]
    Open,
    /// Nothing before the next start: the process ended in good order.
    Stopped,
    /// The same, and a replay has ended with every window closed. It stays so.
    Closed,
}

/// How far a partition was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionState {
    pub name: String,
    #[serde(with = "PartitionNumber")]
    pub id: PartitionId,
    /// The next offset to read.
    #[serde(with = "OffsetNumber")]
    pub next: Offset,
    /// The greatest event time seen; none before the first event.
    pub max_event_time: Option<i64>,
    /// Nothing more will ever come of it.
    pub ended: bool,
    /// Since the first checkpoint.
    pub totals: Counts,
    /// Numbers that its source or its decoding wants back, by name (such as the place in a file's bytes).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, i64>,
}

/// What became of a stretch of offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub read: u64,
    pub accepted: u64,
    pub too_late: u64,
    pub quarantined: u64,
    /// Offsets that hold no record.
    pub skipped: u64,
    /// Offsets that retention had deleted.
    pub lost: u64,
}

impl Counts {
    /// Promise 1: every record that was read is accounted for.
    pub fn is_balanced(&self) -> bool {
        let settled = [self.accepted, self.too_late, self.quarantined];
        settled.iter().try_fold(0u64, |sum, count| sum.checked_add(*count)) == Some(self.read)
    }

    /// Offsets passed over; none if that is no number.
    pub fn offsets(&self) -> Option<u64> {
        self.read.checked_add(self.skipped)?.checked_add(self.lost)
    }

    /// The counts of this stretch and of another together.
    pub fn and(&self, more: &Counts) -> Counts {
        Counts {
            read: self.read.saturating_add(more.read),
            accepted: self.accepted.saturating_add(more.accepted),
            too_late: self.too_late.saturating_add(more.too_late),
            quarantined: self.quarantined.saturating_add(more.quarantined),
            skipped: self.skipped.saturating_add(more.skipped),
            lost: self.lost.saturating_add(more.lost),
        }
    }
}

/// State of a stage, as `checkpoint::state` writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateObject {
    pub stage: String,
    pub key: ObjectKey,
    pub size: u64,
    pub sha256: Sha256,
}

/// Rows of a table that wait for their file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRows {
    /// The table's folder, such as `windows/by_label`.
    pub table: String,
    pub key: ObjectKey,
    pub size: u64,
    pub sha256: Sha256,
    pub rows: u64,
    /// When the oldest of them came.
    pub oldest: WallTime,
}

/// A whole file of a table under its hidden name, and the name it becomes visible by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishFile {
    pub table: String,
    pub staged: ObjectKey,
    /// Holds epoch and digest, so a target of the right size is this file.
    pub target: ObjectKey,
    pub size: u64,
    pub sha256: Sha256,
    pub rows: u64,
}

/// The rows of the ledger that a manifest holds itself: those of its own checkpoint always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ledger {
    /// In no file yet; those of earlier checkpoints come first.
    Open(Vec<LedgerRow>),
    /// The own checkpoint's alone: they are, with all that were open, in a file that this checkpoint publishes.
    Filed(Vec<LedgerRow>),
}

impl Ledger {
    pub fn rows(&self) -> &[LedgerRow] {
        match self {
            Ledger::Open(rows) | Ledger::Filed(rows) => rows,
        }
    }

    /// The rows that a later file has to hold.
    pub fn open(&self) -> &[LedgerRow] {
        match self {
            Ledger::Open(rows) => rows,
            Ledger::Filed(_) => &[],
        }
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    pub sequence: Sequence,
    #[serde(with = "EpochNumber")]
    pub epoch: Epoch,
    pub account: Account,
    pub link: Link,
}

/// What a row of the ledger is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    Partition(PartitionAccount),
    Table(TableAccount),
}

/// A partition between two checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionAccount {
    pub partition: String,
    #[serde(with = "OffsetNumber")]
    pub from: Offset,
    /// The next to read.
    #[serde(with = "OffsetNumber")]
    pub to: Offset,
    pub counts: Counts,
    /// Of the records that were read: for the source to be known again.
    pub trace: Trace,
    /// Its watermark in the end; none before the first event.
    pub watermark: Option<i64>,
}

impl PartitionAccount {
    /// Whether every offset from `from` to `to` is accounted for.
    pub fn is_balanced(&self) -> bool {
        let passed = self.to.0.checked_sub(self.from.0).and_then(|offsets| u64::try_from(offsets).ok());
        self.counts.is_balanced() && passed.is_some() && self.counts.offsets() == passed
    }
}

/// A table between two checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableAccount {
    pub table: String,
    /// Of a window's table: the events that it was computed of.
    pub memberships: Option<Memberships>,
    /// Rows that the flow gave.
    pub rows: u64,
    /// Rows in the files that become visible with this checkpoint.
    pub published: u64,
    /// Rows that no file holds because a newer revision went into the same publication.
    pub superseded: u64,
    /// Rows that wait for their file.
    pub open: u64,
    pub files: Vec<FileAccount>,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAccount {
    pub path: ObjectKey,
    pub rows: u64,
    pub size: u64,
    pub sha256: Sha256,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Epoch")]
struct EpochNumber(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "PartitionId")]
struct PartitionNumber(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Offset")]
struct OffsetNumber(i64);

/// Why bytes are no manifest of ours.
#[derive(Debug, thiserror::Error)]
pub enum ManifestFault {
    #[error("it is not a manifest")]
    Damaged(#[from] serde_json::Error),
    #[error("it calls itself number {found}")]
    Misplaced { found: Sequence },
    #[error(
        "its format is {found}, and this release reads {FORMAT}: use the release that wrote it, or begin another output"
    )]
    Format { found: u32 },
    #[error(transparent)]
    Seal(#[from] SealFault),
}

impl Manifest {
    /// The checkpoint that is in force with this manifest.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.entry {
            Entry::Claim(carried) => carried.as_deref(),
            Entry::Checkpoint(checkpoint) => Some(checkpoint),
        }
    }

    pub fn is_claim(&self) -> bool {
        matches!(self.entry, Entry::Claim(_))
    }

    /// The stored form. Compact: a manifest is read by machines every few seconds, and by people through `jq`.
    pub fn to_bytes(&self) -> Bytes {
        // No map has keys that are not texts, and no `Serialize` of ours fails.
        Bytes::from(seal::seal(serde_json::to_vec(self).expect("every field has a form in JSON")))
    }

    /// Reads a manifest back that was found at `sequence`.
    pub fn from_bytes(bytes: &[u8], sequence: Sequence) -> Result<Manifest, ManifestFault> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        // First, so that what another release wrote is told as such and not as damage.
        let Header { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ManifestFault::Format { found: format });
        }
        let manifest: Manifest = serde_json::from_slice(&seal::unseal(bytes)?)?;
        if manifest.sequence != sequence {
            return Err(ManifestFault::Misplaced { found: manifest.sequence });
        }
        Ok(manifest)
    }
}

impl Checkpoint {
    /// Every object that is needed to go on from here.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        let state = self.state.iter().map(|object| &object.key);
        let staged = self.staged.iter().map(|rows| &rows.key);
        state.chain(staged).chain(self.publish.iter().map(|file| &file.staged))
    }

    /// No event was accepted, and no window published, behind this time; `MIN` where there was none.
    pub fn newest(&self) -> EventTime {
        let seen = self.partitions.iter().filter_map(|partition| partition.max_event_time);
        seen.chain(self.published).max().map_or(EventTime::MIN, EventTime)
    }

    pub fn partition(&self, name: &str) -> Option<&PartitionState> {
        self.partitions.iter().find(|partition| partition.name == name)
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
pub(crate) mod tests;
