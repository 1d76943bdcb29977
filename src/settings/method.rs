//! What of `[[detectors]]` says what is trained: `kind`, and the keys that belong to it.

use std::time::Duration;

use crate::domain::time::micros;
use crate::models::baseline::{Baseline, BaselineMethod, TAIL_HISTORY_MAX};
use crate::models::subspace::SubspaceMeasure;
use crate::training::spec::{Architecture, Components, Method, NetworkKind};

use super::fault::Wrong;
use super::reader::Reader;
use super::training::number_in;
use super::tree::{Node, Value};
use super::value::{Read, duration, integer_in, one_of, unfit};

/// A layer beyond this is a slip.
const UNITS_MAX: i64 = 4096;

#[derive(Clone, Copy)]
enum Kind {
    Network(NetworkKind),
    Pca,
    IsolationForest,
    KMeans,
    Classifier,
    Robust,
    Ewma,
    Profile,
    Tail,
}

pub(super) fn read(detector: &Reader<'_>) -> Method {
    let kinds = [
        ("lstm_autoencoder", Kind::Network(NetworkKind::Lstm)),
        ("dense_autoencoder", Kind::Network(NetworkKind::Dense)),
        ("pca", Kind::Pca),
        ("isolation_forest", Kind::IsolationForest),
        ("k_means", Kind::KMeans),
        ("classifier", Kind::Classifier),
        ("robust", Kind::Robust),
        ("ewma", Kind::Ewma),
        ("profile", Kind::Profile),
        ("tail", Kind::Tail),
    ];
    let count = |name, default: usize, max| {
        detector.optional(name, integer_in(1, max)).and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
    };
    match detector.or("kind", Kind::Network(NetworkKind::Lstm), one_of(&kinds)) {
        Kind::Network(kind) => Method::Autoencoder(architecture(detector, kind)),
        Kind::Pca => Method::Pca {
            measure: detector.or(
                "measure",
                SubspaceMeasure::Mahalanobis,
                one_of(&[
                    ("reconstruction", SubspaceMeasure::Reconstruction),
                    ("t2", SubspaceMeasure::T2),
                    ("mahalanobis", SubspaceMeasure::Mahalanobis),
                ]),
            ),
            components: detector.or("components", Components::Share(0.95), components),
            variance_floor: 0.0,
        },
        Kind::IsolationForest => Method::IsolationForest {
            trees: count("trees", 100, 100_000),
            sample_rows: count("samples", 256, 1 << 24).max(2),
        },
        Kind::Robust => baseline(detector, BaselineMethod::Robust),
        Kind::Ewma => {
            let half_life = detector.or("half_life", 20.0, number_in(0.1, 1e6));
            baseline(detector, BaselineMethod::Ewma { half_life })
        }
        Kind::Profile => {
            let span = |name, default| micros(detector.or(name, default, duration));
            let period_us = span("period", DAY).max(1);
            baseline(detector, BaselineMethod::Profile { period_us, near_us: span("near", HOUR).min(period_us - 1) })
        }
        Kind::Tail => tail(detector),
        Kind::KMeans => Method::KMeans { clusters: count("clusters", 8, 65_536) },
        Kind::Classifier => Method::Classifier { layers: detector.or("layers", vec![16], |node| units(node, 0)) },
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn baseline(detector: &Reader<'_>, method: BaselineMethod) -> Method {
    let count = |name, least, default: u32| {
        let value = detector.optional(name, integer_in(least, 1 << 20)).and_then(|value| u32::try_from(value).ok());
        value.unwrap_or(default)
    };
    let history = count("history", 2, 100);
    let rows_min = count("history_min", 2, 10.min(history));
    let every = count("every", 1, 1);
    if rows_min > history {
        let wrong = Wrong::new(format!("it is more than the history of {history} windows"), "write a smaller number");
        detector.fault("history_min", wrong);
    }
    let threshold = detector.optional("threshold", number_in(0.1, 1e6));
    let baseline = Baseline { method, history, every, rows_min, floors: Vec::new() };
    if detector.node("model").is_none() {
        return Method::Baseline { baseline, threshold: Some(threshold.unwrap_or(6.0)) };
    }
    if threshold.is_some() {
        let problem = "a detector with a model has the threshold that `train` found";
        detector.fault("threshold", Wrong::new(problem, "take it out, or take out `model`"));
    }
    Method::Baseline { baseline, threshold: None }
}

fn tail(detector: &Reader<'_>) -> Method {
    let count = |name, least, most, default| {
        let value = detector.optional(name, integer_in(least, most)).and_then(|value| u32::try_from(value).ok());
        value.unwrap_or(default)
    };
    let history = count("history", 200, i64::from(TAIL_HISTORY_MAX), 4000);
    let rows_min = count("history_min", 50, i64::from(history), 100);
    let quiet_us = micros(detector.or("quiet", DAY, duration));
    let method = BaselineMethod::Tail { quiet_us, again: detector.or("again", 1.1, number_in(0.0, 1000.0)) };
    let threshold = detector.or("threshold", 3.0, number_in(0.1, 1e6));
    if detector.node("model").is_some() {
        detector.fault("model", Wrong::new("a detector of this kind has no model", "take it out"));
    }
    let baseline = Baseline { method, history, every: 1, rows_min, floors: Vec::new() };
    Method::Baseline { baseline, threshold: Some(threshold) }
}

fn architecture(detector: &Reader<'_>, kind: NetworkKind) -> Architecture {
    let decoder = detector.optional("decoder", |node| units(node, 0));
    let mirrored = match detector.optional("encoder", |node| units(node, 1)) {
        Some(encoder) => Architecture::mirrored(kind, encoder),
        None if kind == NetworkKind::Lstm => Architecture::lstm(),
        None => Architecture::dense(),
    };
    Architecture { decoder: decoder.unwrap_or(mirrored.decoder), ..mirrored }
}

/// A whole number of components, or the share of the variance that they explain.
fn components(node: &Node) -> Read<Components> {
    match node.value {
        Value::Integer(_) => Ok(Components::Count(integer_in(1, UNITS_MAX)(node)?.unsigned_abs() as usize)),
        Value::Float(_) => Ok(Components::Share(number_in(0.01, 0.9999)(node)?)),
        _ => Err(unfit(
            node,
            "a number of components",
            "write how many, such as 8, or the share they explain, such as 0.95",
        )),
    }
}

/// Units of each layer.
fn units(node: &Node, layers_min: usize) -> Read<Vec<usize>> {
    let cure = format!("write a list of numbers from 1 to {UNITS_MAX}, such as [64, 32, 16]");
    let Value::List(items) = &node.value else { return Err(unfit(node, "a list of layers", &cure)) };
    if items.len() < layers_min || items.len() > 64 {
        return Err(Wrong::new(format!("{} layers are not possible", items.len()), cure));
    }
    let units = items.iter().map(integer_in(1, UNITS_MAX));
    units.map(|units| Ok(units?.unsigned_abs() as usize)).collect()
}
