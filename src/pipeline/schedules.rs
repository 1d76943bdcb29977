//! What scores what from the start on: the manifest's schedules, the registries, and one decision for each detector.
//!
//! For worker 0 alone; the others are told. The decision itself is `checkpoint::schedule::decide`.

use crate::checkpoint::manifest::Checkpoint;
use crate::checkpoint::schedule::{Decision, ModelFrom, ModelSchedule, decide};
use crate::domain::time::EventTime;
use crate::pipeline::PipelineError;
use crate::pipeline::shelf::{Unusable, at_work, in_force, in_words, load_named, told};
use crate::pipeline::spec::{Detecting, PipelineSpec, Until, WithoutModel};

/// The schedule of each detector that goes to work; one that has no model is left out where the configuration says to go on without.
pub fn schedules(spec: &PipelineSpec, resume: Option<&Checkpoint>) -> Result<Vec<ModelSchedule>, PipelineError> {
    let mut schedules = Vec::new();
    for detecting in &spec.detectors {
        let schedule = schedule(spec, detecting, resume, &schedules).and_then(|schedule| loadable(detecting, schedule));
        match (schedule, detecting.without_model) {
            (Ok(schedule), _) => schedules.push(schedule),
            (Err(error @ (Unusable::InForce { .. } | Unusable::Named { .. })), WithoutModel::GoOn) => {
                let (detector, error) = (&detecting.spec.name, told(&error));
                tracing::error!(detector, error, "running WITHOUT this detector: its model cannot be loaded");
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
    Ok(schedules)
}

/// The schedules that go into the manifest: those at work, and those of detectors that may come back.
pub fn kept(resume: Option<&Checkpoint>, at_work: &[ModelSchedule]) -> Vec<ModelSchedule> {
    let rests = |found: &&ModelSchedule| at_work.iter().all(|schedule| schedule.detector != found.detector);
    let resting = resume.into_iter().flat_map(|checkpoint| &checkpoint.models).filter(rests).cloned();
    let mut kept: Vec<ModelSchedule> = resting.chain(at_work.iter().cloned()).collect();
    kept.sort_by(|one, other| one.detector.cmp(&other.detector));
    kept
}

/// `others` are those of the detectors before. A version in force that cannot be used keeps the output from being begun, but not from going
/// on: a restart must not fail over a promotion that the running pipeline has refused.
fn schedule(
    spec: &PipelineSpec,
    detecting: &Detecting,
    resume: Option<&Checkpoint>,
    others: &[ModelSchedule],
) -> Result<ModelSchedule, Unusable> {
    let name = &detecting.spec.name;
    let of = |schedules: &[ModelSchedule]| schedules.iter().find(|schedule| schedule.detector == *name).cloned();
    let found = resume.and_then(|checkpoint| of(&checkpoint.models)).filter(|found| !found.versions.is_empty());
    // What is played again belongs to its own time, and so does what follows a schedule that was given.
    let is_bound = spec.until == Until::Redriven || !spec.schedules.is_empty();
    if let Some(bound) = found.clone().or_else(|| of(&spec.schedules)).filter(|_| is_bound) {
        return Ok(bound);
    }
    let stays = |found: ModelSchedule, refused: &Unusable| {
        let stays = found.versions.last().map(|last| last.version.clone()).unwrap_or_default();
        tracing::error!(detector = name, stays, why = told(refused), "the model in force is refused");
        found
    };
    let (version, sha256) = match (in_force(detecting), found.clone()) {
        (Ok(in_force), _) => in_force,
        (Err(refused), Some(found)) => return Ok(stays(found, &refused)),
        (Err(refused), None) => return Err(refused),
    };
    let newest = resume.map_or(EventTime::MIN, Checkpoint::newest);
    let always = ModelFrom::always(&version.to_string(), sha256);
    match (decide(found.as_ref(), (&always.version, sha256), newest), found) {
        (Decision::Begin, _) | (_, None) => Ok(ModelSchedule::of(name, always)),
        (Decision::GoOn, Some(found)) => Ok(found),
        (Decision::Change { from }, Some(found)) => {
            let mut changed = found.clone();
            changed.change(ModelFrom { from: from.0, ..always });
            match at_work(spec, &[others, std::slice::from_ref(&changed)].concat()) {
                Ok(_) => {
                    tracing::info!(
                        detector = name,
                        model = version.to_string(),
                        from = in_words(from),
                        "model takes over"
                    );
                    Ok(changed)
                }
                Err(refused) => Ok(stays(found, &refused)),
            }
        }
        (Decision::Refuse { version: model }, Some(_)) => Err(Unusable::Another { detector: name.clone(), model }),
    }
}

/// Whether a detector that may be left out has to be.
fn loadable(detecting: &Detecting, schedule: ModelSchedule) -> Result<ModelSchedule, Unusable> {
    if detecting.without_model == WithoutModel::GoOn {
        schedule.versions.iter().try_for_each(|version| load_named(detecting, version).map(drop))?;
    }
    Ok(schedule)
}
