//! Whether an output is whole: proved from its stored files alone, while its pipeline runs or after it ended.
//!
//! Promise: every offset accounted for once, each accepted event counted in its windows, each row visible once, nothing missing that a
//! manifest or the ledger names, and nothing there that they do not name; or a finding that says what is not so, and where. What is read is
//! not trusted: whatever it holds gives findings, never a panic. The ledger is held in memory, with some hundred bytes a row.

pub mod accounts;
mod content;
pub mod files;
pub mod finding;
mod look;
mod row;
mod rows;
pub mod source;

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::AuditError;
use crate::audit::verify::accounts::Sums;
use crate::audit::verify::content::Present;
use crate::audit::verify::files::Named;
use crate::audit::verify::finding::{Finding, Remark};
use crate::audit::verify::look::Look;
use crate::audit::verify::rows::Rows;
use crate::audit::verify::source::SourceSpec;
use crate::checkpoint::manifest::{Manifest, Sequence};
use crate::storage::key::ObjectKey;
use crate::storage::patience::Patience;
use crate::storage::pieces::Found;
use crate::storage::{S3Options, Storage};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Manifests, the ledger, the names and sizes of all files, and their footers.
    Footers,
    /// Every byte: digests, and the rows themselves.
    Rows,
}

/// What was read, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Verification {
    pub pipeline: String,
    pub source: String,
    /// Of the manifest in force.
    pub sequence: Sequence,
    pub epoch: Option<u64>,
    pub depth: Depth,
    pub sums: Sums,
    /// Visible files that the ledger names, with their rows and bytes.
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    pub findings: Vec<Finding>,
    pub remarks: Vec<Remark>,
}

impl Verification {
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Verifies the output at a URL, and against its source if one is given. An error is no verdict: it could not be read.
pub fn verify(
    url: &str,
    options: &S3Options,
    depth: Depth,
    source: Option<&SourceSpec>,
) -> Result<Verification, AuditError> {
    let storage = Storage::open_existing(url, options, Patience::at_start())?.ok_or(AuditError::NoOutput)?;
    of(&storage, depth, source)
}

/// Verifies the output in a store.
pub fn of(storage: &Storage, depth: Depth, source: Option<&SourceSpec>) -> Result<Verification, AuditError> {
    let mut sound = BTreeSet::new();
    let (look, (mut rows, damaged)) = look::look(storage, |look| hidden_rows(storage, look, depth, &mut sound))?;
    let (mut findings, mut remarks) = (row::judge(&look.manifests), Vec::new());
    let placed = accounts::gather(&look, &mut findings);
    let named = files::named(&placed, &mut findings);
    let mut sums = accounts::balanced(&placed, &mut findings);
    sums.rows = placed.len() as u64;
    // Without it nobody knows where the ledger ends and which files may be on their way.
    if let Some(newest) = look.newest() {
        accounts::chained(&placed, newest.checkpoint(), &mut findings);
        in_force(&look, newest, &named, &sums, (&mut findings, &mut remarks));
    }
    findings.extend(damaged);
    let present = present(&look, &named);
    match depth {
        Depth::Footers => content::footers(storage, &present, &mut findings)?,
        Depth::Rows => {
            content::files(storage, &present, &mut rows, &mut findings)?;
            rows.end(&mut findings);
            // Where a file is missing or another, its rows are too: that is told already.
            if look.newest().is_some() && findings.is_empty() {
                added_up(&rows, &sums, &mut findings);
            }
        }
    }
    if let Some(spec) = source {
        source::compare(spec, &placed, &mut findings, &mut remarks)?;
    }
    let (pipeline, source) =
        look.newest().map_or_else(Default::default, |newest| (newest.pipeline.clone(), newest.source.clone()));
    let total = |of: fn(&Present) -> u64| present.iter().map(of).fold(0, u64::saturating_add);
    Ok(Verification {
        pipeline,
        source,
        sequence: look.manifests.last().map_or(Sequence(0), |newest| newest.sequence),
        epoch: look.newest().and_then(Manifest::checkpoint).map(|checkpoint| checkpoint.epoch.0),
        depth,
        sums,
        files: present.len() as u64,
        rows: total(|file| file.named.account.rows),
        bytes: total(|file| file.found.size),
        findings,
        remarks,
    })
}

/// The rows in hidden objects, and what is wrong with those: read within the look, for the next checkpoint sweeps them.
fn hidden_rows(
    storage: &Storage,
    look: &Look,
    depth: Depth,
    sound: &mut BTreeSet<ObjectKey>,
) -> Result<(Rows, Vec<Finding>), AuditError> {
    let (mut rows, mut findings) = (Rows::default(), Vec::new());
    let newest = look.newest().and_then(|newest| Some((newest.checkpoint()?, newest.sequence)));
    if let (Depth::Rows, Some(newest)) = (depth, newest) {
        let needed = files::needed(newest.0, |file| look.files.iter().any(|found| found.key == *file));
        content::objects(storage, look, newest, (&needed, sound), &mut rows, &mut findings)?;
    }
    Ok((rows, findings))
}

fn in_force(
    look: &Look,
    newest: &Manifest,
    named: &BTreeMap<ObjectKey, Named>,
    sums: &Sums,
    (findings, remarks): (&mut Vec<Finding>, &mut Vec<Remark>),
) {
    files::visible(look, named, findings, remarks);
    let Some(checkpoint) = newest.checkpoint() else {
        remarks.push(Remark::OnlyClaimed);
        return;
    };
    accounts::in_force(sums, checkpoint, findings);
    files::published(checkpoint, newest.sequence, named, findings);
    let is_visible = |file: &ObjectKey| look.files.iter().any(|found| found.key == *file);
    files::hidden(look, &files::needed(checkpoint, is_visible), findings, remarks);
    let waiting = sums.tables.iter().filter(|(_, sums)| sums.open > 0);
    remarks.extend(waiting.map(|(table, sums)| Remark::Waiting { table: table.clone(), rows: sums.open }));
}

/// Files that are there and of the right size, in the order of their names.
fn present<'a>(look: &'a Look, named: &'a BTreeMap<ObjectKey, Named>) -> Vec<Present<'a>> {
    let listed: BTreeMap<&ObjectKey, &Found> = look.files.iter().map(|found| (&found.key, found)).collect();
    let present = named.iter().filter_map(|(file, named)| {
        let found = listed.get(file).filter(|found| found.size == named.account.size)?;
        Some(Present { named, found })
    });
    present.collect()
}

/// The rows themselves against the ledger's sums.
fn added_up(rows: &Rows, sums: &Sums, findings: &mut Vec<Finding>) {
    for (table, sums) in &sums.tables {
        let Some(memberships) = sums.memberships else { continue };
        let (found, wanted) = (rows.counts.get(table).copied().unwrap_or(0), memberships.published);
        if found != wanted {
            findings.push(Finding::Counts { table: table.clone(), found, wanted });
        }
    }
    let wanted = sums.partitions.iter().flat_map(|(partition, sums)| {
        [("late", sums.counts.too_late), ("quarantine", sums.counts.quarantined)]
            .map(|(table, wanted)| ((table.to_owned(), partition.clone()), wanted))
    });
    let mut wanted: BTreeMap<(String, String), u64> = wanted.collect();
    for key in rows.refused.keys() {
        wanted.entry(key.clone()).or_default();
    }
    for ((table, partition), wanted) in wanted {
        let found = rows.refused.get(&(table.clone(), partition.clone())).copied().unwrap_or(0);
        if found != wanted {
            findings.push(Finding::Refused { table, partition, found, wanted });
        }
    }
}
