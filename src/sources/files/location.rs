//! Where a recording stands: a file of this machine or an object of a store. Nothing else that reads recordings knows which.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, Length};

use crate::sources::SourceError;
use crate::sources::files::object::{Object, Onward, Share, Windows};
use crate::storage::Storage;
use crate::storage::pieces::Found;

/// See the module. It is shown as it would be named in a configuration.
#[derive(Clone, Debug)]
pub struct Location(Kind);

#[derive(Clone, Debug)]
enum Kind {
    File(PathBuf),
    Object(Object),
}

impl Location {
    pub fn file(path: PathBuf) -> Location {
        Location(Kind::File(path))
    }

    /// An object that was found in this store; `url` is its name for people.
    pub fn object(url: String, storage: Storage, found: Found) -> Location {
        Location(Kind::Object(Object::new(url, storage, found)))
    }

    /// What is the same for every way to name it.
    pub(super) fn canonical(&self) -> Result<PathBuf, SourceError> {
        match &self.0 {
            Kind::File(path) => path.canonicalize().map_err(|source| self.unreadable(source)),
            Kind::Object(object) => Ok(PathBuf::from(object.url())),
        }
    }

    /// Its size, which must not be less than what has been seen of it. Of an object it is that which was found: any other
    /// shows when it is read.
    pub(super) fn bytes(&self, seen: u64) -> Result<u64, SourceError> {
        let path = match &self.0 {
            Kind::File(path) => path,
            Kind::Object(object) => return Ok(object.bytes()),
        };
        let has = path.metadata().map_err(|source| self.unreadable(source))?.len();
        if has < seen { Err(SourceError::Shrank { path: self.to_string(), had: seen, has }) } else { Ok(has) }
    }

    /// An error if what was read of it is there no longer: a file may have grown, an object is what was found.
    pub(super) fn confirm(&self, seen: u64) -> Result<(), SourceError> {
        match &self.0 {
            Kind::File(_) => self.bytes(seen).map(drop),
            Kind::Object(object) => object.confirm(),
        }
    }

    /// Its bytes from one on. `share` bounds what is held of an object.
    pub(super) fn read_from(&self, byte: u64, share: Share) -> io::Result<Box<dyn Read>> {
        Ok(match &self.0 {
            Kind::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(byte))?;
                Box::new(file)
            }
            Kind::Object(object) => Box::new(object.read_from(byte, share)),
        })
    }

    /// Its bytes in any order.
    pub(super) fn chunks(&self, share: Share) -> io::Result<Chunks> {
        Ok(match &self.0 {
            Kind::File(path) => Chunks::File(File::open(path)?),
            Kind::Object(object) => Chunks::Object(object.windows(share)),
        })
    }

    /// What the store said when reading failed; told once. None: what was read is at fault, or it is a file.
    pub(super) fn take_fault(&self) -> Option<SourceError> {
        match &self.0 {
            Kind::File(_) => None,
            Kind::Object(object) => object.take_fault(),
        }
    }

    fn unreadable(&self, source: io::Error) -> SourceError {
        SourceError::File { path: self.to_string(), source }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => path.display().fmt(f),
            Kind::Object(object) => f.write_str(object.url()),
        }
    }
}

/// Bytes for a reader that goes to and fro.
pub(super) enum Chunks {
    File(File),
    Object(Windows),
}

impl Chunks {
    /// Only these ranges will be read from now on, `streams` of them side by side.
    pub(super) fn expect(&mut self, ranges: Vec<Range<u64>>, streams: usize) {
        if let Chunks::Object(windows) = self {
            windows.expect(ranges, streams);
        }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Chunks::File(file) => file.len(),
            Chunks::Object(windows) => windows.bytes(),
        }
    }
}

impl ChunkReader for Chunks {
    type T = ChunkRead;

    fn get_read(&self, start: u64) -> ParquetResult<ChunkRead> {
        Ok(match self {
            Chunks::File(file) => ChunkRead::File(file.get_read(start)?),
            Chunks::Object(windows) => ChunkRead::Object(windows.read_from(start)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self {
            Chunks::File(file) => file.get_bytes(start, length),
            Chunks::Object(windows) => Ok(windows.bytes_at(start, length)?),
        }
    }
}

pub(super) enum ChunkRead {
    File(BufReader<File>),
    Object(Onward),
}

impl Read for ChunkRead {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            ChunkRead::File(file) => file.read(bytes),
            ChunkRead::Object(onward) => onward.read(bytes),
        }
    }
}
