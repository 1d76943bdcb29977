//! The coordinator's eye on the registries: a version that was promoted is loaded, checked and proposed, one at a time.
//!
//! Promise: a version that cannot be loaded or does not fit changes nothing; why is told once, and stands in the metrics for as long as it
//! is promoted. It is tried again every minute, for what keeps it from being read may pass. When it takes over is left to `agreement`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::time::EventTime;
use crate::models::model::ModelVersion;
use crate::models::versions::Versions;
use crate::observe::metrics::Metrics;
use crate::pipeline::agreement::{Change, Outcome, Proposal};
use crate::pipeline::shelf::{Shelf, Unusable, in_words, told};

/// How often what was refused is tried again.
const TRY_EVERY: Duration = Duration::from_secs(60);

/// A proposal on its way.
struct Pending {
    proposal: Proposal,
    is_announced: bool,
}

/// A promotion that came to nothing.
struct Refused {
    version: String,
    why: String,
    at: Instant,
}

#[derive(Default)]
struct State {
    looked: Option<Instant>,
    /// The number of the last proposal.
    number: u64,
    pending: Option<Pending>,
    /// By detector.
    refused: BTreeMap<String, Refused>,
}

/// See the module. One in the process of worker 0.
pub struct Promotions {
    shelf: Arc<Shelf>,
    metrics: Arc<Metrics>,
    /// How often the registries are looked at.
    pub look_every: Duration,
    state: Mutex<State>,
}

impl Promotions {
    pub fn new(shelf: Arc<Shelf>, metrics: Arc<Metrics>, look_every: Duration) -> Promotions {
        Promotions { shelf, metrics, look_every, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it but over a bug.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, if it is time to. Blocks while a version is loaded; for one thread alone.
    pub fn look(&self, now: Instant) {
        {
            let mut state = self.lock();
            let is_soon = state.looked.is_some_and(|at| now.saturating_duration_since(at) < self.look_every);
            if is_soon || state.pending.is_some() {
                return;
            }
            state.looked = Some(now);
        }
        for (detector, last, versions) in self.shelf.last() {
            if self.look_at(&detector, &last, versions.as_ref(), now) {
                return;
            }
        }
    }

    /// Whether a version of the detector's model was proposed.
    fn look_at(&self, detector: &str, last: &str, versions: &dyn Versions, now: Instant) -> bool {
        let version = match versions.in_force() {
            Ok(version) if version.to_string() == last => {
                self.forget(detector);
                return false;
            }
            Ok(version) => version,
            Err(source) => {
                let error = Unusable::InForce { detector: detector.to_owned(), source: Box::new(source) };
                self.refuse(detector, last, ("", told(&error)), now);
                return false;
            }
        };
        let wanted = version.to_string();
        let is_tried =
            |refused: &Refused| refused.version == wanted && now.saturating_duration_since(refused.at) < TRY_EVERY;
        if self.lock().refused.get(detector).is_some_and(is_tried) {
            return false;
        }
        match self.propose(detector, &version) {
            Ok(()) => true,
            Err(error) => {
                self.refuse(detector, last, (&wanted, told(&error)), now);
                false
            }
        }
    }

    fn propose(&self, detector: &str, version: &ModelVersion) -> Result<(), Unusable> {
        let known = self.shelf.load_next(detector, version)?;
        let mut state = self.lock();
        state.number += 1;
        let (number, sha256) = (state.number, known.sha256);
        self.shelf.begin_next(number);
        self.shelf.put_next(number, Some(known.model));
        tracing::info!(detector, model = %version, "promoted model loaded and checked");
        let (detector, version) = (detector.to_owned(), version.to_string());
        state.pending = Some(Pending { proposal: Proposal { number, detector, version, sha256 }, is_announced: false });
        Ok(())
    }

    /// Told once, and again only where the reason is another one.
    fn refuse(&self, detector: &str, last: &str, (version, why): (&str, String), at: Instant) {
        let mut state = self.lock();
        let is_known = state.refused.get(detector).is_some_and(|known| known.version == version && known.why == why);
        if !is_known {
            tracing::error!(detector, model = version, stays = last, why, "promoted model refused");
            self.metrics.model_is_refused(detector, true);
        }
        state.refused.insert(detector.to_owned(), Refused { version: version.to_owned(), why, at });
    }

    fn forget(&self, detector: &str) {
        if self.lock().refused.remove(detector).is_some() {
            tracing::info!(detector, "no refused model is promoted any longer");
            self.metrics.model_is_refused(detector, false);
        }
    }

    /// What is to be told to all workers; once.
    pub fn announce(&self) -> Option<Proposal> {
        let mut state = self.lock();
        let pending = state.pending.as_mut().filter(|pending| !pending.is_announced)?;
        pending.is_announced = true;
        Some(pending.proposal.clone())
    }

    /// What became of the proposal.
    pub fn settle(&self, outcome: &Outcome, now: Instant) {
        self.lock().pending = None;
        match outcome {
            Outcome::Changed(Change { detector, version }) => {
                self.forget(detector);
                let from = in_words(EventTime(version.from));
                tracing::info!(detector, model = version.version, from, "model takes over");
                self.metrics.model_takes_over(detector, &version.version);
            }
            Outcome::Refused(Proposal { detector, version, .. }) => {
                let why = "another process of the cluster cannot use it: its log says why".to_owned();
                self.refuse(detector, "the one before", (version, why), now);
            }
            Outcome::Dropped(Proposal { detector, version, .. }) => {
                tracing::info!(detector, model = version, "the run ends before the promoted model takes over");
            }
        }
    }
}
