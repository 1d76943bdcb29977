//! The pipeline that is simulated: two windows, a detector on events and one on windows, everything stored.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use tidewatch::domain::detector::{DetectorInput, DetectorSpec};
use tidewatch::models::activation::Activation;
use tidewatch::models::features::{Feature, Scaler};
use tidewatch::models::model::{
    DetectorKind, ErrorMeasure, Model, ModelParts, ModelVersion, RegisteredModel, Threshold,
};
use tidewatch::models::network::{Layer, Network, Tensor};
use tidewatch::pipeline::plan::Plan;
use tidewatch::pipeline::scored::EventsKept;
use tidewatch::pipeline::spec::{LoadedDetector, OutputSpec, PipelineSpec, SourceSpec, Until};
use tidewatch::settings::{Fingerprint, Overrides, Settings, SourceSection};
use tidewatch::sources::simulator::Pace;
use tidewatch::storage::S3Options;

const CONFIGURATION: &str = r#"
[pipeline]
name = "simulation"
[source.simulator]
profile = "fleet"
devices = 1
duration = "1h"
[event]
format = "json"
time = { field = "ts", format = "unix_ms" }
key = "device"
[event.fields]
device = "text"
v = "float"
n = "int"
[watermark]
out_of_orderness = "2s"
allowed_lateness = "30s"
idle_after = "300ms"
future_skew = "5m"
max_drift = "20s"
[[windows]]
name = "by_device"
size = "10s"
by = ["device"]
[windows.aggregates]
v = ["mean", "stddev", "max", "p95", "last"]
n = ["sum", "distinct"]
[[windows]]
name = "sliding"
size = "20s"
slide = "5s"
by = ["device"]
[windows.aggregates]
v = ["sum", "skewness", "first"]
[output]
url = "./simulated"
events = "all"
"#;

static SPECIFICATION: LazyLock<PipelineSpec> = LazyLock::new(|| {
    let settings = match Settings::parse(CONFIGURATION, &Overrides::default()) {
        Ok(settings) => settings,
        Err(faults) => panic!("{faults:?}"),
    };
    let SourceSection::Simulator(source) = &settings.source else { panic!("the source is a simulator") };
    PipelineSpec {
        name: settings.pipeline.name.clone(),
        source: SourceSpec::Simulator(source.spec.clone(), Pace::Unbounded),
        until: Until::Closed,
        events: settings.event.schema.clone(),
        watermark: settings.watermark.clone(),
        windows: settings.windows.clone(),
        detectors: vec![
            detector("single", DetectorInput::Events, &["v", "n"], 40.0),
            detector("whole", DetectorInput::Windows("by_device".into()), &["v_mean", "v_stddev", "count"], 25.0),
        ],
        output: OutputSpec {
            url: settings.output.url.clone(),
            s3: S3Options::default(),
            events: EventsKept::All,
            publish_every: settings.output.publish_every,
            file_size: settings.output.file_size,
            partition_by: settings.output.partition_by,
            kafka: Some(crate::process::topic()),
        },
        plan: Plan::new(settings.pipeline.epoch, settings.pipeline.checkpoint_every, settings.output.file_size),
        watchdog: settings.pipeline.watchdog,
        groups_max: settings.pipeline.groups_max,
        configuration: Fingerprint::of(&settings).0,
    }
});

pub fn specification() -> PipelineSpec {
    SPECIFICATION.clone()
}

/// A dense layer that gives back almost nothing: far from zero is abnormal.
fn detector(name: &str, input: DetectorInput, fields: &[&str], threshold: f64) -> LoadedDetector {
    let count = fields.len();
    let values = (0..count * count).map(|place| ((place * 7 % 11) as f32 - 5.0) / 100.0).collect();
    let kernel = Tensor { shape: vec![count, count], values };
    let layer = Layer::Dense { units: count, activation: Activation::Tanh, bias: false };
    let network = Network::new(vec![count], vec![layer], [("0.kernel".to_owned(), kernel)].into()).unwrap();
    let model = Model::new(ModelParts {
        kind: DetectorKind::Autoencoder,
        network,
        features: fields.iter().map(|field| Feature::of_field(field)).collect(),
        scaler: Scaler::None,
        error: ErrorMeasure::Mae,
        threshold: Threshold { value: threshold, calibration: "given".into() },
        training_data: None,
        metrics: BTreeMap::new(),
    });
    LoadedDetector {
        spec: DetectorSpec { name: name.to_owned(), model: format!("models/{name}"), input },
        model: Arc::new(RegisteredModel {
            version: ModelVersion { name: name.to_owned(), version: 1 },
            model: model.unwrap(),
        }),
    }
}
