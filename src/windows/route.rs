//! The rows of a batch, brought together by pane and group.

use crate::windows::grid::Grid;

/// Rows of one group in one pane: `Routes::rows[start..end]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub pane: i64,
    pub group: u32,
    pub start: u32,
    pub end: u32,
}

/// A counting sort whose buffers serve batch after batch.
#[derive(Debug, Default)]
pub struct Routes {
    /// Row numbers of the batch; within a run they ascend.
    pub rows: Vec<u32>,
    /// Ascending by pane.
    pub runs: Vec<Run>,
    cells: Vec<u32>,
    ends: Vec<u32>,
    /// For each group of all: its number within the batch, and the batch that gave it.
    local: Vec<(u32, u32)>,
    batch: u32,
    /// The groups of the batch by their number within it.
    globals: Vec<u32>,
}

impl Routes {
    /// Sorts the rows with these times and groups; groups are below `numbers`.
    pub fn sort(&mut self, grid: &Grid, times: &[i64], groups: &[u32], numbers: usize) {
        self.rows.clear();
        self.runs.clear();
        if times.is_empty() {
            return;
        }
        let extent = (i64::MAX, i64::MIN);
        let (least, greatest) =
            times.iter().fold(extent, |(least, greatest), time| (least.min(*time), greatest.max(*time)));
        let (first, last) = (grid.pane_of(least), grid.pane_of(greatest));
        let panes = (last - first + 1) as u64;
        let cells_max = (4 * times.len()).max(1024) as u64;
        if panes.saturating_mul(numbers as u64) <= cells_max {
            self.cells.clear();
            self.cells.extend_from_slice(groups);
            self.globals.clear();
            self.globals.extend(0..numbers as u32);
        } else {
            self.number_groups_of_batch(groups, numbers);
            if panes.saturating_mul(self.globals.len() as u64) > cells_max {
                return self.sort_scattered(grid, times, groups);
            }
        }
        self.add_panes(grid, times, first, panes);
        self.sort_cells(first, panes as usize);
    }

    /// Numbers the groups of the batch among themselves: few, however many there are in all.
    fn number_groups_of_batch(&mut self, groups: &[u32], numbers: usize) {
        if self.batch == u32::MAX {
            self.local.clear();
            self.batch = 0;
        }
        self.batch += 1;
        self.local.resize(self.local.len().max(numbers), (0, 0));
        self.globals.clear();
        self.cells.clear();
        for group in groups {
            let (number, batch) = &mut self.local[*group as usize];
            if *batch != self.batch {
                (*number, *batch) = (self.globals.len() as u32, self.batch);
                self.globals.push(*group);
            }
            self.cells.push(*number);
        }
    }

    /// Turns groups into cells: those of the first pane, then those of the next.
    fn add_panes(&mut self, grid: &Grid, times: &[i64], first: i64, panes: u64) {
        let width = self.globals.len() as u32;
        match panes {
            1 => {}
            2 => {
                let edge = grid.pane_start(first + 1);
                for (cell, time) in self.cells.iter_mut().zip(times) {
                    *cell += if *time >= edge { width } else { 0 };
                }
            }
            _ => {
                for (cell, time) in self.cells.iter_mut().zip(times) {
                    *cell += (grid.pane_of(*time) - first) as u32 * width;
                }
            }
        }
    }

    fn sort_cells(&mut self, first: i64, panes: usize) {
        self.ends.clear();
        self.ends.resize(panes * self.globals.len(), 0);
        for cell in &self.cells {
            self.ends[*cell as usize] += 1;
        }
        let mut start = 0;
        for (index, end) in self.ends.iter_mut().enumerate() {
            let count = std::mem::replace(end, start);
            if count > 0 {
                let (pane, group) =
                    (first + (index / self.globals.len()) as i64, self.globals[index % self.globals.len()]);
                self.runs.push(Run { pane, group, start, end: start + count });
            }
            start += count;
        }
        self.rows.resize(self.cells.len(), 0);
        for (row, cell) in (0..).zip(&self.cells) {
            let place = &mut self.ends[*cell as usize];
            self.rows[*place as usize] = row;
            *place += 1;
        }
    }

    /// Rows spread over so many panes that counting would cost more than comparing.
    fn sort_scattered(&mut self, grid: &Grid, times: &[i64], groups: &[u32]) {
        let cell = |row: u32| (grid.pane_of(times[row as usize]), groups[row as usize]);
        self.rows.extend(0..times.len() as u32);
        self.rows.sort_unstable_by_key(|row| (cell(*row), *row));
        let mut start = 0;
        for run in self.rows.chunk_by(|a, b| cell(*a) == cell(*b)) {
            let ((pane, group), end) = (cell(run[0]), start + run.len() as u32);
            self.runs.push(Run { pane, group, start, end });
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::windows::spec::WindowSpec;

    fn grid() -> Grid {
        let spec = WindowSpec {
            name: String::new(),
            size: Duration::from_micros(10),
            slide: Duration::from_micros(10),
            by: vec![],
            aggregates: vec![],
            allowed_lateness: Duration::ZERO,
        };
        Grid::new(&spec).unwrap()
    }

    proptest! {
        #[test]
        fn every_row_comes_into_the_run_of_its_pane_and_group(
            batches in prop::collection::vec(prop::collection::vec((0i64..4, -100_000i64..100_000, 0u32..3000), 0..60), 1..5),
            spread in 0usize..3,
            groups in 1u32..3000,
        ) {
            let mut routes = Routes::default();
            for batch in batches {
                let time = |(near, far, _): &(i64, i64, u32)| [*near, 15 * near - 30, *far][spread];
                let times: Vec<i64> = batch.iter().map(time).collect();
                let of_row: Vec<u32> = batch.iter().map(|row| row.2 % groups).collect();
                routes.sort(&grid(), &times, &of_row, groups as usize);
                let mut wanted: BTreeMap<(i64, u32), Vec<u32>> = BTreeMap::new();
                for (row, (time, group)) in (0..).zip(times.iter().zip(&of_row)) {
                    wanted.entry((time.div_euclid(10), *group)).or_default().push(row);
                }
                prop_assert!(routes.runs.is_sorted_by_key(|run| run.pane));
                let rows = |run: &Run| routes.rows[run.start as usize..run.end as usize].to_vec();
                let found: BTreeMap<_, _> = routes.runs.iter().map(|run| ((run.pane, run.group), rows(run))).collect();
                prop_assert_eq!(found.len(), routes.runs.len());
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
