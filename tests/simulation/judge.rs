//! What an output says in the end, with nothing in it that a crash, a cut or the number of workers may change; and a calculation of some
//! of it that knows nothing of the program.

use std::collections::{BTreeMap, BTreeSet};

use tidewatch::storage::Storage;

use crate::flow::tables::{Cell, Row, accounts, rows};
use crate::source::Recording;
use crate::topic::Topic;

/// By table, the truth about each thing: its newest revision.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    tables: BTreeMap<&'static str, BTreeMap<Vec<Cell>, Row>>,
    /// Read, accepted, too late, quarantined and skipped, by partition.
    accounts: BTreeMap<usize, [i64; 5]>,
}

const WINDOWS: [&str; 2] = ["windows/by_device", "windows/sliding"];

const ANOMALY: [&str; 5] = ["detector", "key", "window_start", "partition", "offset"];

/// What names a thing, by table.
const IDENTITIES: [(&str, &[&str]); 6] = [
    (WINDOWS[0], &["device", "window_start"]),
    (WINDOWS[1], &["device", "window_start"]),
    ("events", &["partition", "offset"]),
    ("anomalies", &ANOMALY),
    ("late", &["partition", "offset", "reason"]),
    ("quarantine", &["partition", "offset"]),
];

impl Answer {
    pub fn of(storage: &Storage) -> Result<Answer, String> {
        let mut tables = BTreeMap::new();
        for (table, identity) in IDENTITIES {
            tables.insert(table, newest(rows(storage, table, &[]), table, identity)?);
        }
        let accounts = accounts(storage).into_iter().map(|(partition, account)| {
            let counts = [account.read, account.accepted, account.too_late, account.quarantined, account.skipped];
            (partition, counts)
        });
        Ok(Answer { tables, accounts: accounts.collect() })
    }

    /// The first thing in which this answer differs from what it should be.
    pub fn difference(&self, wanted: &Answer) -> Option<String> {
        for (table, wanted) in &wanted.tables {
            let found = &self.tables[table];
            for (name, row) in wanted {
                match found.get(name) {
                    None => return Some(format!("{table}: {name:?} is missing: {row:?}")),
                    Some(other) if other != row => {
                        return Some(format!("{table}: {name:?} is\n  {other:?}\n  instead of\n  {row:?}"));
                    }
                    Some(_) => {}
                }
            }
            if let Some((name, row)) = found.iter().find(|(name, _)| !wanted.contains_key(*name)) {
                return Some(format!("{table}: {name:?} should not be there: {row:?}"));
            }
        }
        (self.accounts != wanted.accounts).then(|| format!("{:?} instead of {:?}", self.accounts, wanted.accounts))
    }

    /// Whether what stands on the topic is what stands in the table.
    pub fn difference_of(&self, topic: &Topic) -> Option<String> {
        let mut newest: BTreeMap<Vec<String>, serde_json::Value> = BTreeMap::new();
        for (_, row) in &topic.rows {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let name = ANOMALY.iter().map(|column| row[*column].to_string().replace('"', "")).collect();
            let revision = |row: &serde_json::Value| row["revision"].as_i64();
            if newest.get(&name).is_none_or(|other| revision(other) < revision(&row)) {
                newest.insert(name, row);
            }
        }
        newest.retain(|_, row| row["retracted"] == false);
        let scores = newest.into_iter().map(|(name, row)| (name, row["score"].as_f64().map(f64::to_bits)));
        let scores: BTreeMap<_, _> = scores.collect();
        let score = |(name, row): (&Vec<Cell>, &Row)| {
            (name.iter().map(written).collect(), row["score"].number().map(f64::to_bits))
        };
        let wanted: BTreeMap<Vec<String>, _> = self.tables["anomalies"].iter().map(score).collect();
        let odd = wanted.iter().find(|(name, score)| scores.get(*name) != Some(*score));
        let odd = odd.or_else(|| scores.iter().find(|(name, _)| !wanted.contains_key(*name)));
        odd.map(|(name, _)| format!("the topic and the table say different things of {name:?}"))
    }

    /// Against a calculation of our own: which windows there are, their counts, and the sums of whole numbers.
    pub fn check(&self, recording: &Recording) -> Result<(), String> {
        for (table, (size, slide)) in WINDOWS.into_iter().zip([(10_000, 10_000), (20_000, 5_000)]) {
            let wanted = naive(recording, size, slide);
            let found = self.tables[table].values().map(|row| {
                let name = (row["device"].text().to_owned(), row["window_start"].int() / 1_000);
                (name, (row["count"].int(), row.get("n_sum").map(|sum| sum.number().unwrap_or(0.0))))
            });
            let found: BTreeMap<_, _> = found.collect();
            for (name, (count, sum)) in &wanted {
                match found.get(name) {
                    Some((found, sums)) if found == count && sums.is_none_or(|found| found == *sum) => {}
                    other => {
                        return Err(format!("{table}: {name:?} is {other:?} instead of {count} events, sum {sum}"));
                    }
                }
            }
            if found.len() != wanted.len() {
                return Err(format!("{table}: there are {} windows instead of {}", found.len(), wanted.len()));
            }
        }
        Ok(())
    }
}

fn newest(rows: Vec<Row>, table: &str, identity: &[&str]) -> Result<BTreeMap<Vec<Cell>, Row>, String> {
    let mut newest: BTreeMap<Vec<Cell>, (i64, Row)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for mut row in rows {
        let revision = row.remove("revision").map_or(0, |revision| revision.int());
        row.remove("epoch");
        let name: Vec<Cell> = identity.iter().map(|column| row[*column].clone()).collect();
        if !seen.insert((name.clone(), revision)) {
            return Err(format!("{table}: revision {revision} of {name:?} is there twice"));
        }
        match newest.get(&name) {
            Some((other, _)) if *other > revision => {}
            _ => drop(newest.insert(name, (revision, row))),
        }
    }
    let stands = |row: &Row| row.get("retracted").is_none_or(|retracted| *retracted == Cell::Int(0));
    Ok(newest.into_iter().filter(|(_, (_, row))| stands(row)).map(|(name, (_, row))| (name, row)).collect())
}

/// A cell as JSON has it, without quotes: the numbers are a window's start and an offset.
fn written(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Int(number) if *number < 1_000_000_000 => number.to_string(),
        Cell::Int(micros) => {
            let time = chrono::DateTime::from_timestamp_micros(*micros).unwrap();
            time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        }
        other => panic!("{other:?} names no anomaly"),
    }
}

/// Count and sum of `n` by device and window start, in milliseconds.
fn naive(recording: &Recording, size: i64, slide: i64) -> BTreeMap<(String, i64), (i64, f64)> {
    const OUT_OF_ORDERNESS: i64 = 2_000;
    const ALLOWED_LATENESS: i64 = 30_000;
    let mut windows: BTreeMap<(String, i64), (i64, f64)> = BTreeMap::new();
    for records in &recording.partitions {
        let mut newest = i64::MIN;
        for record in records {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(&record.payload) else { continue };
            let (Some(device), Some(at)) = (event["device"].as_str(), event["ts"].as_i64()) else { continue };
            // Nothing but a broken clock is so far ahead of when it came.
            let is_early = at * 1_000 > record.received() + 300_000_000;
            let too_late = newest != i64::MIN && at < newest - OUT_OF_ORDERNESS - ALLOWED_LATENESS;
            if is_early || too_late {
                continue;
            }
            newest = newest.max(at);
            let mut start = at.div_euclid(slide) * slide;
            while start + size > at {
                let window = windows.entry((device.to_owned(), start)).or_default();
                window.0 += 1;
                window.1 += event["n"].as_f64().unwrap_or(0.0);
                start -= slide;
            }
        }
    }
    windows
}
