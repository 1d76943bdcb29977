//! The state of a window as keyed columns, and back: any number of workers may take up what any number left.
//!
//! Three kinds of batches: `progress` (how far windows are published and final), `panes` (one row for each pane and group) and
//! `revisions` (one row for each window and group that was corrected). Equal content gives equal bytes, whatever its history.
//! Progress and revisions are one part, written each time. Neighbouring panes are a part, written when events came to one of them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};

use crate::stage::{PartState, RestoreError, Share, Tell};
use crate::windows::Windows;
use crate::windows::codec::{EVENTS_MAX, Reader, Writer};
use crate::windows::group_hash::GroupHash;
use crate::windows::pane::Pane;
use crate::windows::rows::{TextType, group_arrays};

const LAYOUT: &str = "layout";
const PUBLISHED: &str = "published_through";
const FINAL: &str = "final_through";
const UNSEEN: &str = "unseen_through";
const PANE_START: &str = "pane_start";
const STATE: &str = "state";
const WINDOW_START: &str = "window_start";
const REVISION: &str = "revision";

const BATCH_ROWS_MAX: usize = 8192;
/// Small blocks are had again without the system's help.
const BATCH_BYTES_MAX: usize = 768 << 10;

const FITS: &str = "a batch is full before it has 1 MiB, and a cell is little more than the texts of two records";

/// The part of everything but panes.
const PROGRESS: &str = "progress";

/// About how many parts the panes are, at most.
const PARTS: i64 = 16;

pub fn save(windows: &mut Windows, tell: Tell) {
    debug_assert!(!windows.standings.has_touched(), "a checkpoint's epoch has ended, and with it all corrections left");
    tell(PROGRESS, PartState::Batch(progress(windows)));
    save_revisions(windows, &mut |batch| tell(PROGRESS, PartState::Batch(batch)));
    let panes_of_part = windows.plan.panes_retained() / PARTS + 1;
    let part_of = |pane: i64| pane.div_euclid(panes_of_part);
    let numbers: Vec<i64> = windows.panes.keys().copied().collect();
    for panes in numbers.chunk_by(|a, b| part_of(*a) == part_of(*b)) {
        let name = format!("panes-{}", part_of(panes[0]));
        let is_saved = windows.panes.range(panes[0]..=panes[panes.len() - 1]).all(|(_, pane)| pane.is_saved);
        if is_saved {
            // That panes of it became final is no reason to write a part again: they are passed over when it is read.
            tell(&name, PartState::Unchanged);
        } else {
            save_panes(windows, panes, &mut |batch| tell(&name, PartState::Batch(batch)));
        }
    }
}

fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .expect("the schema is made from the columns, which are of one length")
}

fn progress(windows: &Windows) -> RecordBatch {
    batch_of(vec![
        (LAYOUT, Arc::new(StringArray::from(vec![windows.plan.layout()]))),
        (PUBLISHED, Arc::new(Int64Array::from(vec![windows.published_through]))),
        (FINAL, Arc::new(Int64Array::from(vec![windows.final_through]))),
        (UNSEEN, Arc::new(Int64Array::from(vec![windows.unseen_through]))),
    ])
}

/// Columns in front, the group's columns (under names that cannot meet ours), columns behind.
fn keyed_batch(windows: &Windows, front: (&str, ArrayRef), groups: &[u32], behind: (&str, ArrayRef)) -> RecordBatch {
    let keys = groups.iter().map(|group| windows.groups.key(*group));
    let by = group_arrays(&windows.plan.by, keys, TextType::Plain);
    let names: Vec<String> = windows.plan.by.iter().map(|column| stored_name(&column.name)).collect();
    let mut columns = vec![front];
    columns.extend(names.iter().map(String::as_str).zip(by));
    columns.push(behind);
    batch_of(columns)
}

fn stored_name(column: &str) -> String {
    format!("by.{column}")
}

/// Rows of panes on their way into a batch.
#[derive(Default)]
struct PaneRows {
    starts: Vec<i64>,
    groups: Vec<u32>,
    /// Where each state ends among the writer's bytes.
    ends: Vec<i32>,
    writer: Writer,
}

impl PaneRows {
    fn is_full(&self) -> bool {
        self.groups.len() >= BATCH_ROWS_MAX || self.writer.bytes.len() >= BATCH_BYTES_MAX
    }

    fn flush(&mut self, windows: &Windows, give: &mut dyn FnMut(RecordBatch)) {
        if self.groups.is_empty() {
            return;
        }
        let starts = TimestampMicrosecondArray::from(std::mem::take(&mut self.starts)).with_timezone("UTC");
        let offsets = OffsetBuffer::new(std::iter::once(0).chain(self.ends.drain(..)).collect::<ScalarBuffer<i32>>());
        let room = self.writer.bytes.capacity();
        let bytes = std::mem::replace(&mut self.writer.bytes, Vec::with_capacity(room));
        let states = BinaryArray::new(offsets, Buffer::from_vec(bytes), None);
        give(keyed_batch(windows, (PANE_START, Arc::new(starts)), &self.groups, (STATE, Arc::new(states))));
        self.groups.clear();
    }
}

fn save_panes(windows: &mut Windows, panes: &[i64], give: &mut dyn FnMut(RecordBatch)) {
    let mut rows = PaneRows::default();
    for number in panes {
        let Some(pane) = windows.panes.get_mut(number) else { continue };
        pane.settle();
        pane.is_saved = true;
        let cells = pane.cells_by_key(&mut windows.groups);
        let windows = &*windows;
        let pane = &windows.panes[number];
        for cell in cells {
            let cell = cell as usize;
            rows.writer.unsigned(pane.events(cell));
            for (cells, field) in pane.fields.iter().zip(&windows.plan.fields) {
                rows.writer.cell(cells, cell, field.needs);
            }
            rows.starts.push(windows.plan.grid.pane_start(*number));
            rows.groups.push(pane.groups()[cell]);
            rows.ends.push(i32::try_from(rows.writer.bytes.len()).expect(FITS));
            if rows.is_full() {
                rows.flush(windows, give);
            }
        }
    }
    rows.flush(windows, give);
}

/// Without those of revision 0, which every other published row has.
fn save_revisions(windows: &Windows, give: &mut dyn FnMut(RecordBatch)) {
    let mut rows: Vec<(i64, u32, i32)> = windows.standings.rows().filter(|(_, _, revision)| *revision > 0).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| windows.groups.key(a.1).cmp(windows.groups.key(b.1))));
    for rows in rows.chunks(BATCH_ROWS_MAX) {
        let starts = rows.iter().map(|(window, _, _)| windows.plan.grid.window_start(*window));
        let starts: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(starts).with_timezone("UTC"));
        let revisions: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, _, revision)| *revision)));
        let groups: Vec<u32> = rows.iter().map(|(_, group, _)| *group).collect();
        give(keyed_batch(windows, (WINDOW_START, starts), &groups, (REVISION, revisions)));
    }
}

/// Takes back what `save` gave on any number of workers.
pub fn restore(windows: &mut Windows, state: &[RecordBatch], share: Share) -> Result<(), RestoreError> {
    let mut restoring = Restoring { hash: GroupHash::of_columns(windows.plan.by.clone()), windows, share };
    let has = |batch: &RecordBatch, name| batch.column_by_name(name).is_some();
    let (panes, others): (Vec<_>, Vec<_>) = state.iter().partition(|batch| has(batch, PANE_START));
    let (revisions, progress): (Vec<_>, Vec<_>) = others.into_iter().partition(|batch| has(batch, WINDOW_START));
    // Panes first: a revision is of a group that some pane holds.
    progress.into_iter().try_for_each(|batch| restoring.progress(batch))?;
    panes.into_iter().try_for_each(|batch| restoring.panes(batch))?;
    revisions.into_iter().try_for_each(|batch| restoring.revisions(batch))?;
    restoring.never_corrected();
    Ok(())
}

struct Restoring<'w> {
    windows: &'w mut Windows,
    hash: GroupHash,
    share: Share,
}

impl Restoring<'_> {
    fn stage(&self) -> String {
        format!("windows.{}", self.windows.plan.name)
    }

    fn no_column(&self, column: &str) -> RestoreError {
        RestoreError::Column { stage: self.stage(), column: column.to_owned() }
    }

    fn damaged(&self, fault: impl Into<String>) -> RestoreError {
        RestoreError::Damaged { stage: self.stage(), fault: fault.into() }
    }

    fn times<'a>(&self, batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], RestoreError> {
        let column =
            batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let column = column.filter(|column| column.null_count() == 0).ok_or_else(|| self.no_column(name))?;
        Ok(column.values())
    }

    fn whole(&self, batch: &RecordBatch, name: &str) -> Result<i64, RestoreError> {
        let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let column = column.filter(|column| column.len() == 1 && column.null_count() == 0);
        column.map(|column| column.value(0)).ok_or_else(|| self.no_column(name))
    }

    fn progress(&mut self, batch: &RecordBatch) -> Result<(), RestoreError> {
        let layout = batch.column_by_name(LAYOUT).and_then(|column| column.as_string_opt::<i32>());
        let layout =
            layout.filter(|layout| layout.len() == 1 && layout.is_valid(0)).ok_or_else(|| self.no_column(LAYOUT))?;
        let wanted = self.windows.plan.layout();
        if layout.value(0) != wanted {
            return Err(self.damaged(format!("it was saved for `{}`, not for `{wanted}`", layout.value(0))));
        }
        let (published, last_final) = (self.whole(batch, PUBLISHED)?, self.whole(batch, FINAL)?);
        let unseen = self.whole(batch, UNSEEN)?;
        if last_final > published || unseen > last_final {
            return Err(self.damaged("a window is final that was not published"));
        }
        // All workers save at the end of one epoch, and so with one watermark.
        self.windows.published_through = self.windows.published_through.max(published);
        self.windows.final_through = self.windows.final_through.max(last_final);
        self.windows.unseen_through = self.windows.unseen_through.max(unseen);
        Ok(())
    }

    /// The batch with the group's columns under their own names, and the rows that belong to this worker.
    fn own_rows(&mut self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<usize>), RestoreError> {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for column in &self.windows.plan.by {
            let stored = stored_name(&column.name);
            let found = batch.column_by_name(&stored).ok_or_else(|| self.no_column(&stored))?;
            let nullable = self.windows.plan.schema.field_with_name(&column.name).is_ok_and(Field::is_nullable);
            if !nullable && found.null_count() > 0 {
                return Err(self.damaged(format!("`{}` has nulls", column.name)));
            }
            fields.push(Field::new(&column.name, found.data_type().clone(), true));
            columns.push(Arc::clone(found));
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let by = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| self.damaged(error.to_string()))?;
        let share = self.share;
        let hashes = self.hash.try_of_rows(&by);
        let rows = hashes
            .map(|hashes| (0..).zip(hashes).filter(|(_, hash)| share.holds(**hash)).map(|(row, _)| row).collect());
        let rows = rows.ok_or_else(|| self.damaged("the group's columns are of other types"))?;
        Ok((by, rows))
    }

    fn panes(&mut self, batch: &RecordBatch) -> Result<(), RestoreError> {
        let starts = self.times(batch, PANE_START)?;
        let states: Option<&BinaryArray> = batch.column_by_name(STATE).and_then(|column| column.as_binary_opt::<i32>());
        let states = states.filter(|states| states.null_count() == 0).ok_or_else(|| self.no_column(STATE))?;
        let (by, mut rows) = self.own_rows(batch)?;
        let (grid, final_through) = (self.windows.plan.grid, self.windows.final_through);
        rows.retain(|row| grid.last_window(grid.pane_of(starts[*row])) > final_through);
        let groups = self.groups_of(&by, &rows)?;
        for (row, group) in rows.into_iter().zip(groups) {
            self.pane_cell(starts[row], group, states.value(row))
                .map_err(|fault| self.damaged(format!("row {row} of a batch of panes: {fault}")))?;
        }
        Ok(())
    }

    /// The numbers of the groups of these rows.
    fn groups_of(&mut self, by: &RecordBatch, rows: &[usize]) -> Result<Vec<u32>, RestoreError> {
        let is_own = (0..by.num_rows()).map(|row| Some(rows.binary_search(&row).is_ok()));
        let own = arrow::compute::filter_record_batch(by, &is_own.collect());
        let own = own.map_err(|error| self.damaged(error.to_string()))?;
        let mut groups = Vec::new();
        if own.num_rows() > 0 || !rows.is_empty() {
            self.windows
                .groups
                .resolve(&own, &mut groups)
                .ok_or_else(|| self.damaged("the group's columns are of other types"))?;
        }
        if groups.len() == rows.len() { Ok(groups) } else { Err(self.damaged("rows without a group")) }
    }

    fn pane_cell(&mut self, start: i64, group: u32, state: &[u8]) -> Result<(), &'static str> {
        let windows = &mut *self.windows;
        let number = windows.plan.grid.pane_starting_at(start).ok_or("no pane starts there")?;
        let plan = &windows.plan;
        let pane = windows.panes.entry(number).or_insert_with(|| Pane::new(plan, start, None));
        if pane.cell_of(group).is_some() {
            return Err("the group was there already");
        }
        let mut reader = Reader(state);
        let events =
            reader.unsigned().filter(|events| (1..=EVENTS_MAX).contains(events)).ok_or("no number of events")?;
        let cell = pane.add_cell(group, events) as usize;
        windows.groups.hold(group);
        pane.grow();
        for (cells, field) in pane.fields.iter_mut().zip(&plan.fields) {
            reader.cell(cells, cell, field.needs, events).ok_or("accumulators that cannot be")?;
        }
        if reader.0.is_empty() { Ok(()) } else { Err("more bytes than accumulators") }
    }

    fn revisions(&mut self, batch: &RecordBatch) -> Result<(), RestoreError> {
        let starts = self.times(batch, WINDOW_START)?;
        let revisions = batch.column_by_name(REVISION).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let revisions = revisions.filter(|column| column.null_count() == 0).ok_or_else(|| self.no_column(REVISION))?;
        let (by, rows) = self.own_rows(batch)?;
        let known = self.windows.groups.live();
        let groups = self.groups_of(&by, &rows)?;
        if self.windows.groups.live() != known {
            return Err(self.damaged("a revision of a group without events"));
        }
        for (row, group) in rows.into_iter().zip(groups) {
            let (start, revision) = (starts[row], revisions.value(row));
            let window = self.windows.plan.grid.window_starting_at(start).filter(|window| {
                *window > self.windows.final_through && *window <= self.windows.published_through && revision > 0
            });
            let is_new = window.is_some_and(|window| self.windows.standings.restore(window, group, revision));
            if !is_new {
                return Err(self.damaged(format!("row {row} of a batch of revisions")));
            }
        }
        Ok(())
    }

    /// A group with events in a published window has its row, for corrections leave before a checkpoint: of revision 0, unless another
    /// was read.
    fn never_corrected(&mut self) {
        let windows = &mut *self.windows;
        for (number, pane) in &windows.panes {
            let first = windows.plan.grid.first_window(*number).max(windows.final_through.saturating_add(1));
            let last = windows.plan.grid.last_window(*number).min(windows.published_through);
            for window in first..=last {
                for group in pane.groups() {
                    if !windows.standings.is_published(window, *group) {
                        windows.standings.restore(window, *group, 0);
                    }
                }
            }
        }
    }
}
