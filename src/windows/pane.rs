//! One pane: a cell for each group that has events in it.

use crate::windows::cells::{CellRun, FieldCells};
use crate::windows::groups::Groups;
use crate::windows::input::{Input, Places};
use crate::windows::plan::Plan;
use crate::windows::route::Run;

const NO_CELL: u32 = u32::MAX;

#[derive(Debug)]
pub struct Pane {
    /// The cell of each group number.
    cells: Vec<u32>,
    /// The group of each cell.
    groups: Vec<u32>,
    /// Events, by cell.
    events: Vec<u64>,
    /// In the order of the plan.
    pub fields: Vec<FieldCells>,
    /// Microseconds.
    origin: i64,
    is_compact: bool,
    /// No event has come since the last snapshot.
    pub is_saved: bool,
}

impl Pane {
    /// An empty pane that starts at `origin`. `neighbour` is another pane whose units may serve here.
    pub fn new(plan: &Plan, origin: i64, neighbour: Option<&Pane>) -> Pane {
        let field = |(index, field)| FieldCells::new(field, neighbour.map(|pane| &pane.fields[index]));
        let fields = plan.fields.iter().enumerate().map(field).collect();
        Pane {
            cells: Vec::new(),
            groups: Vec::new(),
            events: Vec::new(),
            fields,
            origin,
            is_compact: false,
            is_saved: false,
        }
    }

    pub fn origin(&self) -> i64 {
        self.origin
    }

    /// The groups that have a cell, in the order of cells.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// The cells in the order of their groups' keys.
    pub fn cells_by_key(&self, groups: &mut Groups) -> Vec<u32> {
        let mut order = self.groups.clone();
        groups.sort(&mut order);
        order.iter_mut().for_each(|group| *group = self.cells[*group as usize]);
        order
    }

    pub fn events(&self, cell: usize) -> u64 {
        self.events[cell]
    }

    /// Of all cells.
    pub fn all_events(&self) -> u64 {
        self.events.iter().sum()
    }

    /// The cell of a group, if it has one.
    pub fn cell_of(&self, group: u32) -> Option<u32> {
        self.cells.get(group as usize).copied().filter(|cell| *cell != NO_CELL)
    }

    /// Gives a group that has none a cell. `grow` makes its accumulators.
    pub fn add_cell(&mut self, group: u32, events: u64) -> u32 {
        let cell = self.groups.len() as u32;
        self.cells.resize(self.cells.len().max(group as usize + 1), NO_CELL);
        self.cells[group as usize] = cell;
        self.groups.push(group);
        self.events.push(events);
        cell
    }

    pub fn grow(&mut self) {
        self.fields.iter_mut().for_each(|field| field.grow(self.groups.len()));
    }

    /// Finds the cells of these runs and counts their events. `held` is told of each group that had no cell.
    pub fn route(&mut self, runs: &[Run], cell_runs: &mut Vec<CellRun>, mut held: impl FnMut(u32)) {
        self.is_saved = false;
        cell_runs.clear();
        for run in runs {
            let cell = self.cell_of(run.group).unwrap_or_else(|| {
                held(run.group);
                self.add_cell(run.group, 0)
            });
            self.events[cell as usize] += u64::from(run.end - run.start);
            cell_runs.push(CellRun { cell, start: run.start, end: run.end });
        }
        self.grow();
    }

    pub fn add(&mut self, field: usize, runs: &[CellRun], rows: &[u32], input: &Input, places: Places) {
        self.fields[field].add(runs, rows, input, places, self.origin);
    }

    pub fn is_compact(&self) -> bool {
        self.is_compact
    }

    /// Gives back what growing reserved, and lays the cells out in this order where that matters. Once: late events are few.
    pub fn compact(&mut self, order: &[u32]) {
        self.is_compact = true;
        self.fields.iter_mut().for_each(|field| field.compact(order));
    }

    /// Puts what is kept in no particular order into one that its content alone decides.
    pub fn settle(&mut self) {
        self.fields.iter_mut().for_each(FieldCells::settle);
    }

    pub fn heap_bytes(&self) -> usize {
        4 * self.cells.capacity()
            + 4 * self.groups.capacity()
            + 8 * self.events.capacity()
            + self.fields.iter().map(FieldCells::heap_bytes).sum::<usize>()
    }
}
