//! Where rows go: Parquet files under the output's URL, and the ledger of what became of every offset.

pub mod ledger;
pub mod parquet;
pub mod pending;
pub mod tables;
mod writer;
//! Where results go.

pub mod kafka;
