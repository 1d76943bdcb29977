//! The versions of both detectors' models, which somebody promotes while processes run, freeze and die.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch::models::folder::ModelError;
use tidewatch::models::model::ModelVersion;
use tidewatch::models::versions::{KnownModel, Versions};
use tidewatch::storage::digest::Sha256;

use crate::pipeline::{DETECTORS, VERSIONS, model};
use crate::turnstile::Turnstile;

/// Which version of each detector's model is in force; the same for all processes of a story.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<usize, u32>>);

impl Registry {
    /// Somebody sees that a version is promoted that fits no rows, and puts the first one in force.
    pub fn mend(&self) {
        let mut in_force = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.values_mut().filter(|version| **version == VERSIONS).for_each(|version| *version = 1);
    }
}

/// What somebody does to the registry after so many turns of a process: puts a version of a detector's model in force.
#[derive(Clone, Copy, Debug)]
pub struct Promotion {
    pub turns: u64,
    pub detector: usize,
    pub version: u32,
}

/// The registry as one process sees it.
pub struct Promoted {
    pub registry: Arc<Registry>,
    pub turnstile: Arc<Turnstile>,
    pub promotions: [Option<Promotion>; 2],
    pub detector: usize,
}

impl fmt::Debug for Promoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promoted")
    }
}

fn version(detector: usize, version: u32) -> ModelVersion {
    ModelVersion { name: DETECTORS[detector].to_owned(), version }
}

impl Versions for Promoted {
    fn in_force(&self) -> Result<ModelVersion, ModelError> {
        let turns = self.turnstile.turns();
        let mut in_force = self.registry.0.lock().unwrap_or_else(PoisonError::into_inner);
        for due in self.promotions.iter().flatten().filter(|promotion| promotion.turns <= turns) {
            in_force.insert(due.detector, due.version);
        }
        Ok(version(self.detector, in_force.get(&self.detector).copied().unwrap_or(1)))
    }

    fn load(&self, wanted: &ModelVersion) -> Result<KnownModel, ModelError> {
        match (1..=VERSIONS).find(|number| version(self.detector, *number) == *wanted) {
            Some(number) => {
                let sha256 = Sha256::of(wanted.to_string().as_bytes());
                Ok(KnownModel { model: model(self.detector, number), sha256 })
            }
            None => Err(ModelError::NotFound { folder: wanted.to_string().into() }),
        }
    }
}
