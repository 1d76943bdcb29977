//! The last rows of each group of a window: what a detector that looks at more than one window looks back on.
//!
//! A corrected row changes what was said of the windows after it, so rows that look back on it are given once more, with a revision of
//! their own. Every row that leaves has the next revision of its window and group, whoever was the reason. The newest revision of a row is
//! scored with the newest revisions of those before it; how often it was told depends on when corrections came, what it says in the end
//! does not.
//!
//! Rows are kept while a window that is not final may look back on them. A window of the past is a part of the state of its own, written
//! when one of its rows changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Int32Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};

use crate::domain::timing::WindowTiming;
use crate::scoring::scorer::{FIRST_BY, ScoringError, WINDOW_START};
use crate::scoring::tail::{self, TailSettings, Tails, Told};
use crate::stage::{PartState, RestoreError, Tell};

/// Marks batches of state that are of a history.
const OF_HISTORY: &str = "tidewatch.history";
const BATCH_ROWS_MAX: usize = 8192;

/// How far back a detector looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On so many windows right before the scored one, whose corrections change its score.
    Preceding(u32),
    /// On so many windows that were final before the scored one began, of which one in `every` counts.
    Final { windows: u32, every: u32 },
    /// On all that were final before the scored one began, of which it keeps what it needs by itself.
    Everything,
}

impl Reach {
    /// Windows from the first that is looked back on to the scored one.
    fn kept(self, timing: WindowTiming) -> i64 {
        match self {
            Reach::Preceding(windows) => i64::from(windows),
            Reach::Final { windows, every } => {
                i64::from(windows) * i64::from(every) + (timing.lateness + timing.size) / timing.slide + 1
            }
            Reach::Everything => (timing.lateness + timing.size) / timing.slide + 1,
        }
    }

    /// Whether a window that begins at `start` is compared with one that began at `earlier`.
    ///
    /// One that was final before it began is corrected after it was told only where a silent partition, which holds no window back, speaks
    /// again.
    fn looks_back(self, timing: WindowTiming, start: i64, earlier: i64) -> bool {
        match self {
            Reach::Preceding(windows) => start - earlier <= i64::from(windows) * timing.slide,
            Reach::Final { windows, every } => {
                let last = timing.last_final(start);
                let span = i64::from(windows) * i64::from(every) * timing.slide;
                earlier <= last && earlier > last - span && counts(timing, every, earlier)
            }
            // Of these all that follow are found at once.
            Reach::Everything => false,
        }
    }

    /// Whether a window that began at `start` may still be looked back on where those up to `final_up_to` are final.
    fn may_need(self, timing: WindowTiming, start: i64, final_up_to: i64) -> bool {
        let is_near = start > final_up_to.saturating_sub(self.kept(timing).saturating_mul(timing.slide));
        match self {
            Reach::Preceding(_) | Reach::Everything => is_near,
            Reach::Final { every, .. } => is_near && counts(timing, every, start),
        }
    }
}

/// Whether a window is one of those, one in `every`, that are compared with: by its time alone, so that all keys and all runs agree.
fn counts(timing: WindowTiming, every: u32, start: i64) -> bool {
    start.div_euclid(timing.slide).rem_euclid(i64::from(every)) == 0
}

/// The group of a row, as bytes that are equal where groups are.
type Key = Box<[u8]>;

/// The rows of one window.
#[derive(Debug, Default)]
struct Window {
    rows: HashMap<Key, Place>,
    batches: Vec<RecordBatch>,
    is_saved: bool,
}

impl Window {
    /// Whether the row of this group was told.
    fn has_left(&self, key: &Key) -> bool {
        self.rows.get(key).is_some_and(|place| place.revision.is_some())
    }
}

/// Where a row lies, and the revision that it left with last.
#[derive(Clone, Copy, Debug)]
struct Place {
    batch: usize,
    row: usize,
    /// None: it did not leave yet.
    revision: Option<i32>,
}

/// The rows that are remembered.
#[derive(Debug)]
pub struct History {
    timing: WindowTiming,
    reaches: Vec<Reach>,
    schema: SchemaRef,
    by: Range<usize>,
    revision: usize,
    converter: RowConverter,
    /// By their start.
    windows: BTreeMap<i64, Window>,
    /// Rows that came since rows left last.
    changed: BTreeSet<(i64, Key)>,
    /// By their detectors.
    tails: BTreeMap<String, Tails>,
}

/// What one row looks back on.
pub struct Past<'a> {
    history: &'a History,
    start: i64,
    key: &'a [u8],
}

/// The groups of a batch's rows, for looking back from them.
pub struct Groups(Vec<Key>);

impl History {
    /// `rows` is the schema of the window's rows, without scores.
    pub fn new(timing: WindowTiming, reaches: &[Reach], rows: &SchemaRef) -> Result<History, ScoringError> {
        let place = |column: &'static str| {
            rows.index_of(column).map_err(|_| ScoringError::NotRows { detector: String::new(), column })
        };
        let (by, revision) = (FIRST_BY..place("count")?, place("revision")?);
        let fields = rows.fields()[by.clone()].iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect())
            .map_err(|_| ScoringError::NotRows { detector: String::new(), column: "key" })?;
        let (windows, changed, tails) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let (schema, reaches) = (Arc::clone(rows), reaches.to_vec());
        Ok(History { timing, reaches, schema, by, revision, converter, windows, changed, tails })
    }

    /// Remembers rows as they come from the window.
    pub fn take(&mut self, rows: RecordBatch) {
        let keys = self.groups(&rows).0;
        let starts = rows.column(WINDOW_START).as_primitive::<TimestampMicrosecondType>().clone();
        let mut batches: BTreeMap<i64, usize> = BTreeMap::new();
        for (row, key) in keys.into_iter().enumerate() {
            let start = starts.value(row);
            let window = self.windows.entry(start).or_default();
            window.is_saved = false;
            let batch = *batches.entry(start).or_insert_with(|| {
                window.batches.push(rows.clone());
                window.batches.len() - 1
            });
            let place = window.rows.entry(key.clone()).or_insert(Place { batch, row, revision: None });
            (place.batch, place.row) = (batch, row);
            self.changed.insert((start, key));
        }
    }

    /// The rows that came since the last call, and those that look back on one of them, each with its next revision.
    pub fn due(&mut self) -> Vec<RecordBatch> {
        let changed = std::mem::take(&mut self.changed);
        let mut due = changed.clone();
        for (start, key) in &changed {
            let followers = self
                .windows
                .range(start + 1..)
                .map(|(start, _)| *start)
                .take_while(|after| *after <= self.last_follower(*start));
            let is_follower = |after: &i64| self.looks_back(*after, *start);
            let has_left = |after: &i64| self.windows.get(after).is_some_and(|window| window.has_left(key));
            due.extend(followers.filter(is_follower).filter(has_left).map(|after| (after, key.clone())));
        }
        if self.reaches.contains(&Reach::Everything) {
            due.extend(self.all_that_follow(&changed));
        }
        let due: Vec<(i64, Key)> = due.into_iter().collect();
        due.chunks(BATCH_ROWS_MAX).map(|due| self.leaving(due)).collect()
    }

    /// Of each group, the rows that left and begin when its first changed one would be final.
    fn all_that_follow(&self, changed: &BTreeSet<(i64, Key)>) -> Vec<(i64, Key)> {
        let mut first: BTreeMap<&Key, i64> = BTreeMap::new();
        for (start, key) in changed {
            first.entry(key).or_insert(*start);
        }
        let mut all = Vec::new();
        for (key, start) in first {
            let from = start.saturating_add(self.timing.size).saturating_add(self.timing.lateness);
            let left = self.windows.range(from..).filter(|(_, window)| window.has_left(key));
            all.extend(left.map(|(after, _)| (*after, key.clone())));
        }
        all
    }

    /// Whether a window's score depends on an earlier one.
    fn looks_back(&self, start: i64, earlier: i64) -> bool {
        self.reaches.iter().any(|reach| reach.looks_back(self.timing, start, earlier))
    }

    /// Windows before one that is not final which are remembered.
    fn kept(&self) -> i64 {
        self.reaches.iter().map(|reach| reach.kept(self.timing)).max().unwrap_or(0)
    }

    /// No window that begins later depends on this one.
    fn last_follower(&self, start: i64) -> i64 {
        start.saturating_add(self.kept().saturating_mul(self.timing.slide))
    }

    /// Rows with their next revisions.
    fn leaving(&mut self, due: &[(i64, Key)]) -> RecordBatch {
        let mut revisions = Vec::with_capacity(due.len());
        for (start, key) in due {
            let Some(window) = self.windows.get_mut(start) else { continue };
            let Some(place) = window.rows.get_mut(key) else { continue };
            window.is_saved = false;
            // Windows that were told before there was a history know of more revisions than it does.
            let of_window =
                window.batches[place.batch].column(self.revision).as_primitive::<Int32Type>().value(place.row);
            let revision = place.revision.map_or(0, |revision| revision + 1).max(of_window);
            place.revision = Some(revision);
            revisions.push(revision);
        }
        self.gathered(due.iter().map(|(start, key)| (*start, &**key)), revisions)
    }

    /// The rows at these places, with these revisions.
    fn gathered<'k>(&self, rows: impl Iterator<Item = (i64, &'k [u8])>, revisions: Vec<i32>) -> RecordBatch {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut numbers: HashMap<(i64, usize), usize> = HashMap::new();
        let mut places = Vec::with_capacity(revisions.len());
        for (start, key) in rows {
            let Some((window, place)) = self.windows.get(&start).and_then(|w| Some((w, w.rows.get(key)?))) else {
                continue;
            };
            let number = *numbers.entry((start, place.batch)).or_insert_with(|| {
                batches.push(&window.batches[place.batch]);
                batches.len() - 1
            });
            places.push((number, place.row));
        }
        let rows =
            interleave_record_batch(&batches, &places).expect("the batches have one schema, and the rows are in them");
        let mut columns = rows.columns().to_vec();
        columns[self.revision] = Arc::new(Int32Array::from(revisions));
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("a revision was put in the place of a revision")
    }

    /// The groups of rows, scored or not: scores stand behind the group's columns.
    pub fn groups(&self, rows: &RecordBatch) -> Groups {
        let columns: Vec<ArrayRef> = rows.columns()[self.by.clone()].to_vec();
        let converted =
            self.converter.convert_columns(&columns).expect("the group's columns are of the types that they had");
        Groups(converted.iter().map(|row| row.as_ref().into()).collect())
    }

    /// What row `row` of rows with these groups, whose window begins at `start`, looks back on.
    pub fn past<'a>(&'a self, groups: &'a Groups, row: usize, start: i64) -> Past<'a> {
        Past { history: self, start, key: &groups.0[row] }
    }

    /// What a detector's tails say of each feature of row `row` of rows with these groups, whose window begins at `start`.
    pub(super) fn tell(
        &mut self,
        detector: &str,
        settings: &TailSettings,
        (groups, row, start): (&Groups, usize, i64),
        values: &[f64],
    ) -> Vec<Option<Told>> {
        let key = &groups.0[row];
        if !self.tails.contains_key(detector) {
            self.tails.insert(detector.to_owned(), Tails::new(self.timing));
        }
        let (Some(tails), Some(window)) = (self.tails.get_mut(detector), self.windows.get(&start)) else {
            return vec![None; values.len()];
        };
        let Some(place) = window.rows.get(key) else { return vec![None; values.len()] };
        tails.tell(settings, (key, start), values, || {
            interleave_record_batch(&[&window.batches[place.batch]], &[(0, place.row)]).expect("the row is there")
        })
    }

    /// Forgets what no window looks back on that is not final where everything up to `retained` has come.
    pub fn forget(&mut self, retained: i64) {
        let final_up_to = self.timing.last_final(retained);
        let kept_from = final_up_to.saturating_sub(self.kept().saturating_mul(self.timing.slide));
        self.windows = self.windows.split_off(&kept_from);
        self.tails.values_mut().for_each(|tails| tails.settle(retained));
        let (timing, reaches) = (self.timing, &self.reaches);
        if reaches.iter().any(|reach| matches!(reach, Reach::Final { every, .. } if *every > 1)) {
            let may_need = |start| reaches.iter().any(|reach| reach.may_need(timing, start, final_up_to));
            self.windows.retain(|start, _| *start > final_up_to || may_need(*start));
        }
    }

    pub fn timing(&self) -> WindowTiming {
        self.timing
    }

    /// How many rows are remembered.
    pub fn rows(&self) -> usize {
        self.windows.values().map(|window| window.rows.len()).sum()
    }

    /// A part for each window.
    pub fn snapshot(&mut self, tell: Tell) {
        for start in self.windows.keys().copied().collect::<Vec<_>>() {
            let is_saved = self.windows.get(&start).is_some_and(|window| window.is_saved);
            let state = if is_saved { PartState::Unchanged } else { PartState::Batch(self.saved(start)) };
            tell(&format!("history-{start}"), state);
        }
        self.tails.iter_mut().for_each(|(detector, tails)| tails.snapshot(detector, tell));
    }

    /// The rows of a window in the order of their groups, in one batch: what lay in many is gathered by the way.
    fn saved(&mut self, start: i64) -> RecordBatch {
        let window = &self.windows[&start];
        let mut keys: Vec<(Key, i32)> =
            window.rows.iter().map(|(key, place)| (key.clone(), place.revision.unwrap_or(-1))).collect();
        keys.sort();
        let revisions = keys.iter().map(|(_, revision)| *revision).collect();
        let rows = self.gathered(keys.iter().map(|(key, _)| (start, &**key)), revisions);
        let window = self.windows.entry(start).or_default();
        window.is_saved = true;
        window.batches = vec![rows.clone()];
        for (row, (key, _)) in keys.iter().enumerate() {
            window.rows.entry(key.clone()).and_modify(|place| (place.batch, place.row) = (0, row));
        }
        let metadata: HashMap<String, String> = [(OF_HISTORY.to_owned(), String::new())].into();
        let schema = Arc::new(Schema::new_with_metadata(rows.schema().fields().clone(), metadata));
        rows.with_schema(schema).expect("metadata alone was added")
    }

    /// Takes back rows of a history, of which `holds` says whether their group is of this worker.
    pub fn restore(
        &mut self,
        state: &[RecordBatch],
        mut holds: impl FnMut(&RecordBatch) -> Vec<bool>,
    ) -> Result<(), RestoreError> {
        let damaged = |fault: &str| RestoreError::Damaged { stage: "history".to_owned(), fault: fault.to_owned() };
        for batch in state {
            if let Some(detector) = tail::detector_of(batch) {
                self.restore_tails(detector, batch, &mut holds)
                    .ok_or_else(|| damaged("what was remembered for tails is not what was written"))?;
                continue;
            }
            let plain = RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec());
            let plain = plain.map_err(|_| damaged("its rows are not those of this window"))?;
            let keep = arrow::array::BooleanArray::from(holds(&plain));
            let rows = arrow::compute::filter_record_batch(&plain, &keep).map_err(|_| damaged("it cannot be split"))?;
            let revisions = rows.column(self.revision).as_primitive::<Int32Type>().clone();
            let starts = rows.column(WINDOW_START).as_primitive::<TimestampMicrosecondType>().clone();
            for (row, key) in self.groups(&rows).0.into_iter().enumerate() {
                let window = self.windows.entry(starts.value(row)).or_default();
                if window.batches.last().is_none_or(|last| !Arc::ptr_eq(last.column(0), rows.column(0))) {
                    window.batches.push(rows.clone());
                }
                let revision = Some(revisions.value(row)).filter(|revision| *revision >= 0);
                window.rows.insert(key, Place { batch: window.batches.len() - 1, row, revision });
            }
        }
        Ok(())
    }
}

/// Whether a batch of state belongs to a history.
pub fn is_of_history(state: &RecordBatch) -> bool {
    state.schema_ref().metadata().contains_key(OF_HISTORY) || tail::detector_of(state).is_some()
}

impl History {
    /// Nothing where the batch is damaged.
    fn restore_tails(
        &mut self,
        detector: &str,
        state: &RecordBatch,
        holds: &mut impl FnMut(&RecordBatch) -> Vec<bool>,
    ) -> Option<()> {
        let (rows, series) = tail::parted(state, &self.schema)?;
        let (keys, kept) = (self.groups(&rows).0, holds(&rows));
        let tails = self.tails.entry(detector.to_owned()).or_insert_with(|| Tails::new(self.timing));
        for (row, key) in keys.into_iter().enumerate().filter(|(row, _)| kept[*row]) {
            let own = interleave_record_batch(&[&rows], &[(0, row)]).ok()?;
            tails.restore(key, own, &tail::words_of(&series, row))?;
        }
        Some(())
    }
}

impl<'a> Past<'a> {
    /// The row of this group so many windows before.
    pub fn before(&self, windows: i64) -> Option<(&'a RecordBatch, usize)> {
        self.at(self.start - windows * self.history.timing.slide)
    }

    /// The rows of this group in the last `windows` of the windows that begin at or before `start`, one in `every` counted, the newest first.
    pub fn up_to(&self, start: i64, windows: u32, every: u32) -> impl Iterator<Item = (i64, &'a RecordBatch, usize)> {
        let timing = self.history.timing;
        let span = (i64::from(windows) * i64::from(every)).saturating_mul(timing.slide);
        let first = start.saturating_sub(span).saturating_add(1);
        let windows = self.history.windows.range(first.min(start)..=start).rev();
        let counted = windows.filter(move |(start, _)| counts(timing, every, **start));
        counted.filter_map(|(start, window)| {
            let place = window.rows.get(self.key)?;
            Some((*start, &window.batches[place.batch], place.row))
        })
    }

    fn at(&self, start: i64) -> Option<(&'a RecordBatch, usize)> {
        let window = self.history.windows.get(&start)?;
        let place = window.rows.get(self.key)?;
        Some((&window.batches[place.batch], place.row))
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
