//! From a URL to objects and the names of their partitions, by the rules that paths have: `s3://bucket/key` is an object, everything below a
//! prefix, or a glob.

use std::collections::BTreeMap;
use std::time::Duration;

use glob::{MatchOptions, Pattern};

use crate::sources::SourceError;
use crate::sources::files::location::Location;
use crate::sources::files::names::{Named, WILDCARDS, folder_of};
use crate::sources::files::{FilesSpec, names};
use crate::storage::Storage;
use crate::storage::error::StorageError;
use crate::storage::key::{BadKey, ObjectKey};
use crate::storage::patience::Patience;
use crate::storage::pieces::Found;

const SCHEME: &str = "s3://";

/// The buckets that were looked into.
pub(super) struct Buckets<'s> {
    spec: &'s FilesSpec,
    open: BTreeMap<String, Storage>,
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
struct Url<'u> {
    bucket: &'u str,
    /// Without a slash at its end.
    key: &'u str,
}

impl<'s> Buckets<'s> {
    pub(super) fn new(spec: &'s FilesSpec) -> Buckets<'s> {
        Buckets { spec, open: BTreeMap::new() }
    }

    /// What a URL names; none if it is a path.
    pub(super) fn expand(&mut self, named: &str) -> Result<Option<Named>, SourceError> {
        if !named.starts_with(SCHEME) {
            return Ok(None);
        }
        let Url { bucket, key } = parse(named)?;
        let unreachable = |source| SourceError::Store { url: named.to_owned(), source };
        let storage = self.storage(bucket).map_err(unreachable)?;
        // A person waits for this; what is read later may wait longer.
        let patience = self.spec.patience;
        let budget: Duration = patience.budget.min(Patience::at_start().budget);
        let hasty = storage.with_patience(Patience { budget, ..patience });
        let object_key = |key: &str| {
            let bad = |error: BadKey| bad_url(named, &error.to_string());
            ObjectKey::foreign(key.trim_end_matches('/')).map_err(bad)
        };
        let found = if key.contains(WILDCARDS) {
            hasty.find_below(&object_key(folder_of(key))?).map_err(unreachable)?
        } else {
            let itself = match key.is_empty() || named.ends_with('/') {
                true => None,
                false => hasty.find(&object_key(key)?).map_err(unreachable)?,
            };
            match itself {
                Some(found) => vec![found],
                None => hasty.find_below(&object_key(key)?).map_err(unreachable)?,
            }
        };
        let keys: Vec<&str> = found.iter().map(|found| found.key.as_str()).collect();
        let chosen = choose(key, &keys)
            .map_err(|error| SourceError::Pattern { pattern: named.to_owned(), fault: error.to_string() })?;
        let at = |(name, index): (String, usize)| {
            let found: Found = found[index].clone();
            (name, Location::object(format!("{SCHEME}{bucket}/{}", found.key), storage.clone(), found))
        };
        Ok(Some(Named { is_exact: chosen.is_exact, files: chosen.keys.into_iter().map(at).collect() }))
    }

    fn storage(&mut self, bucket: &str) -> Result<Storage, StorageError> {
        if let Some(storage) = self.open.get(bucket) {
            return Ok(storage.clone());
        }
        let storage = Storage::open(&format!("{SCHEME}{bucket}"), &self.spec.s3, self.spec.patience)?;
        self.open.insert(bucket.to_owned(), storage.clone());
        Ok(storage)
    }
}

fn parse(named: &str) -> Result<Url<'_>, SourceError> {
    let rest = named.strip_prefix(SCHEME).unwrap_or(named);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        // What stands there is not repeated.
        let fault = "an account does not belong in a URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead";
        return Err(bad_url("s3://…", fault));
    }
    if bucket.is_empty() || bucket.contains(WILDCARDS) {
        return Err(bad_url(named, "it should be `s3://bucket/prefix`"));
    }
    Ok(Url { bucket, key: key.trim_end_matches('/') })
}

fn bad_url(url: &str, fault: &str) -> SourceError {
    SourceError::BadUrl { url: url.to_owned(), fault: fault.to_owned() }
}

/// Which keys are meant.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    is_exact: bool,
    /// Their partitions' names, and their places among the keys that were given.
    keys: Vec<(String, usize)>,
}

/// Chooses as the local disk would if every prefix were a folder.
fn choose(named: &str, keys: &[&str]) -> Result<Chosen, glob::PatternError> {
    if let Some(index) = keys.iter().position(|key| *key == named) {
        let name = &named[folder_of(named).len()..];
        return Ok(Chosen { is_exact: true, keys: vec![(name.to_owned(), index)] });
    }
    let below = |key: &&str| match named {
        "" => Some(key.to_string()),
        _ => key.strip_prefix(named).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned),
    };
    let in_folder: Vec<(String, usize)> =
        keys.iter().enumerate().filter_map(|(index, key)| Some((below(key)?, index))).collect();
    if !in_folder.is_empty() {
        let keys = in_folder.into_iter().filter(|(name, _)| !has_hidden(name)).collect();
        return Ok(Chosen { is_exact: false, keys });
    }
    if !named.contains(WILDCARDS) {
        return Ok(Chosen { is_exact: true, keys: Vec::new() });
    }
    let pattern = Pattern::new(named)?;
    let matching = keys.iter().enumerate().filter(|(_, key)| is_matched(&pattern, key));
    let fixed = folder_of(named).len();
    Ok(Chosen { is_exact: false, keys: matching.map(|(index, key)| (key[fixed..].to_owned(), index)).collect() })
}

/// Whether the pattern matches the key, or a folder above it below which nothing is hidden.
fn is_matched(pattern: &Pattern, key: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let ends = key.match_indices('/').map(|(slash, _)| slash).chain([key.len()]);
    ends.into_iter().any(|end| {
        let rest = key[end..].trim_start_matches('/');
        pattern.matches_with(&key[..end], options) && !has_hidden(rest)
    })
}

fn has_hidden(path: &str) -> bool {
    path.split('/').any(names::is_hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_bucket_and_perhaps_a_key() {
        assert_eq!(parse("s3://b").unwrap(), Url { bucket: "b", key: "" });
        assert_eq!(parse("s3://b/").unwrap(), Url { bucket: "b", key: "" });
        assert_eq!(parse("s3://b/a/b/").unwrap(), Url { bucket: "b", key: "a/b" });
        assert_eq!(parse("s3://b/a=?/@.json").unwrap(), Url { bucket: "b", key: "a=?/@.json" });
        for url in ["s3://", "s3:///a", "s3://*/a", "s3://key:hunter2@b/x"] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    /// Whatever is named, a bucket and a folder with the same names give the same files under the same names.
    #[test]
    fn objects_are_chosen_and_named_as_files_are() {
        const KEYS: [&str; 10] = [
            "f/part-10.ndjson",
            "f/part-2.ndjson",
            "f/deep/x.jsonl",
            "f/deep/er/y.csv.gz",
            "f/.hidden.ndjson",
            "f/_staging/a.ndjson",
            "f/notes.txt",
            "f/day=1/a [b].ndjson",
            "g/part-2.ndjson",
            "ü.json",
        ];
        let folder = tempfile::tempdir().unwrap();
        for key in KEYS {
            let path = folder.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}\n").unwrap();
        }
        let base = folder.path().display().to_string();
        let mut found = 0;
        for named in [
            "f",
            "f/deep",
            "f/part-2.ndjson",
            "f/part-*",
            "f/*",
            "*/part-2.ndjson",
            "f/d*",
            "f/d*/*",
            "f/**/*.jsonl",
            "**/*.csv.gz",
            "f/part-?.ndjson",
            "f/day=[12]/a [b].ndjson",
            "f/day=1/a [[]b].ndjson",
            "*",
            "ü.json",
            "f/_staging",
            "f/_staging/*",
            "x",
            "x/*",
            "f/par",
            "f/part-2.ndjson/x",
            "f/[!p]*",
        ] {
            let local = names::expand(&format!("{base}/{named}")).unwrap();
            let mut local_names: Vec<String> = local.files.into_iter().map(|(name, _)| name).collect();
            local_names.sort();
            let chosen = choose(named, &KEYS).unwrap();
            let mut names: Vec<String> = chosen.keys.into_iter().map(|(name, _)| name).collect();
            names.sort();
            assert_eq!((chosen.is_exact, &names), (local.is_exact, &local_names), "{named}");
            found += names.len();
        }
        assert!(found > 40, "the cases are no test any more: {found}");
        assert_eq!(choose("", &KEYS).unwrap().keys.len(), 8, "all of a bucket but what is hidden");
        assert!(choose("f/[", &KEYS).is_err());
    }
}
