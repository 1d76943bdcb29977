//! `models`: the versions of each detector's model, which one is in force, and another one put in force.
//!
//! Promise: a version that cannot be loaded, or does not fit what its detector scores, is never put in force from here. The file that says
//! which one is, is replaced whole; a running pipeline looks at it by itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::checkpoint::schedule::{ModelFrom, ModelSchedule};
use crate::domain::detector::DetectorInput;
use crate::models::folder::ModelError;
use crate::models::model::RegisteredModel;
use crate::models::registry;
use crate::scoring::scheduled::check;
use crate::settings::{DetectorSection, Settings, nearest};

use super::arguments::ConfigurationOptions;
use super::probes::shown;
use super::{Refusal, configuration, engine, print};

/// List the versions of the detectors' models, or put another one in force
///
/// Tells which version of each model is in force and since which event time it scores in the output, with threshold, metrics and what it was
/// trained on, and why a version would not fit. `promote` puts a version in force, `rollback` the one that was before. A running
/// pipeline takes it over within seconds, from one event time on that its manifest keeps; a stopped one when it is started again.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch models pipeline.toml
  tidewatch models pipeline.toml promote 3             of the only detector
  tidewatch models pipeline.toml promote flow 3
  tidewatch models pipeline.toml rollback flow
  tidewatch models pipeline.toml --json | jq '.detectors[].in_force'")]
pub(super) struct ModelsOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    /// Print what is, or was done, as one JSON object
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Put a version in force: [DETECTOR] VERSION
    Promote {
        /// The detector, where there are several, and the version
        #[arg(required = true, num_args = 1..=2, value_name = "DETECTOR VERSION")]
        words: Vec<String>,
    },
    /// Put the version in force again that was before
    Rollback {
        /// The detector, where there are several
        #[arg(value_name = "DETECTOR")]
        detector: Option<String>,
    },
}

pub(super) fn models(options: &ModelsOptions) -> anyhow::Result<()> {
    let settings = configuration::load(&options.configuration)?;
    match &options.action {
        None => list(&settings, options.json),
        Some(Action::Promote { words }) => {
            let (detector, version) = match &words[..] {
                [version] => (None, version),
                [detector, version, ..] => (Some(detector.as_str()), version),
                [] => return Err(Refusal::new("name the version to put in force").into()),
            };
            let place = Place::of(&settings, detector)?;
            let version = place.version(version)?;
            place.refuse_misfit(version)?;
            let before = registry::in_force(&place.folder).ok();
            registry::promote(&place.folder, version)?;
            place.tell(version, before, options.json)
        }
        Some(Action::Rollback { detector }) => {
            let place = Place::of(&settings, detector.as_deref())?;
            let in_force = registry::in_force(&place.folder)?;
            let Some(before) = registry::before(&place.folder)? else {
                let model = place.folder.display();
                return Err(Refusal::new(format!("no version of `{model}` was in force before {in_force}")).into());
            };
            place.refuse_misfit(before)?;
            registry::roll_back(&place.folder)?;
            place.tell(before, Some(in_force), options.json)
        }
    }
}

/// A model's folder, and every detector that follows what is in force there.
struct Place<'s> {
    settings: &'s Settings,
    folder: PathBuf,
    detectors: Vec<&'s DetectorSection>,
}

impl<'s> Place<'s> {
    fn of(settings: &'s Settings, detector: Option<&str>) -> Result<Place<'s>, Refusal> {
        let names: Vec<&str> = settings.detectors.iter().map(|section| section.spec.name.as_str()).collect();
        let section = match (detector, &settings.detectors[..]) {
            (_, []) => return Err(Refusal::new("the configuration has no [[detectors]]")),
            (None, [only]) => only,
            (None, _) => return Err(Refusal::new(format!("which detector? There are {}", names.join(", ")))),
            (Some(name), sections) => {
                let cure = || nearest(name, &names).map_or(names.join(", "), str::to_owned);
                let unknown = || Refusal::new(format!("there is no detector `{name}`; there is {}", cure()));
                sections.iter().find(|section| section.spec.name == name).ok_or_else(unknown)?
            }
        };
        let folder = PathBuf::from(&section.spec.model);
        if let Some((folder, version)) = registry::pinned(&folder) {
            return Err(Refusal::new(format!(
                "detector `{}` is pinned to version {version} of its model, whatever is in force: write model = \"{}\" in the \
                 configuration first",
                section.spec.name,
                folder.display()
            )));
        }
        let detectors = settings.detectors.iter().filter(|other| other.spec.model == section.spec.model).collect();
        Ok(Place { settings, folder, detectors })
    }

    fn version(&self, text: &str) -> anyhow::Result<u32> {
        let versions = registry::versions(&self.folder).map_err(refusal)?;
        match text.parse::<u32>().ok().filter(|version| versions.contains(version)) {
            Some(version) => Ok(version),
            None => {
                let model = self.folder.display();
                Err(Refusal::new(format!("`{model}` has no version {text}; there are {}", numbers(&versions))).into())
            }
        }
    }

    /// A version that some detector could not use.
    fn refuse_misfit(&self, version: u32) -> Result<(), Refusal> {
        let folder = self.folder.join(version.to_string());
        let model = Arc::new(registry::load(&folder).map_err(refusal)?);
        for section in &self.detectors {
            if let Some(why) = misfit(self.settings, section, &model) {
                return Err(Refusal::new(format!("version {version} is not put in force: {why}")));
            }
        }
        Ok(())
    }

    fn tell(&self, version: u32, before: Option<u32>, as_json: bool) -> anyhow::Result<()> {
        let names: Vec<&str> = self.detectors.iter().map(|section| section.spec.name.as_str()).collect();
        let model = self.folder.display();
        if as_json {
            let told = json!({ "model": model.to_string(), "detectors": names, "in_force": version, "before": before });
            return print(format!("{told:#}\n").as_bytes());
        }
        let was = before.filter(|before| *before != version);
        let was = was.map_or_else(|| "as before".to_owned(), |was| format!("it was {was}"));
        print(format!("{model}: version {version} is in force for {} ({was})\n", names.join(", ")).as_bytes())
    }
}

fn numbers(versions: &[u32]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn refusal(error: ModelError) -> Refusal {
    Refusal::new(engine::told(&error.into()))
}

/// Why the model cannot score for a detector of this configuration.
fn misfit(settings: &Settings, section: &DetectorSection, model: &Arc<RegisteredModel>) -> Option<String> {
    let events = settings.event.schema.arrow();
    let input = match &section.spec.input {
        DetectorInput::Events => events,
        DetectorInput::Windows(name) => {
            let window = settings.windows.iter().find(|window| window.name == *name)?;
            match window.schema(&events) {
                Ok(schema) => schema,
                Err(error) => return Some(error.to_string()),
            }
        }
    };
    check(&section.spec, model, &input, None).err().map(|error| error.to_string())
}

/// A version as it is listed.
struct Listed {
    version: u32,
    model: Result<Arc<RegisteredModel>, String>,
    misfit: Option<String>,
}

/// A detector as it is listed.
struct Standing<'s> {
    section: &'s DetectorSection,
    folder: PathBuf,
    pinned: Option<u32>,
    in_force: Result<u32, String>,
    versions: Vec<Listed>,
    /// By what the output was scored.
    schedule: Option<ModelSchedule>,
}

fn standing<'s>(settings: &'s Settings, section: &'s DetectorSection, schedules: &[ModelSchedule]) -> Standing<'s> {
    let reference = Path::new(&section.spec.model);
    let (folder, pinned) = match registry::pinned(reference) {
        Some((folder, version)) => (folder, Some(version)),
        None => (reference.to_path_buf(), None),
    };
    let listed = |version: u32| {
        let model = registry::load(&folder.join(version.to_string()));
        let model = model.map(Arc::new).map_err(|error| engine::told(&error.into()));
        let misfit = model.as_ref().ok().and_then(|model| misfit(settings, section, model));
        Listed { version, model, misfit }
    };
    let versions = registry::versions(&folder).unwrap_or_default().into_iter().rev().map(listed).collect();
    let in_force = match pinned {
        Some(version) => Ok(version),
        None => registry::in_force(&folder).map_err(|error| engine::told(&error.into())),
    };
    let schedule = schedules.iter().find(|schedule| schedule.detector == section.spec.name).cloned();
    Standing { section, folder, pinned, in_force, versions, schedule }
}

fn list(settings: &Settings, as_json: bool) -> anyhow::Result<()> {
    let (schedules, unread) = match engine::schedules(settings) {
        Ok(schedules) => (schedules, None),
        Err(error) => (Vec::new(), Some(engine::told(&error))),
    };
    let detectors: Vec<Standing> =
        settings.detectors.iter().map(|section| standing(settings, section, &schedules)).collect();
    if as_json {
        let detectors: Vec<Value> = detectors.iter().map(Standing::as_json).collect();
        let told = json!({ "output": settings.output.url, "unread": unread, "detectors": detectors });
        return print(format!("{told:#}\n").as_bytes());
    }
    let mut text = String::new();
    detectors.iter().for_each(|detector| detector.write(&mut text, &settings.output.url));
    if let Some(unread) = unread {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\nnote: what scored the output cannot be read: {unread}");
    }
    if detectors.is_empty() {
        text.push_str("the configuration has no [[detectors]]\n");
    }
    print(text.as_bytes())
}

impl Standing<'_> {
    fn as_json(&self) -> Value {
        let version = |listed: &Listed| {
            let model = listed.model.as_ref().ok().map(|model| &model.model);
            json!({
                "version": listed.version,
                "in_force": self.in_force.as_ref().ok() == Some(&listed.version),
                "threshold": model.map(|model| model.threshold().value),
                "calibration": model.map(|model| &model.threshold().calibration),
                "features": model.map(|model| model.features().iter().map(|feature| &feature.name).collect::<Vec<_>>()),
                "metrics": model.map(|model| model.metrics()),
                "training_data": model.and_then(|model| model.training_data()),
                "unusable": listed.model.as_ref().err().or(listed.misfit.as_ref()),
            })
        };
        let from = |version: &ModelFrom| json!({ "from": since(version), "model": version.version });
        json!({
            "detector": self.section.spec.name,
            "model": self.folder,
            "in_force": self.in_force.as_ref().ok(),
            "pinned": self.pinned.is_some(),
            "unusable": self.in_force.as_ref().err(),
            "versions": self.versions.iter().map(version).collect::<Vec<_>>(),
            "schedule": self.schedule.iter().flat_map(|schedule| &schedule.versions).map(from).collect::<Vec<_>>(),
        })
    }

    fn write(&self, text: &mut String, output: &str) {
        let over = match &self.section.spec.input {
            DetectorInput::Events => "events".to_owned(),
            DetectorInput::Windows(window) => format!("window {window}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} on {over}: {}", self.section.spec.name, self.folder.display());
        let in_force = match (&self.in_force, self.pinned) {
            (Ok(version), None) => format!("version {version}"),
            (Ok(version), Some(_)) => format!("version {version}, pinned by the configuration"),
            (Err(why), _) => format!("none: {why}"),
        };
        let _ = writeln!(text, "  {:<12}{in_force}", "in force");
        let scored = self.schedule.iter().flat_map(|schedule| &schedule.versions);
        for (index, version) in scored.enumerate() {
            let what = if index == 0 { "scored" } else { "" };
            let from = since(version).map_or_else(|| format!("{output} by"), |from| format!("from {from} on by"));
            let _ = writeln!(text, "  {what:<12}{from} {}", version.version);
        }
        for listed in &self.versions {
            let _ = writeln!(text, "  {:<12}{}", listed.version, listed.in_words());
        }
    }
}

impl Listed {
    fn in_words(&self) -> String {
        let model = match &self.model {
            Ok(model) => &model.model,
            Err(why) => return format!("unusable: {why}"),
        };
        let mut words =
            vec![format!("threshold {} ({})", shown(model.threshold().value), model.threshold().calibration)];
        words.extend(model.metrics().iter().map(|(name, value)| format!("{name} {}", shown(*value))));
        words.extend(model.training_data().map(|data| format!("trained on {data}")));
        words.extend(self.misfit.iter().map(|why| format!("unusable: {why}")));
        words.join("; ")
    }
}

/// The event time from which on a version scores; none for the first.
fn since(version: &ModelFrom) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_micros(version.from)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}
