//! Pickles that scikit-learn itself wrote, read without Python: the numbers are scikit-learn's, and no bytes can do harm.
//!
//! `tests/golden/pickle` holds the files, `make.py` that made them, and in `expected.json` what scikit-learn computes. The recordings'
//! own scalers are read where `TIDEWATCH_SHARED_DATA` names them.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use tidewatch::models::features::Scaler;
use tidewatch::models::import::pickle::{self, PickleFault, Pickled, PickledForest, PickledModel, PickledTree};
use tidewatch::models::import::{ImportOptions, import};
use tidewatch::models::model::Model;
use tidewatch::scoring::detector::Detector;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pickle")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn expected() -> Value {
    serde_json::from_slice(&bytes("expected.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(floats).collect()
}

/// Every file that scikit-learn wrote, with what it must hold.
fn check(holds: &str, judge: impl Fn(&str, Pickled, &Value, &[Vec<f64>])) {
    let expected = expected();
    let x = rows(&expected["x"]);
    let mut judged = 0;
    for (name, expected) in expected["files"].as_object().unwrap() {
        if expected.get(holds).is_some() {
            let read = pickle::read(&bytes(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            judge(name, read, expected, &x);
            judged += 1;
        }
    }
    assert!(judged > 2, "few files hold {holds}");
}

#[test]
fn a_scaler_of_any_protocol_scales_as_scikit_learn_does() {
    check("scaled", |name, pickled, expected, x| {
        let scaler = pickled.scaler.unwrap();
        for (raw, wanted) in x.iter().zip(rows(&expected["scaled"])) {
            let mut scaled = vec![0.0; raw.len()];
            scaler.scaler.scale(raw, &mut scaled);
            assert_eq!(scaled, wanted.iter().map(|value| *value as f32).collect::<Vec<f32>>(), "{name}");
        }
        let names = expected["names"].as_array().map(|names| names.iter().map(|name| name.as_str().unwrap()).collect());
        assert_eq!(scaler.features.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>()), names);
    });
}

/// A row's score by the words of scikit-learn's documentation, as `PickledForest` repeats them.
fn score(forest: &PickledForest, row: &[f64]) -> f64 {
    let path = |samples: f64| match samples {
        ..2.0 => 0.0,
        2.0 => 1.0,
        n => 2.0 * ((n - 1.0).ln() + 0.577_215_664_901_532_9) - 2.0 * (n - 1.0) / n,
    };
    let depth = |tree: &PickledTree| {
        let (mut node, mut edges) = (tree.nodes[0], 0.0);
        while let Some(split) = node.split {
            let value = f64::from(row[tree.features[split.feature]] as f32);
            node = tree.nodes[if value <= split.threshold { split.left } else { split.right }];
            edges += 1.0;
        }
        edges + path(node.samples as f64)
    };
    let mean = forest.trees.iter().map(depth).sum::<f64>() / forest.trees.len() as f64;
    -(-mean / path(forest.samples_max as f64)).exp2()
}

#[test]
fn a_forests_arrays_are_those_of_scikit_learn_and_give_its_scores() {
    check("trees", |name, pickled, expected, x| {
        let Some(PickledModel::Forest(forest)) = pickled.model else { panic!("{name} holds no forest") };
        assert_eq!(expected["features"], forest.features, "{name}");
        assert_eq!(expected["samples_max"], forest.samples_max, "{name}");
        assert_eq!(expected["offset"], forest.offset, "{name}");
        let trees = expected["trees"].as_array().unwrap();
        assert_eq!(trees.len(), forest.trees.len());
        for (wanted, tree) in trees.iter().zip(&forest.trees) {
            let of = |number: &dyn Fn(usize) -> f64| (0..tree.nodes.len()).map(number).collect::<Vec<f64>>();
            let split = |node: usize| tree.nodes[node].split;
            assert_eq!(floats(&wanted["left"]), of(&|node| split(node).map_or(-1.0, |split| split.left as f64)));
            assert_eq!(floats(&wanted["right"]), of(&|node| split(node).map_or(-1.0, |split| split.right as f64)));
            assert_eq!(floats(&wanted["feature"]), of(&|node| split(node).map_or(-2.0, |split| split.feature as f64)));
            assert_eq!(floats(&wanted["threshold"]), of(&|node| split(node).map_or(-2.0, |split| split.threshold)));
            assert_eq!(floats(&wanted["samples"]), of(&|node| tree.nodes[node].samples as f64));
            assert_eq!(floats(&wanted["features"]), tree.features.iter().map(|i| *i as f64).collect::<Vec<f64>>());
        }
        for (raw, wanted) in x.iter().zip(floats(&expected["scores"])) {
            let scaled = match &pickled.scaler {
                Some(scaler) => {
                    let Scaler::Standard { mean, deviation } = &scaler.scaler else { panic!("{name}") };
                    (0..raw.len()).map(|i| (raw[i] - mean[i]) / deviation[i]).collect()
                }
                None => raw.clone(),
            };
            assert!((score(&forest, &scaled) - wanted).abs() < 1e-12, "{name}");
        }
    });
}

/// The file as a model, its features named `f0`, `f1` and so on where it does not name them itself.
fn imported(name: &str, threshold: Option<f64>) -> Model {
    let folder = TempDir::new().unwrap();
    let pickled = pickle::read(&bytes(name)).unwrap();
    let (features, named) = match pickled.model.unwrap() {
        PickledModel::Forest(forest) => (forest.features, forest.feature_names.is_some()),
        PickledModel::Centers(centers) => (centers.features, centers.feature_names.is_some()),
    };
    let mut files = vec![path_of(name)];
    if !named && pickled.scaler.is_none_or(|scaler| scaler.features.is_none()) {
        let names: Vec<String> = (0..features).map(|feature| format!("f{feature}")).collect();
        let path = folder.path().join("features.json");
        std::fs::write(&path, serde_json::to_vec(&names).unwrap()).unwrap();
        files.push(path);
    }
    import(&files, &ImportOptions { error: None, threshold }).unwrap_or_else(|error| panic!("{name}: {error}")).model
}

fn path_of(name: &str) -> PathBuf {
    folder().join(name)
}

#[test]
fn an_imported_forest_scores_as_scikit_learn_does() {
    check("trees", |name, _, expected, x| {
        let model = imported(name, None);
        assert_eq!(model.threshold().value, -expected["offset"].as_f64().unwrap(), "{name}");
        let raw: Vec<f64> = x.concat();
        let scores = Detector::new(Arc::new(model)).score(&raw);
        for (score, wanted) in scores.iter().zip(floats(&expected["scores"])) {
            assert!((score + wanted).abs() < 1e-9, "{name}: {score} and {wanted}");
        }
    });
}

#[test]
fn imported_centres_give_the_distance_to_the_nearest() {
    check("centers", |name, pickled, expected, x| {
        let scores = Detector::new(Arc::new(imported(name, Some(1.0)))).score(&x.concat());
        let centers = rows(&expected["centers"]);
        assert!(pickled.scaler.is_none());
        for (score, row) in scores.iter().zip(x) {
            let distance =
                |center: &Vec<f64>| center.iter().zip(row).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let wanted = centers.iter().map(distance).fold(f64::INFINITY, f64::min);
            // What a model computes with are the f32 of the values.
            assert!((score / wanted - 1.0).abs() < 1e-5, "{name}: {score} and {wanted}");
        }
    });
}

#[test]
fn the_centres_of_k_means_are_those_of_scikit_learn() {
    check("centers", |name, pickled, expected, _| {
        let Some(PickledModel::Centers(centers)) = pickled.model else { panic!("{name} holds no centres") };
        assert_eq!(expected["features"], centers.features, "{name}");
        assert_eq!(centers.centers, rows(&expected["centers"]), "{name}");
    });
}

/// The file with one text for another, wherever it stands.
fn replaced(name: &str, from: &str, to: &str) -> Vec<u8> {
    let bytes = bytes(name);
    let (mut out, mut at, mut found) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            out.extend_from_slice(to.as_bytes());
            (at, found) = (at + from.len(), found + 1);
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    assert!(found > 0, "{name} has no {from}");
    out
}

#[test]
fn numpy_before_version_2_is_read_the_same() {
    for name in ["standard.0.pkl", "standard.2.pkl", "forest.0.pkl"] {
        let older = replaced(name, "numpy._core", "numpy.core");
        assert_eq!(pickle::read(&older).unwrap(), pickle::read(&bytes(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_pickle_that_would_run_code_is_refused_by_the_name_of_what_it_asks_for() {
    for (name, asked) in [("hidden.evil", "posix.getpid"), ("in_an_array.evil", "posix.getpid")] {
        let fault = pickle::read(&bytes(name)).unwrap_err();
        assert!(matches!(&fault, PickleFault::Global { name } if name == asked), "{name}: {fault}");
    }
    let shell = b"cos\nsystem\n(S'touch evil'\ntR.";
    assert!(matches!(pickle::read(shell), Err(PickleFault::Global { name }) if name == "os.system"));
    let other = replaced("standard.0.pkl", "StandardScaler", "QuantileTransformer");
    let fault = pickle::read(&other).unwrap_err().to_string();
    assert!(fault.contains("`sklearn.preprocessing._data.QuantileTransformer`"), "{fault}");
}

#[test]
fn what_a_class_lacks_is_told_by_its_name() {
    let fault = pickle::read(&replaced("standard.0.pkl", "scale_", "skale_")).unwrap_err().to_string();
    assert_eq!(
        fault,
        "the `scale_` of its StandardScaler is missing: it was not fitted, or by a version that is not known"
    );
    let mut two = bytes("standard.5.pkl");
    two.extend(bytes("standard.5.pkl"));
    assert!(matches!(pickle::read(&two), Err(PickleFault::Trailing { at }) if at * 2 == two.len()));
    assert!(matches!(pickle::read(b"\x80\x04]."), Err(PickleFault::Kind { .. })));
    assert!(matches!(pickle::read(b""), Err(PickleFault::Cut { at: 0 })));
}

/// A pickle whose references would unfold to far more than the machine has.
#[test]
fn references_cost_nothing_however_often_they_are_nested() {
    let mut lists = b"\x80\x04".to_vec();
    lists.extend_from_slice(b"]\x94");
    for depth in 0..200u8 {
        // A list that holds the one before it ten times.
        lists.extend_from_slice(b"](");
        (0..10).for_each(|_| lists.extend_from_slice(&[b'h', depth]));
        lists.extend_from_slice(b"e\x94");
    }
    lists.push(b'.');
    assert!(matches!(pickle::read(&lists), Err(PickleFault::Kind { .. })));
    // Into itself, and deep: neither is followed.
    assert!(matches!(pickle::read(b"]\x94h\0a."), Err(PickleFault::Kind { .. })));
    let deep: Vec<u8> = [vec![b']'; 100_000], vec![b'a'; 99_999], vec![b'.']].concat();
    assert!(matches!(pickle::read(&deep), Err(PickleFault::Kind { .. })));
    // One text, made into bytes again and again.
    let mut texts = b"c_codecs\nencode\np0\n0V".to_vec();
    texts.extend(vec![b'x'; 10_000]);
    texts.extend_from_slice(b"\np1\n0Vlatin1\np2\n0");
    (0..10_000).for_each(|_| texts.extend_from_slice(b"h\0h\x01h\x02\x86R"));
    texts.push(b'.');
    assert!(matches!(pickle::read(&texts), Err(PickleFault::Damaged { .. })));
}

/// What is taken of damaged bytes can be used like any other.
fn assert_sound(pickled: &Pickled) {
    if let Some(file) = &pickled.scaler {
        let numbers = match &file.scaler {
            Scaler::Standard { mean, deviation } => [mean, deviation],
            Scaler::MinMax { scale, offset, .. } => [scale, offset],
            Scaler::None => panic!("no scaler"),
        };
        assert!(numbers.iter().all(|numbers| numbers.iter().all(|number| number.is_finite())));
        let raw = vec![1.0; numbers[0].len()];
        file.scaler.scale(&raw, &mut vec![0.0; raw.len()]);
        assert!(file.features.as_ref().is_none_or(|names| names.len() == raw.len()));
    }
    match &pickled.model {
        Some(PickledModel::Forest(forest)) => {
            let score = score(forest, &vec![1.0; forest.features]);
            assert!(score <= 0.0 || score.is_nan());
        }
        Some(PickledModel::Centers(centers)) => {
            assert!(centers.centers.iter().all(|center| center.len() == centers.features));
        }
        None => {}
    }
}

fn files() -> Vec<Vec<u8>> {
    let expected = expected();
    let names = expected["files"].as_object().unwrap().keys();
    names.map(|name| bytes(name)).chain([bytes("hidden.evil"), bytes("in_an_array.evil")]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn damaged_bytes_give_a_fault_or_what_is_sound(
        file in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        thread_local!(static FILES: Vec<Vec<u8>> = files());
        let mut bytes = FILES.with(|files| file.get(files).clone());
        for (place, byte, edit) in edits {
            let at = place.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        if let Ok(pickled) = pickle::read(&bytes) {
            assert_sound(&pickled);
        }
    }

    #[test]
    fn a_cut_file_is_a_fault(file in any::<prop::sample::Index>(), place in any::<prop::sample::Index>()) {
        thread_local!(static FILES: Vec<Vec<u8>> = files());
        let bytes = FILES.with(|files| file.get(files).clone());
        prop_assert!(pickle::read(&bytes[..place.index(bytes.len())]).is_err());
    }
}

#[test]
fn the_recordings_own_scalers_are_those_that_lie_beside_them_as_json() {
    let Some(data) = std::env::var_os("TIDEWATCH_SHARED_DATA").map(PathBuf::from) else {
        println!("skipped: TIDEWATCH_SHARED_DATA does not name the folder of recordings");
        return;
    };
    for (folder, first, second) in [("iomt-model", "scale", "min"), ("keras-golden", "mean", "scale")] {
        let read = |name: &str| std::fs::read(data.join(folder).join(name)).unwrap();
        let json: Value = serde_json::from_slice(&read("scaler.json")).unwrap();
        let scaler = pickle::read(&read("scaler.pkl")).unwrap().scaler.unwrap().scaler;
        let (Scaler::Standard { mean: one, deviation: two } | Scaler::MinMax { scale: one, offset: two, .. }) = scaler
        else {
            panic!("{folder}")
        };
        assert_eq!((one, two), (floats(&json[first]), floats(&json[second])), "{folder}");
    }
}
