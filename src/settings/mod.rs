//! The configuration: one TOML file, environment variables above it, the command line above those.
//!
//! Promises: every fault is reported at once, with its full key, its place, what is wrong and what would be right; a
//! secret is neither read from the file nor ever printed. Nothing outside is asked: whether a broker answers or a model
//! fits is for `check` to find out.

mod columns;
mod detectors;
mod event;
mod fault;
mod features;
mod fields;
mod fingerprint;
mod http;
mod kafka;
mod method;
mod output;
mod overrides;
mod pipeline;
mod reader;
mod s3;
mod secret;
mod simulator;
mod source;
#[cfg(test)]
mod tests;
mod training;
mod tree;
mod value;
mod watermark;
mod windows;

use crate::domain::watermark::WatermarkSpec;
use crate::windows::spec::WindowSpec;

pub use detectors::{DetectorSection, OnFailure};
pub use event::{CsvSection, EventFormat, EventSection};
pub use fault::{Fault, Faults, Place};
pub use fingerprint::Fingerprint;
pub use http::{HttpSection, Listen};
pub use kafka::{Properties, Property};
pub use output::{EventsStored, KafkaOutputSection, OutputSection};
pub use overrides::{Argument, Overrides};
pub use pipeline::PipelineSection;
pub use reader::quoted;
pub use s3::S3Section;
pub use secret::Secret;
pub use simulator::SimulatorSection;
pub use source::{FilesSection, KafkaSection, OnLost, SourceSection, Start};
pub use value::nearest;

use fault::{FaultList, Wrong};
use reader::Reader;

/// A configuration without fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub pipeline: PipelineSection,
    pub source: SourceSection,
    pub event: EventSection,
    pub watermark: WatermarkSpec,
    pub windows: Vec<WindowSpec>,
    pub detectors: Vec<DetectorSection>,
    pub output: OutputSection,
    pub http: HttpSection,
}

/// What could be read of a configuration: a section is there if nothing in it is at fault. `check` goes on with what is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    pub pipeline: Option<PipelineSection>,
    pub source: Option<SourceSection>,
    pub event: Option<EventSection>,
    pub watermark: Option<WatermarkSpec>,
    pub windows: Option<Vec<WindowSpec>>,
    pub detectors: Option<Vec<DetectorSection>>,
    pub output: Option<OutputSection>,
    pub http: Option<HttpSection>,
}

impl Settings {
    /// Reads the text of a configuration file with everything that overrides it.
    pub fn parse(text: &str, overrides: &Overrides) -> Result<Settings, Faults> {
        let (draft, faults) = Draft::parse(text, overrides);
        draft.whole().filter(|_| faults.0.is_empty()).ok_or(faults)
    }
}

impl Draft {
    /// The settings, if every section is there.
    pub fn whole(self) -> Option<Settings> {
        match self {
            Draft {
                pipeline: Some(pipeline),
                source: Some(source),
                event: Some(event),
                watermark: Some(watermark),
                windows: Some(windows),
                detectors: Some(detectors),
                output: Some(output),
                http: Some(http),
            } => Some(Settings { pipeline, source, event, watermark, windows, detectors, output, http }),
            _ => None,
        }
    }

    /// Reads as much as can be read, and says what cannot.
    pub fn parse(text: &str, overrides: &Overrides) -> (Draft, Faults) {
        let faults = FaultList::default();
        let mut root = tree::parse(text, &faults);
        if faults.count() > 0 {
            return (Draft::default(), faults.into_sorted());
        }
        overrides.apply(&mut root, &faults);
        let draft = Draft::read(&Reader::root(&root, &faults), &faults);
        (draft, faults.into_sorted())
    }

    fn read(root: &Reader<'_>, faults: &FaultList) -> Draft {
        let sound_since = |before: usize| faults.count() == before;
        let required = |name, example: &str| {
            let reader = root.section(name);
            if reader.is_none() && root.node(name).is_none() {
                root.fault(
                    name,
                    Wrong::new(format!("the section [{name}] is missing"), format!("add [{name}] with {example}")),
                );
            }
            reader
        };
        let pipeline = required("pipeline", "name = \"iomt\"").and_then(pipeline::read);
        let source = source::read(root, pipeline.as_ref().map(|pipeline| pipeline.name.as_str()));
        let event = required("event", "time, key and fields").map(|reader| event::read(reader, source.as_ref()));
        let (event, fields) = event.map_or((None, None), |(event, fields)| (event, Some(fields)));
        let watermark = match root.node("watermark") {
            Some(_) => root.section("watermark").and_then(watermark::read),
            None => Some(watermark::DEFAULT),
        };
        let lateness = watermark.as_ref().unwrap_or(&watermark::DEFAULT).allowed_lateness;
        let before = faults.count();
        let mut read_windows = windows::read(root, fields.as_ref(), lateness);
        let are_windows_sound = sound_since(before);
        let before = faults.count();
        let detectors = detectors::read(root, fields.as_ref(), &mut read_windows);
        let are_detectors_sound = sound_since(before);
        let windows: Vec<WindowSpec> = read_windows.into_iter().filter_map(|window| window.spec).collect();
        let output = required("output", "url = \"./output\"").and_then(|reader| output::read(reader, source.as_ref()));
        let http = match root.node("http") {
            Some(_) => root.section("http").and_then(http::read),
            None => Some(HttpSection::default()),
        };
        refuse_idleness(root, output.as_ref());
        root.refuse_unknown();
        Draft {
            pipeline,
            source,
            event,
            watermark,
            windows: are_windows_sound.then_some(windows),
            detectors: are_detectors_sound.then_some(detectors),
            output,
            http,
        }
    }
}

/// A pipeline that stores nothing is a slip.
fn refuse_idleness(root: &Reader<'_>, output: Option<&OutputSection>) {
    let is_empty = root.node("windows").is_none() && root.node("detectors").is_none();
    if is_empty && output.is_some_and(|output| output.events != EventsStored::All) {
        let cure = "add [[windows]] or [[detectors]], or set output.events = \"all\" to store the events as they are";
        root.fault("", Wrong::new("nothing would be computed: there are neither windows nor detectors", cure));
    }
}
