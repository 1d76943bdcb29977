//! The JSON files that lie beside a Keras model: the scaler, the threshold, the names of the features.
//!
//! What a file is shows from what it holds, not from its name.

use std::path::Path;

use serde_json::{Map, Value};

use crate::models::estimator::ErrorMeasure;
use crate::models::features::{Feature, Scaler};
use crate::models::import::ImportError;

/// What one file gives.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sidecar {
    pub scaler: Option<ScalerFile>,
    pub threshold: Option<f64>,
    pub error: Option<ErrorMeasure>,
    pub features: Option<Vec<Feature>>,
}

/// A scaler, and the names of what it scales if it knows them.
#[derive(Debug, PartialEq)]
pub struct ScalerFile {
    pub scaler: Scaler,
    pub features: Option<Vec<String>>,
}

/// Understands the bytes of `file`.
pub(super) fn read(file: &Path, bytes: &[u8]) -> Result<Sidecar, ImportError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let json =
        serde_json::from_slice(bytes).map_err(|source| ImportError::Json { file: file.to_path_buf(), source })?;
    let sidecar = match &json {
        Value::Number(number) => Ok(Sidecar { threshold: number.as_f64(), ..Sidecar::default() }),
        Value::Array(list) => features(list).map(|features| Sidecar { features: Some(features), ..Sidecar::default() }),
        Value::Object(object) => of_object(object),
        _ => Ok(Sidecar::default()),
    };
    match sidecar {
        Ok(sidecar) if sidecar == Sidecar::default() => Err(ImportError::UnknownFile { file: file.to_path_buf() }),
        Ok(sidecar) => Ok(sidecar),
        Err(fault) => Err(ImportError::Sidecar { file: file.to_path_buf(), fault }),
    }
}

const KIND: &[&str] = &["kind", "type", "class", "class_name", "scaler"];
const FEATURES: &[&str] =
    &["features", "numeric_features", "feature_names", "feature_names_in", "feature_names_in_", "columns"];
const ERROR: &[&str] = &["error", "measure", "metric", "error_measure"];

fn of_object(object: &Map<String, Value>) -> Result<Sidecar, String> {
    let listed = first(object, FEATURES).and_then(Value::as_array);
    if let Some(scaler) = scaler(object)? {
        let features = listed.map(|list| features(list)).transpose()?;
        let features = features.map(|features| features.into_iter().map(|feature| feature.name).collect());
        return Ok(Sidecar { scaler: Some(ScalerFile { scaler, features }), ..Sidecar::default() });
    }
    let threshold = match object.get("threshold") {
        None => None,
        Some(value) => Some(value.as_f64().ok_or("its threshold is not a number")?),
    };
    let error = match first(object, ERROR).and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        Some("mae" | "mean_absolute_error") => Some(ErrorMeasure::Mae),
        Some("mse" | "mean_squared_error") => Some(ErrorMeasure::Mse),
        _ => None,
    };
    Ok(Sidecar { scaler: None, threshold, error, features: listed.map(|list| features(list)).transpose()? })
}

fn first<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| object.get(*name)).filter(|value| !value.is_null())
}

/// Names, or objects with a name and perhaps a field, a default, and whether the column may be missing.
fn features(list: &[Value]) -> Result<Vec<Feature>, String> {
    let feature = |value: &Value| match value {
        Value::String(name) => Ok(Feature::of_field(name)),
        Value::Object(object) => {
            let mut object = object.clone();
            if let (None, Some(name)) = (object.get("field"), object.get("name").cloned()) {
                object.insert("field".to_string(), name);
            }
            serde_json::from_value(Value::Object(object)).map_err(|error| format!("a feature: {error}"))
        }
        other => Err(format!("{other} is not a feature's name")),
    };
    list.iter().map(feature).collect()
}

/// The scaler that an object describes, if it describes one.
fn scaler(object: &Map<String, Value>) -> Result<Option<Scaler>, String> {
    let named = first(object, KIND).and_then(Value::as_str).unwrap_or("");
    let kind = named.to_ascii_lowercase();
    let has = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
    let kind = match kind.trim_end_matches("scaler").trim_end_matches('_') {
        "" if has(&["mean", "mean_"]) => "standard",
        "" if has(&["data_min", "data_min_", "min_"]) => "minmax",
        "" if has(&["center", "center_"]) => "robust",
        "" if has(&["max_abs", "max_abs_"]) => "maxabs",
        "" => return Ok(None),
        "min_max" => "minmax",
        "max_abs" => "maxabs",
        // A threshold file may say what kind of threshold it is.
        _ if has(&["threshold"]) && !has(&["scale", "scale_"]) => return Ok(None),
        other => other,
    };
    let numbers = Numbers(object);
    match kind {
        "standard" => numbers.centred(&["mean", "mean_"], &["scale", "scale_", "std", "std_"]).map(Some),
        "robust" => numbers.centred(&["center", "center_"], &["scale", "scale_"]).map(Some),
        "maxabs" => numbers.centred(&[], &["scale", "scale_", "max_abs", "max_abs_"]).map(Some),
        "minmax" => numbers.min_max().map(Some),
        _ => Err(format!("the scaler `{named}` is not supported")),
    }
}

/// The lists of numbers in a scaler's object.
struct Numbers<'a>(&'a Map<String, Value>);

impl Numbers<'_> {
    fn list(&self, names: &[&str]) -> Result<Option<Vec<f64>>, String> {
        let Some(value) = first(self.0, names) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
        list.map(Some).ok_or_else(|| format!("its {} is not a list of numbers", names[0]))
    }

    /// `(x - center) / scale`, where either may be switched off, but not both.
    fn centred(&self, center: &[&str], scale: &[&str]) -> Result<Scaler, String> {
        let deviation = match (self.list(scale)?, self.list(&["var", "var_"])?) {
            (None, Some(variance)) => {
                Some(variance.into_iter().map(|value| if value == 0.0 { 1.0 } else { value.sqrt() }).collect())
            }
            (scale, _) => scale,
        };
        match (self.list(center)?, deviation) {
            (Some(mean), Some(deviation)) => Ok(Scaler::Standard { mean, deviation }),
            (Some(mean), None) => Ok(Scaler::Standard { deviation: vec![1.0; mean.len()], mean }),
            (None, Some(deviation)) => Ok(Scaler::Standard { mean: vec![0.0; deviation.len()], deviation }),
            (None, None) => Err("the scaler has no numbers".to_string()),
        }
    }

    /// `x * scale + offset`; both are computed as scikit-learn does where only the data's bounds are given.
    fn min_max(&self) -> Result<Scaler, String> {
        let range = self.list(&["feature_range", "range"])?.unwrap_or_else(|| vec![0.0, 1.0]);
        let [low, high] = range[..] else { return Err("its feature_range is not two numbers".to_string()) };
        let clip = self.0.get("clip").and_then(Value::as_bool).unwrap_or(false);
        let (scale, offset) = match (self.list(&["scale", "scale_"])?, self.list(&["min", "min_", "offset"])?) {
            (Some(scale), Some(offset)) => (scale, offset),
            _ => {
                let bounds = (self.list(&["data_min", "data_min_"])?, self.list(&["data_max", "data_max_"])?);
                let (Some(least), Some(greatest)) = bounds else {
                    return Err("the scaler has neither scale and min nor data_min and data_max".to_string());
                };
                let width = |(least, greatest): (&f64, &f64)| if greatest == least { 1.0 } else { greatest - least };
                let scale: Vec<f64> = least.iter().zip(&greatest).map(|pair| (high - low) / width(pair)).collect();
                let offset = least.iter().zip(&scale).map(|(least, scale)| low - least * scale).collect();
                (scale, offset)
            }
        };
        Ok(Scaler::MinMax { scale, offset, range: [low, high], clip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Sidecar, ImportError> {
        read(Path::new("beside.json"), json.as_bytes())
    }

    fn scaler(json: &str) -> Scaler {
        check(json).unwrap().scaler.unwrap().scaler
    }

    #[test]
    fn a_threshold_may_stand_alone_or_with_its_measure() {
        assert_eq!(check("0.25").unwrap().threshold, Some(0.25));
        let sidecar = check(r#"{"threshold": 0.5, "error": "mae", "percentile": 99}"#).unwrap();
        assert_eq!((sidecar.threshold, sidecar.error), (Some(0.5), Some(ErrorMeasure::Mae)));
    }

    #[test]
    fn features_may_be_names_or_say_where_they_come_from() {
        let features =
            check(r#"["a", {"name": "b", "field": "a", "default": 2.0, "optional": true}]"#).unwrap().features;
        let second = Feature { name: "b".into(), default: 2.0, optional: true, ..Feature::of_field("a") };
        assert_eq!(features, Some(vec![Feature::of_field("a"), second]));
        assert_eq!(check(r#"{"features": ["x"]}"#).unwrap().features, Some(vec![Feature::of_field("x")]));
    }

    #[test]
    fn scalers_are_known_by_scikit_learns_names_with_or_without_the_underscore() {
        let standard = Scaler::Standard { mean: vec![1.0], deviation: vec![2.0] };
        assert_eq!(scaler(r#"{"kind": "StandardScaler", "mean": [1], "scale": [2]}"#), standard);
        assert_eq!(scaler(r#"{"mean_": [1], "var_": [4]}"#), standard);
        let min_max = Scaler::MinMax { scale: vec![0.5], offset: vec![-1.0], range: [0.0, 1.0], clip: true };
        assert_eq!(scaler(r#"{"type": "MinMaxScaler", "min_": [-1], "scale_": [0.5], "clip": true}"#), min_max);
        let Scaler::MinMax { scale, offset, .. } = scaler(r#"{"data_min_": [2, 7], "data_max_": [4, 7]}"#) else {
            panic!("not a min-max scaler");
        };
        assert_eq!((scale, offset), (vec![0.5, 1.0], vec![-1.0, -7.0]));
    }

    #[test]
    fn a_scaler_that_is_not_known_is_refused_by_name() {
        let error = check(r#"{"type": "QuantileTransformer", "quantiles_": []}"#).unwrap_err().to_string();
        assert_eq!(error, "`beside.json` cannot be understood: the scaler `QuantileTransformer` is not supported");
    }

    #[test]
    fn what_is_nothing_of_a_model_is_refused() {
        assert!(matches!(check(r#"{"learning_rate": 0.1}"#), Err(ImportError::UnknownFile { .. })));
        assert!(matches!(check("[1, 2]"), Err(ImportError::Sidecar { .. })));
        assert!(matches!(check("{"), Err(ImportError::Json { .. })));
    }
}
