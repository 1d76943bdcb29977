//! Where windows and panes lie in event time: integer arithmetic and nothing else.
//!
//! A pane is the greatest common divisor of size and slide, so that every window is a whole number of panes. Panes and windows are
//! numbered from the Unix epoch, before it by negative numbers.

use std::time::Duration;

use crate::domain::time::{EventTime, micros};
use crate::windows::error::WindowError;
use crate::windows::spec::WindowSpec;

/// A week by the minute.
const PANES_MAX: i64 = 10_080;
const SIZE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Events further from 1970 than 146,000 years count as that far, so that no sum of times overflows.
const TIME_MAX: i64 = i64::MAX / 2;

/// Invariant: `0 < slide <= size <= 366 days`, and `pane` divides both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    size: i64,
    slide: i64,
    pane: i64,
}

impl Grid {
    pub fn new(spec: &WindowSpec) -> Result<Grid, WindowError> {
        let window = || spec.name.clone();
        let is_whole = |span: Duration| span.subsec_nanos().is_multiple_of(1000) && !span.is_zero();
        if !is_whole(spec.size) || spec.size > SIZE_MAX {
            return Err(WindowError::Size { window: window(), size: spec.size });
        }
        if !is_whole(spec.slide) || spec.slide > spec.size {
            return Err(WindowError::Slide { window: window(), slide: spec.slide });
        }
        let (size, slide) = (micros(spec.size), micros(spec.slide));
        let pane = greatest_common_divisor(size, slide);
        if size / pane > PANES_MAX {
            return Err(WindowError::Panes { window: window(), panes: size / pane, max: PANES_MAX });
        }
        Ok(Grid { size, slide, pane })
    }

    pub fn size(&self) -> i64 {
        self.size
    }

    pub fn pane_length(&self) -> i64 {
        self.pane
    }

    /// The pane of an instant.
    #[inline]
    pub fn pane_of(&self, time: i64) -> i64 {
        clamped(time).div_euclid(self.pane)
    }

    pub fn pane_start(&self, pane: i64) -> i64 {
        pane * self.pane
    }

    /// The pane that starts at this instant.
    pub fn pane_starting_at(&self, start: i64) -> Option<i64> {
        (clamped(start) == start && start.rem_euclid(self.pane) == 0).then(|| start.div_euclid(self.pane))
    }

    pub fn window_starting_at(&self, start: i64) -> Option<i64> {
        (clamped(start) == start && start.rem_euclid(self.slide) == 0).then(|| start.div_euclid(self.slide))
    }

    /// The first window that a pane belongs to.
    pub fn first_window(&self, pane: i64) -> i64 {
        (pane - self.size / self.pane).div_euclid(self.slide / self.pane) + 1
    }

    /// The last window that a pane belongs to.
    pub fn last_window(&self, pane: i64) -> i64 {
        pane.div_euclid(self.slide / self.pane)
    }

    pub fn window_start(&self, window: i64) -> i64 {
        window * self.slide
    }

    pub fn window_end(&self, window: i64) -> i64 {
        window * self.slide + self.size
    }

    /// The panes of a window.
    pub fn panes_of(&self, window: i64) -> std::ops::Range<i64> {
        let first = window * (self.slide / self.pane);
        first..first + self.size / self.pane
    }

    /// The last window that ends at or before this instant; all windows for `MAX`, none for `MIN`.
    pub fn last_ended_by(&self, time: EventTime) -> i64 {
        match time {
            EventTime::MIN => i64::MIN,
            EventTime::MAX => i64::MAX,
            EventTime(time) => (clamped(time) - self.size).div_euclid(self.slide),
        }
    }

    /// Instants before this one lie in no window after `window`.
    pub fn end_of_last_pane(&self, window: i64) -> i64 {
        window.saturating_add(1).saturating_mul(self.slide)
    }
}

fn clamped(time: i64) -> i64 {
    time.clamp(-TIME_MAX, TIME_MAX)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(size: u64, slide: u64) -> Grid {
        Grid { size: size as i64, slide: slide as i64, pane: greatest_common_divisor(size as i64, slide as i64) }
    }

    #[test]
    fn a_pane_belongs_to_the_windows_that_cover_it_and_no_others() {
        for (size, slide) in [(10, 10), (60, 10), (15, 10), (7, 3), (9, 6), (1, 1)] {
            let grid = grid(size, slide);
            for pane in -40..40 {
                let (start, end) = (grid.pane_start(pane), grid.pane_start(pane + 1));
                for window in -60..60 {
                    let covers = grid.window_start(window) <= start && end <= grid.window_end(window);
                    let counted = (grid.first_window(pane)..=grid.last_window(pane)).contains(&window);
                    assert_eq!(covers, counted, "pane {pane} and window {window} of {size} by {slide}");
                    assert_eq!(grid.panes_of(window).contains(&pane), covers);
                }
            }
        }
    }

    #[test]
    fn a_window_has_ended_when_time_reaches_its_end() {
        let grid = grid(60, 10);
        assert_eq!(grid.last_ended_by(EventTime(60)), 0);
        assert_eq!(grid.last_ended_by(EventTime(59)), -1);
        assert_eq!(grid.last_ended_by(EventTime(-1)), -7);
        assert_eq!(grid.last_ended_by(EventTime::MAX), i64::MAX);
        assert_eq!(grid.last_ended_by(EventTime::MIN), i64::MIN);
    }

    #[test]
    fn times_at_the_ends_of_the_range_overflow_nothing() {
        let grid = grid(60_000_000, 10_000_000);
        for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            let pane = grid.pane_of(time);
            assert!(grid.window_start(grid.first_window(pane)) <= grid.window_end(grid.last_window(pane)));
        }
        assert_eq!(grid.end_of_last_pane(i64::MAX), i64::MAX);
        assert_eq!(grid.end_of_last_pane(i64::MIN), i64::MIN);
    }
}
