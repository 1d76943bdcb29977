//! The pipeline that is simulated: two windows, detectors on events, on windows, on sequences of windows and on what is usual, everything
//! stored.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use tidewatch::domain::detector::{DetectorInput, DetectorSpec};
use tidewatch::models::activation::Activation;
use tidewatch::models::baseline::{Baseline, BaselineMethod};
use tidewatch::models::estimator::{ErrorMeasure, Estimator};
use tidewatch::models::features::{Feature, Scaler};
use tidewatch::models::model::{Model, ModelParts, ModelVersion, RegisteredModel, Threshold};
use tidewatch::models::network::{Layer, Network, Tensor};
use tidewatch::models::versions::Versions;
use tidewatch::pipeline::plan::Plan;
use tidewatch::pipeline::scored::EventsKept;
use tidewatch::pipeline::spec::{Detecting, OutputSpec, PipelineSpec, SourceSpec, Until, WithoutModel};
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
        detectors: Vec::new(),
        schedules: Vec::new(),
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

/// The pipeline with the models of a registry.
pub fn specification(versions: impl Fn(usize) -> Arc<dyn Versions>) -> PipelineSpec {
    let window = |name: &str| DetectorInput::Windows(name.to_owned());
    let inputs =
        [DetectorInput::Events, window("by_device"), window("sliding"), window("by_device"), window("by_device")];
    let detector = |(number, input): (usize, DetectorInput)| {
        let (name, model) = (DETECTORS[number].to_owned(), format!("models/{}", DETECTORS[number]));
        let spec = DetectorSpec { name, model, input };
        Detecting { spec, versions: versions(number), without_model: WithoutModel::Stop }
    };
    PipelineSpec { detectors: inputs.into_iter().enumerate().map(detector).collect(), ..SPECIFICATION.clone() }
}

/// One on events, one on windows, one on three windows in a row, one that compares with earlier windows, one that keeps their tails.
pub const DETECTORS: [&str; 5] = ["single", "whole", "row", "usual", "odd"];
/// The first so many have versions that may be promoted.
pub const PROMOTED: usize = 2;

/// So many versions has the model of each; the last one fits no rows.
pub const VERSIONS: u32 = 4;

static MODELS: LazyLock<Vec<Vec<Arc<RegisteredModel>>>> = LazyLock::new(|| {
    let levels: &[&str] = &["v_mean", "v_last"];
    let fields: [&[&str]; 5] = [&["v", "n"], &["v_mean", "v_stddev", "count"], &["v_sum", "count"], levels, levels];
    let of = |detector: usize| {
        let fields = fields[detector];
        let version = |version| match version {
            VERSIONS => made(detector, version, &["nowhere"]),
            version => made(detector, version, fields),
        };
        (1..=VERSIONS).map(version).collect()
    };
    (0..DETECTORS.len()).map(of).collect()
});

pub fn model(detector: usize, version: u32) -> Arc<RegisteredModel> {
    Arc::clone(&MODELS[detector][version as usize - 1])
}

/// Versions differ in weights and threshold.
fn made(detector: usize, version: u32, fields: &[&str]) -> Arc<RegisteredModel> {
    let threshold = [40.0, 25.0, 30.0, 3.0, 0.5][detector] * (1.0 + f64::from(version - 1) / 4.0);
    let baseline = Baseline { method: BaselineMethod::Robust, history: 4, every: 2, rows_min: 2, floors: Vec::new() };
    let estimator = match detector {
        2 => almost_nothing(vec![3, fields.len()], version),
        3 => Estimator::Baseline(baseline),
        4 => Estimator::Baseline(Baseline {
            method: BaselineMethod::Tail { quiet_us: 5_000_000, again: 1.1 },
            history: 12,
            every: 1,
            rows_min: 3,
            floors: Vec::new(),
        }),
        _ => almost_nothing(vec![fields.len()], version),
    };
    let model = Model::new(ModelParts {
        estimator,
        features: fields.iter().map(|field| Feature::of_field(field)).collect(),
        scaler: Scaler::None,
        threshold: Threshold { value: threshold, calibration: "given".into() },
        training_data: None,
        metrics: BTreeMap::new(),
    });
    let name = DETECTORS[detector].to_owned();
    Arc::new(RegisteredModel { version: ModelVersion { name, version }, model: model.unwrap() })
}

/// A dense layer that gives back almost nothing: far from zero is abnormal.
fn almost_nothing(input: Vec<usize>, version: u32) -> Estimator {
    let count = input[input.len() - 1];
    let seven = 7 + version as usize - 1;
    let values = (0..count * count).map(|place| ((place * seven % 11) as f32 - 5.0) / 100.0).collect();
    let kernel = Tensor { shape: vec![count, count], values };
    let layer = Layer::Dense { units: count, activation: Activation::Tanh, bias: false };
    let network = Network::new(input, vec![layer], [("0.kernel".to_owned(), kernel)].into()).unwrap();
    Estimator::Autoencoder { network, error: ErrorMeasure::Mae }
}
