//! The versions of a model: folders named by ascending whole numbers under `models/<name>/`.
//!
//! The version in force is the one that the first line of the file `current` names, if there is such a file, else the greatest; its other
//! lines name those that were in force before, the latest first. A version is complete as soon as it can be seen, and is never changed
//! after that; `current` is replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::models::folder::{self, ModelError};
use crate::models::model::{Model, ModelVersion, RegisteredModel};

const CURRENT: &str = "current";
const ACCOUNT: &str = "training.json";
/// `current` remembers so many versions.
const REMEMBERED_MAX: usize = 50;

/// Loads the model that `reference` names: `models/iomt` is the version in force, `models/iomt/3` the third.
pub fn load(reference: &Path) -> Result<RegisteredModel, ModelError> {
    let (folder, version) = referred(reference)?;
    let model = folder::read(&folder.join(version.version.to_string()))?;
    Ok(RegisteredModel { version, model })
}

/// The model's folder, and the version that `reference` stands for.
pub fn referred(reference: &Path) -> Result<(PathBuf, ModelVersion), ModelError> {
    let (folder, version) = match pinned(reference) {
        Some((folder, version)) => (folder, version),
        None => (reference.to_path_buf(), in_force(reference)?),
    };
    let version = ModelVersion { name: name_of(&folder)?, version };
    Ok((folder, version))
}

/// The versions there are, ascending. Whatever else lies in the folder is not looked at.
pub fn versions(model: &Path) -> Result<Vec<u32>, ModelError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ModelError::NotFound { folder: model.to_path_buf() },
        _ => ModelError::Unreadable { path: model.to_path_buf(), source },
    };
    let mut versions = Vec::new();
    for entry in fs::read_dir(model).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        versions.extend(entry.file_name().to_str().and_then(version_of));
    }
    versions.sort_unstable();
    Ok(versions)
}

/// The version that `models/iomt` stands for.
pub fn in_force(model: &Path) -> Result<u32, ModelError> {
    let remembered = remembered(model)?.first().copied();
    remembered.ok_or_else(|| ModelError::NotFound { folder: model.to_path_buf() })
}

/// The version that was in force before the one that is.
pub fn before(model: &Path) -> Result<Option<u32>, ModelError> {
    Ok(remembered(model)?.get(1).copied())
}

/// Puts a version in force, and remembers the one that was. Whether it is sound, and fits, is asked before.
pub fn promote(model: &Path, version: u32) -> Result<(), ModelError> {
    let mut versions = remembered(model)?;
    if versions.first() != Some(&version) {
        versions.insert(0, version);
    }
    write_current(model, &versions)
}

/// Puts the version in force again that was before; gives which that is. None if there was none.
pub fn roll_back(model: &Path) -> Result<Option<u32>, ModelError> {
    let versions = remembered(model)?;
    let Some(before) = versions.get(1).copied() else { return Ok(None) };
    write_current(model, &versions[1..])?;
    Ok(Some(before))
}

/// The version in force, then those that were before, the latest first. Where no file says so, each version was in force until the next one.
fn remembered(model: &Path) -> Result<Vec<u32>, ModelError> {
    let path = model.join(CURRENT);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let versions: Option<Vec<u32>> = lines.map(version_of).collect();
            let versions = versions.filter(|versions| !versions.is_empty());
            versions.ok_or_else(|| ModelError::Current { path, text: text.chars().take(40).collect() })
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            versions(model).map(|versions| versions.into_iter().rev().collect())
        }
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

/// Whoever reads meanwhile finds the file as it was, or as it will be.
fn write_current(model: &Path, versions: &[u32]) -> Result<(), ModelError> {
    let versions = &versions[..versions.len().min(REMEMBERED_MAX)];
    let text: String = versions.iter().map(|version| format!("{version}\n")).collect();
    let staged = model.join(format!(".{CURRENT}-{}", std::process::id()));
    let target = model.join(CURRENT);
    // Left by a process that was killed.
    let _ = fs::remove_file(&staged);
    folder::write_file(&staged, text.as_bytes())?;
    fs::rename(&staged, &target).map_err(|source| ModelError::Unwritable { path: target, source })?;
    folder::sync_folder(model)
}

/// Writes the model as the next version. It is seen whole or not at all, whatever happens meanwhile. `current` is left as it is: where
/// that file stands, the new version waits to be promoted.
pub fn save(model_folder: &Path, model: &Model) -> Result<ModelVersion, ModelError> {
    save_with_account(model_folder, model, None)
}

/// As `save`; `account`, JSON, tells how the model came to be and stands beside it as `training.json`. Nothing that scores reads it.
pub fn save_with_account(
    model_folder: &Path,
    model: &Model,
    account: Option<&[u8]>,
) -> Result<ModelVersion, ModelError> {
    let name = name_of(model_folder)?;
    let unwritable = |path: &Path, source| ModelError::Unwritable { path: path.to_path_buf(), source };
    fs::create_dir_all(model_folder).map_err(|source| unwritable(model_folder, source))?;
    let staged = Staged::create(model_folder)?;
    if let Some(account) = account {
        folder::write_file(&staged.0.join(ACCOUNT), account)?;
    }
    folder::write(&staged.0, model)?;
    let mut version = versions(model_folder)?.last().map_or(1, |last| last.saturating_add(1));
    loop {
        let target = model_folder.join(version.to_string());
        match fs::rename(&staged.0, &target) {
            Ok(()) => break,
            // Another process took this number meanwhile.
            Err(_) if target.exists() && version < u32::MAX => version += 1,
            Err(source) => return Err(unwritable(&target, source)),
        }
    }
    folder::sync_folder(model_folder)?;
    Ok(ModelVersion { name, version })
}

/// A folder that is being filled; removed unless it was renamed.
struct Staged(PathBuf);

impl Staged {
    fn create(model: &Path) -> Result<Staged, ModelError> {
        let mut attempt = 0u32;
        loop {
            let path = model.join(format!(".staged-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Staged(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
                Err(source) => return Err(ModelError::Unwritable { path, source }),
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename nothing is there; after a failure what is left is hidden and harmless.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A version as a folder's name spells it: a whole number from 1, without leading zeros.
pub(crate) fn version_of(name: &str) -> Option<u32> {
    let version = name.parse().ok().filter(|version| *version > 0)?;
    (u32::to_string(&version) == name).then_some(version)
}

/// The model's folder and the version, if the reference names one.
pub fn pinned(reference: &Path) -> Option<(PathBuf, u32)> {
    let version = version_of(reference.file_name()?.to_str()?)?;
    // A model may itself be named by a number: then its folder holds versions, not a model.
    let is_version = reference.join("model.json").exists() || !reference.is_dir();
    is_version.then(|| (reference.parent().unwrap_or(Path::new("")).to_path_buf(), version))
}

fn name_of(folder: &Path) -> Result<String, ModelError> {
    let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_string);
    name.ok_or_else(|| ModelError::Name { folder: folder.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::models::model::tests::small_model;

    fn model(threshold: f64) -> Model {
        let mut parts = small_model(2);
        parts.threshold.value = threshold;
        Model::new(parts).unwrap()
    }

    /// A registry with the model `iomt` in as many versions as there are thresholds.
    fn registry(thresholds: &[f64]) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let iomt = folder.path().join("iomt");
        for threshold in thresholds {
            save(&iomt, &model(*threshold)).unwrap();
        }
        (folder, iomt)
    }

    #[test]
    fn versions_count_up_from_one() {
        let (_folder, iomt) = registry(&[0.1, 0.2]);
        assert_eq!(versions(&iomt).unwrap(), [1, 2]);
        assert_eq!(save(&iomt, &model(0.3)).unwrap().to_string(), "iomt/3");
        let names: Vec<_> = fs::read_dir(&iomt).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "nothing but versions is left: {names:?}");
    }

    #[test]
    fn an_account_stands_beside_its_model() {
        let (_folder, iomt) = registry(&[]);
        save_with_account(&iomt, &model(0.1), Some(b"{}")).unwrap();
        assert_eq!(fs::read(iomt.join("1/training.json")).unwrap(), b"{}");
        assert_eq!(load(&iomt).unwrap().model, model(0.1));
    }

    #[test]
    fn the_greatest_version_is_in_force_unless_current_names_another() {
        let (_folder, iomt) = registry(&(1..=11).map(f64::from).collect::<Vec<_>>());
        assert_eq!(load(&iomt).unwrap().version.version, 11);
        fs::write(iomt.join("current"), "2\n").unwrap();
        let loaded = load(&iomt).unwrap();
        assert_eq!((loaded.version.version, loaded.model.threshold().value), (2, 2.0));
    }

    #[test]
    fn a_pinned_version_is_loaded_whatever_current_says() {
        let (_folder, iomt) = registry(&[0.1, 0.2]);
        fs::write(iomt.join("current"), "1").unwrap();
        assert_eq!(load(&iomt.join("2")).unwrap().version.to_string(), "iomt/2");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let (_folder, iomt) = registry(&[0.1]);
        for missing in [iomt.join("7"), iomt.with_file_name("other")] {
            let error = load(&missing).unwrap_err();
            assert!(matches!(&error, ModelError::NotFound { folder } if *folder == missing), "{error}");
        }
    }

    #[test]
    fn a_current_file_that_names_no_version_is_an_error() {
        let (_folder, iomt) = registry(&[0.1]);
        fs::write(iomt.join("current"), "latest").unwrap();
        assert!(matches!(load(&iomt), Err(ModelError::Current { .. })));
    }

    #[test]
    fn a_promoted_version_is_in_force_and_each_step_back_brings_the_one_before() {
        let (_folder, iomt) = registry(&[0.1, 0.2, 0.3]);
        promote(&iomt, 1).unwrap();
        promote(&iomt, 1).unwrap();
        promote(&iomt, 2).unwrap();
        save(&iomt, &model(0.4)).unwrap();
        assert_eq!((in_force(&iomt).unwrap(), before(&iomt).unwrap()), (2, Some(1)), "a new version waits");
        assert_eq!(fs::read_to_string(iomt.join("current")).unwrap(), "2\n1\n3\n2\n1\n");
        let names: Vec<_> = fs::read_dir(&iomt).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 5, "nothing is left behind: {names:?}");
        let back: Vec<_> = (0..5).map(|_| roll_back(&iomt).unwrap()).collect();
        assert_eq!(back, [Some(1), Some(3), Some(2), Some(1), None]);
        assert_eq!(in_force(&iomt).unwrap(), 1);
    }

    #[test]
    fn without_a_word_the_version_before_the_greatest_is_the_one_to_go_back_to() {
        let (_folder, iomt) = registry(&[0.1, 0.2]);
        assert_eq!(roll_back(&iomt).unwrap(), Some(1));
        assert_eq!((in_force(&iomt).unwrap(), roll_back(&iomt).unwrap()), (1, None));
    }

    #[test]
    fn what_current_remembers_is_bounded() {
        let (_folder, iomt) = registry(&[0.1, 0.2]);
        (0..200).for_each(|step| promote(&iomt, 1 + step % 2).unwrap());
        assert_eq!(fs::read_to_string(iomt.join("current")).unwrap().lines().count(), REMEMBERED_MAX);
    }

    #[test]
    fn an_unfinished_version_is_not_seen() {
        let (_folder, iomt) = registry(&[0.1]);
        fs::create_dir(iomt.join(".staged-1-0")).unwrap();
        fs::create_dir(iomt.join("02")).unwrap();
        assert_eq!(versions(&iomt).unwrap(), [1]);
    }
}
