//! scikit-learn's k-means, as it stands in a pickle.
//!
//! Promise: there is at least one centre, all have a number for each feature, and every number is finite.

use super::attributes::Attributes;
use super::fault::PickleFault;

/// The centres of k-means. A row's cluster is that of the centre at the least Euclidean distance; of equals the first.
#[derive(Clone, Debug, PartialEq)]
pub struct PickledCenters {
    /// How many features a row has.
    pub features: usize,
    /// The columns' names, where it was fitted on named ones.
    pub feature_names: Option<Vec<String>>,
    /// `cluster_centers_`, a row for each cluster.
    pub centers: Vec<Vec<f64>>,
}

pub(super) fn read(attributes: &Attributes<'_>) -> Result<PickledCenters, PickleFault> {
    const CENTERS: &str = "cluster_centers_";
    let centers = attributes.rows(CENTERS, 2)?;
    let Some(features) = centers.first().map(Vec::len) else {
        return Err(attributes.fault(CENTERS, "has no centre"));
    };
    if attributes.features()?.is_some_and(|said| said != features) {
        return Err(attributes.fault(CENTERS, "has not a number for each feature"));
    }
    if centers.iter().flatten().any(|number| !number.is_finite()) {
        return Err(attributes.fault(CENTERS, "has a number that is not finite"));
    }
    let feature_names = attributes.feature_names()?.filter(|names| names.len() == features);
    Ok(PickledCenters { features, feature_names, centers })
}
