//! What is worked out once for each value of a dictionary, and found again while batches share that dictionary.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};

/// One entry for each value of the dictionary that was seen last.
#[derive(Debug)]
pub struct PerValue<T> {
    /// Held, so that no other array can come to lie at the same address.
    values: Option<ArrayRef>,
    entries: Vec<T>,
}

impl<T> Default for PerValue<T> {
    fn default() -> Self {
        PerValue { values: None, entries: Vec::new() }
    }
}

impl<T: Copy> PerValue<T> {
    /// The entries for these values: as they were left if the values are the same array, else all `unknown`.
    pub fn entries(&mut self, values: &ArrayRef, unknown: T) -> &mut [T] {
        if !self.values.as_ref().is_some_and(|known| is_same(known, values)) {
            self.entries.clear();
            self.entries.resize(values.len(), unknown);
            self.values = Some(Arc::clone(values));
        }
        &mut self.entries
    }

    pub fn forget(&mut self) {
        self.values = None;
    }
}

/// Whether both are one array, by address.
fn is_same(a: &ArrayRef, b: &ArrayRef) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    let address = |array: &StringArray| (array.value_offsets().as_ptr(), array.value_data().as_ptr(), array.len());
    let nulls = |array: &StringArray| array.nulls().map(|nulls| (nulls.validity().as_ptr(), nulls.offset()));
    match (a.as_string_opt::<i32>(), b.as_string_opt::<i32>()) {
        (Some(a), Some(b)) => address(a) == address(b) && nulls(a) == nulls(b),
        _ => false,
    }
}
