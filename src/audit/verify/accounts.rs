//! The ledger's rows against each other and against the manifest in force: no offset missing or twice, every table in balance.

use std::collections::BTreeMap;

use crate::audit::verify::finding::{Finding, Place};
use crate::audit::verify::look::{LedgerFile, Look};
use crate::checkpoint::chain::LedgerChain;
use crate::checkpoint::manifest::{Account, Checkpoint, Counts, LedgerRow, PartitionAccount, Sequence, TableAccount};
use crate::domain::ids::Offset;
use crate::domain::membership::Memberships;
use crate::storage::key::ObjectKey;

/// A row of the ledger with the file that holds it; the manifest in force holds those that are in none.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'l> {
    pub row: &'l LedgerRow,
    pub file: Option<&'l ObjectKey>,
}

/// What the ledger says in all.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub checkpoints: usize,
    pub rows: u64,
    pub partitions: BTreeMap<String, PartitionSums>,
    pub tables: BTreeMap<String, TableSums>,
}

#[derive(Clone, Debug)]
pub struct PartitionSums {
    pub first: Offset,
    pub next: Offset,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct TableSums {
    pub rows: u64,
    pub published: u64,
    pub superseded: u64,
    pub open: u64,
    /// Of a window's table: sums over checkpoints, and the last level of those that are open.
    pub memberships: Option<Memberships>,
}

/// All rows in the order of their checkpoints. What cannot be read is a finding.
pub fn gather<'l>(look: &'l Look, findings: &mut Vec<Finding>) -> Vec<Placed<'l>> {
    let mut rows = Vec::new();
    for LedgerFile { file, digest, rows: read } in &look.ledger {
        let name = file.name();
        let wanted = name.strip_suffix(".parquet").and_then(|name| name.rsplit('-').next()).unwrap_or(name);
        if wanted != digest.short() {
            let (file, wanted, found) = (file.clone(), wanted.to_owned(), digest.short());
            findings.push(Finding::LedgerEdited { file, wanted, found });
        }
        match read {
            Ok(read) => {
                rows.extend(read.iter().map(|row| Placed { row, file: Some(file) }));
            }
            Err(fault) => findings.push(Finding::LedgerUnreadable { file: file.clone(), fault: fault.clone() }),
        }
    }
    rows.extend(look.open_rows().iter().map(|row| Placed { row, file: None }));
    rows.sort_by_key(|placed| placed.row.sequence);
    rows
}

/// The rows are those that were written, in their order, and all of them.
pub fn chained(rows: &[Placed<'_>], in_force: Option<&Checkpoint>, findings: &mut Vec<Finding>) {
    let mut chain = LedgerChain::empty();
    for Placed { row, file } in rows {
        if !chain.follow(row) {
            let (about, place) = match &row.account {
                Account::Partition(account) => {
                    (account.partition.clone(), format!("offsets {} to {}", account.from, account.to))
                }
                Account::Table(account) => (account.table.clone(), String::new()),
            };
            let (sequence, file) = (row.sequence, file.cloned());
            let place = Place(
                [Some(place).filter(|place| !place.is_empty()), file.as_ref().map(ToString::to_string)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(", "),
            );
            // What follows is linked to what is wrong: it says nothing more.
            return findings.push(Finding::LedgerBroken { sequence, about, file, place });
        }
    }
    let wanted = in_force.map_or(LedgerChain::empty(), |checkpoint| checkpoint.chain);
    if chain != wanted {
        let last = rows.last().map(|last| format!("the last one is of checkpoint {}", last.row.sequence));
        let last = Place(last.unwrap_or_default());
        findings.push(Finding::LedgerEnd { found: chain.rows, wanted: wanted.rows, last });
    }
}

/// Every offset is in one checkpoint, and every table's rows and events are where they should be.
pub fn balanced(rows: &[Placed<'_>], findings: &mut Vec<Finding>) -> Sums {
    let mut sums = Sums { rows: rows.len() as u64, ..Sums::default() };
    for rows in rows.chunk_by(|a, b| a.row.sequence == b.row.sequence) {
        sums.checkpoints += 1;
        let sequence = rows[0].row.sequence;
        let mut accepted = 0u64;
        for account in rows.iter().filter_map(|placed| partition_of(placed.row)) {
            accepted = accepted.saturating_add(account.counts.accepted);
            partition(account, sequence, &mut sums, findings);
        }
        for placed in rows {
            if let Account::Table(account) = &placed.row.account {
                table(account, sequence, accepted, &mut sums, findings);
            }
        }
    }
    sums
}

pub(super) fn partition_of(row: &LedgerRow) -> Option<&PartitionAccount> {
    match &row.account {
        Account::Partition(account) => Some(account),
        Account::Table(_) => None,
    }
}

fn partition(account: &PartitionAccount, sequence: Sequence, sums: &mut Sums, findings: &mut Vec<Finding>) {
    let partition = account.partition.clone();
    let (from, to) = (account.from.0, account.to.0);
    if !account.is_balanced() {
        let Counts { read, accepted, too_late, quarantined, skipped, lost } = account.counts;
        let fault = format!(
            "{read} read, of these {accepted} accepted, {too_late} too late, {quarantined} quarantined; {skipped} hold no record, \
             {lost} lost"
        );
        findings.push(Finding::OffsetsUnbalanced { partition: partition.clone(), from, to, sequence, fault });
    }
    let begun = PartitionSums { first: account.from, next: account.from, counts: Counts::default() };
    let known = sums.partitions.entry(partition.clone()).or_insert(begun);
    let next = known.next.0;
    if next < from {
        findings.push(Finding::OffsetsMissing { partition, from: next, to: from, sequence });
    } else if next > from {
        findings.push(Finding::OffsetsTwice { partition, from, to: next.min(to), sequence });
    }
    known.next = account.to;
    known.counts = known.counts.and(&account.counts);
}

fn table(account: &TableAccount, sequence: Sequence, accepted: u64, sums: &mut Sums, findings: &mut Vec<Finding>) {
    let known = sums.tables.entry(account.table.clone()).or_default();
    let mut wrong = |fault: String| {
        findings.push(Finding::TableUnbalanced { table: account.table.clone(), sequence, fault });
    };
    let TableAccount { rows, published, superseded, open, .. } = *account;
    let came = known.open.checked_add(rows);
    let went = published.checked_add(superseded).and_then(|settled| settled.checked_add(open));
    if came.is_none() || came != went {
        wrong(format!(
            "{} rows waited and {rows} came, but {published} were published, {superseded} superseded, and {open} wait",
            known.open
        ));
    }
    let in_files = account.files.iter().map(|file| file.rows).fold(0u64, u64::saturating_add);
    if in_files != published {
        wrong(format!("{published} rows were published, and its files hold {in_files}"));
    }
    if let Some(memberships) = account.memberships {
        let before = known.memberships.unwrap_or_default();
        if memberships.events != accepted {
            wrong(format!("{accepted} events were accepted, and {} came to it", memberships.events));
        }
        if !memberships.is_balanced(before.open) {
            let Memberships { given, refused, published, open, .. } = memberships;
            wrong(format!(
                "events were counted {} times in open windows, and {given} more were to be counted; {published} were published, \
                 {refused} refused, and {open} are open",
                before.open
            ));
        }
        known.memberships = Some(Memberships { open: memberships.open, ..before.and(memberships) });
    }
    known.rows = known.rows.saturating_add(rows);
    known.published = known.published.saturating_add(published);
    known.superseded = known.superseded.saturating_add(superseded);
    known.open = open;
}

/// The ledger's ends are those from which the manifest in force goes on.
pub fn in_force(sums: &Sums, checkpoint: &Checkpoint, findings: &mut Vec<Finding>) {
    for state in &checkpoint.partitions {
        let partition = state.name.clone();
        let Some(known) = sums.partitions.get(&partition) else {
            let (known, unknown) = ("the manifest in force", "the ledger");
            findings.push(Finding::PartitionUnknown { partition, known, unknown });
            continue;
        };
        if known.next != state.next {
            let (found, wanted) = (known.next.0, state.next.0);
            findings.push(Finding::OffsetsEnd { partition: partition.clone(), found, wanted });
        }
        for (what, found, wanted) in differences(&known.counts, &state.totals) {
            findings.push(Finding::Totals { partition: partition.clone(), what, found, wanted });
        }
    }
    for partition in sums.partitions.keys().filter(|name| checkpoint.partition(name).is_none()) {
        let (known, unknown) = ("the ledger", "the manifest in force");
        findings.push(Finding::PartitionUnknown { partition: partition.clone(), known, unknown });
    }
    let mut waiting: BTreeMap<&str, u64> = sums.tables.keys().map(|table| (table.as_str(), 0)).collect();
    for staged in &checkpoint.staged {
        let sum = waiting.entry(&staged.table).or_default();
        *sum = sum.saturating_add(staged.rows);
    }
    for (table, wanted) in waiting {
        let found = sums.tables.get(table).map_or(0, |sums| sums.open);
        if found != wanted {
            findings.push(Finding::TableOpen { table: table.to_owned(), found, wanted });
        }
    }
}

fn differences(found: &Counts, wanted: &Counts) -> Vec<(&'static str, u64, u64)> {
    let pairs = [
        ("were read", found.read, wanted.read),
        ("were accepted", found.accepted, wanted.accepted),
        ("were too late", found.too_late, wanted.too_late),
        ("were quarantined", found.quarantined, wanted.quarantined),
        ("were skipped", found.skipped, wanted.skipped),
        ("were lost", found.lost, wanted.lost),
    ];
    pairs.into_iter().filter(|(_, found, wanted)| found != wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Epoch;
    use crate::domain::trace::Trace;

    fn partition(from: i64, to: i64, counts: [u64; 6]) -> Account {
        let [read, accepted, too_late, quarantined, skipped, lost] = counts;
        let counts = Counts { read, accepted, too_late, quarantined, skipped, lost };
        let (from, to) = (Offset(from), Offset(to));
        Account::Partition(PartitionAccount {
            partition: "t/0".into(),
            from,
            to,
            counts,
            trace: Trace(u64::MAX - 7),
            watermark: None,
        })
    }

    fn window(events: u64, given: u64, published: u64, open: u64) -> Account {
        let memberships = Memberships { events, given, refused: 0, published, open };
        Account::Table(TableAccount { table: "windows/w".into(), memberships: Some(memberships), ..Default::default() })
    }

    /// The kinds of findings about these accounts, one checkpoint each.
    fn kinds(checkpoints: &[&[Account]]) -> Vec<String> {
        let mut chain = LedgerChain::empty();
        let accounts = (1..).zip(checkpoints).flat_map(|(at, accounts)| accounts.iter().map(move |one| (at, one)));
        let rows: Vec<LedgerRow> =
            accounts.map(|(at, account)| chain.link(Sequence(at), Epoch(at), account.clone())).collect();
        let rows: Vec<Placed> = rows.iter().map(|row| Placed { row, file: None }).collect();
        let mut findings = Vec::new();
        balanced(&rows, &mut findings);
        let kind = |finding: &Finding| serde_json::to_value(finding).unwrap()["kind"].as_str().unwrap().to_owned();
        findings.iter().map(kind).collect()
    }

    #[test]
    fn every_offset_is_in_one_checkpoint_and_every_record_under_one_heading() {
        let first = || partition(0, 10, [10, 8, 1, 1, 0, 0]);
        let none: [&str; 0] = [];
        assert_eq!(kinds(&[&[first()], &[partition(10, 20, [7, 7, 0, 0, 2, 1])]]), none);
        assert_eq!(kinds(&[&[first()], &[partition(11, 20, [9, 9, 0, 0, 0, 0])]]), ["offsets_missing"]);
        assert_eq!(kinds(&[&[first()], &[partition(9, 20, [11, 11, 0, 0, 0, 0])]]), ["offsets_twice"]);
        assert_eq!(kinds(&[&[partition(0, 10, [10, 7, 1, 1, 0, 0])]]), ["offsets_unbalanced"], "a record is unsettled");
        assert_eq!(
            kinds(&[&[partition(0, 10, [9, 7, 1, 1, 0, 0])]]),
            ["offsets_unbalanced"],
            "an offset is passed over"
        );
        assert_eq!(kinds(&[&[partition(i64::MAX, i64::MIN, [u64::MAX; 6])]]), ["offsets_unbalanced"]);
    }

    #[test]
    fn every_accepted_event_is_counted_in_its_windows_and_every_row_is_somewhere() {
        let read = partition(0, 10, [10, 10, 0, 0, 0, 0]);
        let none: [&str; 0] = [];
        let nothing = partition(10, 10, [0; 6]);
        let sound = window(10, 20, 15, 5);
        assert_eq!(kinds(&[&[read.clone(), sound.clone()], &[nothing.clone(), window(0, 0, 5, 0)]]), none);
        assert_eq!(kinds(&[&[read.clone(), window(9, 20, 15, 5)]]), ["table_unbalanced"], "an event did not come");
        assert_eq!(kinds(&[&[read.clone(), window(10, 20, 15, 4)]]), ["table_unbalanced"], "one is counted nowhere");
        let lost = [&[read.clone(), sound][..], &[nothing, window(0, 0, 0, 0)][..]];
        assert_eq!(kinds(&lost), ["table_unbalanced"], "five were open and are gone");
        let table = |rows, published, superseded, open| {
            let account = TableAccount { rows, published, superseded, open, ..Default::default() };
            Account::Table(TableAccount { table: "late".into(), ..account })
        };
        assert_eq!(kinds(&[&[table(5, 0, 1, 4)]]), none);
        assert_eq!(kinds(&[&[table(5, 0, 1, 3)]]), ["table_unbalanced"], "a row is nowhere");
        assert_eq!(kinds(&[&[table(5, 1, 0, 4)]]), ["table_unbalanced"], "no file holds the row that was published");
    }
}
