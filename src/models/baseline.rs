//! Detectors that compare a window with earlier windows of its own key.

use serde::{Deserialize, Serialize};

/// What a window's value is compared with. All take windows that were final before the scored one began, so that a correction of one
/// window changes no score but its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum BaselineMethod {
    /// The distance from the median, in deviations as the median absolute deviation tells them (Iglewicz and Hoaglin, 1993).
    Robust,
    /// The distance from the exponentially weighted mean, in exponentially weighted deviations. After `half_life` windows a window weighs
    /// half as much.
    Ewma { half_life: f64 },
    /// As `Robust`, of windows at the same time of the period alone: `period_us` is a day or a week in microseconds, and `near_us` how
    /// far off that time still counts as the same.
    Profile { period_us: i64, near_us: i64 },
    /// How improbable a value and its recent past are, under the tails of the same in earlier windows. A score counts where it is above
    /// `again` times the greatest of the last `quiet_us` microseconds.
    Tail { quiet_us: i64, again: f64 },
}

/// Windows that tails are made of at most: what is remembered of a key and feature is about 230 bytes a window.
pub const TAIL_HISTORY_MAX: u32 = 1 << 14;

/// A detector that needs no training to know what is usual: floors and a threshold are all that training adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub method: BaselineMethod,
    /// Windows that are compared with, of those that were final.
    pub history: u32,
    /// One window in so many is compared with: a longer past for the same memory, of windows that overlap less.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub every: u32,
    /// Windows that must be there before anything is scored.
    pub rows_min: u32,
    /// What each feature's deviation counts for at least, after transforms; empty: nothing. A sensor of coarse steps has a median absolute
    /// deviation of 0, and the few windows of a young history say little.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<f64>,
}

fn all() -> u32 {
    1
}

fn is_all(every: &u32) -> bool {
    *every == all()
}

impl Baseline {
    /// Whether every number means something for so many features.
    pub(crate) fn is_sound(&self, features: usize) -> bool {
        let is_method_sound = match self.method {
            BaselineMethod::Robust => true,
            BaselineMethod::Ewma { half_life } => half_life.is_finite() && half_life > 0.0,
            BaselineMethod::Profile { period_us, near_us } => period_us > 0 && (0..period_us).contains(&near_us),
            BaselineMethod::Tail { quiet_us, again } => {
                quiet_us >= 0
                    && again.is_finite()
                    && again >= 0.0
                    && self.every == 1
                    && self.floors.is_empty()
                    && self.history <= TAIL_HISTORY_MAX
            }
        };
        let are_floors_sound = (self.floors.is_empty() || self.floors.len() == features)
            && self.floors.iter().all(|floor| floor.is_finite() && *floor >= 0.0);
        is_method_sound
            && are_floors_sound
            && (2..=1 << 20).contains(&self.history)
            && (1..=1 << 20).contains(&self.every)
            && (2..=self.history).contains(&self.rows_min)
    }
}
