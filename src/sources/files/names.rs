//! From what was named to files and their partitions' names, in an order that does not depend on the machine.

use std::cmp::Ordering;
use std::path::{Component, Path, PathBuf};

use crate::sources::SourceError;
use crate::sources::files::location::Location;

/// What makes a pattern of a path.
pub(super) const WILDCARDS: [char; 3] = ['*', '?', '['];

/// What was named.
#[derive(Debug)]
pub(super) struct Named {
    /// One file, rather than a folder or a pattern.
    pub(super) is_exact: bool,
    /// With their names: relative to the folder or to the fixed part of the pattern, or the file's own.
    pub(super) files: Vec<(String, Location)>,
}

/// What a path names.
pub(super) fn expand(named: &str) -> Result<Named, SourceError> {
    let files = expand_path(named)?.into_iter().map(|(name, path)| (name, Location::file(path)));
    Ok(Named { is_exact: is_exact(named), files: files.collect() })
}

fn expand_path(named: &str) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let path = Path::new(named);
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut files)?;
        return Ok(relative(path, files));
    }
    if is_exact(named) {
        let Some(parent) = path.parent().filter(|_| path.exists()) else { return Ok(Vec::new()) };
        return Ok(relative(parent, vec![path.to_path_buf()]));
    }
    let unusable = |fault: String| SourceError::Pattern { pattern: named.into(), fault };
    let mut files = Vec::new();
    for found in glob::glob(named).map_err(|error| unusable(error.to_string()))? {
        let found = found
            .map_err(|error| SourceError::File { path: error.path().display().to_string(), source: error.into() })?;
        if found.is_dir() {
            walk(&found, &mut files)?;
        } else {
            files.push(found);
        }
    }
    Ok(relative(Path::new(folder_of(named)), files))
}

fn is_exact(named: &str) -> bool {
    let path = Path::new(named);
    !path.is_dir() && (path.exists() || !named.contains(WILDCARDS))
}

/// The folders of a pattern before its first wildcard, or those above a file, with the slash at their end.
pub(super) fn folder_of(pattern: &str) -> &str {
    let before = &pattern[..pattern.find(WILDCARDS).unwrap_or(pattern.len())];
    before.rfind('/').map_or("", |slash| &before[..=slash])
}

/// Whether a file or folder of this name is passed over where it was not named itself.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

fn relative(base: &Path, files: Vec<PathBuf>) -> Vec<(String, PathBuf)> {
    // `./a` and `a` are the same folder, and not everything that lists files keeps the dot.
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let base = plain(base);
    let name = |path: &Path| {
        let path = plain(path);
        path.strip_prefix(&base).unwrap_or(&path).to_string_lossy().into_owned()
    };
    files.into_iter().map(|path| (name(&path), path)).collect()
}

/// All files below a folder but hidden ones, in no particular order. Links are followed to files, not to folders.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let failed = |source| SourceError::File { path: folder.display().to_string(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if is_hidden(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.path().is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// As people count: runs of digits by their value, the rest byte by byte. Total: equal only if the texts are.
pub(super) fn natural_order(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    while let (Some(a), Some(b)) = (left.first(), right.first()) {
        let order = if a.is_ascii_digit() && b.is_ascii_digit() {
            let (number, rest) = digits(left);
            let (against, against_rest) = digits(right);
            (left, right) = (rest, against_rest);
            number.len().cmp(&against.len()).then(number.cmp(against))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            a.cmp(b)
        };
        if order.is_ne() {
            return order;
        }
    }
    // `a01` and `a1` count the same; the text decides.
    left.len().cmp(&right.len()).then_with(|| one.cmp(other))
}

/// The leading number without its leading zeros, and what follows it.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    (&number[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_value_and_ties_by_text() {
        let mut names = ["b", "part-10", "part-9", "part-2/a", "part-010", "part-", "a", "part-2", "x2y10", "x2y9"];
        names.sort_by(|one, other| natural_order(one, other));
        assert_eq!(names, ["a", "b", "part-", "part-2", "part-2/a", "part-9", "part-010", "part-10", "x2y9", "x2y10"]);
    }

    #[test]
    fn digits_beyond_any_integer_are_ordered_too() {
        let long = format!("f{}", "9".repeat(60));
        assert_eq!(natural_order(&long, &format!("f1{}", "0".repeat(60))), Ordering::Less);
    }

    #[test]
    fn the_fixed_part_ends_before_the_first_wildcard() {
        assert_eq!(folder_of("a/b/c-*.json"), "a/b/");
        assert_eq!(folder_of("*.json"), "");
        assert_eq!(folder_of("/x/[ab]/y.json"), "/x/");
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_total(mut names in proptest::collection::vec("[a-b0-2]{0,6}", 3)) {
            names.sort_by(|one, other| natural_order(one, other));
            proptest::prop_assert!(natural_order(&names[0], &names[2]).is_le());
            for one in &names {
                for other in &names {
                    proptest::prop_assert_eq!(natural_order(one, other).is_eq(), one == other);
                    proptest::prop_assert_eq!(natural_order(one, other), natural_order(other, one).reverse());
                }
            }
        }
    }
}
