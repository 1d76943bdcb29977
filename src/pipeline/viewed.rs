//! The view of anomalies in the flow: what windows' scored rows say goes into it, what its changes publish comes out.
//!
//! Promise: what was said in epoch `e` is published in epoch `e`, on every worker, before the epoch is over; the state of a checkpoint is
//! what stood at its end. Anomalies of events never change, and go around it.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Capability, Concatenate};
use timely::dataflow::{Stream, StreamVec};

use crate::checkpoint::state;
use crate::domain::anomaly::WindowAnomaly;
use crate::domain::ids::Epoch;
use crate::domain::table::{Rows, Table};
use crate::observe::metrics::DetectorMetrics;
use crate::pipeline::parcel::{Item, Parcel};
use crate::scoring::cleared::Cleared;
use crate::stage::EpochEnd;
use crate::views::changes::{Change, published};
use crate::views::judge::Judge;
use crate::views::rows::AnomalyRows;
use crate::views::standing::{Standing, StandingTrace, standing};
use crate::views::verdict::{Upsert, Verdict};

/// The stage name under which what stands is found among a checkpoint's state objects.
pub const STANDING: &str = "views/anomalies";

const ENCODES: &str = "columns that were built in memory encode into memory";

/// One part: anomalies are few.
const PART: &str = "standing";

/// What is sent to the view.
type Sent = Vec<(WindowAnomaly, Option<Verdict>, u64)>;

/// What reads the rows of one scored window.
pub struct Judged {
    pub judge: Judge,
    /// One for each of its detectors.
    pub cleared: Vec<Cleared>,
    /// What this worker gives back of what stood at the checkpoint that the run goes on from.
    pub restored: Vec<Upsert>,
}

/// What the view needs to know of the run.
pub struct ViewSpec {
    /// Names the state.
    pub number: u16,
    /// The run's first epoch: what is earlier was restored, and is published already.
    pub first: Epoch,
    pub metrics: BTreeMap<String, DetectorMetrics>,
}

impl Judged {
    /// Reads one item of the window's stream.
    fn hear(&mut self, item: &Item, upserts: &mut Vec<Upsert>) {
        match item {
            Item::Rows(Rows { table: Table::Windows(_), batch }) => {
                for (anomaly, revision) in self.cleared.iter().flat_map(|cleared| cleared.rows(batch)) {
                    self.judge.cleared(anomaly, revision, upserts);
                }
            }
            Item::Rows(Rows { table: Table::Anomalies, batch }) => self.judge.found(batch, upserts),
            Item::Ended(end) => self.judge.end(*end, upserts),
            _ => {}
        }
    }
}

/// What a window's stream says, as upserts of its own epochs; what was restored first, in the epoch before the run's first.
fn judge<'scope>(
    stream: Stream<'scope, u64, Parcel>,
    mut judged: Judged,
    first: Epoch,
) -> StreamVec<'scope, u64, (WindowAnomaly, Option<Verdict>, u64)> {
    stream.unary::<CapacityContainerBuilder<Sent>, _, _, _>(Pipeline, "Judge", move |mut initial, _info| {
        initial.downgrade(&first.0.saturating_sub(1));
        let mut initial = Some((initial, std::mem::take(&mut judged.restored)));
        move |input, output| {
            if let Some((capability, restored)) = initial.take() {
                let time = *capability.time();
                output.session(&capability).give_iterator(restored.into_iter().map(|(key, value)| (key, value, time)));
            }
            input.for_each(|capability, parcel| {
                let mut upserts = Vec::new();
                parcel.0.iter().for_each(|item| judged.hear(item, &mut upserts));
                let time = *capability.time();
                output.session(&capability).give_iterator(upserts.into_iter().map(|(key, value)| (key, value, time)));
            });
        }
    })
}

/// An epoch that is not over on every worker.
struct Open {
    capability: Capability<u64>,
    is_checkpoint: bool,
}

/// Turns what changed into rows, and what stands into state.
struct Publisher {
    spec: ViewSpec,
    rows: AnomalyRows,
    trace: StandingTrace,
    changes: BTreeMap<u64, Vec<Change>>,
    /// Whether anything changed since what stands was last written down.
    has_changed: bool,
    /// Whether anything stood then.
    is_stored: bool,
}

impl Publisher {
    fn take(&mut self, (changed, time, diff): ((WindowAnomaly, Verdict), u64, isize)) {
        if time >= self.spec.first.0 {
            self.changes.entry(time).or_default().push((changed, diff));
        }
    }

    /// Ends an epoch of which every change has been taken.
    fn end(&mut self, epoch: Epoch, is_checkpoint: bool) -> Vec<Item> {
        let mut items = Vec::new();
        let changes = self.changes.remove(&epoch.0).unwrap_or_default();
        self.has_changed |= !changes.is_empty();
        let published = published(changes);
        for one in published.iter().filter(|one| one.retracted_by.is_some()) {
            if let Some(metrics) = self.spec.metrics.get(&one.anomaly.detector) {
                metrics.retracted.inc();
            }
        }
        if !published.is_empty() {
            let batch = self.rows.published(&published);
            items.push(Item::Rows(Rows { table: Table::Anomalies, batch }));
        }
        if is_checkpoint {
            items.extend(self.state(epoch));
        }
        items
    }

    /// What stands: written anew if it changed since it was written last, and not at all where nothing stands.
    fn state(&mut self, epoch: Epoch) -> Option<Item> {
        let mut bytes = None;
        if std::mem::take(&mut self.has_changed) {
            let standing = self.trace.at(epoch);
            self.is_stored = !standing.is_empty();
            bytes = self.is_stored.then(|| state::encode(&self.rows.state(&standing)).expect(ENCODES));
        }
        self.is_stored.then(|| Item::State { stage: self.spec.number, part: PART.to_owned(), bytes })
    }
}

/// Maintains the view of these windows' anomalies. What leaves is what the windows gave, with the view's rows and state in the place of
/// the detectors' anomalies.
pub fn view<'scope>(
    windows: Vec<(Stream<'scope, u64, Parcel>, Judged)>,
    spec: ViewSpec,
) -> Option<Stream<'scope, u64, Parcel>> {
    let scope = windows.first()?.0.scope();
    let first = spec.first;
    let (given, upserts): (Vec<_>, Vec<_>) =
        windows.into_iter().map(|(stream, judged)| (stream.clone(), judge(stream, judged, first))).unzip();
    let Standing { changes, trace } = standing(scope.concatenate(upserts));
    let rows = AnomalyRows::new();
    let mut publisher = Publisher { spec, rows, trace, changes: BTreeMap::new(), has_changed: true, is_stored: false };
    let given = scope.concatenate(given);
    let published = given.binary_frontier::<_, CapacityContainerBuilder<Parcel>, _, _, _, _>(
        changes,
        Pipeline,
        Pipeline,
        "Publish",
        move |_initial, _info| {
            let mut open: BTreeMap<u64, Open> = BTreeMap::new();
            move |(given, given_frontier), (changes, changes_frontier), output| {
                given.for_each(|capability, parcel| {
                    let (passed, ends) = sorted_out(parcel);
                    output.session(&capability).give_container(&mut Parcel(passed));
                    for EpochEnd { epoch, is_checkpoint, .. } in ends {
                        open.entry(epoch.0).or_insert_with(|| Open { capability: capability.retain(0), is_checkpoint });
                    }
                });
                changes.for_each(|_, changes| changes.drain(..).for_each(|change| publisher.take(change)));
                let frontiers = [given_frontier.frontier(), changes_frontier.frontier()];
                let first_open = frontiers.iter().flat_map(|frontier| frontier.iter()).min().copied();
                while let Some(entry) =
                    open.first_entry().filter(|entry| first_open.is_none_or(|first_open| *entry.key() < first_open))
                {
                    let (time, Open { capability, is_checkpoint }) = entry.remove_entry();
                    let items = publisher.end(Epoch(time), is_checkpoint);
                    output.session(&capability).give_container(&mut Parcel(items));
                }
                first_open.inspect(|first_open| publisher.trace.forget_before(Epoch(*first_open)));
            }
        },
    );
    Some(published)
}

/// What goes on as it is, and the ends of epochs.
fn sorted_out(parcel: &mut Parcel) -> (Vec<Item>, Vec<EpochEnd>) {
    let (mut passed, mut ends) = (Vec::new(), Vec::new());
    for item in parcel.0.drain(..) {
        match item {
            Item::Rows(Rows { table: Table::Anomalies, .. }) => {}
            Item::Ended(end) => ends.push(end),
            item => passed.push(item),
        }
    }
    (passed, ends)
}

#[cfg(test)]
#[path = "viewed_tests.rs"]
mod tests;
