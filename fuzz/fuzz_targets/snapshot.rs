//! Any bytes as the state of a window: batches or why there are none; and what a stage takes back, it can go on with.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidewatch::checkpoint::state;
use tidewatch::domain::ids::Epoch;
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeSource};
use tidewatch::domain::table::Table;
use tidewatch::domain::time::EventTime;
use tidewatch::stage::{EpochEnd, Output, Share, Stage};
use tidewatch::windows::Windows;
use tidewatch::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

fn stage() -> Windows {
    let field = FieldSpec {
        name: "x".into(),
        kind: FieldKind::Float,
        path: vec!["x".into()],
        default: None,
        required: false,
        missing_as: None,
    };
    let schema = EventSchema {
        time: TimeSource::Received,
        key: KeySource::Partition,
        fields: vec![field],
        record_bytes_max: 1,
    };
    let aggregates = ["stddev", "p95", "slope", "first", "distinct", "kurtosis"];
    let aggregate = |name: &str| AggregateSpec {
        field: "x".into(),
        aggregate: Aggregate::parse(name).expect("an aggregate's name"),
    };
    let spec = WindowSpec {
        name: "fuzz".into(),
        size: Duration::from_secs(20),
        slide: Duration::from_secs(10),
        by: vec!["key".into()],
        aggregates: aggregates.into_iter().map(aggregate).collect(),
        allowed_lateness: Duration::from_secs(60),
    };
    Windows::new(&spec, &schema.arrow(), Table::Windows(0)).expect("the window is sound")
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(batches) = state::decode(bytes) else { return };
    let mut stage = stage();
    if stage.restore(&batches, Share { worker: 0, workers: 1 }).is_ok() {
        let (publish, retain) = (EventTime::MAX, EventTime::MAX);
        stage.on_epoch_end(EpochEnd { epoch: Epoch(1), is_checkpoint: true, publish, retain }, &mut Output::default());
    }
});
