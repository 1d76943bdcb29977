//! Rows of numbers in the order they came: the first in memory, the rest in a temporary file without a name.
//!
//! Promise: what is read is what was pushed, bit for bit, wherever it lies. The file is gone with the process, however that ends.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::training::error::TrainingError;

/// Rows are written to the file in pieces of about this size.
const WRITE_BYTES: usize = 1 << 20;

/// A number of eight bytes.
pub(super) trait Cell: Copy {
    fn to_bytes(self) -> [u8; 8];
    fn from_bytes(bytes: [u8; 8]) -> Self;
}

impl Cell for f64 {
    fn to_bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 8]) -> f64 {
        f64::from_le_bytes(bytes)
    }
}

impl Cell for i64 {
    fn to_bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 8]) -> i64 {
        i64::from_le_bytes(bytes)
    }
}

/// Rows of `width` numbers.
#[derive(Debug)]
pub(super) struct Rows<T> {
    width: usize,
    rows: u64,
    memory_rows_max: u64,
    memory: Vec<T>,
    spill: Option<Spill>,
    kind: PhantomData<T>,
}

/// The rows that memory has no room for.
#[derive(Debug)]
struct Spill {
    file: File,
    path: PathBuf,
    written: u64,
    waiting: Vec<u8>,
}

impl<T: Cell> Rows<T> {
    pub(super) fn new(width: usize, memory_rows_max: u64) -> Rows<T> {
        Rows { width, rows: 0, memory_rows_max, memory: Vec::new(), spill: None, kind: PhantomData }
    }

    /// So many rows of nothing yet, to be put in any order.
    pub(super) fn unfilled(
        width: usize,
        memory_rows_max: u64,
        rows: u64,
        nothing: T,
    ) -> Result<Rows<T>, TrainingError> {
        let held = memory_rows_max.min(rows);
        let spill = if rows > held { Some(Spill::create()?) } else { None };
        let memory = vec![nothing; held as usize * width];
        Ok(Rows { width, rows, memory_rows_max, memory, spill, kind: PhantomData })
    }

    /// Puts rows that lie one after the other where rows from `at` on are.
    pub(super) fn put(&mut self, at: u64, rows: &[T]) -> Result<(), TrainingError> {
        let held = self.memory_rows_max.min(self.rows);
        let in_memory = held.saturating_sub(at).min((rows.len() / self.width) as u64) as usize * self.width;
        let (first, others) = rows.split_at(in_memory);
        if !first.is_empty() {
            let from = at as usize * self.width;
            self.memory[from..from + in_memory].copy_from_slice(first);
        }
        match &mut self.spill {
            Some(spill) if !others.is_empty() => spill.put((at.max(held) - held) * self.width as u64 * 8, others),
            _ => Ok(()),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn len(&self) -> u64 {
        self.rows
    }

    pub(super) fn push(&mut self, row: &[T]) -> Result<(), TrainingError> {
        debug_assert_eq!(row.len(), self.width);
        self.rows += 1;
        if self.rows <= self.memory_rows_max {
            self.memory.extend_from_slice(row);
            return Ok(());
        }
        if self.spill.is_none() {
            self.spill = Some(Spill::create()?);
        }
        let Some(spill) = &mut self.spill else { return Ok(()) };
        row.iter().for_each(|cell| spill.waiting.extend_from_slice(&cell.to_bytes()));
        if spill.waiting.len() >= WRITE_BYTES { spill.write() } else { Ok(()) }
    }

    /// Appends `count` rows from `from` on, less those that there are not.
    pub(super) fn read(&mut self, from: u64, count: u64, into: &mut Vec<T>) -> Result<(), TrainingError> {
        let to = from.saturating_add(count).min(self.rows);
        // Rows in memory number at most what memory holds.
        let held = self.memory_rows_max.min(self.rows);
        let place = |row: u64| row.min(held) as usize * self.width;
        into.extend_from_slice(&self.memory[place(from)..place(to).max(place(from))]);
        let (from, to) = (from.max(held) - held, to.max(held) - held);
        match &mut self.spill {
            Some(spill) if from < to => {
                spill.read(from * self.width as u64 * 8, (to - from) as usize * self.width, into)
            }
            _ => Ok(()),
        }
    }
}

impl Spill {
    fn create() -> Result<Spill, TrainingError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(".tidewatch-rows-{}-{number}", std::process::id()));
        let open = || {
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            // Without its name the file lives as long as it is open.
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        let file = open().map_err(|source: io::Error| TrainingError::Spill { path: path.clone(), source })?;
        Ok(Spill { file, path, written: 0, waiting: Vec::with_capacity(WRITE_BYTES + 4096) })
    }

    fn failed(&self) -> impl Fn(io::Error) -> TrainingError {
        let path = self.path.clone();
        move |source| TrainingError::Spill { path: path.clone(), source }
    }

    fn write(&mut self) -> Result<(), TrainingError> {
        self.file.write_all_at(&self.waiting, self.written).map_err(self.failed())?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Writes in the middle; nothing waits to be written at the end.
    fn put<T: Cell>(&mut self, at: u64, cells: &[T]) -> Result<(), TrainingError> {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_bytes()).collect();
        self.file.write_all_at(&bytes, at).map_err(self.failed())
    }

    fn read<T: Cell>(&mut self, at: u64, cells: usize, into: &mut Vec<T>) -> Result<(), TrainingError> {
        if !self.waiting.is_empty() {
            self.write()?;
        }
        let mut bytes = vec![0; cells * 8];
        self.file.read_exact_at(&mut bytes, at).map_err(self.failed())?;
        into.extend(bytes.as_chunks().0.iter().map(|bytes| T::from_bytes(*bytes)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_wherever_they_lie() {
        for memory in [0, 1, 7, 100] {
            let mut rows = Rows::new(3, memory);
            let row = |row: i64| [row, -row, row << 40];
            (0..20).for_each(|number| rows.push(&row(number)).unwrap());
            for (from, count) in [(0, 20), (5, 4), (6, 2), (19, 5), (20, 1), (0, 0)] {
                let mut read = Vec::new();
                rows.read(from, count, &mut read).unwrap();
                let wanted: Vec<i64> = (from..(from + count).min(20)).flat_map(|number| row(number as i64)).collect();
                assert_eq!(read, wanted, "{count} from {from}, {memory} in memory");
            }
            rows.push(&row(20)).unwrap();
            let mut read = Vec::new();
            rows.read(20, 1, &mut read).unwrap();
            assert_eq!((read, rows.len()), (row(20).to_vec(), 21), "pushed after a read");
        }
    }

    #[test]
    fn rows_are_put_in_any_order_wherever_they_lie() {
        for memory in [0, 1, 7, 100] {
            let mut rows = Rows::unfilled(2, memory, 20, 0i64).unwrap();
            for at in [15, 0, 5, 10] {
                let cells: Vec<i64> = (at..at + 5).flat_map(|row| [row, -row]).collect();
                rows.put(at as u64, &cells).unwrap();
            }
            let mut read = Vec::new();
            rows.read(0, 20, &mut read).unwrap();
            assert_eq!(read, (0..20).flat_map(|row| [row, -row]).collect::<Vec<i64>>(), "{memory} in memory");
        }
    }

    #[test]
    fn bits_that_are_no_number_are_kept() {
        let mut rows = Rows::new(1, 0);
        let odd = f64::from_bits(0x7ff8_0000_dead_beef);
        rows.push(&[odd]).unwrap();
        let mut read = Vec::new();
        rows.read(0, 1, &mut read).unwrap();
        assert_eq!(read[0].to_bits(), odd.to_bits());
    }
}
