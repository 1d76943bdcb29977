//! Trained detectors: what a model is, the folder it lives in, the registry of its versions, and import from Keras.
//!
//! Holding a `Model` is the proof that its layers fit each other, its weights and its features, and that every number is finite.
//! Computing with it is left to `scoring`.

pub mod activation;
pub mod features;
pub mod folder;
pub mod import;
pub mod model;
pub mod network;
pub mod registry;
pub mod versions;
