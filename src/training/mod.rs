//! Training: recorded rows in, the next version of a detector's model out; and how well a model tells what is labelled.
//!
//! Promise: the same rows, specification and seed give the same weights bit for bit on the same kind of processor, whatever the memory
//! and however the recording was cut when it was read. Memory is bounded: rows beyond the limit wait in a temporary file.

pub mod adam;
mod gates;
pub mod gradient;
pub mod reference;
pub mod spec;
pub mod weights;
