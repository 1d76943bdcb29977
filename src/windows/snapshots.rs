//! What is stored of a window: which parts a snapshot writes, and that nothing but their content decides their bytes.

use proptest::prelude::*;

use crate::checkpoint::state;
use crate::domain::ids::Epoch;
use crate::domain::table::Table;
use crate::domain::time::EventTime;
use crate::stage::{EpochEnd, Output, RestoreError, Share, Stage};
use crate::windows::Windows;
use crate::windows::harness::{Event, Stored, batch, schema, spec};
use crate::windows::spec::WindowSpec;

const SECOND: i64 = 1_000_000;

fn stage(spec: &WindowSpec) -> Windows {
    Windows::new(spec, &schema(), Table::Windows(0)).unwrap()
}

/// A stage with something of every kind of accumulator in it, corrections included.
fn full_stage(spec: &WindowSpec, order: impl Fn(usize) -> usize) -> Windows {
    let mut stage = stage(spec);
    let event = |index: usize| {
        let index = order(index) as i64;
        Event {
            time: index % 40 * SECOND,
            key: format!("pump-{}", index % 3),
            partition: 1,
            offset: index,
            float: (index % 5 != 0).then_some(0.1 * index as f64),
            int: Some(index * 1_000_000_007_000_003),
            bool: Some(index % 2 == 0),
            text: Some(format!("text-{}", index % 7)),
        }
    };
    let events: Vec<Event> = (0..2000).map(event).collect();
    let end = |publish: i64, stage: &mut Windows| {
        let end = EpochEnd {
            epoch: Epoch(0),
            is_checkpoint: true,
            publish: EventTime(publish * SECOND),
            retain: EventTime(0),
        };
        stage.on_epoch_end(end, &mut Output::default());
    };
    events[..1500].chunks(97).for_each(|events| stage.on_batch(batch(events), &mut Output::default()));
    end(20, &mut stage);
    events[1500..].chunks(31).for_each(|events| stage.on_batch(batch(events), &mut Output::default()));
    end(30, &mut stage);
    stage
}

fn everything() -> WindowSpec {
    let aggregates = [
        ("float", "stddev"),
        ("float", "skewness"),
        ("float", "slope"),
        ("float", "first"),
        ("float", "max"),
        ("int", "p95"),
        ("int", "kurtosis"),
        ("int", "distinct"),
        ("int", "sum"),
        ("bool", "mean"),
        ("bool", "last"),
        ("text", "distinct"),
        ("text", "first"),
    ];
    spec(20 * SECOND, 10 * SECOND, &["key", "bool"], &aggregates, 60 * SECOND)
}

#[test]
fn equal_content_gives_equal_snapshots_whatever_its_history() {
    let spec = everything();
    let straight = Stored::of(&mut full_stage(&spec, |index| index));
    // 0..1500 and 1500..2000 stay apart, for what was published must be the same.
    let mixed = full_stage(&spec, |index| if index < 1500 { index * 7 % 1500 } else { 1500 + index * 3 % 500 });
    let mut mixed = mixed;
    assert_eq!(straight, Stored::of(&mut mixed));
    let mut restored = stage(&spec);
    restored.restore(&straight.batches(), Share { worker: 0, workers: 1 }).unwrap();
    assert_eq!(straight, Stored::of(&mut restored));
}

#[test]
fn a_snapshot_writes_the_panes_that_events_came_to_and_tells_of_the_others() {
    let spec = spec(10 * SECOND, 10 * SECOND, &["key"], &[("float", "sum")], 100 * SECOND);
    let mut stage = stage(&spec);
    let mut stored = Stored::default();
    let mut step = |stage: &mut Windows, times: &[i64], watermark: i64| {
        let events = times.iter().map(|time| Event { time: time * SECOND, ..Event::default() });
        stage.on_batch(batch(&events.collect::<Vec<_>>()), &mut Output::default());
        let watermark = EventTime(watermark * SECOND);
        let end = EpochEnd { epoch: Epoch(1), is_checkpoint: true, publish: watermark, retain: watermark };
        stage.on_epoch_end(end, &mut Output::default());
        let written = stored.take(stage);
        (written.join(" "), stored.0.keys().cloned().collect::<Vec<_>>().join(" "))
    };
    let said = |written: &str, all: &str| (written.to_owned(), all.to_owned());
    assert_eq!(step(&mut stage, &[1, 11], 10), said("progress panes-0 panes-1", "panes-0 panes-1 progress"));
    assert_eq!(step(&mut stage, &[21], 20), said("progress panes-2", "panes-0 panes-1 panes-2 progress"));
    assert_eq!(step(&mut stage, &[], 30), said("progress", "panes-0 panes-1 panes-2 progress"));
    assert_eq!(step(&mut stage, &[12], 30), said("progress panes-1", "panes-0 panes-1 panes-2 progress"));
    assert_eq!(step(&mut stage, &[], 110), said("progress", "panes-1 panes-2 progress"));
}

#[test]
fn state_of_another_window_is_refused() {
    let state = Stored::of(&mut full_stage(&everything(), |index| index)).batches();
    let refusal = stage(&spec(10 * SECOND, 10 * SECOND, &["key"], &[("float", "sum")], 20 * SECOND))
        .restore(&state, Share { worker: 0, workers: 1 })
        .unwrap_err();
    assert!(matches!(refusal, RestoreError::Damaged { .. }), "{refusal}");
    assert!(refusal.to_string().contains("windows.test"), "{refusal}");
}

#[test]
fn no_damage_to_a_state_makes_restoring_panic() {
    use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch};
    use std::sync::Arc;
    let spec = everything();
    let state = Stored::of(&mut full_stage(&spec, |index| index)).batches();
    let restored = |state: &[RecordBatch]| {
        let mut stage = stage(&spec);
        stage.restore(state, Share { worker: 0, workers: 1 }).map(|()| stage)
    };
    let panes = state.iter().position(|batch| batch.column_by_name("state").is_some()).unwrap();
    let column = state[panes].schema().index_of("state").unwrap();
    let intact = state[panes].column(column).as_binary::<i32>().value(0).to_vec();
    let mut refused = 0;
    for position in 0..intact.len() {
        for damage in [0u8, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = intact.clone();
            bytes[position] ^= damage;
            if damage == 0 {
                bytes.truncate(position);
            }
            let values = state[panes].column(column).as_binary::<i32>().iter().enumerate();
            let damaged: BinaryArray =
                values.map(|(row, value)| if row == 0 { Some(bytes.as_slice()) } else { value }).collect();
            let mut columns: Vec<ArrayRef> = state[panes].columns().to_vec();
            columns[column] = Arc::new(damaged);
            let mut state = state.clone();
            state[panes] = RecordBatch::try_new(state[panes].schema(), columns).unwrap();
            match restored(&state) {
                Err(_) => refused += 1,
                // What was taken back must be good for going on.
                Ok(mut stage) => {
                    let end = EpochEnd {
                        epoch: Epoch(1),
                        is_checkpoint: true,
                        publish: EventTime::MAX,
                        retain: EventTime::MAX,
                    };
                    stage.on_epoch_end(end, &mut Output::default());
                }
            }
        }
    }
    assert!(refused > intact.len(), "{refused} of {} damages were found", 5 * intact.len());
    for batch in 0..state.len() {
        for column in 0..state[batch].num_columns() {
            let mut state = state.clone();
            state[batch].remove_column(column);
            assert!(restored(&state).is_err(), "batch {batch} lacks column {column}");
        }
    }
    let twice: Vec<RecordBatch> = state.iter().chain([&state[panes]]).cloned().collect();
    assert!(restored(&twice).is_err(), "a group comes twice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_of_a_stored_state_make_reading_and_restoring_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let spec = everything();
        let mut bytes = state::encode(&Stored::of(&mut full_stage(&spec, |index| index)).batches()).unwrap().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut stage = stage(&spec);
        let batches = state::decode(&bytes);
        if batches.is_ok_and(|batches| stage.restore(&batches, Share { worker: 0, workers: 1 }).is_ok()) {
            let (publish, retain) = (EventTime::MAX, EventTime::MAX);
            let end = EpochEnd { epoch: Epoch(1), is_checkpoint: true, publish, retain };
            stage.on_epoch_end(end, &mut Output::default());
        }
    }
}
