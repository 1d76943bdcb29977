//! The files that are there against those that the ledger and the manifest in force name.

use std::collections::BTreeMap;

use crate::audit::verify::accounts::Placed;
use crate::audit::verify::finding::{Finding, Remark};
use crate::audit::verify::look::Look;
use crate::checkpoint::manifest::{Account, Checkpoint, FileAccount, Sequence};
use crate::checkpoint::places::Generation;
use crate::storage::digest::Sha256;
use crate::storage::key::ObjectKey;
use crate::storage::pieces::Found;

/// A file that the ledger names.
#[derive(Clone, Debug)]
pub struct Named {
    pub table: String,
    pub sequence: Sequence,
    pub account: FileAccount,
}

/// An object that the manifest in force names, and a start would read.
#[derive(Clone, Debug)]
pub struct Needed {
    pub file: ObjectKey,
    pub size: u64,
    pub sha256: Sha256,
    pub what: String,
}

/// The files that the ledger names, each once.
pub fn named(rows: &[Placed<'_>], findings: &mut Vec<Finding>) -> BTreeMap<ObjectKey, Named> {
    let mut files: BTreeMap<ObjectKey, Named> = BTreeMap::new();
    for Placed { row, .. } in rows {
        let Account::Table(table) = &row.account else { continue };
        for account in &table.files {
            let file = account.path.clone();
            let named = Named { table: table.table.clone(), sequence: row.sequence, account: account.clone() };
            if let Some(other) = files.insert(file.clone(), named) {
                let (sequence, other) = (other.sequence, row.sequence);
                findings.push(Finding::FileTwice { file, sequence, other });
            }
        }
    }
    files
}

/// What the manifest in force needs besides visible files.
pub fn needed(checkpoint: &Checkpoint, is_visible: impl Fn(&ObjectKey) -> bool) -> Vec<Needed> {
    let state = checkpoint.state.iter().map(|state| Needed {
        file: state.key.clone(),
        size: state.size,
        sha256: state.sha256,
        what: format!("the state of `{}`", state.stage),
    });
    let staged = checkpoint.staged.iter().map(|staged| Needed {
        file: staged.key.clone(),
        size: staged.size,
        sha256: staged.sha256,
        what: format!("{} rows of {} that wait for their file", staged.rows, staged.table),
    });
    // A file that is visible needs its hidden copy no more.
    let publish = checkpoint.publish.iter().filter(|file| !is_visible(&file.target)).map(|file| Needed {
        file: file.staged.clone(),
        size: file.size,
        sha256: file.sha256,
        what: format!("what becomes {}", file.target),
    });
    state.chain(staged).chain(publish).collect()
}

/// Visible files, against the ledger.
pub fn visible(
    look: &Look,
    named: &BTreeMap<ObjectKey, Named>,
    findings: &mut Vec<Finding>,
    remarks: &mut Vec<Remark>,
) {
    let listed: BTreeMap<&ObjectKey, &Found> = look.files.iter().map(|found| (&found.key, found)).collect();
    let newest = look.newest();
    let checkpoint = newest.and_then(|manifest| manifest.checkpoint());
    let publish = checkpoint.map_or(&[][..], |checkpoint| &checkpoint.publish);
    let is_due = |file: &ObjectKey| publish.iter().any(|due| due.target == *file);
    for (file, named) in named {
        let FileAccount { rows, size, .. } = named.account;
        let sequence = named.sequence;
        match listed.get(file) {
            None if is_due(file) => {}
            None => findings.push(Finding::FileMissing { file: file.clone(), sequence, rows }),
            Some(found) if found.size != size => {
                let (file, found) = (file.clone(), found.size);
                findings.push(Finding::FileSize { file, sequence, found, wanted: size });
            }
            Some(_) => {}
        }
    }
    let not_yet = publish.iter().filter(|due| !listed.contains_key(&due.target)).count();
    if not_yet > 0 {
        remarks.push(Remark::NotVisibleYet { files: not_yet });
    }
    let ledger = ObjectKey::of(["ledger"]);
    for found in &look.files {
        let epoch = epoch_of(&found.key);
        match (epoch, newest, checkpoint) {
            (Some(epoch), Some(newest), Some(checkpoint)) if epoch > checkpoint.epoch.0 => {
                let (file, newest, newest_epoch) = (found.key.clone(), newest.sequence, checkpoint.epoch.0);
                findings.push(Finding::ManifestBehind { file, epoch, newest, newest_epoch });
            }
            // The rows of the ledger's files say themselves whether they belong there.
            (Some(_), ..) if found.key.is_under(&ledger) => {}
            _ if named.contains_key(&found.key) => {}
            _ => findings.push(Finding::FileUnknown { file: found.key.clone() }),
        }
    }
}

/// The epoch in the name of a file of ours.
fn epoch_of(file: &ObjectKey) -> Option<u64> {
    let name = file.name().strip_suffix(".parquet")?;
    let (epoch, rest) = name.split_at_checked(20)?;
    rest.starts_with('-').then(|| epoch.parse().ok())?
}

/// What the manifest in force is about to publish, against the ledger.
pub fn published(
    checkpoint: &Checkpoint,
    sequence: Sequence,
    named: &BTreeMap<ObjectKey, Named>,
    findings: &mut Vec<Finding>,
) {
    for due in checkpoint.publish.iter().filter(|due| due.table != "ledger") {
        let file = due.target.clone();
        let fault = match named.get(&file) {
            None => "it does not name it".to_owned(),
            Some(Named { account, .. })
                if (account.rows, account.size, account.sha256) != (due.rows, due.size, due.sha256) =>
            {
                format!("{} rows, {} bytes, digest {}", account.rows, account.size, account.sha256)
            }
            Some(_) => continue,
        };
        findings.push(Finding::FileDisputed { file, sequence, fault });
    }
}

/// Hidden objects: what is needed is there, and what else is there is told.
pub fn hidden(look: &Look, needed: &[Needed], findings: &mut Vec<Finding>, remarks: &mut Vec<Remark>) {
    let Some(newest) = look.newest() else { return };
    let sequence = newest.sequence;
    let listed: BTreeMap<&ObjectKey, u64> = look.objects.iter().map(|found| (&found.key, found.size)).collect();
    for Needed { file, size, what, .. } in needed {
        let (file, what) = (file.clone(), what.clone());
        match listed.get(&file) {
            None => findings.push(Finding::ObjectMissing { file, sequence, what }),
            Some(found) if found != size => {
                findings.push(Finding::ObjectSize { file, sequence, what, found: *found, wanted: *size });
            }
            Some(_) => {}
        }
    }
    let epoch = newest.checkpoint().map_or(0, |checkpoint| checkpoint.epoch.0);
    let (mut left_over, mut underway) = (0, 0);
    for found in look.objects.iter().filter(|found| !needed.iter().any(|needed| needed.file == found.key)) {
        let written = found.key.name().split_at_checked(20).and_then(|(epoch, _)| epoch.parse::<u64>().ok());
        match (Generation::of(&found.key), written) {
            (Some(Generation(claim)), _) if claim > sequence => {
                findings.push(Finding::ClaimMissing { file: found.key.clone(), claim, newest: sequence });
            }
            (Some(_), Some(written)) if written > epoch => underway += 1,
            _ => left_over += 1,
        }
    }
    if underway > 0 {
        remarks.push(Remark::Underway { objects: underway });
    }
    if left_over > 0 {
        remarks.push(Remark::LeftOver { objects: left_over });
    }
}
