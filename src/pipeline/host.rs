//! Runs a stage inside timely: the only place where a stage's epochs meet capabilities.
//!
//! Promise: at the end of epoch `e` the stage has seen exactly the batches of epochs up to `e`, on every worker. Batches of
//! the oldest open epoch are folded at once, later ones wait (Arrow makes waiting free).

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use crate::checkpoint::state::Encoder;
use crate::domain::ids::Epoch;
use crate::pipeline::PipelineError;
use crate::pipeline::agreement::Said;
use crate::pipeline::parcel::{Item, Parcel};
use crate::pipeline::plan::Plan;
use crate::pipeline::shared::Shared;
use crate::pipeline::shelf::Follower;
use crate::pipeline::watch::StageWatch;
use crate::pipeline::watermarks::Watermarks;
use crate::stage::{Output, PartState, Stage};

const ENCODES: &str = "columns that were built in memory encode into memory";

/// An epoch that has not ended on every worker.
struct Open {
    capability: Capability<u64>,
    /// Batches that came before the epoch was the oldest.
    waiting: Vec<RecordBatch>,
    said: Said,
}

/// A stage with its number (it names its state) and what it needs to know of the run.
pub struct Hosted {
    pub stage: Box<dyn Stage>,
    pub number: u16,
    pub plan: Plan,
    pub watermarks: Watermarks,
    pub follower: Follower,
    pub watch: StageWatch,
    pub bound: Bound,
}

/// How many groups a window may hold.
pub struct Bound {
    pub window: String,
    /// On all workers together.
    pub groups_max: usize,
    pub workers: usize,
    pub shared: Shared,
}

impl Bound {
    /// What one worker may hold: its share and an eighth, for a hash spreads groups by chance.
    fn of_worker(groups_max: usize, workers: usize) -> usize {
        let share = groups_max.div_ceil(workers.max(1));
        if workers > 1 { share.saturating_add(share / 8 + 16) } else { share }
    }

    /// Ends the run where there are more. What one epoch brings, which is bounded itself, may stand above it.
    fn check(&self, groups: usize) {
        let Bound { window, groups_max, workers, shared } = self;
        if groups > Bound::of_worker(*groups_max, *workers) {
            let (window, groups_max, workers) = (window.clone(), *groups_max, *workers);
            shared.fail(PipelineError::TooManyGroups { window, groups, workers, groups_max });
        }
    }
}

impl Hosted {
    fn fold(&mut self, batch: RecordBatch) -> Vec<Item> {
        let mut output = Output::default();
        self.stage.on_batch(batch, &mut output);
        self.rows(output)
    }

    fn end(&mut self, epoch: Epoch, said: &Said) -> Vec<Item> {
        said.marks.iter().for_each(|mark| self.watermarks.apply(*mark));
        let end = self.watermarks.end(epoch, self.plan.is_checkpoint(epoch));
        let mut output = Output::default();
        self.stage.on_epoch_end(end, &mut output);
        self.bound.check(self.stage.groups());
        let mut items = self.rows(output);
        if end.is_checkpoint {
            self.watch.size(self.stage.size());
            let stage = self.number;
            let mut parts: Vec<(String, Option<Encoder>)> = Vec::new();
            self.stage.snapshot(&mut |part, state| {
                if parts.last().is_none_or(|(name, _)| name != part) {
                    parts.push((part.to_owned(), None));
                }
                if let (Some((_, encoder)), PartState::Batch(batch)) = (parts.last_mut(), state) {
                    // Encoded at once, so that its columns can go.
                    encoder.get_or_insert_default().add(&batch).expect(ENCODES);
                }
            });
            let state = |(part, encoder): (String, Option<Encoder>)| Item::State {
                stage,
                part,
                bytes: encoder.map(Encoder::finish),
            };
            items.extend(parts.into_iter().map(state));
            items.push(Item::Members { stage, memberships: self.stage.memberships() });
        }
        items.push(Item::Ended(end));
        if let Some(takeover) = self.follower.end(epoch, said) {
            self.stage.take_over(&takeover);
        }
        items
    }

    fn rows(&self, output: Output) -> Vec<Item> {
        output.0.iter().for_each(|rows| self.watch.rows(rows));
        output.0.into_iter().map(Item::Rows).collect()
    }
}

/// Hosts a stage on a stream whose items `pact` routes.
pub fn host<'scope, P>(
    stream: Stream<'scope, u64, Parcel>,
    pact: P,
    name: &str,
    mut hosted: Hosted,
) -> Stream<'scope, u64, Parcel>
where
    P: ParallelizationContract<u64, Parcel>,
{
    stream.unary_frontier::<CapacityContainerBuilder<Parcel>, _, _, _>(pact, name, move |_initial, _info| {
        let mut open: BTreeMap<u64, Open> = BTreeMap::new();
        let mut oldest = 0;
        // Timely drops a parcel without items by itself.
        move |(input, frontier), output| {
            input.for_each(|capability, parcel| {
                let time = *capability.time();
                let epoch = open.entry(time).or_insert_with(|| Open {
                    capability: capability.retain(0),
                    waiting: Vec::new(),
                    said: Said::default(),
                });
                for item in parcel.0.drain(..) {
                    match item {
                        Item::Events(batch) if time == oldest => {
                            output.session(&epoch.capability).give_container(&mut Parcel(hosted.fold(batch)));
                        }
                        Item::Events(batch) => epoch.waiting.push(batch),
                        Item::Mark { .. } | Item::Proposal { .. } => epoch.said.hear(item),
                        other => unreachable!("no edge brings {other:?} to a stage"),
                    }
                }
            });
            let first_open = frontier.frontier().iter().min().copied().unwrap_or(u64::MAX);
            while let Some(entry) = open.first_entry().filter(|entry| *entry.key() < first_open) {
                let (time, epoch) = entry.remove_entry();
                for batch in epoch.waiting {
                    output.session(&epoch.capability).give_container(&mut Parcel(hosted.fold(batch)));
                }
                output.session(&epoch.capability).give_container(&mut Parcel(hosted.end(Epoch(time), &epoch.said)));
            }
            if first_open > oldest && first_open != u64::MAX {
                oldest = first_open;
                if let Some(epoch) = open.get_mut(&oldest) {
                    for batch in std::mem::take(&mut epoch.waiting) {
                        output.session(&epoch.capability).give_container(&mut Parcel(hosted.fold(batch)));
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_may_hold_all_groups_and_of_several_each_its_share_and_a_little() {
        assert_eq!(Bound::of_worker(1_000_000, 1), 1_000_000);
        assert_eq!(Bound::of_worker(1_000_000, 4), 250_000 + 31_250 + 16);
        assert_eq!(Bound::of_worker(10, 4), 3 + 16);
        assert_eq!(Bound::of_worker(usize::MAX, 2), usize::MAX / 2 + 1 + (usize::MAX / 2 + 1) / 8 + 16);
    }
}
