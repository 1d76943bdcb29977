//! The ledger's rows as a chain: each row's link is a digest of the row and of all rows before it.
//!
//! Promise: a row that was cut, added, edited or moved breaks the chain at its place, and the manifest in force knows the chain's end: no cut
//! goes unseen, the last rows' included.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checkpoint::manifest::{Account, LedgerRow, Sequence};
use crate::domain::ids::Epoch;
use crate::storage::digest::{Sha256, hex, unhex};

/// The first 64 bits of the chain's digest behind a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Link([u8; 8]);

impl From<Link> for String {
    fn from(link: Link) -> String {
        hex(&link.0)
    }
}

impl TryFrom<String> for Link {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Link, &'static str> {
        unhex(&text).map(Link).ok_or("a link has 16 hexadecimal digits")
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerChain {
    /// Rows in all, since the output was begun.
    pub rows: u64,
    pub digest: Sha256,
}

/// What a link is a digest of, besides the chain before it.
#[derive(Serialize)]
struct Linked<'a> {
    sequence: Sequence,
    epoch: u64,
    account: &'a Account,
}

impl LedgerChain {
    /// The chain before the first row.
    pub fn empty() -> LedgerChain {
        LedgerChain { rows: 0, digest: Sha256::of(b"") }
    }

    /// The next row, with its link. The chain ends with it from here on.
    pub fn link(&mut self, sequence: Sequence, epoch: Epoch, account: Account) -> LedgerRow {
        let linked = Linked { sequence, epoch: epoch.0, account: &account };
        let mut bytes = self.digest.to_string().into_bytes();
        serde_json::to_writer(&mut bytes, &linked).expect("every field has a form in JSON");
        self.digest = Sha256::of(&bytes);
        self.rows = self.rows.saturating_add(1);
        let mut link = [0; 8];
        link.copy_from_slice(&self.digest.bytes()[..8]);
        LedgerRow { sequence, epoch, account, link: Link(link) }
    }

    /// Goes on with a row that was read back. Whether its link is the one that it should have.
    pub fn follow(&mut self, row: &LedgerRow) -> bool {
        self.link(row.sequence, row.epoch, row.account.clone()).link == row.link
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::tests::full;

    fn rows() -> Vec<LedgerRow> {
        let accounts =
            full(3).checkpoint().unwrap().ledger.rows().iter().map(|row| row.account.clone()).collect::<Vec<_>>();
        let mut chain = LedgerChain::empty();
        (1..4)
            .flat_map(|sequence| accounts.clone().into_iter().map(move |account| (sequence, account)))
            .map(|(sequence, account)| chain.link(Sequence(sequence), Epoch(sequence * 40), account))
            .collect()
    }

    fn end(rows: &[LedgerRow]) -> (LedgerChain, Option<usize>) {
        let mut chain = LedgerChain::empty();
        let broken = rows.iter().position(|row| !chain.follow(row));
        (chain, broken)
    }

    #[test]
    fn a_row_that_is_missing_twice_moved_or_edited_breaks_the_chain_and_a_cut_moves_its_end() {
        let whole = rows();
        let (all, broken) = end(&whole);
        assert_eq!((all.rows, broken), (6, None));
        for at in 0..whole.len() {
            let mut missing = whole.clone();
            missing.remove(at);
            assert!(end(&missing).1 == Some(at) || at + 1 == whole.len(), "row {at} is missing");
            assert_ne!(end(&missing).0, all);
            let mut twice = whole.clone();
            twice.insert(at, whole[at].clone());
            assert_eq!(end(&twice).1, Some(at + 1), "row {at} is there twice");
            let mut edited = whole.clone();
            edited[at].epoch.0 += 1;
            assert_eq!(end(&edited).1, Some(at), "row {at} was edited");
        }
        let mut moved = whole.clone();
        moved.swap(1, 2);
        assert_eq!(end(&moved).1, Some(1));
        assert_ne!(end(&whole[..5]).0, all, "the last row was cut");
    }
}
