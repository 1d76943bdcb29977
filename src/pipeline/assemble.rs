//! Puts a worker's dataflow together: which stage hears which edge, and what it restores first.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use timely::dataflow::operators::{Concatenate, Probe, probe::Handle};
use timely::worker::Worker;

use crate::checkpoint::schedule::ModelSchedule;
use crate::checkpoint::{self, state};
use crate::domain::anomaly::WindowAnomaly;
use crate::domain::detector::DetectorInput;
use crate::domain::table::Table;
use crate::observe::metrics::DetectorMetrics;
use crate::pipeline::PipelineError;
use crate::pipeline::agreement::Agreement;
use crate::pipeline::commit::commit;
use crate::pipeline::committer::Committer;
use crate::pipeline::host::{Bound, Hosted, host};
use crate::pipeline::ingest::{Clock, IngestSpec, Ingested, Progressed, ingest};
use crate::pipeline::promotions::Promotions;
use crate::pipeline::route::{Split, route};
use crate::pipeline::scored::{Counted, EventsKept, Remembered, ScoredEvents, ScoredWindows, score_events};
use crate::pipeline::shared::Shared;
use crate::pipeline::shelf::Follower;
use crate::pipeline::spec::PipelineSpec;
use crate::pipeline::staging::{StagingSpec, stage};
use crate::pipeline::start::{self, Process, Start};
use crate::pipeline::viewed::{Judged, STANDING, ViewSpec, view};
use crate::pipeline::watch::StageWatch;
use crate::pipeline::watermarks::Watermarks;
use crate::scoring::cleared::Cleared;
use crate::scoring::history::{History, Reach};
use crate::sinks::parquet::{FileSpec, TableSink, Writer};
use crate::sinks::tables::WindowTable;
use crate::stage::{Share, Stage};
use crate::storage::digest::Sha256;
use crate::storage::key::ObjectKey;
use crate::views::judge::{Judge, restored};
use crate::views::rows::AnomalyRows;
use crate::views::verdict::StoredRow;
use crate::windows::Windows;
use crate::windows::group_hash::GroupHash;
use crate::windows::spec::WindowSpec;

/// What a worker needs to build its dataflow.
pub struct Assembly<'a> {
    pub spec: &'a PipelineSpec,
    pub process: &'a Process,
    pub start: &'a Start,
    pub shared: &'a Shared,
    /// Of all workers of all processes.
    pub share: Share,
    /// How many workers share the memory of this process.
    pub beside: usize,
}

/// A window's stage with how events are routed to it.
struct WindowStage {
    name: String,
    stage: Box<dyn Stage>,
    split: Split,
    /// Where detectors score its rows.
    judged: Option<Judged>,
}

impl Assembly<'_> {
    /// Builds the dataflow; gives what tells how far it is.
    pub fn build(
        &self,
        worker: &mut Worker,
        committer: Option<Committer>,
    ) -> Result<(Rc<Clock>, Progressed), PipelineError> {
        let shelf = &self.process.shelf;
        shelf.begin(self.spec, &self.start.models)?;
        let windows = self.windows()?;
        let scorers = self.scorers(&DetectorInput::Events)?;
        let staging = self.staging(&windows)?;
        let (spec, share, shared) = (self.spec, self.share, self.shared);
        let (flow, committed) = (Handle::new(), Handle::new());
        let progressed = Progressed { flow: flow.clone(), committed: committed.clone() };
        let clock = Rc::new(Clock::default());
        let seen = (Rc::clone(&clock), progressed.clone());
        worker.dataflow::<u64, _, _>(|scope| {
            let intake = |activator: timely::scheduling::SyncActivator| {
                // An operator that is gone needs no waking.
                let wake = Box::new(move || {
                    let _ = activator.activate();
                });
                let pool = Arc::clone(&shared.decoding);
                start::intake(spec, self.process, self.start, (share.worker, share.workers), pool, wake)
            };
            let (first, plan) = (self.start.first_epoch, spec.plan);
            let ingest_spec = IngestSpec {
                first,
                plan,
                clock: clock.clone(),
                progressed,
                shared: shared.clone(),
                shelf: shelf.clone(),
                promotions: self.promotions(),
            };
            let Ingested { events, aside } = ingest(scope, ingest_spec, intake);
            let mut rows = vec![aside.clone()];
            let kept = spec.output.events;
            if kept != EventsKept::None || !scorers.is_empty() {
                let scored = ScoredEvents { scorers, kept, follower: self.follower(), clock: clock.clone() };
                rows.push(score_events(events.clone(), aside, scored));
            }
            let view_spec = ViewSpec { number: windows.len() as u16, first, metrics: self.detector_metrics() };
            let mut judged_windows = Vec::new();
            for (number, WindowStage { name, stage, split, judged }) in windows.into_iter().enumerate() {
                let hosted = self.hosted(number, stage);
                let stream = host(events.clone(), route(share.worker, Some(split)), &name, hosted);
                match judged {
                    Some(judged) => judged_windows.push((stream, judged)),
                    None => rows.push(stream),
                }
            }
            rows.extend(view(judged_windows, view_spec));
            let rows = scope.concatenate(rows).probe_with(&flow);
            let reports = stage(rows, staging, clock, shared.clone());
            commit(reports, committer, shared.clone()).probe_with(&committed);
        });
        Ok(seen)
    }

    /// The stage of the window of this number, with what runs it.
    fn hosted(&self, number: usize, stage: Box<dyn Stage>) -> Hosted {
        let window = self.spec.windows[number].name.clone();
        let watch = StageWatch::new(self.shared.metrics.window(&window));
        let (groups_max, workers, shared) = (self.spec.groups_max, self.share.workers, self.shared.clone());
        let bound = Bound { window, groups_max, workers, shared };
        let (watermarks, follower) = (self.watermarks(), self.follower());
        Hosted { stage, number: number as u16, plan: self.spec.plan, watermarks, follower, watch, bound }
    }

    fn watermarks(&self) -> Watermarks {
        Watermarks::new(self.share.workers, self.spec.watermark.idle_retention)
    }

    fn windows(&self) -> Result<Vec<WindowStage>, PipelineError> {
        let events = self.spec.events.arrow();
        let standing = AnomalyRows::new().restore(&self.state_of(STANDING)?)?;
        let is_judged = |window: &WindowSpec| {
            let input = DetectorInput::Windows(window.name.clone());
            self.spec.detectors.iter().any(|detector| detector.spec.input == input)
        };
        let first_judged = self.spec.windows.iter().position(is_judged);
        let build = |(index, window): (usize, &WindowSpec)| {
            let table = Table::Windows(index as u16);
            let mut windows = Windows::new(window, &events, table)?;
            let name = format!("windows/{}", window.name);
            let state = self.state_of(&name)?;
            // Every checkpoint has state of every window: without any, it was added since.
            if state.is_empty() {
                windows.begin_after(self.start.newest_event());
            }
            let scorers = self.scorers(&DetectorInput::Windows(window.name.clone()))?;
            let judged = self.judged(&scorers, &standing, Some(index) == first_judged)?;
            let mut stage: Box<dyn Stage> = match scorers.is_empty() {
                true => Box::new(windows),
                false => {
                    let past = self.remembered(window, &scorers, &windows.schema())?;
                    Box::new(ScoredWindows { windows, scorers, table, past })
                }
            };
            stage.restore(&state, self.share)?;
            let mut hash = GroupHash::new(window, &events)?;
            let hashes = Box::new(move |batch: &RecordBatch, hashes: &mut Vec<u64>| {
                hashes.extend_from_slice(hash.of_rows(batch))
            });
            let split = Split { columns: window.columns_needed(&events), hashes };
            Ok(WindowStage { name, stage, split, judged })
        };
        self.spec.windows.iter().enumerate().map(build).collect()
    }

    /// What the detectors on a window look back on, if any of them does.
    fn remembered(
        &self,
        window: &WindowSpec,
        scorers: &[Counted],
        rows: &SchemaRef,
    ) -> Result<Option<Remembered>, PipelineError> {
        let reaches: Vec<Reach> = scorers.iter().filter_map(|counted| counted.scorer.reach()).collect();
        if reaches.is_empty() {
            return Ok(None);
        }
        let history = History::new(window.timing(), &reaches, rows)?;
        Ok(Some(Remembered { history, hash: GroupHash::new(window, rows)? }))
    }

    /// What follows the anomalies of a window with these detectors. Each of those that stood is given back to the view by one worker, and
    /// known to all. The first of the windows also keeps those of detectors that are not configured any more, until their windows are
    /// final: one that returns may have to take them back.
    fn judged(
        &self,
        scorers: &[Counted],
        standing: &[(WindowAnomaly, StoredRow)],
        is_first: bool,
    ) -> Result<Option<Judged>, PipelineError> {
        let Some(last) = scorers.last() else { return Ok(None) };
        let names: Vec<&str> = scorers.iter().map(|counted| counted.scorer.name()).collect();
        let schema = last.scorer.schema();
        let cleared = names.iter().map(|name| Cleared::new(name, &schema)).collect::<Result<_, _>>()?;
        let is_own = |name: &str| names.contains(&name) || (is_first && !self.has_detector(name));
        let own: Vec<_> = standing.iter().filter(|(one, _)| is_own(&one.detector)).cloned().collect();
        let judge = Judge::new(self.spec.watermark.allowed_lateness, own.iter().map(|(one, _)| one.clone()));
        let mine = own.into_iter().enumerate().filter(|(index, _)| index % self.share.workers == self.share.worker);
        let restored = restored(mine.map(|(_, one)| one));
        Ok(Some(Judged { judge, cleared, restored }))
    }

    fn has_detector(&self, name: &str) -> bool {
        self.spec.detectors.iter().any(|detector| detector.spec.name == name)
    }

    fn detector_metrics(&self) -> BTreeMap<String, DetectorMetrics> {
        let last =
            |schedule: &ModelSchedule| Some((schedule.detector.clone(), schedule.versions.last()?.version.clone()));
        let last = self.start.models.iter().filter_map(last);
        last.map(|(detector, version)| (detector.clone(), self.shared.metrics.detector(&detector, &version))).collect()
    }

    /// What all workers of the last run kept of a stage.
    fn state_of(&self, name: &str) -> Result<Vec<RecordBatch>, PipelineError> {
        let mut batches = Vec::new();
        for object in self.start.state.iter().filter(|object| object.stage == name) {
            let bytes = self.kept(&object.key, object.size, &object.sha256)?;
            batches.extend(state::decode(&bytes)?);
        }
        Ok(batches)
    }

    /// An object of the checkpoint that this run goes on from.
    fn kept(&self, key: &ObjectKey, size: u64, sha256: &Sha256) -> Result<Bytes, PipelineError> {
        let storage = &self.process.storage;
        let kept = storage.get_exactly(key, size, sha256);
        kept.map_err(|error| checkpoint::log::missing(storage, self.start.generation(), error).into())
    }

    /// The detectors on these rows, in the order of the configuration.
    fn scorers(&self, input: &DetectorInput) -> Result<Vec<Counted>, PipelineError> {
        let scorers = self.process.shelf.scorers(input)?.into_iter();
        Ok(scorers.map(|scorer| Counted::new(scorer, Arc::clone(&self.shared.metrics))).collect())
    }

    /// One of those who let versions of models take over.
    fn follower(&self) -> Follower {
        let agreement = Agreement::new(self.share.workers, self.spec.plan.epochs_ahead, self.start.newest);
        Follower { agreement, shelf: Arc::clone(&self.process.shelf) }
    }

    fn promotions(&self) -> Option<Arc<Promotions>> {
        (self.share.worker == 0).then(|| Arc::clone(&self.process.promotions))
    }

    fn staging(&self, windows: &[WindowStage]) -> Result<StagingSpec, PipelineError> {
        let spec = self.spec;
        let tables = spec.windows.iter().map(|window| WindowTable { name: window.name.clone(), by: window.by.clone() });
        let files = FileSpec {
            windows: tables.collect(),
            publish_every: spec.output.publish_every,
            file_size: spec.output.file_size,
            partition_by: spec.output.partition_by,
        };
        let generation = self.start.generation();
        let mut sink = TableSink::new(files, Writer { generation, worker: self.share.worker });
        for (id, name) in &self.start.sources {
            sink.name_partition(*id, name);
        }
        let mine = self.start.staged.iter().enumerate();
        for (_, staged) in mine.filter(|(index, _)| index % self.share.workers == self.share.worker) {
            let bytes = self.kept(&staged.key, staged.size, &staged.sha256)?;
            sink.restore(staged, bytes)?;
        }
        Ok(StagingSpec {
            sink,
            storage: self.process.storage.with_patience(self.shared.surroundings.patience()),
            generation,
            plan: spec.plan,
            watermarks: self.watermarks(),
            follower: self.follower(),
            promotions: self.promotions(),
            stages: windows.iter().map(|window| window.name.clone()).chain([STANDING.to_owned()]).collect(),
            held_bytes_max: (spec.plan.held_bytes_max / self.beside).max(1),
            has_outbox: spec.output.kafka.is_some(),
        })
    }
}
