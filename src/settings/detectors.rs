//! `[[detectors]]`: which model scores what.

use crate::domain::detector::{DetectorInput, DetectorSpec};
use crate::models::features::Derivation;
use crate::training::spec::{Method, TrainingSpec};

use super::columns::{Columns, EVENTS, OF_DETECTOR};
use super::fault::Wrong;
use super::fields::Fields;
use super::reader::Reader;
use super::training;
use super::value::{column_prefix, integer_in, nearest_or_all, one_of, shown, text};
use super::windows::Window;

/// `[[detectors]]` of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorSection {
    pub spec: DetectorSpec,
    pub on_failure: OnFailure,
    /// Windows that are scored at once, where the configuration says so: the model must take as many.
    pub sequence: Option<usize>,
    /// How `train` makes its next model.
    pub training: TrainingSpec,
}

/// What happens when a model cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Stop,
    /// Rows go on without scores, and every metric and log says so.
    Continue,
}

/// The detectors that could be read.
pub(super) fn read(root: &Reader<'_>, fields: Option<&Fields>, windows: &mut [Window]) -> Vec<DetectorSection> {
    let mut events = Columns::new(EVENTS);
    for name in fields.iter().flat_map(|fields| fields.names()) {
        events.claim(name, "a field");
    }
    let mut names: Vec<String> = Vec::new();
    let mut detectors = Vec::new();
    for reader in root.sections("detectors") {
        let name = reader.required("name", "\"flow\"", column_prefix);
        if let Some(name) = &name {
            if names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                let problem = "another detector has this name, capitals aside";
                reader.fault("name", Wrong::new(problem, "give each detector a name of its own"));
            }
            names.push(name.clone());
        }
        let on = reader.or("on", "events".to_owned(), text);
        let on_failure = reader.or(
            "on_failure",
            OnFailure::Stop,
            one_of(&[("stop", OnFailure::Stop), ("continue", OnFailure::Continue)]),
        );
        let sequence =
            reader.optional("sequence", integer_in(1, 100_000)).and_then(|length| usize::try_from(length).ok());
        let input = input(&reader, on, windows);
        let columns = match &input {
            Some(DetectorInput::Events) => Some(&mut events),
            Some(DetectorInput::Windows(window)) => {
                windows.iter_mut().find(|own| own.name.as_ref() == Some(window)).map(|window| &mut window.columns)
            }
            None => None,
        };
        if let (Some(name), Some(columns)) = (&name, columns) {
            claim(&reader, name, columns);
        }
        let training = training::read(&reader, input.as_ref(), fields, windows);
        if let Some(fault) = sequence.and_then(|steps| unfit_sequence(steps, input.as_ref(), &training.method)) {
            reader.fault("sequence", fault);
        }
        if let Some(fault) = unfit_change(&training) {
            reader.fault("features", fault);
        }
        let training = TrainingSpec { steps: sequence.unwrap_or(1), ..training };
        let model = model(&reader, &training, input.as_ref(), name.as_deref());
        let is_sound = reader.finish();
        if let (Some(name), Some(model), Some(input), true) = (name, model, input, is_sound) {
            detectors.push(DetectorSection {
                spec: DetectorSpec { name, model, input },
                on_failure,
                sequence,
                training,
            });
        }
    }
    detectors
}

/// Why a detector cannot take sequences.
fn unfit_sequence(steps: usize, input: Option<&DetectorInput>, method: &Method) -> Option<Wrong> {
    if steps == 1 {
        return None;
    }
    if input == Some(&DetectorInput::Events) {
        let problem = "a sequence is of a key's windows, and this detector scores events";
        return Some(Wrong::new(problem, "name a window as `on`, or take it out"));
    }
    let problem = match method {
        Method::Autoencoder(_) => return None,
        Method::Baseline { .. } => "a detector of this kind looks back as far as `history` says",
        _ => "a detector of this kind scores one window at a time",
    };
    Some(Wrong::new(problem, "take it out, or write kind = \"lstm_autoencoder\" or \"dense_autoencoder\""))
}

/// Why a detector cannot take one of its features.
fn unfit_change(training: &TrainingSpec) -> Option<Wrong> {
    let Method::Baseline { .. } = training.method else { return None };
    let change = training.features.iter().flatten().find(|feature| feature.derivation == Derivation::Change)?;
    let problem = format!(
        "{} is a change, and a detector of this kind compares with earlier windows itself",
        shown(&change.name)
    );
    Some(Wrong::new(problem, format!("write {:?} alone", change.field)))
}

/// The model's folder. A detector that compares with earlier windows needs none.
fn model(
    reader: &Reader<'_>,
    training: &TrainingSpec,
    input: Option<&DetectorInput>,
    name: Option<&str>,
) -> Option<String> {
    let Method::Baseline { threshold, .. } = training.method else {
        return reader.required("model", "\"models/iomt\"", text);
    };
    if input == Some(&DetectorInput::Events) {
        let problem = "a detector of this kind compares a window with earlier ones of its key";
        reader.fault("on", Wrong::new(problem, "name a window"));
    }
    match threshold {
        Some(_) => name.map(str::to_owned),
        None => reader.required("model", "\"models/usual\"", text),
    }
}

fn input(reader: &Reader<'_>, on: String, windows: &[Window]) -> Option<DetectorInput> {
    let known: Vec<&str> = windows.iter().filter_map(|window| window.name.as_deref()).collect();
    match on.as_str() {
        "events" => Some(DetectorInput::Events),
        name if known.contains(&name) => Some(DetectorInput::Windows(on)),
        name => {
            let all: Vec<&str> = ["events"].into_iter().chain(known).collect();
            let problem = format!("{} is neither \"events\" nor the name of a window", shown(name));
            reader.fault("on", Wrong::new(problem, nearest_or_all(name, &all)));
            None
        }
    }
}

fn claim(reader: &Reader<'_>, detector: &str, columns: &mut Columns) {
    for ending in OF_DETECTOR {
        let column = format!("{detector}_{ending}");
        if let Some(owner) = columns.claim(&column, "a detector's") {
            let problem = format!("the column {} would stand twice; the first is {owner}", shown(&column));
            reader.fault("name", Wrong::new(problem, "give the detector another name"));
        }
    }
}
