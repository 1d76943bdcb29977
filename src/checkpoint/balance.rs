//! What a checkpoint says of windows and of the ledger, held against the checkpoint before it: both must go on where that one ended.

use crate::checkpoint::chain::LedgerChain;
use crate::checkpoint::manifest::{Account, Checkpoint, LedgerRow, Sequence, TableAccount};

/// Each window was given every accepted event, and each membership is published, open or refused. Otherwise which table is wrong, and how.
pub(super) fn windows<'c>(
    before: Option<&Checkpoint>,
    checkpoint: &'c Checkpoint,
    sequence: Sequence,
    accepted: u64,
) -> Result<(), (&'c str, String)> {
    for row in own(checkpoint, sequence) {
        let Account::Table(TableAccount { table, memberships: Some(memberships), .. }) = &row.account else { continue };
        if memberships.events != accepted {
            return Err((table, format!("{accepted} events were accepted, and {} came to it", memberships.events)));
        }
        let open_before = before.map_or(0, |before| open(before, table));
        if !memberships.is_balanced(open_before) {
            return Err((table, format!("{open_before} memberships were open, then {memberships:?}")));
        }
    }
    Ok(())
}

/// The chain of the ledger goes on from the checkpoint before with the rows of this one.
pub(super) fn chain(before: Option<&Checkpoint>, checkpoint: &Checkpoint, sequence: Sequence) -> Result<(), String> {
    let mut chain = before.map_or(LedgerChain::empty(), |before| before.chain);
    for (index, row) in own(checkpoint, sequence).enumerate() {
        if !chain.follow(row) {
            return Err(format!("row {index} of the checkpoint is not linked to the row before it"));
        }
    }
    match chain == checkpoint.chain {
        true => Ok(()),
        false => Err(format!("its chain ends after {} rows, not after {}", checkpoint.chain.rows, chain.rows)),
    }
}

fn own(checkpoint: &Checkpoint, sequence: Sequence) -> impl Iterator<Item = &LedgerRow> {
    checkpoint.ledger.rows().iter().filter(move |row| row.sequence == sequence)
}

/// The memberships that a checkpoint left open in a window's table. A manifest holds its own checkpoint's rows always.
fn open(checkpoint: &Checkpoint, of: &str) -> u64 {
    let open = checkpoint.ledger.rows().iter().filter(|row| row.epoch == checkpoint.epoch).find_map(|row| {
        match &row.account {
            Account::Table(TableAccount { table, memberships: Some(memberships), .. }) if table == of => {
                Some(memberships.open)
            }
            _ => None,
        }
    });
    open.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::Entry;
    use crate::checkpoint::manifest::tests::full;
    use crate::domain::ids::Epoch;
    use crate::domain::membership::Memberships;

    /// A checkpoint of one window, behind another.
    fn checkpoint(before: Option<&Checkpoint>, sequence: u64, memberships: Memberships) -> Checkpoint {
        let Entry::Checkpoint(mut checkpoint) = full(sequence).entry else { panic!("a checkpoint") };
        let Some(Account::Table(table)) = checkpoint.ledger.rows().last().map(|row| row.account.clone()) else {
            panic!("a table")
        };
        let account =
            Account::Table(TableAccount { table: "windows/w".into(), memberships: Some(memberships), ..table });
        checkpoint.epoch = Epoch(sequence * 40);
        checkpoint.chain = before.map_or(LedgerChain::empty(), |before| before.chain);
        let row = checkpoint.chain.link(Sequence(sequence), checkpoint.epoch, account);
        checkpoint.ledger = crate::checkpoint::manifest::Ledger::Filed(vec![row]);
        *checkpoint
    }

    #[test]
    fn a_window_that_lost_an_event_or_counted_one_twice_cannot_be_committed() {
        let sound = Memberships { events: 8, given: 16, refused: 1, published: 5, open: 10 };
        let first = checkpoint(None, 1, sound);
        assert_eq!(windows(None, &first, Sequence(1), 8), Ok(()));
        assert!(windows(None, &first, Sequence(1), 9).is_err(), "an event did not come");
        let next = |open| Memberships { events: 1, given: 2, refused: 0, published: 11, open };
        assert_eq!(windows(Some(&first), &checkpoint(Some(&first), 2, next(1)), Sequence(2), 1), Ok(()));
        for open in [0, 2] {
            let second = checkpoint(Some(&first), 2, next(open));
            let told = windows(Some(&first), &second, Sequence(2), 1);
            assert_eq!(told.map_err(|(table, _)| table), Err("windows/w"), "{open}");
        }
    }

    #[test]
    fn a_ledger_that_does_not_go_on_from_the_last_checkpoint_cannot_be_committed() {
        let first = checkpoint(None, 1, Memberships::default());
        let second = checkpoint(Some(&first), 2, Memberships::default());
        assert_eq!(chain(Some(&first), &second, Sequence(2)), Ok(()));
        assert!(chain(None, &second, Sequence(2)).is_err(), "the rows before it are forgotten");
        let cut = Checkpoint { ledger: crate::checkpoint::manifest::Ledger::Filed(Vec::new()), ..second.clone() };
        assert!(chain(Some(&first), &cut, Sequence(2)).is_err(), "its own row is missing");
    }
}
