//! What all workers and threads of a process share: the wish to stop, the first failure, and how far things are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::metrics::Metrics;
use crate::observe::progress::Progress;
use crate::observe::stop::StopSignal;
use crate::pipeline::PipelineError;
use crate::pipeline::pool::DecodePool;
use crate::pipeline::surroundings::Surroundings;

/// See the module. Clones share.
#[derive(Clone)]
pub struct Shared {
    pub stop: StopSignal,
    pub metrics: Arc<Metrics>,
    pub progress: Arc<Progress>,
    pub decoding: Arc<DecodePool>,
    pub surroundings: Arc<dyn Surroundings>,
    failure: Arc<Failure>,
}

/// An error with everything that led to it.
fn causes(error: &PipelineError) -> impl Iterator<Item = String> {
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |error| error.source()).map(ToString::to_string)
}

#[derive(Default)]
struct Failure {
    happened: AtomicBool,
    /// The first one; those that follow from it tell nothing new.
    first: Mutex<Option<PipelineError>>,
}

impl Shared {
    pub fn new(stop: StopSignal, metrics: Arc<Metrics>, surroundings: Arc<dyn Surroundings>) -> Shared {
        let progress = Arc::clone(&metrics.progress);
        Shared { stop, metrics, progress, decoding: Arc::default(), surroundings, failure: Arc::default() }
    }

    /// Ends the run: nothing is committed from here on, and `run` returns the first error.
    pub fn fail(&self, error: PipelineError) {
        let mut first = self.failure.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            let chain: Vec<String> = causes(&error).collect();
            tracing::error!(error = chain.join(": "), "the run failed");
            *first = Some(error);
        }
        self.failure.happened.store(true, Ordering::Release);
    }

    pub fn failed(&self) -> bool {
        self.failure.happened.load(Ordering::Acquire)
    }

    pub fn take_failure(&self) -> Option<PipelineError> {
        self.failure.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
