//! Accumulators that give the same bits for any order, cut and merge of their values.
//!
//! Sums are exact integers, percentiles come from the values or from integer counts, and each result is rounded once, at the end.

pub mod distinct;
pub mod ends;
pub mod extremes;
mod integer;
pub mod kept;
mod limbs;
pub mod moments;
pub mod number;
pub mod percentile;
pub mod powers;
mod scaled;
pub mod sketch;
pub mod slope;
pub mod sums;
mod superaccumulator;

#[cfg(test)]
mod laws;

pub use limbs::negate;
