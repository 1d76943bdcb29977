//! A worker's reader of its share of the files.
//!
//! The caller says which file to read next (the one with the least watermark, so that no file runs ahead of the others);
//! files are opened when first asked for, and few stay open.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Offsets, RawBatch};
use crate::sources::files::lines::{Limits, Lines, Place};
use crate::sources::files::{FileFormat, FilePartition, FilesSpec, shown};
use crate::sources::{Read, Reader, SourceError};

/// Reads the files of one worker.
pub struct FileReader {
    files: Vec<Recording>,
    places: HashMap<PartitionId, usize>,
    /// The open ones, the longest unused first.
    open: VecDeque<usize>,
    open_files_max: usize,
    limits: Limits,
    preferred: Option<PartitionId>,
}

struct Recording {
    file: FilePartition,
    stage: Stage,
    paused: bool,
}

enum Stage {
    /// Never opened; begins at this record.
    Unread(Offset),
    Open(Box<Opened>),
    /// Closed to make room for others.
    Parked(Place),
    Ended(Place),
}

struct Opened {
    lines: Lines<File>,
    /// The size when it was opened: it may grow, but not shrink.
    bytes: u64,
}

impl FileReader {
    /// A reader of these files; a file begins at the record that `start_of` gives, else at its first.
    pub fn new(
        spec: &FilesSpec,
        files: Vec<FilePartition>,
        start_of: &dyn Fn(PartitionId) -> Option<Offset>,
    ) -> FileReader {
        let places = files.iter().enumerate().map(|(place, file)| (file.partition.id, place)).collect();
        let recording = |file: FilePartition| {
            let start = start_of(file.partition.id).unwrap_or(Offset(0));
            Recording { file, stage: Stage::Unread(start), paused: false }
        };
        FileReader {
            files: files.into_iter().map(recording).collect(),
            places,
            open: VecDeque::new(),
            open_files_max: spec.open_files_max.max(1),
            limits: limits(spec),
            preferred: None,
        }
    }

    /// Reads on in one file: appends at most about `rows_max` records and a block, or its end. A file that has ended, or is
    /// not this worker's, has nothing more.
    pub fn read_partition(
        &mut self,
        partition: PartitionId,
        rows_max: usize,
        out: &mut Vec<Read>,
    ) -> Result<(), SourceError> {
        let Some(&place) = self.places.get(&partition) else { return Ok(()) };
        if matches!(self.files[place].stage, Stage::Ended(_)) {
            return Ok(());
        }
        self.make_room(place);
        let recording = &mut self.files[place];
        let path = recording.file.path.clone();
        let opened = recording.open(self.limits)?;
        match opened.lines.next(partition, rows_max).map_err(|source| failed(&path, source))? {
            Some(batch) => out.push(Read::Records(batch)),
            None => {
                let end = opened.lines.place();
                // Whoever took records away after they were counted must hear of it.
                check_size(&path, opened.bytes.max(end.byte))?;
                recording.stage = Stage::Ended(end);
                self.open.retain(|other| *other != place);
                out.push(Read::Ended { partition, next: Offset(end.next) });
            }
        }
        Ok(())
    }

    /// How many bytes of the files have been read, for progress.
    pub fn bytes_read(&self) -> u64 {
        let read = |recording: &Recording| match &recording.stage {
            Stage::Unread(_) => 0,
            Stage::Open(opened) => opened.lines.place().byte,
            Stage::Parked(place) | Stage::Ended(place) => place.byte,
        };
        self.files.iter().map(read).sum()
    }

    /// Marks a file as used last, and closes the one unused for longest if too many are open.
    fn make_room(&mut self, place: usize) {
        self.open.retain(|other| *other != place);
        self.open.push_back(place);
        while self.open.len() > self.open_files_max {
            if let Some(idle) = self.open.pop_front()
                && let Stage::Open(opened) = &self.files[idle].stage
            {
                self.files[idle].stage = Stage::Parked(opened.lines.place());
            }
        }
    }
}

impl Reader for FileReader {
    /// Reads on in the preferred file, else in the first by id.
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        let is_open = |recording: &&Recording| !recording.paused && !matches!(recording.stage, Stage::Ended(_));
        let preferred = self.preferred.take().and_then(|partition| self.places.get(&partition));
        let preferred = preferred.map(|place| &self.files[*place]).filter(is_open);
        let next = preferred.or_else(|| self.files.iter().find(is_open));
        match next.map(|recording| recording.file.partition.id) {
            Some(partition) => self.read_partition(partition, rows_max, out),
            None => Ok(()),
        }
    }

    fn prefer(&mut self, partition: PartitionId) {
        self.preferred = Some(partition);
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(&place) = self.places.get(&partition) {
            self.files[place].paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        if let Some(&place) = self.places.get(&partition) {
            self.files[place].paused = false;
        }
        Ok(())
    }
}

impl Recording {
    fn open(&mut self, limits: Limits) -> Result<&mut Opened, SourceError> {
        let place = match &self.stage {
            Stage::Open(_) => None,
            Stage::Unread(start) => Some(Opened::start(&self.file, *start, limits)?),
            Stage::Parked(place) | Stage::Ended(place) => Some(Opened::at(&self.file, *place, limits)?),
        };
        if let Some(opened) = place {
            self.stage = Stage::Open(Box::new(opened));
        }
        match &mut self.stage {
            Stage::Open(opened) => Ok(opened),
            _ => unreachable!("the stage was set to open above"),
        }
    }
}

impl Opened {
    fn at(file: &FilePartition, place: Place, limits: Limits) -> Result<Opened, SourceError> {
        let bytes = check_size(&file.path, place.byte)?;
        let mut input = File::open(&file.path).map_err(|source| failed(&file.path, source))?;
        input.seek(SeekFrom::Start(place.byte)).map_err(|source| failed(&file.path, source))?;
        match file.format {
            FileFormat::Ndjson => Ok(Opened { lines: Lines::at(place, input, limits), bytes }),
        }
    }

    /// Begins at a record of a file that was perhaps read before, by another process.
    fn start(file: &FilePartition, offset: Offset, limits: Limits) -> Result<Opened, SourceError> {
        let mut opened = Opened::at(file, Place::default(), limits)?;
        match opened.lines.skip_to(offset).map_err(|source| failed(&file.path, source))? {
            Ok(()) => Ok(opened),
            Err(records) => Err(SourceError::BeforeOffset { path: shown(&file.path), offset, records }),
        }
    }
}

/// A file's first records, at most `count`, to see when it begins.
pub fn first_records(spec: &FilesSpec, file: &FilePartition, count: usize) -> Result<RawBatch, SourceError> {
    let mut opened = Opened::at(file, Place::default(), limits(spec))?;
    let first = opened.lines.next(file.partition.id, count).map_err(|source| failed(&file.path, source))?;
    let mut first = first.unwrap_or_else(|| nothing(file.partition.id));
    while first.len() < count {
        let more = opened.lines.next(file.partition.id, count - first.len());
        let Some(more) = more.map_err(|source| failed(&file.path, source))? else { break };
        let shift = first.bytes.len() as u32;
        first.bytes.extend_from_slice(&more.bytes);
        first.starts.extend(more.starts.iter().map(|start| start + shift));
        first.ends.extend(more.ends.iter().map(|end| end + shift));
    }
    Ok(first)
}

fn nothing(partition: PartitionId) -> RawBatch {
    RawBatch {
        partition,
        bytes: Vec::new(),
        starts: Vec::new(),
        ends: Vec::new(),
        offsets: Offsets::Dense { first: Offset(0) },
        received: None,
        keys: None,
        tombstones: Vec::new(),
    }
}

fn limits(spec: &FilesSpec) -> Limits {
    // Positions in a batch are 32 bits.
    Limits { record_bytes_max: spec.record_bytes_max.min(1 << 30), block_bytes: spec.block_bytes.clamp(1, 1 << 30) }
}

/// The file's size, which must not be less than what has been seen of it.
fn check_size(path: &Path, seen: u64) -> Result<u64, SourceError> {
    let has = path.metadata().map_err(|source| failed(path, source))?.len();
    if has < seen { Err(SourceError::Shrank { path: shown(path), had: seen, has }) } else { Ok(has) }
}

fn failed(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::File { path: shown(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::files::discover;

    const SPEC: FilesSpec = FilesSpec { paths: Vec::new(), record_bytes_max: 100, block_bytes: 64, open_files_max: 2 };

    fn write(folder: &Path, name: &str, count: usize) {
        let text: String = (0..count).map(|index| format!("{name}:{index}\n")).collect();
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn reader(folder: &Path, start: i64) -> FileReader {
        let files = discover(&[folder.display().to_string()]).unwrap();
        FileReader::new(&SPEC, files, &|_| Some(Offset(start)))
    }

    fn texts(out: &[Read]) -> Vec<String> {
        let mut texts = Vec::new();
        for read in out {
            match read {
                Read::Records(batch) => {
                    texts.extend(
                        (0..batch.len()).map(|index| String::from_utf8_lossy(batch.payload(index)).into_owned()),
                    );
                }
                Read::Ended { partition, next } => texts.push(format!("end of {} at {next}", partition.0)),
                other => panic!("{other:?}"),
            }
        }
        texts
    }

    #[test]
    fn the_caller_picks_the_file_and_few_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        (0..5).for_each(|file| write(folder.path(), &format!("{file}.json"), 40));
        let mut reader = reader(folder.path(), 0);
        let mut out = Vec::new();
        for round in 0..200 {
            reader.read_partition(PartitionId(round % 5), 3, &mut out).unwrap();
            assert!(reader.files.iter().filter(|file| matches!(file.stage, Stage::Open(_))).count() <= 2);
        }
        for file in 0..5 {
            let of_file: Vec<_> =
                texts(&out).into_iter().filter(|text| text.starts_with(&format!("{file}."))).collect();
            assert_eq!(of_file, (0..40).map(|index| format!("{file}.json:{index}")).collect::<Vec<_>>());
        }
        assert_eq!(texts(&out).iter().filter(|text| text.starts_with("end of")).count(), 5);
        assert_eq!(reader.bytes_read(), 5 * (10 * 9 + 30 * 10));
    }

    #[test]
    fn a_file_that_grew_after_its_end_was_read_is_read_on() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.json", 3);
        write(folder.path(), "a.json", 5);
        let mut out = Vec::new();
        let mut reader = reader(folder.path(), 3);
        (0..2).for_each(|_| reader.read(100, &mut out).unwrap());
        assert_eq!(texts(&out), ["a.json:3", "a.json:4", "end of 0 at 5"]);
    }

    #[test]
    fn a_file_with_fewer_records_than_were_read_before_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.json", 3);
        let error = reader(folder.path(), 4).read(100, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.ends_with("a.json` was read up to record 4 before, but now ends after 3 records"), "{error}");
    }

    #[test]
    fn a_file_that_shrinks_or_vanishes_while_it_is_read_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.json", 40);
        write(folder.path(), "b.json", 40);
        let mut reader = reader(folder.path(), 0);
        let mut out = Vec::new();
        (0..2).for_each(|file| reader.read_partition(PartitionId(file), 3, &mut out).unwrap());
        write(folder.path(), "a.json", 8);
        std::fs::remove_file(folder.path().join("b.json")).unwrap();
        let mut drain = |file| loop {
            match reader.read_partition(PartitionId(file), 100, &mut out) {
                Ok(()) => assert!(!matches!(out.last(), Some(Read::Ended { .. }))),
                Err(error) => return error.to_string(),
            }
        };
        assert!(drain(0).contains("a.json` shrank from 390 to 72 bytes"));
        assert!(drain(1).contains("b.json`"));
    }

    #[test]
    fn the_first_records_are_found_whatever_the_block() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.json", 40);
        let file = discover(&[folder.path().display().to_string()]).unwrap().remove(0);
        let first = first_records(&SPEC, &file, 15).unwrap();
        assert_eq!(texts(&[Read::Records(first)]), (0..15).map(|index| format!("a.json:{index}")).collect::<Vec<_>>());
        write(folder.path(), "a.json", 0);
        assert!(first_records(&SPEC, &file, 15).unwrap().is_empty());
    }
}
