//! Tidewatch: streaming anomaly detection for device telemetry.
//!
//! Kafka or recordings in; exact event-time windows and autoencoder scores, computed inside timely dataflow operators;
//! Parquet out, exactly once. `ARCHITECTURE.md` draws the flow and the ladder of modules.

pub mod audit;
pub mod broker;
pub mod checkpoint;
pub mod cli;
pub mod decode;
pub mod domain;
pub mod models;
pub mod observe;
pub mod pipeline;
pub mod scoring;
pub mod serve;
pub mod settings;
pub mod sinks;
pub mod sources;
pub mod stage;
pub mod storage;
pub mod training;
pub mod views;
pub mod windows;
