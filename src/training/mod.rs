//! Training: recorded rows in, the next version of a detector's model out; and how well a model tells what is labelled.
//!
//! Promise: the same rows, specification and seed give the same weights bit for bit on the same kind of processor, whatever the memory
//! and however the recording was cut when it was read. Memory is bounded: rows beyond the limit wait in a temporary file.
//!
//! ```text
//! recording ─► input ─► selection ─► dataset (store) ─► fit (shuffle, gradient, adam) ─► calibrate ─► Model
//! files        events,  features,    split by time,     a file for each method          threshold
//!              windows  condition    sequences of keys,
//!                                    transforms, scaler
//!                  └──► evaluate (scoring, truth) ─► labelled rows, scores ─► judgement (metrics, bootstrap, ranges, nab)
//! ```

pub mod adam;
pub mod bootstrap;
pub mod calibrate;
mod dataset;
pub mod error;
pub mod evaluate;
pub mod fit;
mod gates;
mod gather;
pub mod gradient;
pub mod input;
pub mod judgement;
mod keys;
pub mod labelled;
pub mod metrics;
pub mod nab;
mod names;
mod normal;
mod order;
mod prepare;
pub mod ranges;
pub mod recording;
mod recurrent;
mod recurrent_gates;
pub mod reference;
mod samples;
mod selection;
mod sequences;
mod shuffle;
pub mod spec;
mod statistics;
mod store;
mod tail;
pub mod train;
pub mod truth;
pub mod untrained;
pub mod weights;
