//! The rows that a detector scores, taken from a recording: its events, or the rows of one of its windows.
//!
//! Promise: the rows and their order do not depend on how the recording was cut when it was read. A window's row is given once, when
//! nothing can revise it any more.

use std::collections::VecDeque;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use crate::domain::ids::Epoch;
use crate::domain::table::Table;
use crate::domain::time::EventTime;
use crate::scoring::history::{History, Reach};
use crate::stage::{EpochEnd, Output, Stage};
use crate::training::error::TrainingError;
use crate::training::recording::{Counts, Order, Recording, RecordingSpec};
use crate::windows::Windows;
use crate::windows::spec::WindowSpec;

const TABLE: Table = Table::Windows(0);

/// Which rows are wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum InputSpec {
    Events,
    Windows(WindowSpec),
}

impl InputSpec {
    /// Of the rows.
    pub fn schema(&self, recording: &RecordingSpec) -> Result<SchemaRef, TrainingError> {
        let events = recording.events.arrow();
        match self {
            InputSpec::Events => Ok(events),
            InputSpec::Windows(window) => Ok(window.schema(&events)?),
        }
    }
}

/// Rows, batch after batch.
pub(super) struct Input {
    recording: Recording,
    windows: Option<Windowing>,
    /// What was given, where somebody looks back on it.
    history: Option<History>,
}

struct Windowing {
    windows: Windows,
    allowed_lateness: std::time::Duration,
    epoch: u64,
    ended: bool,
    waiting: VecDeque<RecordBatch>,
    /// The first and the last time of the events so far.
    span: (i64, i64),
}

impl Input {
    /// `reaches`: how far back those look who take the rows of a window.
    pub(super) fn open(spec: &InputSpec, recording: &RecordingSpec, reaches: &[Reach]) -> Result<Input, TrainingError> {
        let history = match spec {
            InputSpec::Windows(window) if !reaches.is_empty() => {
                let history = History::new(window.timing(), reaches, &spec.schema(recording)?);
                Some(history.map_err(Box::new)?)
            }
            _ => None,
        };
        let (order, windows) = match spec {
            InputSpec::Events => (Order::ByName, None),
            InputSpec::Windows(window) => {
                let windows = Windows::new(window, &recording.events.arrow(), TABLE)?;
                let allowed_lateness = window.allowed_lateness;
                let (waiting, span) = (VecDeque::new(), (i64::MAX, i64::MIN));
                (Order::ByTime, Some(Windowing { windows, allowed_lateness, epoch: 0, ended: false, waiting, span }))
            }
        };
        Ok(Input { recording: Recording::open(recording, order)?, windows, history })
    }

    pub(super) fn counts(&self) -> Counts {
        self.recording.counts()
    }

    /// Which of the rows that `next` gave last are windows that the recording cuts off at its beginning or at its end; none: they are
    /// events. What such a window counts is no measure of what is normal.
    pub(super) fn cut_off(&self, rows: &RecordBatch) -> Option<Vec<bool>> {
        let (first, last) = self.windows.as_ref()?.span;
        let ends = rows.column(1).as_primitive::<TimestampMicrosecondType>().values();
        Some(times(rows).iter().zip(ends).map(|(start, end)| *start < first || *end > last).collect())
    }

    /// The rows before those that `next` gave last, and these.
    pub(super) fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// The same, for who keeps something of its own there.
    pub(super) fn history_mut(&mut self) -> Option<&mut History> {
        self.history.as_mut()
    }

    /// The next rows; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, TrainingError> {
        let Some(rows) = self.rows()? else { return Ok(None) };
        let Some(history) = &mut self.history else { return Ok(Some(rows)) };
        // Windows come in the order of their starts, and each is given once: what lies before these will not change.
        let first = times(&rows).iter().min().copied();
        first.inspect(|first| history.forget(*first));
        history.take(rows);
        let due = history.due();
        let schema = due.first().map(RecordBatch::schema);
        Ok(schema.map(|schema| concat_batches(&schema, &due).expect("the rows of a window have one schema")))
    }

    fn rows(&mut self) -> Result<Option<RecordBatch>, TrainingError> {
        let Some(windowing) = &mut self.windows else {
            return Ok(self.recording.next()?.map(|events| events.into_columns()));
        };
        loop {
            if let Some(rows) = windowing.waiting.pop_front() {
                return Ok(Some(rows));
            }
            if windowing.ended {
                return Ok(None);
            }
            match self.recording.next()? {
                Some(events) => {
                    let (first, last) = windowing.span;
                    let times = || events.times().iter().copied();
                    windowing.span = (times().fold(first, i64::min), times().fold(last, i64::max));
                    windowing.windows.on_batch(events.into_columns(), &mut Output::default());
                    windowing.close(self.recording.watermark());
                }
                None => {
                    windowing.close(EventTime::MAX);
                    windowing.ended = true;
                }
            }
        }
    }
}

impl Windowing {
    /// Takes the rows of windows that no accepted event can revise any more.
    fn close(&mut self, watermark: EventTime) {
        self.epoch += 1;
        let settled = watermark.before(self.allowed_lateness);
        let end = EpochEnd { epoch: Epoch(self.epoch), is_checkpoint: true, publish: settled, retain: settled };
        let mut output = Output::default();
        self.windows.on_epoch_end(end, &mut output);
        self.waiting.extend(output.0.into_iter().filter(|rows| rows.table == TABLE).map(|rows| rows.batch));
    }
}

/// When each row happened: an event's time, a window's start. Both stand first.
pub(super) fn times(rows: &RecordBatch) -> &[i64] {
    rows.column(0).as_primitive::<TimestampMicrosecondType>().values()
}
