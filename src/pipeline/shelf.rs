//! The models of a process: every version that the schedules name, and the one that may take over next.
//!
//! Promise: a model that stands here was loaded, has the digest that the manifest names, and fits the rows of its detector. A version that
//! takes over was put here before anybody agreed to it, so that no worker ever waits for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;

use crate::checkpoint::schedule::{ModelFrom, ModelSchedule};
use crate::domain::detector::{DetectorInput, DetectorSpec};
use crate::domain::ids::Epoch;
use crate::domain::time::EventTime;
use crate::models::folder::ModelError;
use crate::models::model::{ModelVersion, RegisteredModel};
use crate::models::versions::{KnownModel, Versions, named};
use crate::pipeline::agreement::{Agreement, Answer, Change, Outcome, Proposal, Said};
use crate::pipeline::spec::{Detecting, PipelineSpec};
use crate::scoring::scheduled::{Fit, ScheduledScorer, check};
use crate::scoring::scorer::ScoringError;
use crate::stage::Takeover;
use crate::storage::digest::Sha256;
use crate::windows::error::WindowError;

/// Why a model cannot score for a detector.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("the model of detector `{detector}` cannot be loaded")]
    InForce { detector: String, source: Box<ModelError> },
    #[error("the output names the model {model} of detector `{detector}`, and it cannot be loaded")]
    Named { detector: String, model: String, source: Box<ModelError> },
    #[error(
        "the model {model} of detector `{detector}` is not the one that the output names (its description has another digest): put it back as \
         it was, and give what was changed another version"
    )]
    Another { detector: String, model: String },
    #[error("`{model}`, which the output names for detector `{detector}`, is no version of a model")]
    Nameless { detector: String, model: String },
    #[error(transparent)]
    Misfit(#[from] ScoringError),
    #[error(transparent)]
    Rows(#[from] WindowError),
}

/// A detector at work.
pub struct AtWork {
    spec: DetectorSpec,
    versions: Arc<dyn Versions>,
    /// Of the rows that it scores, and of what becomes of them.
    input: SchemaRef,
    scored: Fit,
    schedule: ModelSchedule,
    models: BTreeMap<String, Arc<RegisteredModel>>,
}

/// The version that may take over next.
struct Next {
    number: u64,
    model: Option<Arc<RegisteredModel>>,
    answer: Answer,
}

#[derive(Default)]
struct State {
    /// In the order of the configuration; none until the schedules are known.
    at_work: Option<Vec<AtWork>>,
    next: Option<Next>,
}

/// See the module.
#[derive(Default)]
pub struct Shelf {
    state: Mutex<State>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it but over a bug.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads and checks what the schedules name. Those who come later find it done.
    pub fn begin(&self, spec: &PipelineSpec, schedules: &[ModelSchedule]) -> Result<(), Unusable> {
        let mut state = self.lock();
        if state.at_work.is_none() {
            state.at_work = Some(at_work(spec, schedules)?);
        }
        Ok(())
    }

    /// The same, whatever was there: for those who decide on the schedules.
    pub fn begin_anew(&self, spec: &PipelineSpec, schedules: &[ModelSchedule]) -> Result<(), Unusable> {
        let at_work = at_work(spec, schedules)?;
        self.lock().at_work = Some(at_work);
        Ok(())
    }

    /// A scorer for each detector on these rows, in the order of the configuration.
    pub fn scorers(&self, input: &DetectorInput) -> Result<Vec<ScheduledScorer>, ScoringError> {
        let state = self.lock();
        let own = state.at_work.iter().flatten().filter(|one| one.spec.input == *input);
        own.map(|one| ScheduledScorer::new(&one.spec, one.schedule.clone(), one.models.clone(), &one.input)).collect()
    }

    /// The version of each detector that was last to take over, with what says which one is in force.
    pub fn last(&self) -> Vec<(String, String, Arc<dyn Versions>)> {
        let last = |one: &AtWork| {
            let last = one.schedule.versions.last().map_or_else(String::new, |last| last.version.clone());
            (one.spec.name.clone(), last, Arc::clone(&one.versions))
        };
        self.lock().at_work.iter().flatten().map(last).collect()
    }

    /// Loads a version that may take over. Blocks.
    pub fn load_next(&self, detector: &str, version: &ModelVersion) -> Result<KnownModel, Unusable> {
        let (spec, versions, input, scored, schedule) = {
            let state = self.lock();
            let one = state.at_work.iter().flatten().find(|one| one.spec.name == detector);
            let one = one.expect("only detectors at work are asked for");
            (one.spec.clone(), Arc::clone(&one.versions), one.input.clone(), one.scored.clone(), one.schedule.clone())
        };
        let (detector, model) = (detector.to_owned(), version.to_string());
        let named = |source| Unusable::InForce { detector: detector.clone(), source: Box::new(source) };
        let known = versions.load(version).map_err(named)?;
        if schedule.versions.iter().any(|one| one.contradicts(&model, known.sha256)) {
            return Err(Unusable::Another { detector, model });
        }
        check(&spec, &known.model, &input, Some(&scored))?;
        Ok(known)
    }

    /// Answers a proposal from here on.
    pub fn put_next(&self, number: u64, model: Option<Arc<RegisteredModel>>) {
        let answer = if model.is_some() { Answer::Ready(number) } else { Answer::Refused(number) };
        let mut state = self.lock();
        if state.next.as_ref().is_some_and(|next| next.number == number) {
            state.next = Some(Next { number, model, answer });
        }
    }

    /// Whether nobody has seen to this proposal in this process before.
    pub fn begin_next(&self, number: u64) -> bool {
        let mut state = self.lock();
        let is_new = state.next.as_ref().is_none_or(|next| next.number < number);
        if is_new {
            state.next = Some(Next { number, model: None, answer: Answer::None });
        }
        is_new
    }

    /// What this process says of the newest proposal.
    pub fn answer(&self) -> Answer {
        self.lock().next.as_ref().map_or(Answer::None, |next| next.answer)
    }

    /// Sees to a proposal of another process, on a thread of its own.
    pub fn prepare(self: &Arc<Self>, proposal: &Proposal) {
        if !self.begin_next(proposal.number) {
            return;
        }
        let (shelf, proposal) = (Arc::clone(self), proposal.clone());
        let load = {
            let proposal = proposal.clone();
            move || shelf.put_next(proposal.number, shelf.load_proposed(&proposal))
        };
        // Its end need not be waited for: it reads a few files.
        if let Err(error) = std::thread::Builder::new().name("models".to_owned()).spawn(load) {
            tracing::error!(%error, "no thread to load a model");
            self.put_next(proposal.number, None);
        }
    }

    fn load_proposed(&self, proposal: &Proposal) -> Option<Arc<RegisteredModel>> {
        let Proposal { detector, version, sha256, .. } = proposal;
        let loaded = match named(version) {
            Some(version) => self.load_next(detector, &version),
            None => Err(Unusable::Nameless { detector: detector.clone(), model: version.clone() }),
        };
        let is_meant = |known: KnownModel| match known.sha256 == *sha256 {
            true => Ok(known.model),
            false => Err(Unusable::Another { detector: detector.clone(), model: version.clone() }),
        };
        match loaded.and_then(is_meant) {
            Ok(model) => Some(model),
            Err(error) => {
                tracing::error!(
                    detector,
                    model = version,
                    error = told(&error),
                    "this process cannot use the promoted model"
                );
                None
            }
        }
    }

    /// The change, with the model for it. The same for all who ask.
    pub fn take_over(&self, change: &Change) -> Takeover {
        let Change { detector, version } = change;
        let mut state = self.lock();
        let next = state.next.as_ref().and_then(|next| next.model.clone());
        let next = next.filter(|model| model.version.to_string() == version.version);
        let one = state.at_work.iter_mut().flatten().find(|one| one.spec.name == *detector);
        let one = one.expect("only detectors at work are changed");
        let model = next.or_else(|| one.models.get(&version.version).cloned());
        let model = model.expect("every process said that it has the version ready");
        one.schedule.change(version.clone());
        one.models.insert(version.version.clone(), Arc::clone(&model));
        let schedule = &one.schedule;
        one.models.retain(|name, _| schedule.versions.iter().any(|named| named.version == *name));
        Takeover { detector: detector.clone(), version: version.clone(), model }
    }
}

/// One of those who hear what is agreed, with the models for it.
pub struct Follower {
    pub agreement: Agreement,
    pub shelf: Arc<Shelf>,
}

impl Follower {
    /// An epoch is over on every worker: what takes over, if anything does.
    pub fn end(&mut self, epoch: Epoch, said: &Said) -> Option<Takeover> {
        match self.agreement.end(epoch, said)? {
            Outcome::Changed(change) => Some(self.shelf.take_over(&change)),
            Outcome::Refused(_) | Outcome::Dropped(_) => None,
        }
    }
}

/// An error with its causes.
pub fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

/// An event time for a person.
pub fn in_words(time: EventTime) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time.0);
    time.map_or_else(|| "the beginning".to_owned(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

/// Loads what a manifest names.
pub fn load_named(detecting: &Detecting, wanted: &ModelFrom) -> Result<Arc<RegisteredModel>, Unusable> {
    let (detector, model) = (detecting.spec.name.clone(), wanted.version.clone());
    let Some(version) = named(&model) else { return Err(Unusable::Nameless { detector, model }) };
    let KnownModel { model: loaded, sha256 } = match detecting.versions.load(&version) {
        Ok(known) => known,
        Err(source) => return Err(Unusable::Named { detector, model, source: Box::new(source) }),
    };
    if wanted.contradicts(&model, sha256) {
        return Err(Unusable::Another { detector, model });
    }
    Ok(loaded)
}

/// The version in force, with its digest.
pub fn in_force(detecting: &Detecting) -> Result<(ModelVersion, Sha256), Unusable> {
    let unusable = |source| Unusable::InForce { detector: detecting.spec.name.clone(), source: Box::new(source) };
    let version = detecting.versions.in_force().map_err(unusable)?;
    let known = detecting.versions.load(&version).map_err(unusable)?;
    Ok((version, known.sha256))
}

/// Loads what the schedules name, and checks it in the order of the configuration.
pub fn at_work(spec: &PipelineSpec, schedules: &[ModelSchedule]) -> Result<Vec<AtWork>, Unusable> {
    let mut all: Vec<AtWork> = Vec::new();
    for detecting in &spec.detectors {
        let Some(schedule) = schedules.iter().find(|schedule| schedule.detector == detecting.spec.name) else {
            continue;
        };
        let mut models = BTreeMap::new();
        for version in &schedule.versions {
            if !models.contains_key(&version.version) {
                models.insert(version.version.clone(), load_named(detecting, version)?);
            }
        }
        // What another detector added to the rows is there for the next.
        let before = all.iter().rev().find(|one| one.spec.input == detecting.spec.input);
        let input = match before {
            Some(before) => SchemaRef::clone(&before.scored.schema),
            None => rows_of(spec, &detecting.spec.input)?,
        };
        let scorer = ScheduledScorer::new(&detecting.spec, schedule.clone(), models.clone(), &input)?;
        all.push(AtWork {
            spec: detecting.spec.clone(),
            versions: Arc::clone(&detecting.versions),
            input,
            scored: scorer.fit(),
            schedule: schedule.clone(),
            models,
        });
    }
    Ok(all)
}

/// The rows that are there to be scored.
fn rows_of(spec: &PipelineSpec, input: &DetectorInput) -> Result<SchemaRef, WindowError> {
    let events = spec.events.arrow();
    match input {
        DetectorInput::Events => Ok(events),
        DetectorInput::Windows(name) => match spec.windows.iter().find(|window| window.name == *name) {
            Some(window) => window.schema(&events),
            None => unreachable!("the configuration names only windows that there are"),
        },
    }
}
