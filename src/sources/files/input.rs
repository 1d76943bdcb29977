//! The bytes of a recording, whatever is around them.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::sources::files::format::Compression;
use crate::sources::files::location::Location;
use crate::sources::files::object::Share;

/// Reads a file's contents from some byte on.
pub(super) struct Input {
    contents: Box<dyn Read>,
    consumed: Rc<Cell<u64>>,
}

impl Input {
    /// What is compressed is read from its beginning to get at `byte`: its contents have no other way in.
    pub(super) fn open(at: &Location, compression: Compression, byte: u64, share: Share) -> io::Result<Input> {
        let begin = if compression == Compression::None { byte } else { 0 };
        let (file, consumed) = (at.read_from(begin, share)?, Rc::new(Cell::new(begin)));
        if compression == Compression::None {
            return Ok(Input { contents: Box::new(Counted { file, consumed: Rc::clone(&consumed) }), consumed });
        }
        let file = BufReader::new(Counted { file, consumed: Rc::clone(&consumed) });
        let mut contents: Box<dyn Read> = match compression {
            Compression::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
            _ => Box::new(MultiGzDecoder::new(file)),
        };
        io::copy(&mut contents.by_ref().take(byte), &mut io::sink())?;
        Ok(Input { contents, consumed })
    }

    /// How many bytes of the file itself have been read.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.get()
    }
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.contents.read(bytes)
    }
}

struct Counted<R> {
    file: R,
    consumed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.consumed.set(self.consumed.get() + read as u64);
        Ok(read)
    }
}
