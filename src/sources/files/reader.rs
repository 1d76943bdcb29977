//! A worker's reader of its share of the files.
//!
//! The caller says which file to read next (the one with the least watermark, so that no file runs ahead of the others);
//! files are opened when first asked for, and few stay open.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use crate::domain::ids::{Offset, PartitionId};
use crate::domain::raw::{Form, RawBatch};
use crate::sources::files::cells::{self, CellEnds};
use crate::sources::files::columns::Rows;
use crate::sources::files::cutter::{Cutter, Ends, Limits, Place};
use crate::sources::files::input::Input;
use crate::sources::files::object::Share;
use crate::sources::files::{Compression, FileFormat, FilePartition, FilesSpec};
use crate::sources::{Read, Reader, SourceError};

/// Reads the files of one worker.
pub struct FileReader {
    files: Vec<Recording>,
    places: HashMap<PartitionId, usize>,
    /// The open ones, the longest unused first.
    open: VecDeque<usize>,
    spec: FilesSpec,
    bytes_read: u64,
    preferred: Option<PartitionId>,
}

struct Recording {
    file: FilePartition,
    stage: Stage,
    paused: bool,
    /// How many bytes of the file have been counted as read. It may be opened several times.
    counted: u64,
}

enum Stage {
    /// Never opened; begins at this record.
    Unread(Offset),
    Open(Box<Opened>),
    /// Closed to make room for others.
    Parked(Parked),
    Ended,
}

/// Where a closed file is gone on with.
struct Parked {
    place: Place,
    form: Form,
}

struct Opened {
    contents: Contents,
    /// The size when it was opened: it may grow, but not shrink.
    bytes: u64,
}

/// What becomes of a file's bytes.
enum Contents {
    Cut { cutter: Cutter<Input>, form: Form },
    Columns(Rows),
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
            Recording { file, stage: Stage::Unread(start), paused: false, counted: 0 }
        };
        // As many as can be open: what is held of each follows from it.
        let open_files_max = spec.open_files_max.min(files.len()).max(1);
        FileReader {
            files: files.into_iter().map(recording).collect(),
            places,
            open: VecDeque::new(),
            spec: FilesSpec { open_files_max, ..spec.clone() },
            bytes_read: 0,
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
        if matches!(self.files[place].stage, Stage::Ended) {
            return Ok(());
        }
        self.make_room(place);
        let recording = &mut self.files[place];
        let opened = recording.open(&self.spec)?;
        let read = opened.next(partition, rows_max);
        let (next, consumed) = (opened.contents.place().next, opened.contents.consumed(opened.bytes));
        let seen = opened.bytes.max(consumed);
        self.bytes_read += consumed.saturating_sub(recording.counted);
        recording.counted = recording.counted.max(consumed);
        match read.map_err(|source| failed(&recording.file, next, source))? {
            Some(batch) => out.push(Read::Records(batch)),
            None => {
                // Whoever took records away after they were counted must hear of it.
                recording.file.location.confirm(seen)?;
                recording.stage = Stage::Ended;
                self.open.retain(|other| *other != place);
                out.push(Read::Ended { partition, next: Offset(next) });
            }
        }
        Ok(())
    }

    /// Marks a file as used last, and closes the one unused for longest if too many are open.
    fn make_room(&mut self, place: usize) {
        self.open.retain(|other| *other != place);
        self.open.push_back(place);
        while self.open.len() > self.spec.open_files_max {
            if let Some(idle) = self.open.pop_front()
                && let Stage::Open(opened) = &self.files[idle].stage
            {
                self.files[idle].stage = Stage::Parked(opened.contents.parked());
            }
        }
    }
}

impl Reader for FileReader {
    /// Reads on in the preferred file, else in the first by id.
    fn read(&mut self, rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        let is_open = |recording: &&Recording| !recording.paused && !matches!(recording.stage, Stage::Ended);
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

    fn bytes_read(&self) -> Option<u64> {
        Some(self.bytes_read)
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
    fn open(&mut self, spec: &FilesSpec) -> Result<&mut Opened, SourceError> {
        let opened = match &self.stage {
            Stage::Open(_) | Stage::Ended => None,
            Stage::Unread(start) => Some(Opened::start(&self.file, *start, spec)?),
            Stage::Parked(parked) => Some(Opened::again(&self.file, parked, spec)?),
        };
        if let Some(opened) = opened {
            self.stage = Stage::Open(Box::new(opened));
        }
        match &mut self.stage {
            Stage::Open(opened) => Ok(opened),
            _ => unreachable!("a file that has ended is not read, and any other was opened above"),
        }
    }
}

impl Opened {
    /// Goes on where a file was closed.
    fn again(file: &FilePartition, parked: &Parked, spec: &FilesSpec) -> Result<Opened, SourceError> {
        let place = parked.place;
        let seen = if file.compression == Compression::None { place.byte } else { 0 };
        let bytes = file.location.bytes(seen)?;
        let contents = match &parked.form {
            Form::Columns(_) => Contents::columns(file, place.next, spec),
            Form::Objects => Contents::cut(file, place, Ends::Lines, Form::Objects, spec),
            Form::Cells(layout) => {
                let ends = Ends::Cells(CellEnds::new(layout.separator));
                Contents::cut(file, place, ends, parked.form.clone(), spec)
            }
        };
        let contents = contents.map_err(|source| failed(file, place.next, source))?;
        Ok(Opened { contents, bytes })
    }

    /// Begins at a record of a file that was perhaps read before, by another process.
    fn start(file: &FilePartition, offset: Offset, spec: &FilesSpec) -> Result<Opened, SourceError> {
        let bytes = file.location.bytes(0)?;
        let mut contents = Contents::begin(file, offset, spec).map_err(|source| failed(file, 0, source))?;
        let skipped = contents.skip_to(offset);
        match skipped.map_err(|source| failed(file, contents.place().next, source))? {
            Ok(()) => Ok(Opened { contents, bytes }),
            Err(records) => Err(SourceError::BeforeOffset { path: file.location.to_string(), offset, records }),
        }
    }

    fn next(&mut self, partition: PartitionId, rows_max: usize) -> io::Result<Option<RawBatch>> {
        match &mut self.contents {
            Contents::Cut { cutter, form } => cutter.next(partition, form, rows_max),
            Contents::Columns(rows) => rows.next(partition, rows_max),
        }
    }
}

impl Contents {
    fn begin(file: &FilePartition, offset: Offset, spec: &FilesSpec) -> io::Result<Contents> {
        let place = Place::default();
        match file.format {
            FileFormat::Ndjson => Contents::cut(file, place, Ends::Lines, Form::Objects, spec),
            FileFormat::Parquet => Contents::columns(file, offset.0, spec),
            FileFormat::Csv => {
                let input = Input::open(&file.location, file.compression, 0, share(spec))?;
                let mut cutter = Cutter::at(place, input, limits(spec), Ends::Lines)?;
                let form = Form::Cells(cells::begin(&mut cutter, &spec.cells, &spec.wanted)?);
                Ok(Contents::Cut { cutter, form })
            }
        }
    }

    fn cut(file: &FilePartition, place: Place, ends: Ends, form: Form, spec: &FilesSpec) -> io::Result<Contents> {
        let input = Input::open(&file.location, file.compression, place.byte, share(spec))?;
        Ok(Contents::Cut { cutter: Cutter::at(place, input, limits(spec), ends)?, form })
    }

    fn columns(file: &FilePartition, next: i64, spec: &FilesSpec) -> io::Result<Contents> {
        Ok(Contents::Columns(Rows::open(file.location.chunks(share(spec))?, next, &spec.wanted)?))
    }

    fn skip_to(&mut self, offset: Offset) -> io::Result<Result<(), u64>> {
        match self {
            Contents::Cut { cutter, .. } => cutter.skip_to(offset),
            Contents::Columns(rows) if offset.0 as u64 > rows.rows() => Ok(Err(rows.rows())),
            Contents::Columns(_) => Ok(Ok(())),
        }
    }

    fn place(&self) -> Place {
        match self {
            Contents::Cut { cutter, .. } => cutter.place(),
            Contents::Columns(rows) => Place { next: rows.next_row(), ..Place::default() },
        }
    }

    fn parked(&self) -> Parked {
        let form = match self {
            Contents::Cut { form, .. } => form.clone(),
            Contents::Columns(_) => Form::Columns(RecordBatch::new_empty(Arc::new(Schema::empty()))),
        };
        Parked { place: self.place(), form }
    }

    /// How many of the file's bytes were read; of columns a share as large as that of the rows.
    fn consumed(&self, bytes: u64) -> u64 {
        match self {
            Contents::Cut { cutter, .. } => cutter.input().consumed(),
            Contents::Columns(rows) if rows.rows() == 0 => bytes,
            Contents::Columns(rows) => {
                let share = u128::from(bytes) * rows.next_row().max(0) as u128 / u128::from(rows.rows());
                u64::try_from(share).unwrap_or(bytes)
            }
        }
    }
}

/// A file's first records, at most `count`, to see when it begins and what it holds.
pub fn first_records(spec: &FilesSpec, file: &FilePartition, count: usize) -> Result<Vec<RawBatch>, SourceError> {
    let mut opened = Opened::start(file, Offset(0), spec)?;
    let (mut first, mut records) = (Vec::new(), 0);
    while records < count {
        let more = opened.next(file.partition.id, count - records);
        let next = opened.contents.place().next;
        let Some(more) = more.map_err(|source| failed(file, next, source))? else { break };
        records += more.len();
        first.push(more);
    }
    Ok(first)
}

fn limits(spec: &FilesSpec) -> Limits {
    // Positions in a batch are 32 bits.
    Limits { record_bytes_max: spec.record_bytes_max.min(1 << 30), block_bytes: spec.block_bytes.clamp(1, 1 << 30) }
}

fn share(spec: &FilesSpec) -> Share {
    Share::of(spec.open_files_max)
}

/// A recording that the system or the store cannot read, or one whose contents are not what they should be.
fn failed(file: &FilePartition, next: i64, source: io::Error) -> SourceError {
    if let Some(fault) = file.location.take_fault() {
        return fault;
    }
    let path = file.location.to_string();
    let is_whole = file.compression == Compression::None && file.format != FileFormat::Parquet;
    match source.raw_os_error() {
        None if !is_whole => SourceError::Damaged { path, offset: Offset(next), source },
        _ => SourceError::File { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sources::files::discover;

    fn spec(folder: &Path) -> FilesSpec {
        let paths = vec![folder.display().to_string()];
        let spec = FilesSpec::new(paths, FileFormat::Ndjson);
        FilesSpec { record_bytes_max: 100, block_bytes: 64, open_files_max: 2, ..spec }
    }

    fn write(folder: &Path, name: &str, count: usize) {
        let text: String = (0..count).map(|index| format!("{name}:{index}\n")).collect();
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn reader(folder: &Path, start: i64) -> FileReader {
        let spec = spec(folder);
        FileReader::new(&spec, discover(&spec).unwrap(), &|_| Some(Offset(start)))
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
        assert_eq!(reader.bytes_read(), Some(5 * (10 * 9 + 30 * 10)));
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
        let spec = spec(folder.path());
        let file = discover(&spec).unwrap().remove(0);
        let first: Vec<Read> = first_records(&spec, &file, 15).unwrap().into_iter().map(Read::Records).collect();
        assert_eq!(texts(&first), (0..15).map(|index| format!("a.json:{index}")).collect::<Vec<_>>());
        write(folder.path(), "a.json", 0);
        assert!(first_records(&spec, &file, 15).unwrap().is_empty());
    }
}
