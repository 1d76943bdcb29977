//! Event-time windows: exact aggregates by group over panes, revised by late events.

pub mod spec;
