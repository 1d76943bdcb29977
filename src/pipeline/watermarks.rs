//! The global watermark: the least over all partitions of all source workers, as the marks at the end of epochs tell it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::Epoch;
use crate::domain::time::EventTime;
use crate::pipeline::agreement::Answer;
use crate::stage::EpochEnd;

/// The end of an epoch at one source worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The source worker.
    pub source: usize,
    /// The least watermark of its partitions that are not idle; none where all are idle, or it has none.
    pub live: Option<EventTime>,
    /// The least watermark of its idle partitions.
    pub idle: Option<EventTime>,
    /// The least watermark of those that still have something to read: what others may not run too far ahead of.
    pub reading: Option<EventTime>,
    /// Nothing that it has read, and no watermark of its partitions, is behind this time.
    pub newest: EventTime,
    /// What its process says of the newest proposal.
    pub answer: Answer,
    /// Nothing will come of this worker after this epoch.
    pub is_done: bool,
    /// It was told to stop, and so should the others.
    pub is_stopped: bool,
}

impl Mark {
    /// Of a source that holds nothing back and moves nothing.
    pub fn silent(source: usize) -> Mark {
        Mark {
            source,
            live: None,
            idle: None,
            reading: None,
            newest: EventTime::MIN,
            answer: Answer::None,
            is_done: false,
            is_stopped: false,
        }
    }
}

/// What all source workers said last.
#[derive(Debug)]
pub struct Watermarks {
    /// By source worker; none until it spoke.
    marks: Vec<Option<Mark>>,
    publish: EventTime,
    idle_retention: Duration,
}

impl Watermarks {
    pub fn new(workers: usize, idle_retention: Duration) -> Watermarks {
        Watermarks { marks: vec![None; workers], publish: EventTime::MIN, idle_retention }
    }

    pub fn apply(&mut self, mark: Mark) {
        self.marks[mark.source] = Some(mark);
    }

    /// Whether every source worker is done.
    pub fn all_done(&self) -> bool {
        self.marks.iter().all(|mark| mark.is_some_and(|mark| mark.is_done))
    }

    /// The least watermark that is still being read beside this source worker's; `MIN` until every other one spoke, `MAX` where none
    /// reads any more.
    pub fn slowest_beside(&self, worker: usize) -> EventTime {
        let others = self.marks.iter().enumerate().filter(|(source, _)| *source != worker).map(|(_, mark)| mark);
        let reading = others.map(|mark| mark.map_or(Some(EventTime::MIN), |mark| mark.reading));
        reading.flatten().min().unwrap_or(EventTime::MAX)
    }

    /// The end of `epoch` everywhere, once every mark of it has been applied.
    pub fn end(&mut self, epoch: Epoch, is_checkpoint: bool) -> EpochEnd {
        let live = self.marks.iter().map(|mark| match mark {
            Some(mark) => mark.live,
            None => Some(EventTime::MIN),
        });
        // Where all are idle, nothing moves; what has been published stays so.
        if let Some(live) = live.flatten().min() {
            self.publish = self.publish.max(live);
        }
        // A partition that wakes up behind what was published still corrects it, as it would have while it was idle.
        let least = self.marks.iter().flatten().flat_map(|mark| [mark.live, mark.idle]).flatten().min();
        let floor = self.publish.before(self.idle_retention);
        let retain = least.map_or(self.publish, |least| least.max(floor).min(self.publish));
        EpochEnd { epoch, is_checkpoint, publish: self.publish, retain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<EventTime> {
        Some(EventTime(second * 1_000_000))
    }

    fn ends(marks: &[(usize, Option<EventTime>, Option<EventTime>)]) -> (EventTime, EventTime) {
        let mut watermarks = Watermarks::new(2, Duration::from_secs(100));
        let mut end = watermarks.end(Epoch(0), false);
        for (source, live, idle) in marks {
            watermarks.apply(Mark { live: *live, idle: *idle, reading: *live, ..Mark::silent(*source) });
            end = watermarks.end(Epoch(0), false);
        }
        (end.publish, end.retain)
    }

    #[test]
    fn a_worker_that_has_not_spoken_holds_everything_back() {
        assert_eq!(ends(&[(0, at(50), None)]), (EventTime::MIN, EventTime::MIN));
    }

    #[test]
    fn a_worker_without_partitions_holds_nothing_back() {
        assert_eq!(ends(&[(0, at(50), None), (1, None, None)]), (at(50).unwrap(), at(50).unwrap()));
    }

    #[test]
    fn what_was_published_stays_published_when_all_fall_idle_or_one_wakes_behind() {
        let waking = [(1, None, None), (0, at(50), None), (0, None, at(50)), (1, at(20), None)];
        assert_eq!(ends(&waking), (at(50).unwrap(), at(20).unwrap()), "and the one that woke can still correct it");
    }

    #[test]
    fn an_idle_partition_keeps_windows_for_corrections_but_not_longer_than_the_cap() {
        assert_eq!(ends(&[(0, at(150), at(60)), (1, None, None)]), (at(150).unwrap(), at(60).unwrap()));
        assert_eq!(ends(&[(0, at(150), at(10)), (1, None, None)]), (at(150).unwrap(), at(50).unwrap()));
    }
}
