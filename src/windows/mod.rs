//! Event-time windows: exact aggregates by group over panes, revised by late events.
//!
//! What a window publishes depends on the events accepted into it and on nothing else: not on their order, their cuts into batches and
//! epochs, the number of workers, or a restart. Only how often a window is revised depends on when checkpoints came.

mod cells;
mod codec;
mod dictionary;
pub mod error;
mod exact;
mod grid;
mod group_column;
pub mod group_hash;
mod groups;
mod hash;
mod input;
mod late;
mod members;
mod pane;
mod plan;
mod route;
mod rows;
pub mod spec;
mod standing;
mod state;
mod summary;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod stories;

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

use crate::domain::batch::EventBatch;
use crate::domain::membership::Memberships;
use crate::domain::table::{Rows, Table};
use crate::domain::time::EventTime;
use crate::stage::{EpochEnd, Output, RestoreError, Share, Stage, StateSize, Tell};
use crate::windows::cells::CellRun;
use crate::windows::dictionary::PerValue;
use crate::windows::error::WindowError;
use crate::windows::groups::Groups;
use crate::windows::input::{Input, Places};
use crate::windows::late::LateEvents;
use crate::windows::members::{Members, Through};
use crate::windows::pane::Pane;
use crate::windows::plan::Plan;
use crate::windows::route::Routes;
use crate::windows::rows::Due;
use crate::windows::spec::WindowSpec;
use crate::windows::standing::Standings;

/// Rows and parts of rows that leave in one batch.
const BATCH_ROWS_MAX: usize = 8192;
const BATCH_PARTS_MAX: usize = 1 << 20;

/// The stage of one configured window, on one worker.
#[derive(Debug)]
pub struct Windows {
    plan: Plan,
    table: Table,
    groups: Groups,
    /// By number. Invariant: each belongs to some window after `final_through`.
    panes: BTreeMap<i64, Pane>,
    standings: Standings,
    /// The last window that is published, and the last that is final. Neither ever falls.
    published_through: i64,
    final_through: i64,
    /// The last window whose beginning may have been missed, where the window was added to a pipeline that had read before. It counts as
    /// final from the start.
    unseen_through: i64,
    /// The watermark behind `final_through`.
    retained: EventTime,
    late: LateEvents,
    members: Members,
    routes: Routes,
    row_groups: Vec<u32>,
    cell_runs: Vec<CellRun>,
    /// The hashes of texts, by field.
    text_hashes: Vec<PerValue<u64>>,
}

impl Windows {
    /// `events` is the schema of event batches, `table` where the rows go.
    pub fn new(spec: &WindowSpec, events: &Schema, table: Table) -> Result<Windows, WindowError> {
        let plan = Plan::new(spec, events)?;
        Ok(Windows {
            groups: Groups::new(plan.by.clone()),
            text_hashes: plan.fields.iter().map(|_| PerValue::default()).collect(),
            plan,
            table,
            panes: BTreeMap::new(),
            standings: Standings::default(),
            published_through: i64::MIN,
            final_through: i64::MIN,
            unseen_through: i64::MIN,
            retained: EventTime::MIN,
            late: LateEvents::default(),
            members: Members::default(),
            routes: Routes::default(),
            row_groups: Vec::new(),
            cell_runs: Vec::new(),
        })
    }

    /// Instead of `restore`, for a window that is new to a pipeline which has accepted events up to `newest`: whatever begins at or before
    /// that would miss some of its events, and is never published.
    pub fn begin_after(&mut self, newest: EventTime) {
        if newest != EventTime::MIN {
            let through = self.plan.grid.last_window(self.plan.grid.pane_of(newest.0));
            (self.unseen_through, self.final_through, self.published_through) = (through, through, through);
        }
    }

    /// Of the rows that it publishes.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.plan.schema)
    }

    fn through(&self) -> Through {
        Through { published: self.published_through, last_final: self.final_through }
    }

    /// How often events are counted in windows that are not published.
    fn open_memberships(&self) -> u64 {
        let of_pane = |(number, pane): (&i64, &Pane)| {
            let first = self.plan.grid.first_window(*number).max(self.published_through.saturating_add(1));
            let windows = self.plan.grid.last_window(*number).saturating_sub(first).saturating_add(1);
            let windows = u64::try_from(windows).unwrap_or(0);
            if windows == 0 { 0 } else { windows * pane.all_events() }
        };
        self.panes.iter().map(of_pane).sum()
    }

    /// Windows that hold events and are not final.
    fn open_windows(&self) -> usize {
        let (mut count, mut next) = (0, self.final_through.saturating_add(1));
        for pane in self.panes.keys() {
            let last = self.plan.grid.last_window(*pane);
            next = next.max(self.plan.grid.first_window(*pane));
            count += last.saturating_add(1).saturating_sub(next).max(0);
            next = next.max(last.saturating_add(1));
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// What the state takes in memory, reckoned from its capacities.
    pub fn state_bytes(&self) -> usize {
        let panes: usize = self.panes.values().map(Pane::heap_bytes).sum();
        panes + self.groups.heap_bytes() + self.standings.heap_bytes()
    }

    /// Sets events aside whose windows are all final, and gives the others.
    fn without_final(&mut self, batch: EventBatch) -> EventBatch {
        let open_from = self.plan.grid.end_of_last_pane(self.final_through);
        if batch.times().iter().min().is_none_or(|least| *least >= open_from) {
            return batch;
        }
        let is_open: BooleanArray = batch.times().iter().map(|time| Some(*time >= open_from)).collect();
        let (places, through) = (places_of(&batch), self.through());
        let rows = (0..batch.len() as u32).zip(is_open.values()).filter(|(_, is_open)| !is_open);
        for (row, _) in rows {
            let place = places.at(row);
            self.members.come(&self.plan.grid, self.plan.grid.pane_of(place.time), 1, through);
            self.late.extend(std::iter::once(place));
        }
        let open = arrow::compute::filter_record_batch(batch.columns(), &is_open).ok();
        open.and_then(|open| EventBatch::try_from(open).ok()).expect("some rows of an event batch are an event batch")
    }

    /// Adds events of which each belongs to a window that is not final. Nothing if a column is missing.
    fn add(&mut self, batch: &EventBatch) -> Option<()> {
        let columns = batch.columns();
        self.groups.resolve(columns, &mut self.row_groups)?;
        self.routes.sort(&self.plan.grid, batch.times(), &self.row_groups, self.groups.numbers());
        let through = self.through();
        let fields = &self.plan.fields;
        let arrays: Option<Vec<ArrayRef>> = fields.iter().map(|field| input::column_of(field, columns)).collect();
        let arrays = arrays?;
        let inputs = fields.iter().zip(&arrays).zip(&mut self.text_hashes);
        let inputs: Option<Vec<Input>> =
            inputs.map(|((field, array), hashes)| Input::read(field, array, hashes)).collect();
        let (inputs, places) = (inputs?, places_of(batch));
        for runs in self.routes.runs.chunk_by(|a, b| a.pane == b.pane) {
            let number = runs[0].pane;
            let events = runs.iter().map(|run| u64::from(run.end - run.start)).sum();
            self.members.come(&self.plan.grid, number, events, through);
            if !self.panes.contains_key(&number) {
                let neighbour = self.panes.values().next_back();
                let pane = Pane::new(&self.plan, self.plan.grid.pane_start(number), neighbour);
                self.panes.insert(number, pane);
            }
            let Some(pane) = self.panes.get_mut(&number) else { continue };
            let groups = &mut self.groups;
            pane.route(runs, &mut self.cell_runs, |group| groups.hold(group));
            let first = self.plan.grid.first_window(number).max(self.final_through.saturating_add(1));
            let last = self.plan.grid.last_window(number).min(self.published_through);
            for window in first..=last {
                runs.iter().for_each(|run| self.standings.touch(window, run.group));
            }
            for (field, input) in inputs.iter().enumerate() {
                pane.add(field, &self.cell_runs, &self.routes.rows, input, places);
            }
        }
        Some(())
    }

    /// The groups that are due by window: first publications after window `after`, and corrections of windows up to `corrected`.
    fn due_groups(&mut self, after: i64, corrected: i64) -> BTreeMap<i64, Vec<u32>> {
        let mut due: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        let grid = &self.plan.grid;
        for (window, group) in self.standings.take_touched(corrected) {
            due.entry(window).or_default().push(group);
        }
        let mut next = after.saturating_add(1);
        for pane in self.panes.keys() {
            let last = grid.last_window(*pane).min(self.published_through);
            for window in grid.first_window(*pane).max(next)..=last {
                due.entry(window).or_insert_with(|| self.groups_in(window));
                next = window.saturating_add(1);
            }
        }
        for groups in due.values_mut() {
            self.groups.sort(groups);
            groups.dedup();
        }
        due
    }

    /// The groups with events in a window, some of them more than once.
    fn groups_in(&self, window: i64) -> Vec<u32> {
        let panes = self.panes.range(self.plan.grid.panes_of(window));
        let mut is_in = vec![false; self.groups.numbers()];
        let groups = panes.flat_map(|(_, pane)| pane.groups());
        groups.copied().filter(|group| !std::mem::replace(&mut is_in[*group as usize], true)).collect()
    }

    /// `before`: the last window whose rows were published before.
    fn publish(&mut self, due: &BTreeMap<i64, Vec<u32>>, before: i64, output: &mut Output) {
        let mut rows = Due::default();
        let groups = &self.groups;
        let mut flush = |rows: &mut Due| {
            self.members.publish(rows.events_after(before));
            let batch = std::mem::take(rows).to_batch(&self.plan, |group| groups.key(group));
            output.push(Rows { table: self.table, batch });
        };
        for (window, due) in due {
            let panes: Vec<&Pane> = self.panes.range(self.plan.grid.panes_of(*window)).map(|(_, pane)| pane).collect();
            for group in due {
                rows.push(*window, *group, &panes, || self.standings.publish(*window, *group));
                if rows.rows.len() >= BATCH_ROWS_MAX || rows.parts_count() >= BATCH_PARTS_MAX {
                    flush(&mut rows);
                }
            }
        }
        flush(&mut rows);
    }

    /// Drops what only final windows need.
    fn drop_final(&mut self) {
        self.standings.drop_through(self.final_through);
        while let Some(first) = self.panes.first_entry() {
            if self.plan.grid.last_window(*first.key()) > self.final_through {
                break;
            }
            self.groups.release(first.remove().groups());
        }
    }

    /// Compacts the panes that only late events can come to.
    fn compact_complete(&mut self) {
        let (grid, groups, through) = (self.plan.grid, &mut self.groups, self.published_through);
        let complete = self.panes.iter_mut().take_while(|(pane, _)| grid.first_window(**pane) <= through);
        for (_, pane) in complete.filter(|(_, pane)| !pane.is_compact()) {
            let order = pane.cells_by_key(groups);
            pane.compact(&order);
        }
    }
}

fn places_of(batch: &EventBatch) -> Places<'_> {
    Places { times: batch.times(), partitions: batch.partitions(), offsets: batch.offsets() }
}

impl Stage for Windows {
    /// # Panics
    /// If the batch lacks a column of the schema that `new` checked.
    fn on_batch(&mut self, batch: RecordBatch, _: &mut Output) {
        if batch.num_rows() == 0 {
            return;
        }
        let batch = EventBatch::try_from(batch).expect("the host hands on event batches");
        let batch = self.without_final(batch);
        if !batch.is_empty() {
            self.add(&batch).expect("the batch has the columns of the schema that `new` checked");
        }
    }

    fn on_epoch_end(&mut self, end: EpochEnd, output: &mut Output) {
        debug_assert!(end.retain <= end.publish, "windows are published before they are final");
        let grid = self.plan.grid;
        let before = self.published_through;
        self.published_through = before.max(grid.last_ended_by(end.publish));
        let allowed_lateness = std::time::Duration::from_micros(self.plan.allowed_lateness as u64);
        let retained = end.retain.before(allowed_lateness);
        self.retained = self.retained.max(end.retain);
        self.final_through = self.final_through.max(grid.last_ended_by(retained));
        // Corrections wait for the checkpoint, but those of windows that are final from here on are not possible later.
        let corrected = if end.is_checkpoint { i64::MAX } else { self.final_through };
        let due = self.due_groups(before, corrected);
        self.publish(&due, before, output);
        self.drop_final();
        self.compact_complete();
        let seen_from = grid.end_of_last_pane(self.unseen_through);
        self.late.leave(self.retained, seen_from, output);
    }

    fn snapshot(&mut self, tell: Tell) {
        state::save(self, tell);
    }

    fn memberships(&mut self) -> Memberships {
        let open = self.open_memberships();
        self.members.take(open)
    }

    fn restore(&mut self, state: &[RecordBatch], share: Share) -> Result<(), RestoreError> {
        state::restore(self, state, share)
    }

    fn size(&self) -> StateSize {
        StateSize { windows: self.open_windows(), groups: self.groups.live(), bytes: self.state_bytes() }
    }

    fn groups(&self) -> usize {
        self.groups.live()
    }
}
