//! A detector whose model changes at event times: each row is scored by the version that is in force at its time.
//!
//! Promise: an event's time is its own, a window's is its end, and nothing else decides which version scores it; so a correction gets the
//! version that its window had. A batch without a change inside goes to one version as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};

use crate::checkpoint::schedule::ModelSchedule;
use crate::domain::detector::{DetectorInput, DetectorSpec};
use crate::domain::schema::EVENT_TIME;
use crate::models::model::RegisteredModel;
use crate::scoring::history::{History, Reach};
use crate::scoring::scorer::{Scored, Scorer, ScoringError, WINDOW_END, flag_column};
use crate::stage::Takeover;

/// Versions that are kept ready. Others, which only very late rows ask for, are made ready when they are.
const READY_MAX: usize = 2;

/// See the module.
pub struct ScheduledScorer {
    spec: DetectorSpec,
    input: SchemaRef,
    fit: Fit,
    /// The column of the time that decides.
    time: usize,
    /// Invariant: each version that it names is among `models`, and was checked.
    schedule: ModelSchedule,
    models: BTreeMap<String, Arc<RegisteredModel>>,
    /// The last used one is the last.
    ready: Vec<(String, Scorer)>,
}

/// What every version of a detector's model has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Of scored rows.
    pub schema: SchemaRef,
    pub reach: Option<Reach>,
}

/// Checks that a version can score the rows of `input`, and gives what becomes of them: `wanted`, where another version scored before.
pub fn check(
    spec: &DetectorSpec,
    model: &Arc<RegisteredModel>,
    input: &Schema,
    wanted: Option<&Fit>,
) -> Result<Fit, ScoringError> {
    let scorer = Scorer::new(spec, Arc::clone(model), input)?;
    let fit = Fit { schema: scorer.schema(), reach: scorer.reach() };
    let (detector, model) = (spec.name.clone(), model.version.to_string());
    match wanted {
        Some(wanted) if wanted.reach != fit.reach => Err(ScoringError::OtherReach { detector, model }),
        Some(wanted) if wanted.schema != fit.schema => {
            let own = fit.schema.fields().iter().filter(|field| input.index_of(field.name()).is_err());
            Err(ScoringError::OtherColumns {
                detector,
                model,
                columns: own.map(|field| field.name().clone()).collect(),
            })
        }
        _ => Ok(fit),
    }
}

impl ScheduledScorer {
    /// `models` are all that the schedule names.
    pub fn new(
        spec: &DetectorSpec,
        schedule: ModelSchedule,
        models: BTreeMap<String, Arc<RegisteredModel>>,
        input: &SchemaRef,
    ) -> Result<ScheduledScorer, ScoringError> {
        let mut fit: Option<Fit> = None;
        for model in models.values() {
            fit = Some(check(spec, model, input, fit.as_ref())?);
        }
        let named = |version: &String| models.contains_key(version);
        let unnamed = schedule.versions.iter().map(|version| &version.version).find(|version| !named(version));
        let missing = || unnamed.cloned().unwrap_or_default();
        let nothing = || ScoringError::NoModel { detector: spec.name.clone(), model: missing() };
        let fit = fit.filter(|_| unnamed.is_none() && !schedule.versions.is_empty()).ok_or_else(nothing)?;
        let time = match spec.input {
            DetectorInput::Events => EVENT_TIME,
            DetectorInput::Windows(_) => WINDOW_END,
        };
        let (spec, input) = (spec.clone(), SchemaRef::clone(input));
        Ok(ScheduledScorer { spec, input, fit, time, schedule, models, ready: Vec::new() })
    }

    /// Of the detector.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The column that tells whether a row is an anomaly.
    pub fn flag_column(&self) -> String {
        flag_column(&self.spec.name)
    }

    /// The schema of scored batches.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.fit.schema)
    }

    /// What all versions have in common.
    pub fn fit(&self) -> Fit {
        self.fit.clone()
    }

    /// How far back every version looks, if at all.
    pub fn reach(&self) -> Option<Reach> {
        self.fit.reach
    }

    /// From its time on, that version scores. Another detector's is none of ours.
    pub fn take_over(&mut self, takeover: &Takeover) {
        if takeover.detector == self.spec.name {
            self.schedule.change(takeover.version.clone());
            self.models.insert(takeover.version.version.clone(), Arc::clone(&takeover.model));
            let schedule = &self.schedule;
            let is_named = |version: &String| schedule.versions.iter().any(|named| named.version == *version);
            self.models.retain(|version, _| is_named(version));
            self.ready.retain(|(version, _)| is_named(version));
        }
    }

    /// Scores every row of a batch: what each version gave, with its name.
    pub fn score(&mut self, batch: RecordBatch, mut history: Option<&mut History>) -> Vec<(String, Scored)> {
        let parts = self.parts(batch);
        parts.into_iter().map(|(place, batch)| self.score_by(place, batch, history.as_deref_mut())).collect()
    }

    fn score_by(&mut self, place: usize, batch: RecordBatch, history: Option<&mut History>) -> (String, Scored) {
        let version = &self.schedule.versions[place].version;
        match self.ready.iter().position(|(ready, _)| ready == version) {
            Some(at) => self.ready[at..].rotate_left(1),
            None => {
                let model = Arc::clone(&self.models[version]);
                let scorer = Scorer::new(&self.spec, model, &self.input).expect("it was checked for these rows");
                let surplus = (self.ready.len() + 1).saturating_sub(READY_MAX);
                self.ready.drain(..surplus);
                self.ready.push((version.clone(), scorer));
            }
        }
        let (name, scorer) = self.ready.last_mut().expect("a version was put there above");
        (name.clone(), scorer.score(batch, history))
    }

    /// The rows by the place of the version that is in force at their time.
    fn parts(&self, batch: RecordBatch) -> Vec<(usize, RecordBatch)> {
        if self.schedule.versions.len() == 1 {
            return vec![(0, batch)];
        }
        let times = batch.column(self.time).as_primitive::<TimestampMicrosecondType>();
        let (Some(least), Some(greatest)) = (times.values().iter().min(), times.values().iter().max()) else {
            return vec![(0, batch)];
        };
        let (first, last) = (self.schedule.place_at(*least), self.schedule.place_at(*greatest));
        if first == last {
            return vec![(first, batch)];
        }
        let places: Vec<usize> = times.values().iter().map(|time| self.schedule.place_at(*time)).collect();
        let part = |place: usize| {
            let own: BooleanArray = places.iter().map(|of_row| Some(*of_row == place)).collect();
            let rows = filter_record_batch(&batch, &own).expect("one flag a row");
            (rows.num_rows() > 0).then_some((place, rows))
        };
        (first..=last).filter_map(part).collect()
    }
}

#[cfg(test)]
#[path = "scheduled_tests.rs"]
mod tests;
