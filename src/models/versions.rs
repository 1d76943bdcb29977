//! Where a detector's models come from: the version that is in force, and any other one by its name.
//!
//! Promise: what is loaded is a sound model, and comes with the digest by which it is known again. Whether it fits the rows that are to be
//! scored is left to `scoring`, and from when on it scores to the schedule.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::models::folder::{self, MODEL, ModelError};
use crate::models::model::{Model, ModelVersion, RegisteredModel};
use crate::models::registry;
use crate::storage::digest::Sha256;

/// A model with the digest of what describes it, which holds that of its weights.
#[derive(Clone, Debug)]
pub struct KnownModel {
    pub model: Arc<RegisteredModel>,
    pub sha256: Sha256,
}

/// See the module.
pub trait Versions: fmt::Debug + Send + Sync {
    /// The version that is in force now.
    fn in_force(&self) -> Result<ModelVersion, ModelError>;

    fn load(&self, version: &ModelVersion) -> Result<KnownModel, ModelError>;
}

/// A registry on the local disk, by the reference of a configuration: `models/iomt`, or `models/iomt/3` for one version for ever.
#[derive(Clone, Debug)]
pub struct FolderVersions {
    reference: PathBuf,
}

impl FolderVersions {
    pub fn new(reference: impl Into<PathBuf>) -> FolderVersions {
        FolderVersions { reference: reference.into() }
    }
}

impl Versions for FolderVersions {
    fn in_force(&self) -> Result<ModelVersion, ModelError> {
        registry::referred(&self.reference).map(|(_, version)| version)
    }

    /// A version of another model is looked for beside this one: the detector may have had it before.
    fn load(&self, version: &ModelVersion) -> Result<KnownModel, ModelError> {
        let folder = registry::pinned(&self.reference).map_or_else(|| self.reference.clone(), |(folder, _)| folder);
        let folder = folder.parent().unwrap_or(Path::new("")).join(&version.name).join(version.version.to_string());
        let model = registry::load(&folder)?;
        let path = folder.join(MODEL);
        let description = fs::read(&path).map_err(|source| ModelError::Unreadable { path, source })?;
        Ok(KnownModel { model: Arc::new(model), sha256: Sha256::of(&description) })
    }
}

/// A model that the configuration makes, and that is the only one.
#[derive(Clone, Debug)]
pub struct GivenModel(Arc<RegisteredModel>);

impl GivenModel {
    /// The version's number follows from what the model is: another configuration is another version.
    pub fn new(name: &str, model: Model) -> GivenModel {
        let number = Sha256::of(&folder::description(&model)).short();
        // Seven of its digits, so that the number fits and is never zero.
        let version = u32::from_str_radix(&number[..7], 16).unwrap_or(0) + 1;
        GivenModel(Arc::new(RegisteredModel { version: ModelVersion { name: name.to_owned(), version }, model }))
    }

    pub fn model(&self) -> &Arc<RegisteredModel> {
        &self.0
    }
}

impl Versions for GivenModel {
    fn in_force(&self) -> Result<ModelVersion, ModelError> {
        Ok(self.0.version.clone())
    }

    fn load(&self, version: &ModelVersion) -> Result<KnownModel, ModelError> {
        if *version != self.0.version {
            return Err(ModelError::Configured { wanted: version.to_string(), found: self.0.version.to_string() });
        }
        Ok(KnownModel { model: Arc::clone(&self.0), sha256: Sha256::of(&folder::description(&self.0.model)) })
    }
}

/// A version by the name that scores give it, such as `iomt/3`.
pub fn named(text: &str) -> Option<ModelVersion> {
    let (name, version) = text.rsplit_once('/')?;
    Some(ModelVersion { name: name.to_owned(), version: registry::version_of(version)? })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::models::model::tests::small_model;

    fn registry(models: &[(&str, f64)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, threshold) in models {
            let mut parts = small_model(2);
            parts.threshold.value = *threshold;
            registry::save(&folder.path().join(name), &Model::new(parts).unwrap()).unwrap();
        }
        folder
    }

    #[test]
    fn any_version_is_found_by_its_name_whatever_the_reference_pins() {
        let folder = registry(&[("iomt", 0.1), ("iomt", 0.2), ("other", 0.3)]);
        for (reference, in_force) in [("iomt", "iomt/2"), ("iomt/1", "iomt/1"), ("other", "other/1")] {
            let versions = FolderVersions::new(folder.path().join(reference));
            assert_eq!(versions.in_force().unwrap().to_string(), in_force);
            for (name, threshold) in [("iomt/1", 0.1), ("iomt/2", 0.2), ("other/1", 0.3)] {
                let found = versions.load(&named(name).unwrap()).unwrap();
                assert_eq!(found.model.model.threshold().value, threshold);
                assert_eq!(found.model.version.to_string(), name);
            }
        }
    }

    #[test]
    fn the_digest_changes_with_what_describes_the_model() {
        let folder = registry(&[("iomt", 0.1), ("iomt", 0.2), ("same", 0.1)]);
        let versions = FolderVersions::new(folder.path().join("iomt"));
        let digest = |name| versions.load(&named(name).unwrap()).unwrap().sha256;
        assert_eq!(digest("iomt/1"), digest("same/1"));
        assert_ne!(digest("iomt/1"), digest("iomt/2"));
    }

    #[test]
    fn a_name_that_is_none_names_nothing() {
        assert_eq!(named("iomt/3").unwrap().to_string(), "iomt/3");
        for none in ["iomt", "iomt/", "iomt/03", "iomt/x", "iomt/0"] {
            assert_eq!(named(none), None, "{none}");
        }
    }
}
