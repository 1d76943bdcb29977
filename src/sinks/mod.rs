//! Where rows go: Parquet files under the output's URL, the ledger of what became of every offset, anomalies to Kafka.

pub mod kafka;
pub mod ledger;
pub mod ledger_rows;
pub mod parquet;
pub mod pending;
pub mod tables;
mod writer;
