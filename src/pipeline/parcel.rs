//! What travels along the edges of the dataflow: Arrow batches and the few records that steer them.
//!
//! Invariant: the record count of a parcel is preserved by routing and by serialisation, and is zero only for an empty
//! parcel. Timely counts progress by it; a wrong count is a frontier that stalls or runs ahead.

use std::cell::RefCell;
use std::io::Write;

use arrow::array::{AsArray, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow_select::dictionary::garbage_collect_any_dictionary;
use serde::{Deserialize, Serialize};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

use crate::domain::ids::PartitionId;
use crate::domain::membership::Memberships;
use crate::domain::table::{Rows, Table};
use crate::pipeline::account::PartitionReport;
use crate::pipeline::agreement::Proposal;
use crate::pipeline::watermarks::Mark;
use crate::stage::EpochEnd;

/// One thing on an edge.
#[derive(Clone, Debug)]
pub enum Item {
    /// Accepted events, never empty.
    Events(RecordBatch),
    /// Rows of a table, never empty.
    Rows(Rows),
    /// A part of a stage's snapshot, encoded; none if it is as it was in the snapshot before.
    State { stage: u16, part: String, bytes: Option<bytes::Bytes> },
    /// What became of a stage's events since the last checkpoint.
    Members { stage: u16, memberships: Memberships },
    /// What became of a partition's records since the last checkpoint.
    Account(PartitionReport),
    /// A partition that was found while running, told to one worker before its rows.
    Found { target: usize, id: PartitionId, name: String },
    /// The end of an epoch at one source worker, addressed to one worker.
    Mark { target: usize, mark: Mark },
    /// A version of a model that is to take over, told to one worker before the mark of its epoch.
    Proposal { target: usize, proposal: Proposal },
    /// The end of an epoch everywhere, as a stage met it; behind all that the stage gave in it.
    Ended(EpochEnd),
}

impl Item {
    fn record_count(&self) -> i64 {
        match self {
            // Events are split among workers row by row; everything else travels whole.
            Item::Events(batch) => batch.num_rows() as i64,
            Item::Rows(_)
            | Item::State { .. }
            | Item::Members { .. }
            | Item::Account(_)
            | Item::Found { .. }
            | Item::Mark { .. }
            | Item::Proposal { .. }
            | Item::Ended(_) => 1,
        }
    }
}

/// The container of every stream.
#[derive(Clone, Debug, Default)]
pub struct Parcel(pub Vec<Item>);

impl Accountable for Parcel {
    fn record_count(&self) -> i64 {
        self.0.iter().map(Item::record_count).sum()
    }
}

/// An item on the wire: batches follow the head as Arrow IPC streams, in the order of the items.
#[derive(Serialize, Deserialize)]
enum Head {
    Events,
    Rows(TableCode),
    State { stage: u16, part: String, length: Option<usize> },
    Members(u16, Memberships),
    Account(PartitionReport),
    Found(usize, PartitionId, String),
    Mark(usize, Mark),
    Proposal(usize, Proposal),
    Ended(EpochEnd),
}

/// A table on the wire.
#[derive(Serialize, Deserialize)]
enum TableCode {
    Events,
    Windows(u16),
    Anomalies,
    Late,
    Quarantine,
}

impl From<Table> for TableCode {
    fn from(table: Table) -> TableCode {
        match table {
            Table::Events => TableCode::Events,
            Table::Windows(window) => TableCode::Windows(window),
            Table::Anomalies => TableCode::Anomalies,
            Table::Late => TableCode::Late,
            Table::Quarantine => TableCode::Quarantine,
        }
    }
}

impl From<TableCode> for Table {
    fn from(code: TableCode) -> Table {
        match code {
            TableCode::Events => Table::Events,
            TableCode::Windows(window) => Table::Windows(window),
            TableCode::Anomalies => Table::Anomalies,
            TableCode::Late => Table::Late,
            TableCode::Quarantine => Table::Quarantine,
        }
    }
}

thread_local! {
    // Timely asks for the length right before it asks for the bytes; the encoding is kept in between.
    static ENCODED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

const ENCODES: &str = "a batch that was built in memory encodes into memory";
const DECODES: &str = "the peer is the same binary, as the handshake at the start made sure";

impl ContainerBytes for Parcel {
    fn from_bytes(bytes: Bytes) -> Parcel {
        Parcel(decode(&bytes).expect(DECODES))
    }

    fn length_in_bytes(&self) -> usize {
        let encoded = encode(&self.0).expect(ENCODES);
        let length = encoded.len();
        ENCODED.with(|kept| *kept.borrow_mut() = Some(encoded));
        length
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let encoded = ENCODED.with(|kept| kept.borrow_mut().take());
        let encoded = encoded.unwrap_or_else(|| encode(&self.0).expect(ENCODES));
        writer.write_all(&encoded).expect("timely reserved the length that it was told");
    }
}

/// `[length of head u64][head as JSON][IPC stream]…`, padded to eight bytes, for timely keeps messages aligned.
fn encode(items: &[Item]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut heads = Vec::with_capacity(items.len());
    let mut bodies = Vec::new();
    for item in items {
        heads.push(match item {
            Item::Events(_) => Head::Events,
            Item::Rows(rows) => Head::Rows(rows.table.into()),
            Item::State { stage, part, bytes } => {
                Head::State { stage: *stage, part: part.clone(), length: bytes.as_ref().map(bytes::Bytes::len) }
            }
            Item::Members { stage, memberships } => Head::Members(*stage, *memberships),
            Item::Account(account) => Head::Account(account.clone()),
            Item::Found { target, id, name } => Head::Found(*target, *id, name.clone()),
            Item::Mark { target, mark } => Head::Mark(*target, *mark),
            Item::Proposal { target, proposal } => Head::Proposal(*target, proposal.clone()),
            Item::Ended(end) => Head::Ended(*end),
        });
        let batch = match item {
            Item::Events(batch) => batch,
            Item::Rows(rows) => &rows.batch,
            Item::State { bytes, .. } => {
                bodies.extend_from_slice(bytes.as_deref().unwrap_or_default());
                continue;
            }
            Item::Members { .. }
            | Item::Account(_)
            | Item::Found { .. }
            | Item::Mark { .. }
            | Item::Proposal { .. }
            | Item::Ended(_) => continue,
        };
        let compact = compact(batch)?;
        let mut writer = StreamWriter::try_new(&mut bodies, &compact.schema())?;
        writer.write(&compact)?;
        writer.finish()?;
    }
    let head = serde_json::to_vec(&heads)?;
    let mut encoded = Vec::with_capacity(16 + head.len() + bodies.len());
    encoded.extend_from_slice(&(head.len() as u64).to_le_bytes());
    encoded.extend_from_slice(&head);
    encoded.extend_from_slice(&bodies);
    encoded.resize(encoded.len().next_multiple_of(8), 0);
    Ok(encoded)
}

fn decode(bytes: &[u8]) -> Result<Vec<Item>, Box<dyn std::error::Error>> {
    let (length, rest) = bytes.split_at_checked(8).ok_or("no length")?;
    let length = u64::from_le_bytes(length.try_into()?) as usize;
    let (head, mut bodies) = rest.split_at_checked(length).ok_or("no head")?;
    let heads: Vec<Head> = serde_json::from_slice(head)?;
    let bodies = &mut bodies;
    heads
        .into_iter()
        .map(|head| {
            Ok(match head {
                Head::Events => Item::Events(batch(bodies)?),
                Head::Rows(table) => Item::Rows(Rows { table: table.into(), batch: batch(bodies)? }),
                Head::State { stage, part, length } => Item::State { stage, part, bytes: taken(bodies, length)? },
                Head::Members(stage, memberships) => Item::Members { stage, memberships },
                Head::Account(account) => Item::Account(account),
                Head::Found(target, id, name) => Item::Found { target, id, name },
                Head::Mark(target, mark) => Item::Mark { target, mark },
                Head::Proposal(target, proposal) => Item::Proposal { target, proposal },
                Head::Ended(end) => Item::Ended(end),
            })
        })
        .collect()
}

/// The stream at the front of the bodies, which it leaves behind.
fn batch(bodies: &mut &[u8]) -> Result<RecordBatch, Box<dyn std::error::Error>> {
    let mut reader = StreamReader::try_new(bodies, None)?;
    let batch = reader.next().ok_or("no batch")??;
    // Leaves the cursor behind the end-of-stream mark, where the next stream begins.
    while reader.next().transpose()?.is_some() {}
    Ok(batch)
}

fn taken(bodies: &mut &[u8], length: Option<usize>) -> Result<Option<bytes::Bytes>, Box<dyn std::error::Error>> {
    let Some(length) = length else { return Ok(None) };
    let (taken, rest) = bodies.split_at_checked(length).ok_or("a part of the state is cut short")?;
    *bodies = rest;
    Ok(Some(bytes::Bytes::copy_from_slice(taken)))
}

/// The batch with dictionaries that hold no more than its rows need: a batch must not carry a worker's whole dictionary.
fn compact(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = batch.columns().iter().map(|column| match column.as_any_dictionary_opt() {
        Some(dictionary) if dictionary.values().len() > batch.num_rows() => garbage_collect_any_dictionary(dictionary),
        _ => Ok(column.clone()),
    });
    RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array};
    use arrow::datatypes::UInt32Type;

    use super::*;
    use crate::domain::time::EventTime;
    use crate::pipeline::agreement::Answer;
    use crate::storage::digest::Sha256;

    #[test]
    fn a_parcel_survives_the_wire_with_its_record_count() {
        let text: DictionaryArray<UInt32Type> = ["a", "b", "a"].into_iter().collect();
        let batch = RecordBatch::try_from_iter([
            ("text", Arc::new(text) as ArrayRef),
            ("number", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef),
        ])
        .unwrap();
        let mark = Mark { live: Some(EventTime(5)), answer: Answer::Ready(4), is_done: true, ..Mark::silent(1) };
        let (detector, version) = ("flow".to_owned(), "iomt/2".to_owned());
        let proposal = Proposal { number: 4, detector, version, sha256: Sha256::of(b"2") };
        let state = bytes::Bytes::from_static(b"any bytes");
        let (publish, retain) = (EventTime(7), EventTime::MIN);
        let end = EpochEnd { epoch: crate::domain::ids::Epoch(4), is_checkpoint: true, publish, retain };
        let parcel = Parcel(vec![
            Item::Events(batch.slice(0, 1)),
            Item::Proposal { target: 3, proposal: proposal.clone() },
            Item::Mark { target: 3, mark },
            Item::Ended(end),
            Item::Rows(Rows { table: Table::Windows(2), batch: batch.clone() }),
            Item::State { stage: 4, part: "progress".into(), bytes: Some(state.clone()) },
            Item::State { stage: 4, part: "panes-1".into(), bytes: None },
            Item::Events(batch.slice(1, 1)),
        ]);
        let length = parcel.length_in_bytes();
        let mut bytes = Vec::new();
        parcel.into_bytes(&mut bytes);
        assert_eq!((length, length % 8), (bytes.len(), 0));
        let back = Parcel(decode(&bytes).unwrap());
        assert_eq!(back.record_count(), parcel.record_count());
        match &back.0[..] {
            [
                Item::Events(events),
                Item::Proposal { target: 3, proposal: proposed },
                Item::Mark { target: 3, mark: marked },
                Item::Ended(ended),
                Item::Rows(Rows { table: Table::Windows(2), batch: rows }),
                Item::State { stage: 4, part: written, bytes: Some(bytes) },
                Item::State { stage: 4, part: kept, bytes: None },
                Item::Events(more),
            ] => {
                assert_eq!((events, more), (&batch.slice(0, 1), &batch.slice(1, 1)));
                assert_eq!((rows, bytes), (&batch, &state));
                assert_eq!((&written[..], &kept[..]), ("progress", "panes-1"));
                assert_eq!((proposed, marked, ended), (&proposal, &mark, &end));
            }
            other => panic!("{other:?}"),
        }
    }
}
