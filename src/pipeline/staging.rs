//! Makes rows and state durable, worker by worker: at each checkpoint whole objects under hidden names, then one report.
//!
//! Promise: the report of a checkpoint is sent when everything it names is durable, and holds exactly the rows and the
//! state of epochs up to the checkpoint's. The epoch's capability is held until then.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::{Stream, StreamVec};

use crate::checkpoint::manifest::StateObject;
use crate::checkpoint::places::Generation;
use crate::checkpoint::state;
use crate::domain::ids::Epoch;
use crate::domain::table::{Rows, Table};
use crate::domain::time::EventTime;
use crate::observe::metrics::{Metrics, Part};
use crate::observe::vitals::Phase;
use crate::pipeline::PipelineError;
use crate::pipeline::account::Report;
use crate::pipeline::agreement::{Outcome, Said};
use crate::pipeline::ingest::Clock;
use crate::pipeline::parcel::{Item, Parcel};
use crate::pipeline::plan::Plan;
use crate::pipeline::promotions::Promotions;
use crate::pipeline::route::route;
use crate::pipeline::shared::Shared;
use crate::pipeline::shelf::Follower;
use crate::pipeline::surroundings::Surroundings;
use crate::pipeline::watermarks::Watermarks;
use crate::sinks::parquet::{Object, Publication, TableSink};
use crate::storage::Storage;
use crate::storage::digest::Sha256;
use crate::storage::upload::{Pending, Uploads, Wake};

/// The stage name under which a checkpoint's anomalies for Kafka stand among its state objects.
pub const OUTBOX: &str = "outbox";

/// Bytes of objects on their way to the store at once, of a worker.
const UPLOAD_BYTES: usize = 32 << 20;

/// Anomalies for Kafka are staged in objects of about this size, so that a checkpoint of any number of them passes through little memory.
const OUTBOX_BYTES: usize = 16 << 20;

/// What the operator needs to know.
pub struct StagingSpec {
    pub sink: TableSink,
    pub storage: Storage,
    pub generation: Generation,
    pub plan: Plan,
    pub watermarks: Watermarks,
    pub follower: Follower,
    /// Of worker 0 alone.
    pub promotions: Option<Arc<Promotions>>,
    /// The names of the stages, by their number.
    pub stages: Vec<String>,
    /// Bytes that may wait for the store before the source does.
    pub held_bytes_max: usize,
    /// Anomalies also go to Kafka.
    pub has_outbox: bool,
}

/// A checkpoint on its way to the store.
struct Underway {
    report: Report,
    uploads: Vec<Pending>,
    capability: Capability<u64>,
}

struct Staging {
    spec: StagingSpec,
    worker: usize,
    uploads: Uploads,
    clock: Rc<Clock>,
    surroundings: Arc<dyn Surroundings>,
    metrics: Arc<Metrics>,
    uploading: Part,
    held: Part,
    /// What has been collected for the next checkpoint.
    report: Report,
    outbox: Vec<RecordBatch>,
    outbox_bytes: usize,
    /// Where the parts of the state stand, by stage and name: those of the last checkpoint, and those of the next so far.
    parts: BTreeMap<(u16, String), StateObject>,
    next_parts: BTreeMap<(u16, String), StateObject>,
    pending: Vec<Pending>,
}

impl Staging {
    /// Takes one epoch's items, in the order of epochs.
    fn take(&mut self, epoch: Epoch, items: Vec<Item>) -> Result<(), PipelineError> {
        for item in &items {
            if let Item::Found { id, name, .. } = item {
                self.spec.sink.name_partition(*id, name);
            }
        }
        let mut said = Said::default();
        for item in items {
            match item {
                Item::Rows(rows) => self.rows(epoch, rows)?,
                Item::State { stage, part, bytes } => self.part(epoch, stage, part, bytes),
                Item::Members { stage, memberships } => {
                    self.report.members.push((self.spec.stages[usize::from(stage)].clone(), memberships));
                }
                Item::Account(report) => self.report.partitions.push(report),
                Item::Found { .. } | Item::Ended(_) => {}
                Item::Mark { mark, .. } => {
                    self.spec.watermarks.apply(mark);
                    said.marks.push(mark);
                }
                Item::Proposal { .. } => said.hear(item),
                Item::Events(_) => unreachable!("no edge brings events here: they become rows first"),
            }
        }
        let end = self.spec.watermarks.end(epoch, self.spec.plan.is_checkpoint(epoch));
        self.report.published = known_published(end.publish);
        self.agree(epoch, &said);
        self.clock.others.set(self.spec.watermarks.slowest_beside(self.worker));
        self.metrics.progress.set_watermark(end.publish);
        self.metrics.vitals.reach(Phase::Flowing);
        self.held.set(self.spec.sink.held_bytes());
        Ok(())
    }

    /// What the workers said of models: heard of here, and noted for the manifest.
    fn agree(&mut self, epoch: Epoch, said: &Said) {
        if let Some(proposal) = &said.proposal {
            self.spec.follower.shelf.prepare(proposal);
        }
        let Some(outcome) = self.spec.follower.agreement.end(epoch, said) else { return };
        if let Outcome::Changed(change) = &outcome {
            self.report.changes.push(change.clone());
        }
        if let Some(promotions) = &self.spec.promotions {
            promotions.settle(&outcome, self.surroundings.now());
        }
    }

    fn rows(&mut self, epoch: Epoch, rows: Rows) -> Result<(), PipelineError> {
        if rows.table == Table::Anomalies && self.spec.has_outbox {
            self.outbox_bytes += rows.batch.get_array_memory_size();
            self.outbox.push(rows.batch.clone());
            if self.outbox_bytes >= OUTBOX_BYTES {
                self.flush_outbox(epoch)?;
            }
        }
        let objects = self.spec.sink.push(epoch, rows)?;
        self.upload(objects);
        Ok(())
    }

    /// Notes where a part of a stage's state stands from this checkpoint on: where it stood, or in an object that starts on its way.
    fn part(&mut self, epoch: Epoch, stage: u16, part: String, bytes: Option<Bytes>) {
        let object = match bytes {
            Some(bytes) => self.write_state(epoch, &self.spec.stages[usize::from(stage)].clone(), &part, bytes),
            None => {
                self.parts.get(&(stage, part.clone())).expect("a stage keeps only parts that it gave before").clone()
            }
        };
        self.next_parts.insert((stage, part), object);
    }

    fn write_state(&mut self, epoch: Epoch, stage: &str, part: &str, bytes: Bytes) -> StateObject {
        let sha256 = Sha256::of(&bytes);
        let key = self.spec.generation.state(epoch, self.worker, &format!("{stage}-{part}"), &sha256);
        let object = StateObject { stage: stage.to_owned(), key: key.clone(), size: bytes.len() as u64, sha256 };
        self.pending.push(self.uploads.upload(key, bytes));
        object
    }

    /// Anomalies for Kafka start on their way, where they count as what waits for the store.
    fn flush_outbox(&mut self, epoch: Epoch) -> Result<(), PipelineError> {
        self.outbox_bytes = 0;
        let outbox = std::mem::take(&mut self.outbox);
        if !outbox.is_empty() {
            let bytes = state::encode(&outbox)?;
            let object = self.write_state(epoch, OUTBOX, "anomalies", bytes);
            self.report.state.push(object);
        }
        Ok(())
    }

    fn upload(&mut self, objects: Vec<Object>) {
        for object in objects {
            self.pending.push(self.uploads.upload(object.key, object.bytes));
        }
    }

    /// Ends a checkpoint: everything collected starts on its way.
    fn checkpoint(&mut self, epoch: Epoch) -> Result<(Report, Vec<Pending>), PipelineError> {
        self.clock.uncommitted.borrow_mut().ended(epoch, Instant::now());
        let is_last = self.spec.watermarks.all_done();
        let publication = if is_last { Publication::All } else { Publication::WhenDue };
        let staged = self.spec.sink.on_checkpoint(self.surroundings.wall(), epoch, publication)?;
        self.upload(staged.objects);
        self.flush_outbox(epoch)?;
        let mut report = std::mem::take(&mut self.report);
        (report.worker, report.is_last, report.tables) = (self.worker, is_last, staged.part);
        self.parts = std::mem::take(&mut self.next_parts);
        report.state.extend(self.parts.values().cloned());
        Ok((report, std::mem::take(&mut self.pending)))
    }
}

/// None before the first; `MAX` stays, for then every window is published.
fn known_published(publish: EventTime) -> Option<i64> {
    (publish != EventTime::MIN).then_some(publish.0)
}

/// Whether everything of the checkpoint is durable; an upload that failed for good is an error.
fn is_durable(underway: &mut Underway) -> Result<bool, PipelineError> {
    let mut failed = None;
    underway.uploads.retain_mut(|upload| match upload.poll() {
        None => true,
        Some(Ok(())) => false,
        Some(Err(error)) => {
            failed = Some(error);
            false
        }
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(underway.uploads.is_empty()),
    }
}

/// The operator's own part: epochs that are not over, and checkpoints on their way.
struct Staged {
    staging: Staging,
    open: BTreeMap<u64, (Capability<u64>, Vec<Item>)>,
    underway: BTreeMap<u64, Underway>,
    shared: Shared,
}

impl Staged {
    /// What marks say at once, whatever epoch they end.
    fn hear(&self, time: u64, items: &[Item]) {
        for item in items {
            match item {
                // A cluster stops as one, whichever process was told.
                Item::Mark { mark, .. } if mark.is_stopped => self.shared.stop.request(),
                Item::Mark { mark, .. } if !mark.is_done => {
                    let newest = &self.staging.clock.newest_ended;
                    newest.set(Some(newest.get().map_or(time, |newest| newest.max(time))));
                }
                _ => {}
            }
        }
    }

    /// Takes the epochs below `first_open`. What failed stays open: a dropped capability would look like an end.
    fn end_epochs(&mut self, first_open: u64) {
        while let Some(entry) =
            self.open.first_entry().filter(|entry| *entry.key() < first_open && !self.shared.failed())
        {
            let (time, (capability, items)) = entry.remove_entry();
            let done = self.staging.take(Epoch(time), items).and_then(|()| {
                let is_checkpoint = self.staging.spec.plan.is_checkpoint(Epoch(time));
                is_checkpoint.then(|| self.staging.checkpoint(Epoch(time))).transpose()
            });
            match done {
                Ok(None) => {}
                Ok(Some((report, uploads))) => {
                    self.underway.insert(time, Underway { report, uploads, capability });
                }
                Err(error) => {
                    self.shared.fail(error);
                    self.open.insert(time, (capability, Vec::new()));
                }
            }
        }
    }

    /// The oldest checkpoint on its way, once all of it is durable.
    fn next_durable(&mut self) -> Option<(Capability<u64>, Report)> {
        self.staging.clock.has_room.set(self.staging.uploads.has_room());
        self.staging.uploading.set(self.staging.uploads.held_bytes());
        let mut entry = self.underway.first_entry().filter(|_| !self.shared.failed())?;
        match is_durable(entry.get_mut()) {
            Ok(true) => {
                let Underway { report, capability, .. } = entry.remove();
                Some((capability, report))
            }
            Ok(false) => None,
            Err(error) => {
                self.shared.fail(error);
                None
            }
        }
    }
}

/// Builds the operator on one worker.
pub fn stage<'scope>(
    rows: Stream<'scope, u64, Parcel>,
    spec: StagingSpec,
    clock: Rc<Clock>,
    shared: Shared,
) -> StreamVec<'scope, u64, Report> {
    let scope = rows.scope();
    let worker = scope.index();
    let pact = route(worker, None);
    rows.unary_frontier::<CapacityContainerBuilder<Vec<Report>>, _, _, _>(pact, "Stage", move |_initial, info| {
        let activator = scope.worker().sync_activator_for(info.address.to_vec());
        let wake: Wake = Arc::new(move || {
            // An operator that is gone needs no waking.
            let _ = activator.activate();
        });
        let uploads = Uploads::new(&spec.storage, UPLOAD_BYTES.min(spec.held_bytes_max), spec.held_bytes_max, wake);
        let metrics = Arc::clone(&shared.metrics);
        let output = &metrics.output;
        let (uploading, held) = (Part::of(&output.uploads_pending_bytes), Part::of(&output.rows_held_bytes));
        let staging = Staging {
            spec,
            worker,
            uploads,
            clock,
            surroundings: Arc::clone(&shared.surroundings),
            metrics,
            uploading,
            held,
            report: Report::default(),
            outbox: Vec::new(),
            outbox_bytes: 0,
            parts: BTreeMap::new(),
            next_parts: BTreeMap::new(),
            pending: Vec::new(),
        };
        let mut staged = Staged { staging, open: BTreeMap::new(), underway: BTreeMap::new(), shared };
        move |(input, frontier), output| {
            input.for_each(|capability, parcel| {
                let time = *capability.time();
                staged.hear(time, &parcel.0);
                let open = staged.open.entry(time).or_insert_with(|| (capability.retain(0), Vec::new()));
                open.1.append(&mut parcel.0);
            });
            staged.end_epochs(frontier.frontier().iter().min().copied().unwrap_or(u64::MAX));
            while let Some((capability, report)) = staged.next_durable() {
                output.session(&capability).give(report);
            }
        }
    })
}
