//! One seed's story: a recording, the processes that work on it one after the other or while another one sleeps, and the judgement.

use std::sync::Arc;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewatch::audit::verify::{self, Depth};
use tidewatch::checkpoint::schedule::{ModelFrom, ModelSchedule};
use tidewatch::pipeline::PipelineError;
use tidewatch::storage::Storage;
use tidewatch::storage::patience::Patience;

use crate::judge::Answer;
use crate::process::{End, Fate, Process, World};
use crate::source::Recording;
use crate::store::Truth;

/// See the module.
pub struct Story {
    random: ChaCha8Rng,
    /// What happened, for whoever reads it after a failure.
    pub told: Vec<String>,
    processes: u32,
}

impl Story {
    pub fn of(seed: u64) -> Story {
        Story { random: ChaCha8Rng::seed_from_u64(seed), told: Vec::new(), processes: 0 }
    }

    /// Plays it to the end; what went wrong, if anything did.
    pub fn play(&mut self) -> Result<(), String> {
        let recording = Arc::new(Recording::new(&mut self.random));
        let world = World::new(Arc::clone(&recording), Vec::new());
        for _ in 0..self.random.random_range(1..6) {
            self.process(&world)?;
        }
        world.wire.settle();
        world.registry.mend();
        let calm = Fate::calm(self.random.next_u64(), self.random.random_range(1..=4));
        self.finish(&world, calm)?;
        let answer = answer(&world.truth)?;
        let schedules = world.truth.watch().schedules();
        self.told.push(format!("scored by {}", in_words(&schedules)));
        let wanted = self.undisturbed(&recording, schedules)?;
        wanted.check(&recording)?;
        let faults = world.truth.watch().broken().into_iter().chain(world.truth.watch().at_rest());
        let topic = world.topic.lock().unwrap();
        let faults =
            faults.chain(answer.difference(&wanted)).chain(topic.repeated()).chain(answer.difference_of(&topic));
        let faults = faults.chain(verified(&world.truth)?);
        faults.take(5).reduce(|all, fault| all + "\n" + &fault).map_or(Ok(()), Err)
    }

    /// The answer of one worker to whom nothing happens, with the same versions of models in force at the same times.
    fn undisturbed(&mut self, recording: &Arc<Recording>, schedules: Vec<ModelSchedule>) -> Result<Answer, String> {
        let world = World::new(Arc::clone(recording), schedules);
        let fate = Fate::calm(self.random.next_u64(), 1);
        self.finish(&world, fate)?;
        answer(&world.truth)
    }

    fn start(&mut self, world: &World, fate: Fate) -> Process {
        self.told.push(format!("process {}: {fate:?}", self.processes));
        self.processes += 1;
        Process::start(world, fate, self.processes)
    }

    fn finish(&mut self, world: &World, fate: Fate) -> Result<(), String> {
        let end = self.start(world, fate).go();
        self.told.push(format!("  {end:?}, {} manifests", world.truth.watch().manifests()));
        match end {
            Some(End::Well) => Ok(()),
            end => Err(format!("a calm process ended with {end:?}")),
        }
    }

    /// A process to which something happens; one that freezes sleeps while another one takes over.
    fn process(&mut self, world: &World) -> Result<(), String> {
        let fate = Fate::random(&mut self.random);
        let mut process = self.start(world, fate);
        match process.go() {
            Some(end) => self.judge(world, &process, end),
            None => {
                let turns = process.turnstile.turns();
                self.told.push(format!("  frozen after {turns} turns, {} manifests", world.truth.watch().manifests()));
                let mut fate = Fate::random(&mut self.random);
                // The other one may sleep in its turn while the first wakes up.
                fate.freezes_at = fate.freezes_at.map(|turns| turns + 200);
                let mut other = self.start(world, fate);
                let ended = other.go();
                let ended = match ended {
                    Some(end) => {
                        self.judge(world, &other, end)?;
                        None
                    }
                    None => Some(()),
                };
                self.told.push("  and the one that slept wakes up".to_owned());
                process.turnstile.thaw(None);
                let end = process.go().ok_or("it froze twice")?;
                self.judge(world, &process, end)?;
                if ended.is_some() {
                    other.turnstile.thaw(None);
                    let end = other.go().ok_or("it froze twice")?;
                    self.judge(world, &other, end)?;
                }
                Ok(())
            }
        }
    }

    fn judge(&mut self, world: &World, process: &Process, end: End) -> Result<(), String> {
        let turns = process.turnstile.turns();
        let what = match &end {
            End::Failed(error) => format!("{:?}", kind(error)),
            end => format!("{end:?}"),
        };
        self.told.push(format!("  {what} after {turns} turns, {} manifests", world.truth.watch().manifests()));
        match end {
            End::Well | End::Died => Ok(()),
            End::Failed(error) if is_expected(&error) => Ok(()),
            End::Failed(error) => Err(format!("it failed: {error:?}")),
            End::Hung => Err("it hung".to_owned()),
        }
    }
}

fn in_words(schedules: &[ModelSchedule]) -> String {
    let version = |version: &ModelFrom| format!("{} from {}", version.version, version.from);
    let versions = schedules.iter().flat_map(|schedule| &schedule.versions).map(version);
    versions.collect::<Vec<_>>().join(", ")
}

/// The variant's name: texts hold tokens and times.
fn kind(error: &PipelineError) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric() && c != '(').next().unwrap_or_default().to_owned()
}

/// A process may end because of another one, or of a topic that did not say what became of its rows.
fn is_expected(error: &PipelineError) -> bool {
    use tidewatch::checkpoint::CheckpointError;
    matches!(
        error,
        PipelineError::Checkpoint(CheckpointError::Superseded { .. } | CheckpointError::Unknown { .. })
            | PipelineError::Anomalies(_)
            // The version that fits no rows keeps an output from being begun.
            | PipelineError::Model(_)
            | PipelineError::NoStart
    )
}

fn storage(truth: &Arc<Truth>) -> Result<Storage, String> {
    let store: Arc<Truth> = Arc::clone(truth);
    Storage::over(store, Patience::default()).map_err(|error| error.to_string())
}

fn answer(truth: &Arc<Truth>) -> Result<Answer, String> {
    Answer::of(&storage(truth)?)
}

/// What `tidewatch verify --deep` finds.
fn verified(truth: &Arc<Truth>) -> Result<Vec<String>, String> {
    let verified = verify::of(&storage(truth)?, Depth::Rows, None).map_err(|error| error.to_string())?;
    Ok(verified.findings.iter().map(ToString::to_string).collect())
}
