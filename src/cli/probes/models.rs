//! Can each detector's model be loaded, and are its features columns of what it scores?

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use serde_json::json;

use crate::domain::detector::DetectorInput;
use crate::models::folder::ModelError;
use crate::models::model::RegisteredModel;
use crate::models::registry;
use crate::scoring::scorer::Scorer;
use crate::settings::{DetectorSection, Draft, Fault, OnFailure, nearest, quoted};

use super::super::versions::{self, NoModel};
use super::{Asked, Finding, outside, whole};

pub(super) fn probe(asked: &Asked) -> Vec<Finding> {
    let draft = &asked.draft;
    let mut findings = windows(draft);
    for section in draft.detectors.iter().flatten() {
        let Some(event) = &draft.event else { break };
        let windows = draft.windows.as_deref().unwrap_or_default();
        findings.push(match versions::in_force(section, &event.schema, windows) {
            Ok(model) => judge(draft, section, model),
            Err(error) => {
                let fault = outside(key(section), whole(&error), cure(section, &error));
                match section.on_failure {
                    OnFailure::Stop => Finding::Fault(fault),
                    OnFailure::Continue => Finding::Warning(fault),
                }
            }
        });
    }
    findings
}

/// Windows whose columns cannot be computed of these events.
fn windows(draft: &Draft) -> Vec<Finding> {
    let Some(event) = &draft.event else { return Vec::new() };
    let events = event.schema.arrow();
    let judge = |window: &crate::windows::spec::WindowSpec| {
        let error = window.schema(&events).err()?;
        Some(Finding::fault(
            format!("windows.{}", quoted(&window.name)),
            error.to_string(),
            "change the window's columns",
        ))
    };
    draft.windows.iter().flatten().filter_map(judge).collect()
}

fn key(section: &DetectorSection) -> String {
    format!("detectors.{}.model", quoted(&section.spec.name))
}

fn cure(section: &DetectorSection, error: &NoModel) -> String {
    let model = &section.spec.model;
    match error {
        NoModel::Folder(ModelError::NotFound { .. }) => {
            match registry::versions(Path::new(model).parent().unwrap_or(Path::new(""))) {
                Ok(versions) if !versions.is_empty() => {
                    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
                    format!("there are the versions {}; without a number it is the one in force", versions.join(", "))
                }
                _ => format!(
                    "no model yet: train one, with `tidewatch train CONFIG --from PATH…`, make one of a Keras network, with \
                 `tidewatch import … --to {model}`, or name the folder of another one"
                ),
            }
        }
        NoModel::Configured(_) => "name columns that the window has".to_owned(),
        NoModel::Sequence { steps, .. } => {
            format!("write sequence = {steps}, or take a model of sequences of that length")
        }
        NoModel::Folder(_) => "put back the folder as it was written, or import the model again".to_owned(),
    }
}

/// What the detector scores: events, or the rows of its window. None where those are at fault themselves.
fn input(draft: &Draft, input: &DetectorInput) -> Option<SchemaRef> {
    let events = draft.event.as_ref()?.schema.arrow();
    match input {
        DetectorInput::Events => Some(events),
        DetectorInput::Windows(name) => {
            draft.windows.as_ref()?.iter().find(|window| window.name == *name)?.schema(&events).ok()
        }
    }
}

fn judge(draft: &Draft, section: &DetectorSection, model: Arc<RegisteredModel>) -> Finding {
    let (name, version) = (&section.spec.name, model.version.to_string());
    let (features, threshold) = (model.model.features().len(), model.model.threshold().clone());
    if let Some(schema) = input(draft, &section.spec.input) {
        if let Some(fault) = missing(section, &model, &schema) {
            return Finding::Fault(fault);
        }
        if let Err(error) = Scorer::new(&section.spec, model, &schema) {
            return Finding::fault(key(section), error.to_string(), "take a model of these columns, or other columns");
        }
    }
    let data = json!({ "detector": name, "model": version, "features": features, "threshold": threshold.value });
    let text = format!(
        "{name}: {version}, {features} features, threshold {} ({})",
        super::scores::shown(threshold.value),
        threshold.calibration
    );
    Finding::seen("model", text, data)
}

/// Every feature without a column, at once.
fn missing(section: &DetectorSection, model: &RegisteredModel, schema: &Schema) -> Option<Fault> {
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let absent =
        model.model.features().iter().filter(|feature| !feature.optional && !columns.contains(&feature.field.as_str()));
    let absent: Vec<&str> = absent.map(|feature| feature.field.as_str()).collect();
    let first = absent.first()?;
    let (over, where_to) = match &section.spec.input {
        DetectorInput::Events => ("events".to_owned(), "[event.fields]".to_owned()),
        DetectorInput::Windows(window) => {
            (format!("window {window}"), format!("windows.{}.aggregates", quoted(window)))
        }
    };
    let quoted_all: Vec<String> = absent.iter().map(|field| format!("`{field}`")).collect();
    let problem = format!(
        "the model {} needs {} that {over} do{} not have: {}",
        model.version,
        if absent.len() == 1 { "a column".to_owned() } else { format!("{} columns", absent.len()) },
        if over == "events" { "" } else { "es" },
        quoted_all.join(", ")
    );
    let near = nearest(first, &columns).map(|near| format!(" (for `{first}` there is `{near}`)")).unwrap_or_default();
    Some(outside(key(section), problem, format!("add them to {where_to}{near}, or take a model of other features")))
}
