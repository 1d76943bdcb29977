//! Recorded files as a source: each file is a partition, each record's offset its place in the file.
//!
//! Promise: the same paths give the same partitions with the same names and ids on every machine, and reading can go on at
//! any record. Formats and places are told apart at one seam each: `format` says what a file is, `location` where it stands, on
//! this machine or in a store; `input` gives its bytes, and `cutter` and `columns` make records of them.

mod bucket;
mod cells;
mod columns;
mod cutter;
mod format;
mod input;
mod location;
mod names;
mod object;
mod reader;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use cells::CellOptions;
pub use format::{Compression, FileFormat};
pub use location::Location;
pub use reader::{FileReader, first_records};

use crate::domain::ids::PartitionId;
use crate::sources::{Partition, SourceError};
use crate::storage::S3Options;
use crate::storage::patience::Patience;
use bucket::Buckets;
use format::Told;

/// The recordings of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSpec {
    /// Files, folders (with all folders in them) and glob patterns, on this machine or as `s3://bucket/…`.
    pub paths: Vec<String>,
    /// How stores are reached, and how long they are waited for.
    pub s3: Arc<S3Options>,
    pub patience: Patience,
    /// What files are whose names do not say it.
    pub format: FileFormat,
    pub cells: CellOptions,
    /// The paths of the values that are wanted of a record, for formats that need not read the others; none: all.
    pub wanted: Vec<Vec<String>>,
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
    /// How many records of a file are looked at for its first event.
    pub const FIRST_RECORDS: usize = 256;

    /// All values of these, as they are usually read.
    pub fn new(paths: Vec<String>, format: FileFormat) -> FilesSpec {
        FilesSpec {
            paths,
            s3: Arc::default(),
            patience: Patience::default(),
            format,
            cells: CellOptions::default(),
            wanted: Vec::new(),
            record_bytes_max: 1 << 20,
            block_bytes: FilesSpec::BLOCK_BYTES,
            open_files_max: FilesSpec::OPEN_FILES_MAX,
        }
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub struct FilePartition {
    pub partition: Partition,
    pub location: Location,
    pub format: FileFormat,
    pub compression: Compression,
    /// Its size when it was found, for progress.
    pub bytes: u64,
}

/// The files that were named, in the natural order of their names, which is that of their ids. A file that is named twice is
/// one. Files in folders whose ending does not say that they are records, and those whose names begin with `.` or `_`, are passed over.
pub fn discover(spec: &FilesSpec) -> Result<Vec<FilePartition>, SourceError> {
    let mut found: Vec<(String, Location)> = Vec::new();
    let mut buckets = Buckets::new(spec);
    for named in &spec.paths {
        let before = found.len();
        let expanded = match buckets.expand(named)? {
            Some(expanded) => expanded,
            None => names::expand(named)?,
        };
        let says_something = |at: &Location| Told::by(&at.to_string(), spec.format).format.is_some();
        found.extend(expanded.files.into_iter().filter(|(_, at)| expanded.is_exact || says_something(at)));
        if found.len() == before {
            return Err(SourceError::NothingMatches { pattern: named.clone() });
        }
    }
    let mut by_file: BTreeMap<PathBuf, (String, Location)> = BTreeMap::new();
    for (name, location) in found {
        by_file.entry(location.canonical()?).or_insert((name, location));
    }
    let mut files: Vec<_> = by_file.into_values().collect();
    files.sort_by(|one, other| names::natural_order(&one.0, &other.0));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (first, second) = (pair[0].1.to_string(), pair[1].1.to_string());
        return Err(SourceError::SameName { name: pair[0].0.clone(), first, second });
    }
    files.into_iter().enumerate().map(|(index, (name, at))| found_file(spec, index, name, at)).collect()
}

/// What a file is by its name, or else by the configuration.
pub fn format_of(spec: &FilesSpec, name: &str) -> FileFormat {
    Told::by(name, spec.format).format.unwrap_or(spec.format)
}

fn found_file(spec: &FilesSpec, index: usize, name: String, location: Location) -> Result<FilePartition, SourceError> {
    let told = Told::by(&location.to_string(), spec.format);
    let format = told.format.unwrap_or(spec.format);
    if format == FileFormat::Parquet && told.compression != Compression::None {
        return Err(SourceError::CompressedColumns { path: location.to_string() });
    }
    let bytes = location.bytes(0)?;
    let partition = Partition { id: PartitionId(index as u64), name };
    Ok(FilePartition { partition, location, format, compression: told.compression, bytes })
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

    fn spec(paths: Vec<String>, format: FileFormat) -> FilesSpec {
        FilesSpec { record_bytes_max: 100, block_bytes: 64, open_files_max: 2, ..FilesSpec::new(paths, format) }
    }

    fn check(files: &[&str], named: &[&str], expected: &[&str]) {
        let folder = folder(files);
        let at = |path: &&str| folder.path().join(path).display().to_string();
        let names = match discover(&spec(named.iter().map(at).collect(), FileFormat::Ndjson)) {
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
        check(&["f/a.parquet.gz"], &["f"], &["`/f/a.parquet.gz` is Parquet in another compression: unpack it first"]);
    }

    #[test]
    fn a_file_that_says_nothing_is_of_the_configured_format_if_it_was_named_itself() {
        let folder = folder(&["f/a.log", "f/b.txt", "f/c.json.gz"]);
        let read = |named: &str, format| {
            let path = folder.path().join(named).display().to_string();
            let found = discover(&spec(vec![path], format)).unwrap();
            found.into_iter().map(|file| (file.partition.name, file.format)).collect::<Vec<_>>()
        };
        assert_eq!(read("f/a.log", FileFormat::Csv), [("a.log".to_owned(), FileFormat::Csv)]);
        assert_eq!(read("f", FileFormat::Ndjson), [("c.json.gz".to_owned(), FileFormat::Ndjson)]);
        let both = [("b.txt".to_owned(), FileFormat::Csv), ("c.json.gz".to_owned(), FileFormat::Ndjson)];
        assert_eq!(read("f", FileFormat::Csv), both);
    }
}
