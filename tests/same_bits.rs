//! A row's score has the same bits in any batch, at any place, with vector instructions or without; and damaged files never panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use tidewatch::models::activation::Activation;
use tidewatch::models::estimator::{ErrorMeasure, Estimator};
use tidewatch::models::features::{Feature, Scaler};
use tidewatch::models::import::{ImportOptions, import};
use tidewatch::models::model::{Model, ModelParts, Threshold};
use tidewatch::models::network::{Layer, Network, Tensor, Tensors};
use tidewatch::scoring::detector::{Detector, Path};

fn activation() -> impl Strategy<Value = Activation> {
    prop::sample::select(vec![
        Activation::Linear,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::HardSigmoid,
        Activation::HardSigmoidSteep,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Elu { alpha: 0.8 },
        Activation::Selu,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Silu,
        Activation::Gelu,
    ])
}

/// Activation and gates of an LSTM: the usual pair as often as all others. Bounded, so that no rounding grows over the steps.
fn gates() -> impl Strategy<Value = (Activation, Activation)> {
    let activations = [Activation::Tanh, Activation::Softsign, Activation::HardSigmoid, Activation::Relu];
    let gates = [Activation::Sigmoid, Activation::HardSigmoid, Activation::HardSigmoidSteep, Activation::Tanh];
    let others = (prop::sample::select(activations.to_vec()), prop::sample::select(gates.to_vec()));
    prop_oneof![Just((Activation::Tanh, Activation::Sigmoid)), others]
}

fn lstm() -> impl Strategy<Value = Layer> {
    (1..20usize, gates(), any::<[bool; 3]>()).prop_map(|(units, gates, [return_sequences, go_backwards, bias])| {
        let (activation, recurrent_activation) = gates;
        Layer::Lstm { units, return_sequences, go_backwards, activation, recurrent_activation, bias }
    })
}

fn dense() -> impl Strategy<Value = Layer> {
    (1..45usize, activation(), any::<bool>()).prop_map(|(units, activation, bias)| Layer::Dense {
        units,
        activation,
        bias,
    })
}

/// The layer and its weights, behind values of `shape`.
fn grow(
    index: usize,
    layer: Layer,
    shape: &mut Vec<usize>,
    weights: &mut impl FnMut() -> f32,
    layers: &mut Vec<Layer>,
    tensors: &mut Tensors,
) {
    let width = shape[shape.len() - 1];
    let wanted = match &layer {
        Layer::Lstm { units, bias, .. } => vec![
            ("kernel", vec![width, 4 * units]),
            ("recurrent_kernel", vec![*units, 4 * units]),
            ("bias", if *bias { vec![4 * units] } else { vec![] }),
        ],
        Layer::Dense { units, bias, .. } => {
            vec![("kernel", vec![width, *units]), ("bias", if *bias { vec![*units] } else { vec![] })]
        }
        Layer::Affine => vec![("scale", vec![width]), ("shift", vec![width])],
        _ => vec![],
    };
    for (name, tensor) in wanted.into_iter().filter(|(_, shape)| !shape.is_empty()) {
        let values = (0..tensor.iter().product()).map(|_| weights()).collect();
        tensors.insert(format!("{index}.{name}"), Tensor { shape: tensor, values });
    }
    match &layer {
        Layer::Lstm { units, return_sequences: true, .. } => *shape = vec![shape[0], *units],
        Layer::Lstm { units, .. } => *shape = vec![*units],
        Layer::Dense { units, .. } => *shape.last_mut().unwrap() = *units,
        Layer::Repeat { times } => *shape = vec![*times, width],
        Layer::Reshape { shape: to } => shape.clone_from(to),
        _ => {}
    }
    layers.push(layer);
}

/// Any stack of layers that ends as it began.
fn model() -> impl Strategy<Value = Arc<Model>> {
    let input = prop_oneof![(1..40usize).prop_map(|f| vec![f]), (1..6usize, 1..12usize).prop_map(|(t, f)| vec![t, f])];
    let layer = prop_oneof![
        2 => lstm(),
        2 => dense(),
        1 => activation().prop_map(|activation| Layer::Activation { activation }),
        1 => Just(Layer::Affine),
        1 => Just(Layer::Dropout { rate: 0.5 }),
    ];
    (input, prop::collection::vec(layer, 1..5), any::<u32>()).prop_map(|(input, wanted, seed)| {
        let mut state = u64::from(seed) << 1 | 1;
        let mut weights = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * 0.9
        };
        let (mut shape, mut layers, mut tensors) = (input.clone(), Vec::new(), Tensors::new());
        let mut add = |layer: Layer, shape: &mut Vec<usize>, layers: &mut Vec<Layer>, tensors: &mut Tensors| {
            grow(layers.len(), layer, shape, &mut weights, layers, tensors);
        };
        for layer in wanted {
            if matches!(layer, Layer::Lstm { .. }) && shape.len() == 1 {
                add(Layer::Repeat { times: 3 }, &mut shape, &mut layers, &mut tensors);
            }
            add(layer, &mut shape, &mut layers, &mut tensors);
        }
        let values: usize = shape.iter().product();
        add(Layer::Reshape { shape: vec![values] }, &mut shape, &mut layers, &mut tensors);
        let units = input.iter().product();
        add(Layer::Dense { units, activation: Activation::Linear, bias: true }, &mut shape, &mut layers, &mut tensors);
        add(Layer::Reshape { shape: input.clone() }, &mut shape, &mut layers, &mut tensors);
        let features = input[input.len() - 1];
        let parts = ModelParts {
            estimator: Estimator::Autoencoder {
                network: Network::new(input, layers, tensors).unwrap(),
                error: ErrorMeasure::Mse,
            },
            features: (0..features).map(|index| Feature::of_field(&format!("f{index}"))).collect(),
            scaler: Scaler::Standard { mean: vec![0.5; features], deviation: vec![1.7; features] },
            threshold: Threshold { value: 1.0, calibration: "none".into() },
            training_data: None,
            metrics: BTreeMap::new(),
        };
        Arc::new(Model::new(parts).unwrap())
    })
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_rows_score_depends_on_nothing_but_the_row(
        model in model(),
        values in prop::collection::vec(-3.0..3.0f64, 64),
        rows in 1..130usize,
        cut in any::<Index>(),
    ) {
        let mut detector = Detector::new(model);
        let width = detector.values();
        let raw: Vec<f64> = (0..rows * width).map(|i| values[i % 61] * values[i % 64]).collect();
        let whole = bits(&detector.score(&raw));
        let (head, tail) = raw.split_at(cut.index(rows) * width);
        let parts = [detector.score(tail), detector.score(head)];
        prop_assert_eq!(&whole, &bits(&[parts[1].clone(), parts[0].clone()].concat()));
        let reversed: Vec<f64> = raw.chunks(width).rev().flatten().copied().collect();
        let mut backwards = bits(&detector.score(&reversed));
        backwards.reverse();
        prop_assert_eq!(&whole, &backwards);
    }

    #[test]
    fn every_path_gives_the_same_score(model in model(), values in prop::collection::vec(-3.0..3.0f64, 64)) {
        let by = |path| {
            let mut detector = Detector::with_path(model.clone(), path).unwrap();
            let raw: Vec<f64> = (0..5 * detector.values()).map(|i| values[i % 61] * values[i % 64]).collect();
            detector.score(&raw)
        };
        let fast = by(Path::Fast);
        prop_assert_eq!(bits(&fast), bits(&by(Path::Portable)));
        for (fast, reference) in fast.iter().zip(by(Path::Reference)) {
            // A small error is the difference of values near 1, known to f32's precision.
            let close = 1e-5 * reference + 1e-6 * reference.sqrt();
            prop_assert!((fast - reference).abs() < close, "{} and {}", fast, reference);
        }
    }

    #[test]
    fn a_damaged_keras_file_gives_an_error_and_no_panic(
        file in prop::sample::select(vec!["together.h5", "steps.keras", "sequence.h5"]),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..24),
        cut in prop::option::of(any::<Index>()),
    ) {
        let source = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(file);
        let mut bytes = std::fs::read(source).unwrap();
        // Most structure lies at the start and, in a zip, at the end.
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::TempDir::new().unwrap();
        let paths: Vec<PathBuf> = [file, "features.json"].iter().map(|name| folder.path().join(name)).collect();
        std::fs::write(&paths[0], bytes).unwrap();
        std::fs::write(&paths[1], r#"["a", "b", "c", "d", "e"]"#).unwrap();
        let options = ImportOptions { error: Some(ErrorMeasure::Mae), threshold: Some(1.0) };
        let _ = import(&paths, &options);
    }
}
