//! Any bytes as a file of the ledger: its rows, or why there are none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch::checkpoint::chain::LedgerChain;
use tidewatch::sinks::ledger_rows;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(rows) = ledger_rows::read(bytes.to_vec().into()) {
        let mut chain = LedgerChain::empty();
        rows.iter().for_each(|row| drop(chain.follow(row)));
    }
});
