//! Recorded files as a source: each file is a partition, each record's offset its place in the file.
//!
//! Promise: the same paths give the same partitions with the same names and ids on every machine, and reading can go on at
//! any record. Formats and places are told apart at one seam each: [`FileFormat`] says how a file is cut into records, and
//! `lines::Lines` cuts whatever can be read as bytes, so a compressed or remote file is another thing to read from.

mod lines;
mod names;
mod reader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use reader::{FileReader, first_records};

use crate::domain::ids::PartitionId;
use crate::sources::{Partition, SourceError};

/// The recordings of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSpec {
    /// Files, folders (with all folders in them) and glob patterns.
    pub paths: Vec<String>,
    /// Of a longer record one byte more than this is handed on, so that it is seen to be too large; the rest is skipped.
    pub record_bytes_max: usize,
    /// How much is read at once.
    pub block_bytes: usize,
    /// How many files a worker holds open.
    pub open_files_max: usize,
}

impl FilesSpec {
    pub const BLOCK_BYTES: usize = 512 << 10;
    pub const OPEN_FILES_MAX: usize = 64;
}

/// How a file is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One record a line.
    Ndjson,
}

impl FileFormat {
    /// What a file's name ends in.
    const ENDINGS: [(&'static str, FileFormat); 3] =
        [("ndjson", FileFormat::Ndjson), ("jsonl", FileFormat::Ndjson), ("json", FileFormat::Ndjson)];
    const WANTED: &'static str = "`.ndjson`, `.jsonl` or `.json`";

    /// By the file's name.
    fn of(path: &Path) -> Option<FileFormat> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        FileFormat::ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format)
    }
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePartition {
    pub partition: Partition,
    pub path: PathBuf,
    pub format: FileFormat,
    /// Its size when it was found, for progress.
    pub bytes: u64,
}

/// The files that were named, in the natural order of their names, which is that of their ids. A file that is named twice
/// is one. Files in folders whose ending says that they are something else, and those whose names begin with `.` or `_`, are passed over.
pub fn discover(paths: &[String]) -> Result<Vec<FilePartition>, SourceError> {
    let mut found: Vec<(String, PathBuf, FileFormat)> = Vec::new();
    for named in paths {
        let before = found.len();
        for (name, path) in names::expand(named)? {
            match FileFormat::of(&path) {
                Some(format) => found.push((name, path, format)),
                None if names::is_exact(named) => {
                    return Err(SourceError::Format { path: named.clone(), wanted: FileFormat::WANTED });
                }
                None => {}
            }
        }
        if found.len() == before {
            return Err(SourceError::NothingMatches { pattern: named.clone() });
        }
    }
    let mut by_file: BTreeMap<PathBuf, (String, PathBuf, FileFormat)> = BTreeMap::new();
    for (name, path, format) in found {
        let file = path.canonicalize().map_err(|source| SourceError::File { path: shown(&path), source })?;
        by_file.entry(file).or_insert((name, path, format));
    }
    let mut files: Vec<_> = by_file.into_values().collect();
    files.sort_by(|one, other| names::natural_order(&one.0, &other.0));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (first, second) = (shown(&pair[0].1), shown(&pair[1].1));
        return Err(SourceError::SameName { name: pair[0].0.clone(), first, second });
    }
    let numbered = files.into_iter().enumerate().map(|(index, (name, path, format))| {
        let bytes = path.metadata().map_err(|source| SourceError::File { path: shown(&path), source })?.len();
        Ok(FilePartition { partition: Partition { id: PartitionId(index as u64), name }, path, format, bytes })
    });
    numbered.collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}\n").unwrap();
        }
        folder
    }

    fn check(files: &[&str], named: &[&str], expected: &[&str]) {
        let folder = folder(files);
        let at = |path: &&str| folder.path().join(path).display().to_string();
        let names = match discover(&named.iter().map(at).collect::<Vec<_>>()) {
            Ok(found) => found.into_iter().map(|file| file.partition.name).collect(),
            Err(error) => vec![error.to_string().replace(&folder.path().display().to_string(), "")],
        };
        assert_eq!(names, expected);
    }

    #[test]
    fn a_folders_files_are_named_relative_to_it_and_sorted_as_people_count() {
        check(
            &[
                "f/part-10.ndjson",
                "f/part-2.ndjson",
                "f/deep/x.jsonl",
                "f/.hidden.ndjson",
                "f/_staging/a.ndjson",
                "f/notes.txt",
            ],
            &["f"],
            &["deep/x.jsonl", "part-2.ndjson", "part-10.ndjson"],
        );
    }

    #[test]
    fn a_single_file_is_named_by_its_file_name() {
        check(&["f/a.ndjson"], &["f/a.ndjson"], &["a.ndjson"]);
    }

    #[test]
    fn a_globs_files_are_named_relative_to_its_fixed_part() {
        check(&["f/1/a.ndjson", "f/2/a.ndjson", "g/1/a.ndjson"], &["f/*/a.ndjson"], &["1/a.ndjson", "2/a.ndjson"]);
    }

    #[test]
    fn a_file_that_is_named_twice_is_read_once() {
        check(&["f/a.ndjson", "f/b.ndjson"], &["f", "f/a*.ndjson"], &["a.ndjson", "b.ndjson"]);
    }

    #[test]
    fn two_files_that_would_share_a_name_are_an_error_that_says_what_to_do() {
        let expected =
            "`/f/a.json` and `/g/a.json` would both be partition `a.json`: name the folder above them instead";
        check(&["f/a.json", "g/a.json"], &["f", "g"], &[expected]);
    }

    #[test]
    fn what_matches_nothing_and_what_cannot_be_read_is_named() {
        check(&["f/a.json"], &["f/*.ndjson"], &["no file matches `/f/*.ndjson`"]);
        check(&["f/a.json"], &["g.json"], &["no file matches `/g.json`"]);
        let expected =
            "`/f/a.xml` is not a format that can be read: its name should end in `.ndjson`, `.jsonl` or `.json`";
        check(&["f/a.xml"], &["f/a.xml"], &[expected]);
    }
}
