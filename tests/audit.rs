//! What the tables say when they are read back, against the tables themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::process::Command;

use flow::tables;
use tidewatch::audit::tables::Tables;
use tidewatch::audit::verify::{Depth, verify};
use tidewatch::audit::{anomalies, ledger};
use tidewatch::storage::S3Options;
use tidewatch::storage::Storage;
use tidewatch::storage::patience::Patience;

#[test]
fn the_ledger_of_a_replay_balances_and_every_anomaly_is_read_as_it_was_written() {
    let output = tempfile::tempdir().unwrap();
    let url = output.path().display().to_string();
    let replay = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args([
            "--quiet",
            "replay",
            "examples/iomt/tidewatch.toml",
            "--from",
            "data/iomt-flows.ndjson",
            "--output",
            &url,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let options = S3Options::default();
    assert_eq!(verify(&url, &options, Depth::Rows, None).unwrap().findings, []);
    let read = Tables::open(&url, &options).unwrap();
    let storage = Storage::open(&url, &options, Patience::at_start()).unwrap();

    let balance = ledger::balance(&read).unwrap();
    assert_eq!((balance.read, balance.is_zero()), (1000, true), "{balance:?}");
    let windows = tables::rows(&storage, "windows/by_label", &["count"]);
    assert_eq!(balance.published["windows/by_label"], windows.len() as i64);

    let found = anomalies::newest(&read).unwrap();
    let written = tables::rows(&storage, "anomalies", &["key", "score", "time"]);
    assert!(!found.is_empty());
    let mut scores: Vec<(String, i64, u64)> =
        found.iter().map(|anomaly| (anomaly.key.clone(), anomaly.from.0, anomaly.score.to_bits())).collect();
    let mut wanted: Vec<(String, i64, u64)> = written
        .iter()
        .map(|row| (row["key"].text().to_owned(), row["time"].int(), row["score"].number().unwrap().to_bits()))
        .collect();
    scores.sort();
    wanted.sort();
    assert_eq!(scores, wanted);
    for anomaly in &found {
        assert!(anomaly.score > anomaly.threshold, "{anomaly:?}");
        assert!(anomaly.why.iter().is_sorted_by(|a, b| a.share >= b.share), "{anomaly:?}");
        let share: f64 = anomaly.why.iter().map(|reason| reason.share).sum();
        assert!((0.0..=1.0 + 1e-9).contains(&share), "{anomaly:?}");
    }
}
