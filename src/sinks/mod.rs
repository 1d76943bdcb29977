//! Where results go.

pub mod kafka;
