//! How many rows a second does one core score, with the models of the reference measurements and by each path?
//!
//! `cargo bench --bench scoring`. Weights are seeded; `elements` are rows.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidewatch::models::activation::Activation;
use tidewatch::models::estimator::{ErrorMeasure, Estimator};
use tidewatch::models::features::{Feature, Scaler};
use tidewatch::models::model::{Model, ModelParts, Threshold};
use tidewatch::models::network::{Layer, Network, Tensor, Tensors};
use tidewatch::scoring::detector::{Detector, Path};

/// Numbers between -1 and 1, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn lstm(units: usize, return_sequences: bool) -> Layer {
    Layer::Lstm {
        units,
        return_sequences,
        go_backwards: false,
        activation: Activation::Tanh,
        recurrent_activation: Activation::Sigmoid,
        bias: true,
    }
}

fn dense(units: usize, activation: Activation) -> Layer {
    Layer::Dense { units, activation, bias: true }
}

/// A model of these layers with seeded weights; `shapes` names the weights' shapes.
fn model(input: &[usize], features: usize, layers: Vec<Layer>) -> Arc<Model> {
    let mut numbers = Numbers(7);
    let mut tensors = Tensors::new();
    let mut width = input[input.len() - 1];
    for (index, layer) in layers.iter().enumerate() {
        let wanted = match layer {
            Layer::Lstm { units, .. } => {
                let shapes = [("kernel", vec![width, 4 * units]), ("recurrent_kernel", vec![*units, 4 * units])];
                shapes.into_iter().chain([("bias", vec![4 * units])]).collect()
            }
            Layer::Dense { units, .. } => vec![("kernel", vec![width, *units]), ("bias", vec![*units])],
            _ => vec![],
        };
        for (name, shape) in wanted {
            let values = (0..shape.iter().product()).map(|_| (numbers.next() * 0.3) as f32).collect();
            tensors.insert(format!("{index}.{name}"), Tensor { shape, values });
        }
        if let Layer::Lstm { units, .. } | Layer::Dense { units, .. } = layer {
            width = *units;
        }
    }
    let model = Model::new(ModelParts {
        estimator: Estimator::Autoencoder {
            network: Network::new(input.to_vec(), layers, tensors).expect("the layers fit"),
            error: ErrorMeasure::Mae,
        },
        features: (0..features).map(|index| Feature::of_field(&format!("f{index}"))).collect(),
        scaler: Scaler::Standard { mean: vec![0.1; features], deviation: vec![2.0; features] },
        threshold: Threshold { value: 1.0, calibration: "none".to_string() },
        training_data: None,
        metrics: BTreeMap::new(),
    });
    Arc::new(model.expect("the parts fit"))
}

fn models() -> Vec<(&'static str, Arc<Model>)> {
    let together = vec![
        lstm(64, true),
        lstm(32, true),
        lstm(16, false),
        Layer::Repeat { times: 1 },
        lstm(16, true),
        lstm(32, true),
        dense(31, Activation::Linear),
    ];
    let one_by_one = vec![lstm(64, false), Layer::Repeat { times: 31 }, lstm(64, true), dense(1, Activation::Linear)];
    let sequence = vec![lstm(128, false), Layer::Repeat { times: 50 }, lstm(128, true), dense(12, Activation::Linear)];
    let plain = vec![
        dense(16, Activation::Relu),
        dense(8, Activation::Relu),
        dense(16, Activation::Relu),
        dense(31, Activation::Linear),
    ];
    vec![
        ("lstm_64_32_16_one_step", model(&[1, 31], 31, together)),
        ("lstm_64_of_31_steps", model(&[31, 1], 31, one_by_one)),
        ("lstm_128_of_50_steps", model(&[50, 12], 12, sequence)),
        ("dense_31_16_8_16_31", model(&[31], 31, plain)),
    ]
}

fn scoring(criterion: &mut Criterion) {
    // SAFETY: nothing else runs yet.
    unsafe { tidewatch::scoring::single_threaded() };
    for (name, model) in models() {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (path, rows) in [(Path::Fast, 1), (Path::Fast, 4096), (Path::Portable, 96), (Path::Reference, 16)] {
            let mut detector = Detector::with_path(model.clone(), path).expect("candle takes the model");
            let mut numbers = Numbers(11);
            let raw: Vec<f64> = (0..rows * detector.values()).map(|_| numbers.next()).collect();
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new(format!("{path:?}"), rows), |bencher| {
                bencher.iter(|| detector.score(black_box(&raw)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, scoring);
criterion_main!(benches);
