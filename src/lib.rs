//! Tidewatch: streaming anomaly detection for device telemetry.
//!
//! Kafka or recordings in; exact event-time windows and autoencoder scores, computed inside timely dataflow operators;
//! Parquet out, exactly once. `ARCHITECTURE.md` draws the flow and the ladder of modules.

pub mod cli;
pub mod domain;
pub mod observe;
pub mod settings;
pub mod sources;
pub mod stage;
pub mod windows;
