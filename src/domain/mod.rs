//! The nouns of Tidewatch, on arrow and std alone (and memchr, to find the ends of lines). Every other module speaks in these.

pub mod batch;
pub mod detector;
pub mod ids;
pub mod lines;
pub mod raw;
pub mod reject;
pub mod schema;
pub mod table;
pub mod time;
pub mod watermark;
