//! The accumulators of one field in one pane, one cell for each group: columns of a kind side by side.

use arrow::array::StringArray;

use crate::domain::schema::FieldKind;
use crate::windows::exact::distinct::Distinct;
use crate::windows::exact::ends::Ends;
use crate::windows::exact::extremes::Extremes;
use crate::windows::exact::kept::Kept;
use crate::windows::exact::number::{Number, Picked};
use crate::windows::exact::powers::Powers;
use crate::windows::exact::slope::Slope;
use crate::windows::exact::sums::{Habit, Sums};
use crate::windows::hash;
use crate::windows::input::{Input, Places, Values};
use crate::windows::plan::{FieldPlan, Needs};

/// Rows of a batch that belong to one cell: `rows[start..end]`.
#[derive(Clone, Copy, Debug)]
pub struct CellRun {
    pub cell: u32,
    pub start: u32,
    pub end: u32,
}

impl CellRun {
    fn of<'a>(&self, rows: &'a [u32]) -> &'a [u32] {
        &rows[self.start as usize..self.end as usize]
    }
}

#[derive(Debug)]
pub struct FieldCells {
    /// Events without a value, by cell; as long as the last cell that had one.
    missing: Vec<u64>,
    pub accumulators: Accumulators,
}

#[derive(Debug)]
pub enum Accumulators {
    Float(NumberCells<f64>),
    /// Booleans too.
    Integer(NumberCells<i64>),
    Text(TextCells),
}

/// Each vector has one entry a cell, or none at all if the field does not need it.
#[derive(Debug)]
pub struct NumberCells<N: Number> {
    pub sums: Vec<Sums>,
    pub extremes: Vec<Extremes<N>>,
    pub powers: Vec<Powers>,
    pub slopes: Vec<Slope>,
    pub ends: Vec<Ends<N>>,
    pub distinct: Vec<Distinct>,
    pub kept: Option<Kept<N>>,
    needs: Needs,
    habit: Option<Habit>,
}

#[derive(Debug)]
pub struct TextCells {
    pub ends: Vec<Ends<Box<str>>>,
    pub distinct: Vec<Distinct>,
    needs: Needs,
}

/// Which accumulators a number's cells have: sums, powers and extremes only where no values are kept.
#[derive(Clone, Copy, Debug)]
pub struct Has {
    pub sums: bool,
    pub extremes: bool,
    pub powers: bool,
    pub kept: bool,
}

impl Has {
    pub fn of(needs: Needs) -> Has {
        let kept = needs.percentiles > 0;
        Has { sums: needs.sums && !kept, extremes: needs.extremes && !kept, powers: needs.powers && !kept, kept }
    }
}

impl FieldCells {
    /// No cells. Units are those that served `neighbour`, an earlier pane's cells of the same field.
    pub fn new(field: &FieldPlan, neighbour: Option<&FieldCells>) -> FieldCells {
        let accumulators = match field.kind {
            FieldKind::Float => {
                let habit = match neighbour.map(|cells| &cells.accumulators) {
                    Some(Accumulators::Float(cells)) => cells.habit,
                    _ => None,
                };
                Accumulators::Float(NumberCells::new(field.needs, habit))
            }
            FieldKind::Int | FieldKind::Bool => Accumulators::Integer(NumberCells::new(field.needs, None)),
            FieldKind::Text => {
                Accumulators::Text(TextCells { ends: Vec::new(), distinct: Vec::new(), needs: field.needs })
            }
        };
        FieldCells { missing: Vec::new(), accumulators }
    }

    pub fn missing(&self, cell: usize) -> u64 {
        self.missing.get(cell).copied().unwrap_or(0)
    }

    pub fn add_missing(&mut self, cell: usize, events: u64) {
        if events > 0 {
            self.missing.resize(self.missing.len().max(cell + 1), 0);
            self.missing[cell] += events;
        }
    }

    pub fn grow(&mut self, cells: usize) {
        match &mut self.accumulators {
            Accumulators::Float(numbers) => numbers.grow(cells),
            Accumulators::Integer(numbers) => numbers.grow(cells),
            Accumulators::Text(texts) => texts.grow(cells),
        }
    }

    /// Adds the values of these runs. Times count from `origin`.
    pub fn add(&mut self, runs: &[CellRun], rows: &[u32], input: &Input, places: Places, origin: i64) {
        match &input.present {
            None => self.add_present(runs, rows, input, places, origin),
            Some(present) => {
                let (mut present_runs, mut present_rows) =
                    (Vec::with_capacity(runs.len()), Vec::with_capacity(rows.len()));
                for run in runs {
                    let start = present_rows.len() as u32;
                    present_rows.extend(run.of(rows).iter().filter(|row| present[**row as usize]));
                    let end = present_rows.len() as u32;
                    self.add_missing(run.cell as usize, u64::from((run.end - run.start) - (end - start)));
                    if end > start {
                        present_runs.push(CellRun { cell: run.cell, start, end });
                    }
                }
                self.add_present(&present_runs, &present_rows, input, places, origin);
            }
        }
    }

    fn add_present(&mut self, runs: &[CellRun], rows: &[u32], input: &Input, places: Places, origin: i64) {
        match (&mut self.accumulators, &input.values) {
            (Accumulators::Float(cells), Values::Float(column)) => cells.add(runs, rows, column, places, origin),
            (Accumulators::Integer(cells), Values::Integer(column)) => cells.add(runs, rows, column, places, origin),
            (Accumulators::Text(cells), Values::Text { codes, texts, hashes }) => {
                cells.add(runs, rows, (codes, texts, hashes), places);
            }
            _ => debug_assert!(false, "cells and input are made by the same plan"),
        }
    }

    /// Gives back what growing reserved, once few more events are to come. Cells will be read in this order.
    pub fn compact(&mut self, order: &[u32]) {
        match &mut self.accumulators {
            Accumulators::Float(cells) => cells.compact(order),
            Accumulators::Integer(cells) => cells.compact(order),
            Accumulators::Text(_) => {}
        }
    }

    /// Puts what is kept in no particular order into one that its content alone decides.
    pub fn settle(&mut self) {
        match &mut self.accumulators {
            Accumulators::Float(NumberCells { kept: Some(kept), .. }) => kept.settle(),
            Accumulators::Integer(NumberCells { kept: Some(kept), .. }) => kept.settle(),
            Accumulators::Float(_) | Accumulators::Integer(_) | Accumulators::Text(_) => {}
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let accumulators = match &self.accumulators {
            Accumulators::Float(cells) => cells.heap_bytes(),
            Accumulators::Integer(cells) => cells.heap_bytes(),
            Accumulators::Text(cells) => {
                let texts = cells.ends.iter().flat_map(|ends| ends.first.iter().chain(&ends.last));
                cells.ends.capacity() * size_of::<Ends<Box<str>>>()
                    + texts.map(|(_, text)| text.len()).sum::<usize>()
                    + bytes_of(&cells.distinct, Distinct::heap_bytes)
            }
        };
        self.missing.capacity() * 8 + accumulators
    }
}

fn bytes_of<T>(cells: &Vec<T>, heap_bytes: impl Fn(&T) -> usize) -> usize {
    cells.capacity() * size_of::<T>() + cells.iter().map(heap_bytes).sum::<usize>()
}

fn grow_if<T: Clone + Default>(is_needed: bool, column: &mut Vec<T>, cells: usize) {
    if is_needed {
        column.resize(cells, T::default());
    }
}

impl<N: Number> NumberCells<N> {
    fn new(needs: Needs, habit: Option<Habit>) -> Self {
        NumberCells {
            sums: Vec::new(),
            extremes: Vec::new(),
            powers: Vec::new(),
            slopes: Vec::new(),
            ends: Vec::new(),
            distinct: Vec::new(),
            kept: Has::of(needs).kept.then(|| Kept::new(needs.powers)),
            needs,
            habit,
        }
    }

    fn grow(&mut self, cells: usize) {
        let has = Has::of(self.needs);
        grow_if(has.sums, &mut self.sums, cells);
        grow_if(has.extremes, &mut self.extremes, cells);
        grow_if(has.powers, &mut self.powers, cells);
        grow_if(self.needs.slope, &mut self.slopes, cells);
        grow_if(self.needs.ends, &mut self.ends, cells);
        grow_if(self.needs.distinct, &mut self.distinct, cells);
        if let Some(kept) = &mut self.kept {
            kept.grow(cells);
        }
    }

    /// One kind of accumulator after the other: each loop is short and meets one type.
    fn add(&mut self, runs: &[CellRun], rows: &[u32], column: &[N], places: Places, origin: i64) {
        let has = Has::of(self.needs);
        let picked = |run: &CellRun| Picked { column, rows: run.of(rows) };
        if has.sums && self.needs.squares {
            self.add_sums::<true>(runs, rows, column);
        } else if has.sums {
            self.add_sums::<false>(runs, rows, column);
        }
        if has.extremes {
            runs.iter().for_each(|run| self.extremes[run.cell as usize].add_run(picked(run)));
        }
        if has.powers {
            runs.iter().for_each(|run| self.powers[run.cell as usize].add_run(picked(run)));
        }
        if let Some(kept) = &mut self.kept {
            runs.iter().for_each(|run| kept.add_run(run.cell as usize, picked(run)));
        }
        let of_rows = |run: &CellRun| run.of(rows).iter().map(|row| (*row, column[*row as usize]));
        if self.needs.slope {
            for run in runs {
                let slope = &mut self.slopes[run.cell as usize];
                of_rows(run).for_each(|(row, value)| slope.add(places.times[row as usize] - origin, value));
            }
        }
        if self.needs.ends {
            for run in runs {
                let ends = &mut self.ends[run.cell as usize];
                of_rows(run).for_each(|(row, value)| ends.offer(places.at(row), || value.plain()));
            }
        }
        if self.needs.distinct {
            for run in runs {
                let distinct = &mut self.distinct[run.cell as usize];
                of_rows(run).for_each(|(_, value)| distinct.add(hash::of_bits(value.to_bits())));
            }
        }
    }

    fn add_sums<const SQUARES: bool>(&mut self, runs: &[CellRun], rows: &[u32], column: &[N]) {
        for run in runs {
            let sums = &mut self.sums[run.cell as usize];
            sums.adopt(self.habit);
            sums.add_run::<SQUARES, N>(Picked { column, rows: run.of(rows) });
            self.habit = sums.habit().or(self.habit);
        }
    }

    fn compact(&mut self, order: &[u32]) {
        self.sums.shrink_to_fit();
        self.extremes.shrink_to_fit();
        if let Some(kept) = &mut self.kept {
            kept.compact(order);
        }
    }

    fn heap_bytes(&self) -> usize {
        bytes_of(&self.sums, Sums::heap_bytes)
            + bytes_of(&self.extremes, |_| 0)
            + bytes_of(&self.powers, Powers::heap_bytes)
            + bytes_of(&self.slopes, Slope::heap_bytes)
            + bytes_of(&self.ends, |_| 0)
            + bytes_of(&self.distinct, Distinct::heap_bytes)
            + self.kept.as_ref().map_or(0, Kept::heap_bytes)
    }
}

impl TextCells {
    fn grow(&mut self, cells: usize) {
        grow_if(self.needs.ends, &mut self.ends, cells);
        grow_if(self.needs.distinct, &mut self.distinct, cells);
    }

    fn add(&mut self, runs: &[CellRun], rows: &[u32], input: (&[u32], &StringArray, &[u64]), places: Places) {
        let (codes, texts, hashes) = input;
        if self.needs.ends {
            for run in runs {
                // The run's first and last are found by their places; their texts are copied once.
                let ordered = || run.of(rows).iter().map(|row| (places.at(*row), *row));
                let ends = &mut self.ends[run.cell as usize];
                for (place, row) in ordered().min().into_iter().chain(ordered().max()) {
                    ends.offer(place, || texts.value(codes[row as usize] as usize).into());
                }
            }
        }
        if self.needs.distinct {
            for run in runs {
                let distinct = &mut self.distinct[run.cell as usize];
                run.of(rows).iter().for_each(|row| distinct.add(hashes[codes[*row as usize] as usize]));
            }
        }
    }
}
