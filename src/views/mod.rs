//! Collections that are maintained while windows are revised: differential dataflow downstream of the scored window rows, where rows are
//! few.
//!
//! Promise: at the end of an epoch the view holds, for each detector, window and group, the anomaly that stands, as the newest
//! revision of the window has it; what its changes publish is a function of those revisions alone, not of the workers or of restarts.
//! What arrives when is left to `pipeline`.

pub mod changes;
pub mod judge;
pub mod rows;
pub mod standing;
pub mod verdict;
