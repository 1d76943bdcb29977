//! The values of each cell themselves, up to a number; beyond it, exact sums and a sketch.
//!
//! Which of the two depends on how many values a cell has and on nothing else. Values lie in one array for all cells: eight bytes a
//! value and eight a cell once the array is compacted.

use crate::windows::exact::extremes::Extremes;
use crate::windows::exact::number::{Number, Run};
use crate::windows::exact::powers::Powers;
use crate::windows::exact::sketch::Sketch;
use crate::windows::exact::sums::Sums;

/// A cell with more values than this does not keep them.
pub const KEPT_MAX: usize = 256;

/// What stands for the values of a cell that has too many to keep.
#[derive(Clone, Debug, Default)]
pub struct Crowd<N: Number> {
    pub count: u64,
    pub sums: Sums,
    pub extremes: Extremes<N>,
    pub powers: Powers,
    pub sketch: Sketch,
}

impl<N: Number> Crowd<N> {
    pub fn add_run(&mut self, run: impl Run<N>, has_powers: bool) {
        self.count += run.length() as u64;
        self.sums.add_run::<true, N>(run);
        self.extremes.add_run(run);
        for index in 0..run.length() {
            self.sketch.add(run.at(index).to_f64());
        }
        if has_powers {
            self.powers.add_run(run);
        }
    }

    pub fn merge(&mut self, other: &Crowd<N>) {
        self.count += other.count;
        self.sums.merge(&other.sums);
        self.extremes.merge(&other.extremes);
        self.powers.merge(&other.powers);
        self.sketch.merge(&other.sketch);
    }

    fn heap_bytes(&self) -> usize {
        self.sums.heap_bytes() + self.powers.heap_bytes() + self.sketch.heap_bytes()
    }
}

/// What a cell holds.
#[derive(Debug)]
pub enum Held<'a, N: Number> {
    /// In no particular order; sorted, if none came since the cells were settled.
    Values(&'a [N]),
    Crowd(&'a Crowd<N>),
}

/// `values[start..start + length]` belong to the cell and `capacity` of them are reserved, or `crowds[start]` does.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    length: u16,
    capacity: u16,
}

/// The length of a cell that has become a crowd.
const CROWDED: u16 = u16::MAX;
const CAPACITY_LEAST: usize = 4;
/// Spans of 4, 8, … 256 places are reused.
const CLASSES: usize = 7;

/// The cells of one field in one pane.
#[derive(Debug)]
pub struct Kept<N: Number> {
    spans: Vec<Span>,
    values: Vec<N>,
    /// Starts of abandoned spans by size class.
    abandoned: [Vec<u32>; CLASSES],
    crowds: Vec<Crowd<N>>,
    has_powers: bool,
}

impl<N: Number> Kept<N> {
    pub fn new(has_powers: bool) -> Self {
        Kept { spans: Vec::new(), values: Vec::new(), abandoned: Default::default(), crowds: Vec::new(), has_powers }
    }

    pub fn grow(&mut self, cells: usize) {
        self.spans.resize(cells, Span::default());
    }

    pub fn held(&self, cell: usize) -> Held<'_, N> {
        let span = self.spans[cell];
        match span.length {
            CROWDED => Held::Crowd(&self.crowds[span.start as usize]),
            length => Held::Values(&self.values[span.start as usize..][..usize::from(length)]),
        }
    }

    pub fn add_run(&mut self, cell: usize, run: impl Run<N>) {
        let span = self.spans[cell];
        if span.length == CROWDED {
            return self.crowds[span.start as usize].add_run(run, self.has_powers);
        }
        let (old, new) = (usize::from(span.length), usize::from(span.length) + run.length());
        if new > KEPT_MAX {
            return self.crowd(cell, run);
        }
        if new > usize::from(span.capacity) {
            self.relocate(cell, new);
        }
        let span = &mut self.spans[cell];
        span.length = new as u16;
        let places = &mut self.values[span.start as usize + old..][..run.length()];
        for (index, place) in places.iter_mut().enumerate() {
            *place = run.at(index).plain();
        }
    }

    /// Turns a cell that gets too many values into a crowd.
    #[cold]
    fn crowd(&mut self, cell: usize, run: impl Run<N>) {
        let span = self.spans[cell];
        let mut crowd = Crowd::default();
        crowd.add_run(&self.values[span.start as usize..][..usize::from(span.length)], self.has_powers);
        crowd.add_run(run, self.has_powers);
        self.abandon(span);
        self.set_crowd(cell, crowd);
    }

    /// Makes the cell a crowd, whatever it was.
    pub fn set_crowd(&mut self, cell: usize, crowd: Crowd<N>) {
        self.spans[cell] = Span { start: self.crowds.len() as u32, length: CROWDED, capacity: 0 };
        self.crowds.push(crowd);
    }

    /// Moves a cell's values to a span with room for `length`.
    fn relocate(&mut self, cell: usize, length: usize) {
        let capacity = length.next_power_of_two().max(CAPACITY_LEAST);
        let old = self.spans[cell];
        let start = self.abandoned[class_of(capacity)].pop().unwrap_or_else(|| {
            let start = self.values.len();
            self.values.resize(start + capacity, N::default());
            assert!(start <= u32::MAX as usize, "one field of one pane keeps at most 2^32 values (32 GiB)");
            start as u32
        });
        let range = old.start as usize..old.start as usize + usize::from(old.length);
        self.values.copy_within(range, start as usize);
        self.spans[cell] = Span { start, length: old.length, capacity: capacity as u16 };
        self.abandon(old);
    }

    fn abandon(&mut self, span: Span) {
        let capacity = usize::from(span.capacity);
        if capacity >= CAPACITY_LEAST && capacity.is_power_of_two() {
            self.abandoned[class_of(capacity)].push(span.start);
        }
    }

    /// Gives back the places that no value takes, once few more are to come. Values come to lie in the order of these cells (each
    /// of them once), so that reading them in that order goes straight through memory.
    pub fn compact(&mut self, order: &[u32]) {
        let lengths = self.spans.iter().filter(|span| span.length != CROWDED).map(|span| usize::from(span.length));
        let mut values = Vec::with_capacity(lengths.sum());
        for cell in order {
            let span = &mut self.spans[*cell as usize];
            if span.length != CROWDED {
                let start = values.len() as u32;
                values.extend_from_slice(&self.values[span.start as usize..][..usize::from(span.length)]);
                *span = Span { start, length: span.length, capacity: span.length };
            }
        }
        self.values = values;
        self.abandoned = Default::default();
        self.spans.shrink_to_fit();
    }

    /// Sorts the values of each cell. Those that were sorted before cost a look, and so do they when they are sorted again.
    pub fn settle(&mut self) {
        for span in self.spans.iter().filter(|span| span.length != CROWDED) {
            self.values[span.start as usize..][..usize::from(span.length)].sort_unstable_by(N::order);
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let abandoned: usize = self.abandoned.iter().map(|starts| 4 * starts.capacity()).sum();
        let crowds: usize = self.crowds.iter().map(|crowd| size_of::<Crowd<N>>() + crowd.heap_bytes()).sum();
        self.spans.capacity() * size_of::<Span>() + self.values.capacity() * size_of::<N>() + abandoned + crowds
    }
}

/// The class of a span's capacity, a power of two from 4 to 256.
fn class_of(capacity: usize) -> usize {
    (capacity.trailing_zeros() - CAPACITY_LEAST.trailing_zeros()) as usize
}
