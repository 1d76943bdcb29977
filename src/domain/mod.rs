//! The nouns of Tidewatch, on arrow and std alone. Every other module speaks in these.

pub mod anomaly;
pub mod batch;
pub mod detector;
pub mod ids;
pub mod membership;
pub mod raw;
pub mod reject;
pub mod schema;
pub mod table;
pub mod time;
pub mod timing;
pub mod trace;
pub mod watermark;
