//! scikit-learn's scalers, as they stand in a pickle.
//!
//! Promise: a scaler scales as scikit-learn's `transform` does, its switches (`with_mean`, `with_scaling`, `clip`) included, and its numbers are
//! sound, or it is refused.

use super::attributes::Attributes;
use super::fault::PickleFault;
use super::global::Class;
use crate::models::features::Scaler;
use crate::models::import::sidecar::ScalerFile;

/// A scaler that does nothing tells in a few bytes how many features it does nothing to; so many are believed.
const FEATURES_MAX: usize = 1 << 16;

/// The scaler of these attributes; nothing where the class is none.
pub(super) fn read(class: Class, attributes: &Attributes<'_>) -> Result<Option<ScalerFile>, PickleFault> {
    let scaler = match class {
        Class::StandardScaler => {
            let mean = switched(attributes, "with_mean", "mean_")?;
            centred(attributes, mean, switched(attributes, "with_std", "scale_")?)?
        }
        Class::RobustScaler => {
            let center = switched(attributes, "with_centering", "center_")?;
            centred(attributes, center, switched(attributes, "with_scaling", "scale_")?)?
        }
        Class::MaxAbsScaler => {
            if attributes.switch("clip", false)? {
                return Err(attributes.fault("clip", "is on, which is not supported"));
            }
            centred(attributes, None, Some(attributes.floats("scale_")?))?
        }
        Class::MinMaxScaler => Scaler::MinMax {
            scale: attributes.floats("scale_")?,
            offset: attributes.floats("min_")?,
            range: attributes.pair("feature_range")?,
            clip: attributes.switch("clip", false)?,
        },
        _ => return Ok(None),
    };
    let features = attributes.feature_names()?;
    let (Scaler::Standard { mean: numbers, .. } | Scaler::MinMax { scale: numbers, .. }) = &scaler else {
        return Ok(None);
    };
    let said = features.as_ref().map(Vec::len).or(attributes.features()?);
    scaler
        .check(said.unwrap_or(numbers.len()))
        .map_err(|source| PickleFault::Scaler { class: class.name(), source })?;
    Ok(Some(ScalerFile { scaler, features }))
}

/// Numbers that a switch may turn off.
fn switched(attributes: &Attributes<'_>, switch: &str, numbers: &str) -> Result<Option<Vec<f64>>, PickleFault> {
    attributes.switch(switch, true)?.then(|| attributes.floats(numbers)).transpose()
}

/// `(x - center) / scale`, where what is switched off changes nothing.
fn centred(
    attributes: &Attributes<'_>,
    center: Option<Vec<f64>>,
    scale: Option<Vec<f64>>,
) -> Result<Scaler, PickleFault> {
    let features = match (&center, &scale) {
        (Some(numbers), _) | (None, Some(numbers)) => numbers.len(),
        (None, None) => attributes.count("n_features_in_")?,
    };
    if features > FEATURES_MAX {
        return Err(attributes.fault("n_features_in_", "is too large"));
    }
    Ok(Scaler::Standard {
        mean: center.unwrap_or_else(|| vec![0.0; features]),
        deviation: scale.unwrap_or_else(|| vec![1.0; features]),
    })
}
