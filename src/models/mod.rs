//! Trained detectors: what a model is, the folder it lives in, the registry of its versions, and import from Keras.
//!
//! Holding a `Model` is the proof that its layers fit each other, its weights and its features, and that every number is finite.
//! Computing with it is left to `scoring`.

pub mod activation;
pub mod array;
pub mod baseline;
pub mod centers;
pub mod estimator;
pub mod features;
pub mod folder;
pub mod forest;
pub mod import;
pub mod model;
pub mod network;
pub mod preparation;
pub mod registry;
pub mod subspace;
pub mod transform;
pub mod versions;
