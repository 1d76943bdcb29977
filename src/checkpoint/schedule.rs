//! Which version of a detector's model scores what: each is in force from an event time until the next one is.
//!
//! Promise: a time has one version, the same on every worker, in every replay and for every correction, for it follows from the schedule
//! alone. A schedule stands in the manifest; what a start makes of it is one pure function. Loading models is left to others.

use serde::{Deserialize, Serialize};

use crate::domain::time::EventTime;
use crate::storage::digest::Sha256;

/// A schedule remembers so many changes: what is older than all of them is scored by the oldest that is left.
pub const CHANGES_MAX: usize = 64;

/// Which version of a detector's model scores what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSchedule {
    pub detector: String,
    /// By ascending event time; each holds until the next. The first one holds for everything before, too.
    pub versions: Vec<ModelFrom>,
}

/// A version, and from when on it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFrom {
    /// Event time; `i64::MIN` for the first.
    pub from: i64,
    pub version: String,
    /// Of what describes the model, the digest of its weights included.
    pub sha256: Sha256,
}

impl ModelFrom {
    /// One version for everything.
    pub fn always(version: &str, sha256: Sha256) -> ModelFrom {
        ModelFrom { from: i64::MIN, version: version.to_owned(), sha256 }
    }

    /// Whether another model bears this name.
    pub fn contradicts(&self, version: &str, sha256: Sha256) -> bool {
        self.version == version && self.sha256 != sha256
    }
}

impl ModelSchedule {
    /// One version for everything.
    pub fn of(detector: &str, version: ModelFrom) -> ModelSchedule {
        ModelSchedule { detector: detector.to_owned(), versions: vec![version] }
    }

    /// The place of the version that is in force at a time.
    pub fn place_at(&self, time: i64) -> usize {
        self.versions.partition_point(|version| version.from <= time).saturating_sub(1)
    }

    /// Lets a version take over. One that would be left without any time is forgotten, for it has scored nothing; so is the oldest of too
    /// many.
    pub fn change(&mut self, version: ModelFrom) {
        while self.versions.last().is_some_and(|last| last.from >= version.from && self.versions.len() > 1) {
            self.versions.pop();
        }
        if self.versions.last().is_some_and(|last| last.version == version.version) {
            return;
        }
        self.versions.push(version);
        let surplus = self.versions.len().saturating_sub(CHANGES_MAX);
        self.versions.drain(..surplus);
    }
}

/// What a start makes of the schedule that it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing was scored by this detector: the version in force holds for everything.
    Begin,
    /// The version in force is the one that was.
    GoOn,
    /// Another one takes over, from this event time on.
    Change { from: EventTime },
    /// The output names a version of this name, and it was another model.
    Refuse { version: String },
}

/// The decision. `newest`: no event was accepted, and no window published, behind this time.
pub fn decide(found: Option<&ModelSchedule>, in_force: (&str, Sha256), newest: EventTime) -> Decision {
    let (version, sha256) = in_force;
    let Some((schedule, last)) = found.and_then(|found| Some((found, found.versions.last()?))) else {
        return Decision::Begin;
    };
    if newest == EventTime::MIN {
        return Decision::Begin;
    }
    if schedule.versions.iter().any(|one| one.contradicts(version, sha256)) {
        return Decision::Refuse { version: version.to_owned() };
    }
    // Where every window is closed, no time is left.
    if last.version == version || newest == EventTime::MAX {
        return Decision::GoOn;
    }
    Decision::Change { from: behind(newest) }
}

/// The earliest time behind all that was accepted and published.
pub fn behind(newest: EventTime) -> EventTime {
    EventTime(newest.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: &str) -> Sha256 {
        Sha256::of(of.as_bytes())
    }

    fn from(from: i64, version: &str) -> ModelFrom {
        ModelFrom { from, version: version.to_owned(), sha256: digest(version) }
    }

    fn schedule(versions: &[(i64, &str)]) -> ModelSchedule {
        let versions = versions.iter().map(|(at, version)| from(*at, version)).collect();
        ModelSchedule { detector: "flow".into(), versions }
    }

    fn told(schedule: &ModelSchedule) -> Vec<(i64, &str)> {
        schedule.versions.iter().map(|one| (one.from, one.version.as_str())).collect()
    }

    #[test]
    fn a_version_is_in_force_from_its_time_until_the_next_and_the_first_one_before() {
        let schedule = schedule(&[(i64::MIN, "iomt/1"), (50, "iomt/2"), (70, "iomt/1")]);
        let at = |time| schedule.versions[schedule.place_at(time)].version.as_str();
        assert_eq!(
            [i64::MIN, 49, 50, 69, 70, i64::MAX].map(at),
            ["iomt/1", "iomt/1", "iomt/2", "iomt/2", "iomt/1", "iomt/1"]
        );
        let late = super::tests::schedule(&[(50, "iomt/2")]);
        assert_eq!(late.place_at(3), 0);
    }

    #[test]
    fn a_change_leaves_no_version_without_time() {
        let mut schedule = schedule(&[(i64::MIN, "iomt/1")]);
        schedule.change(from(50, "iomt/2"));
        schedule.change(from(50, "iomt/3"));
        assert_eq!(told(&schedule), [(i64::MIN, "iomt/1"), (50, "iomt/3")]);
        schedule.change(from(50, "iomt/1"));
        assert_eq!(told(&schedule), [(i64::MIN, "iomt/1")]);
    }

    #[test]
    fn the_oldest_of_too_many_changes_is_forgotten() {
        let mut schedule = schedule(&[(i64::MIN, "iomt/1")]);
        let names: Vec<String> = (2..100).map(|number| format!("iomt/{number}")).collect();
        names.iter().zip(1..).for_each(|(name, at)| schedule.change(from(at * 10, name)));
        assert_eq!(schedule.versions.len(), CHANGES_MAX);
        assert_eq!(schedule.versions[schedule.place_at(i64::MIN)].version, "iomt/36");
        assert_eq!(schedule.versions[schedule.place_at(i64::MAX)].version, "iomt/99");
    }

    #[test]
    fn every_row_of_the_table_of_schedules() {
        let (one, two) = (schedule(&[(i64::MIN, "iomt/1")]), schedule(&[(i64::MIN, "iomt/1"), (50, "iomt/2")]));
        let (none, at) = (schedule(&[]), |time| EventTime(time));
        let edited = || Decision::Refuse { version: "iomt/1".into() };
        let rows = [
            (None, ("iomt/1", "iomt/1"), at(99), Decision::Begin),
            (Some(&none), ("iomt/1", "iomt/1"), at(99), Decision::Begin),
            // Nothing was scored yet.
            (Some(&one), ("iomt/2", "iomt/2"), EventTime::MIN, Decision::Begin),
            (Some(&one), ("iomt/1", "iomt/1"), at(99), Decision::GoOn),
            (Some(&one), ("iomt/2", "iomt/2"), at(99), Decision::Change { from: at(100) }),
            (Some(&two), ("iomt/2", "iomt/2"), at(99), Decision::GoOn),
            // Back to what was, and to another model of the registry.
            (Some(&two), ("iomt/1", "iomt/1"), at(99), Decision::Change { from: at(100) }),
            (Some(&two), ("pumps/1", "pumps/1"), at(99), Decision::Change { from: at(100) }),
            // Every window is closed.
            (Some(&one), ("iomt/2", "iomt/2"), EventTime::MAX, Decision::GoOn),
            // The same name, and not what scored, in force or before.
            (Some(&one), ("iomt/1", "edited"), at(99), edited()),
            (Some(&two), ("iomt/1", "edited"), at(99), edited()),
        ];
        for (found, (version, content), newest, wanted) in rows {
            assert_eq!(decide(found, (version, digest(content)), newest), wanted, "{found:?} {version} {newest:?}");
        }
    }
}
