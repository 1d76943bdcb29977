//! When the windows of one kind begin, end and become final.

/// In microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTiming {
    pub size: i64,
    /// From one window's start to the next one's.
    pub slide: i64,
    /// From a window's end to when it is final.
    pub lateness: i64,
}

impl WindowTiming {
    /// Windows that start at or before this are final where everything up to `at` has come.
    pub fn last_final(&self, at: i64) -> i64 {
        at.saturating_sub(self.lateness).saturating_sub(self.size)
    }
}
