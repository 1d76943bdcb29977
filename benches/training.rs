//! How many rows a second does one core learn from, and what do the hand-written gates and their way back gain over plain candle?
//!
//! `cargo bench --bench training`. A batch is 256 rows of 31 features; weights and rows are seeded; `elements` are rows. `candle` is the
//! same loss and gradient by candle's own operations and differentiation; `ours` computes both by hand around candle's matrix products;
//! `step` is the gradient and Adam's step, which is all that training does for a batch. Of sequences, a batch is 64 of 50 steps of 21 features.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidewatch::training::adam::Adam;
use tidewatch::training::gradient::loss_and_gradient;
use tidewatch::training::reference::Reference;
use tidewatch::training::spec::{Architecture, NetworkKind};
use tidewatch::training::weights::Weights;

const FEATURES: usize = 31;
const BATCH_ROWS: usize = 256;
const SEQUENCE: [usize; 3] = [64, 50, 21];

/// Numbers between -2 and 2, the same in every run.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 11u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 22) as f32) - 2.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn training(criterion: &mut Criterion) {
    // SAFETY: nothing else runs yet.
    unsafe { tidewatch::scoring::single_threaded() };
    let [_, steps, features] = SEQUENCE;
    let small = Architecture { kind: NetworkKind::Lstm, encoder: vec![32, 16], decoder: vec![16, 32] };
    let models = [
        ("lstm_64_32_16", Weights::seeded(&Architecture::lstm(), FEATURES, 7), BATCH_ROWS),
        ("dense_16_8", Weights::seeded(&Architecture::dense(), FEATURES, 7), BATCH_ROWS),
        ("lstm_64_32_16_by_50", Weights::of_sequences(&Architecture::lstm(), steps, features, 7), SEQUENCE[0]),
        ("lstm_32_16_by_50", Weights::of_sequences(&small, steps, features, 7), SEQUENCE[0]),
    ];
    for (name, weights, batch) in models {
        let rows = numbers(batch * weights.values());
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        group.throughput(Throughput::Elements(batch as u64));
        let reference = Reference::new(&weights).expect("candle takes the weights");
        group.bench_function(BenchmarkId::new("gradient", "candle"), |bencher| {
            bencher.iter(|| reference.loss_and_gradient(black_box(&rows)));
        });
        group.bench_function(BenchmarkId::new("gradient", "ours"), |bencher| {
            bencher.iter(|| loss_and_gradient(&weights, black_box(&rows)));
        });
        let (mut moved, mut adam) = (weights.clone(), Adam::new(&weights, 1e-3));
        group.bench_function(BenchmarkId::new("step", "ours"), |bencher| {
            bencher.iter(|| {
                let (loss, gradient) = loss_and_gradient(&moved, black_box(&rows)).expect("the rows fit");
                adam.step(&mut moved, &gradient);
                loss
            });
        });
        group.finish();
    }
}

criterion_group!(benches, training);
criterion_main!(benches);
