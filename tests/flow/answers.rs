//! Everything that must be the same in every run over the same records, whatever happened to the run.

use std::collections::{BTreeMap, BTreeSet};

use super::events::CLOSER;
use super::place::Place;
use super::tables::{self, Account, Cell, Row};
use super::topic::Topic;

#[derive(Debug, PartialEq, Eq)]
pub struct Answers {
    by_label: Vec<Row>,
    by_device: Vec<Row>,
    events: Vec<Row>,
    /// Those of events, and the newest of each window that is one.
    anomalies: Vec<Row>,
    late: Vec<Row>,
    quarantine: Vec<Row>,
    accounts: BTreeMap<usize, Account>,
}

/// Of `configuration`'s two windows, and of detectors on events and on `by_device`.
pub fn answers(place: &Place) -> Answers {
    let storage = place.open();
    let by_device = tables::newest(&storage, "by_device", "device");
    let table = |name| ordered(tables::rows(&storage, name, &[]));
    Answers {
        anomalies: standing(tables::rows(&storage, "anomalies", &[]), &by_device),
        by_label: tables::newest(&storage, "by_label", "label"),
        by_device,
        events: table("events"),
        late: table("late"),
        quarantine: table("quarantine"),
        accounts: tables::accounts(&storage),
    }
}

/// By address, without what tells of the run.
fn ordered(mut rows: Vec<Row>) -> Vec<Row> {
    rows.iter_mut().for_each(|row| drop((row.remove("epoch"), row.remove("received"))));
    rows.sort_by_key(|row| (row["partition"].clone(), row["offset"].clone()));
    rows
}

/// The anomalies of events, and of windows those that stand: as the windows themselves have it.
fn standing(rows: Vec<Row>, windows: &[Row]) -> Vec<Row> {
    let is_anomaly = |row: &&Row| row.get("health_is_anomaly") == Some(&Cell::Int(1));
    let window = |start: &Cell, device: &Cell| (start.clone(), device.clone());
    let wanted: BTreeSet<_> =
        windows.iter().filter(is_anomaly).map(|row| window(&row["window_start"], &row["device"])).collect();
    let (of_events, of_windows): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row["window_start"] == Cell::Null);
    let mut newest: BTreeMap<_, (i64, Row)> = BTreeMap::new();
    for mut row in of_windows.into_iter().filter(|row| row["key"] != Cell::Text(CLOSER.into())) {
        let revision = row.remove("revision").unwrap().int();
        let key = window(&row["window_start"], &row["key"]);
        if newest.get(&key).is_none_or(|(other, _)| *other < revision) {
            newest.insert(key, (revision, row));
        }
    }
    newest.retain(|_, (_, row)| row["retracted"] == Cell::Int(0));
    assert!(newest.keys().eq(&wanted), "the anomalies that stand are not those of the windows");
    let of_windows = newest.into_values().map(|(_, row)| row);
    ordered(of_events.into_iter().chain(of_windows).collect())
}

impl Answers {
    pub fn anomalies(&self) -> usize {
        self.anomalies.len()
    }

    pub fn late(&self) -> usize {
        self.late.len()
    }

    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// What was read in all.
    pub fn read(&self) -> i64 {
        self.accounts.values().map(|account| account.read).sum()
    }

    /// Names the first difference rather than all of it.
    pub fn assert_same(&self, other: &Answers, what: &str) {
        let tables = [
            ("by_label", &self.by_label, &other.by_label),
            ("by_device", &self.by_device, &other.by_device),
            ("events", &self.events, &other.events),
            ("anomalies", &self.anomalies, &other.anomalies),
            ("late", &self.late, &other.late),
            ("quarantine", &self.quarantine, &other.quarantine),
        ];
        for (table, ours, theirs) in tables {
            for (one, another) in ours.iter().zip(theirs) {
                assert_eq!(one, another, "{what}: {table}");
            }
            assert_eq!(ours.len(), theirs.len(), "{what}: {table}");
        }
        assert_eq!(self.accounts, other.accounts, "{what}");
    }
}

/// Every anomaly of an event is on the topic once; of a window, each revision at most once and the newest for sure.
pub fn assert_on_topic_once(place: &Place, topic: &Topic, what: &str) {
    let sent = topic.committed();
    let keys: BTreeSet<&String> = sent.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), sent.len(), "{what}: an idempotency key belongs to one record");
    let mut on_topic: Vec<(String, String)> = Vec::new();
    for (_, payload) in &sent {
        let value: serde_json::Value = serde_json::from_str(payload).unwrap();
        if let (Some(partition), Some(offset)) = (value["partition"].as_str(), value["offset"].as_i64()) {
            on_topic
                .push((format!("{partition} {offset}"), format!("{:x}", value["score"].as_f64().unwrap().to_bits())));
        }
    }
    let mut in_table: Vec<(String, String)> = Vec::new();
    let rows = tables::rows(&place.open(), "anomalies", &["partition", "offset", "score"]);
    for row in rows.iter().filter(|row| row["partition"] != Cell::Null) {
        let Cell::Float(bits) = row["score"] else { panic!("{what}: no score in {row:?}") };
        in_table.push((format!("{} {}", row["partition"].text(), row["offset"].int()), format!("{bits:x}")));
    }
    on_topic.sort();
    in_table.sort();
    assert!(in_table.len() > 10, "{what}: the flows hold anomalies");
    assert_eq!(on_topic.len(), in_table.len(), "{what}: events' anomalies on the topic and in the table");
    assert_eq!(on_topic, in_table, "{what}");
    let windows = rows.len() - in_table.len();
    assert!(sent.len() - on_topic.len() >= windows, "{what}: {windows} of windows");
}
