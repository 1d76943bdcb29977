//! Reading an object of a store: on from a byte with the next piece on its way, or in any order through windows.
//!
//! Promises: what is held of an object is bounded by its share, whatever its size; what a store has against reading is kept
//! for whoever asks, since a decompressor or a reader of columns in between makes text of it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};

use crate::sources::SourceError;
use crate::storage::Storage;
use crate::storage::error::StorageError;
use crate::storage::pieces::{Fetch, Found};

/// What a worker holds of all objects that it has open.
const WORKER_BYTES: u64 = 64 << 20;
/// No piece is larger: a larger one is no quicker, and takes longer to come back after a fault.
const PIECE_BYTES_MAX: u64 = 4 << 20;
/// A first piece is for those who only look at the beginning.
const FIRST_PIECE_BYTES: u64 = 256 << 10;
const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// The end of a file of columns, which says where they are, fits into this but for the largest.
const FOOTER_BYTES: u64 = 64 << 10;

/// How much may be held of one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(u64);

impl Share {
    /// One of this many open ones.
    pub(super) fn of(open_files: usize) -> Share {
        Share((WORKER_BYTES / open_files.max(1) as u64).max(1 << 20))
    }
}

/// An object as it was found.
#[derive(Clone, Debug)]
pub(super) struct Object(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    storage: Storage,
    found: Found,
    fault: Mutex<Option<StorageError>>,
}

impl Object {
    pub(super) fn new(url: String, storage: Storage, found: Found) -> Object {
        Object(Arc::new(Inner { url, storage, found, fault: Mutex::new(None) }))
    }

    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.found.size
    }

    pub(super) fn confirm(&self) -> Result<(), SourceError> {
        self.0.storage.confirm(&self.0.found).map_err(|error| self.told(error))
    }

    pub(super) fn take_fault(&self) -> Option<SourceError> {
        lock(&self.0.fault).take().map(|error| self.told(error))
    }

    pub(super) fn read_from(&self, byte: u64, share: Share) -> Stream {
        let piece_bytes_max = (share.0 / 2).min(PIECE_BYTES_MAX);
        let piece_bytes = FIRST_PIECE_BYTES.min(piece_bytes_max);
        let object = self.clone();
        Stream { object, next: byte, piece_bytes, piece_bytes_max, piece: Bytes::new(), ahead: None }
    }

    pub(super) fn windows(&self, share: Share) -> Windows {
        let held = Held {
            object: self.clone(),
            expected: Vec::new(),
            window_bytes: FOOTER_BYTES,
            bytes_max: share.0,
            share,
            windows: VecDeque::new(),
        };
        Windows(Arc::new(Mutex::new(held)))
    }

    fn fetch(&self, range: Range<u64>) -> Fetch {
        self.0.storage.fetch(&self.0.found, range)
    }

    fn landed(&self, fetch: Fetch) -> io::Result<Bytes> {
        fetch.wait().map_err(|error| {
            let text = error.to_string();
            *lock(&self.0.fault) = Some(error);
            io::Error::other(text)
        })
    }

    fn told(&self, error: StorageError) -> SourceError {
        let url = self.0.url.clone();
        match error {
            StorageError::Changed { had, has, .. } => SourceError::Changed { url, had, has },
            source => SourceError::Store { url, source },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes one after the other; pieces grow, so that a look at the beginning is cheap and the rest is read in few requests.
pub(super) struct Stream {
    object: Object,
    /// The first byte that was not asked for.
    next: u64,
    piece_bytes: u64,
    piece_bytes_max: u64,
    piece: Bytes,
    ahead: Option<Fetch>,
}

impl Stream {
    /// Asks for the next piece, if there is one.
    fn ask(&mut self) -> Option<Fetch> {
        let begin = self.next;
        let end = (begin + self.piece_bytes).min(self.object.bytes());
        if begin >= end {
            return None;
        }
        self.next = end;
        self.piece_bytes = (self.piece_bytes * 2).min(self.piece_bytes_max);
        Some(self.object.fetch(begin..end))
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let ahead = self.ahead.take();
            let Some(fetch) = ahead.or_else(|| self.ask()) else { return Ok(0) };
            let begin = fetch.begin();
            // Who reads on after a fault gets the same bytes, or the fault again.
            self.piece = self.object.landed(fetch).inspect_err(|_| self.next = begin)?;
            self.ahead = self.ask();
        }
        let count = bytes.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut bytes[..count]);
        Ok(count)
    }
}

/// Bytes in any order. Columns are read side by side, each from front to back: a window for each is what is held.
#[derive(Clone)]
pub(super) struct Windows(Arc<Mutex<Held>>);

struct Held {
    object: Object,
    /// What will be read, in order; neighbours are one. None yet: the footer, which tells.
    expected: Vec<Range<u64>>,
    window_bytes: u64,
    bytes_max: u64,
    share: Share,
    /// With where they begin, the longest unused first.
    windows: VecDeque<(u64, Bytes)>,
}

impl Windows {
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.0).object.bytes()
    }

    pub(super) fn expect(&self, mut ranges: Vec<Range<u64>>, streams: usize) {
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let mut held = lock(&self.0);
        let streams = streams.max(1) as u64;
        held.expected = joined;
        held.window_bytes = (held.share.0 / streams).clamp(WINDOW_BYTES_MIN, PIECE_BYTES_MAX);
        held.bytes_max = held.share.0.max(held.window_bytes * streams);
    }

    pub(super) fn bytes_at(&self, begin: u64, count: usize) -> io::Result<Bytes> {
        Ok(lock(&self.0).at(begin, count as u64)?.slice(..count))
    }

    pub(super) fn read_from(&self, byte: u64) -> Onward {
        Onward { windows: self.clone(), next: byte, at_hand: Bytes::new() }
    }
}

impl Held {
    /// At least `count` bytes from one on, and what is at hand behind them.
    fn at(&mut self, begin: u64, count: u64) -> io::Result<Bytes> {
        let size = self.object.bytes();
        if begin.checked_add(count).is_none_or(|end| end > size) {
            let text = format!("{count} bytes at {begin} are beyond the end at {size}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let covers = |(from, bytes): &(u64, Bytes)| *from <= begin && begin + count <= from + bytes.len() as u64;
        let (from, bytes) = match self.windows.iter().position(covers).and_then(|held| self.windows.remove(held)) {
            Some(held) => held,
            None if count == 0 => return Ok(Bytes::new()),
            None => {
                let range = self.window(begin, begin + count, size);
                (range.start, self.object.landed(self.object.fetch(range))?)
            }
        };
        self.windows.push_back((from, bytes.clone()));
        let mut held: u64 = self.windows.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        while held > self.bytes_max && self.windows.len() > 1 {
            held -= self.windows.pop_front().map_or(0, |(_, bytes)| bytes.len() as u64);
        }
        // It fits: the window is in memory.
        Ok(bytes.slice((begin - from) as usize..))
    }

    /// What to fetch so that `begin..end` is there: no more than is expected to be read.
    fn window(&self, begin: u64, end: u64, size: u64) -> Range<u64> {
        let behind = begin + self.window_bytes;
        match self.expected.iter().find(|range| range.contains(&begin)) {
            Some(range) => begin..behind.min(range.end).max(end),
            None if self.expected.is_empty() => begin.min(size.saturating_sub(FOOTER_BYTES))..size,
            None => begin..end,
        }
    }
}

/// Bytes from one on, as far as somebody reads.
pub(super) struct Onward {
    windows: Windows,
    next: u64,
    at_hand: Bytes,
}

impl Read for Onward {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() {
            let mut held = lock(&self.windows.0);
            if self.next >= held.object.bytes() {
                return Ok(0);
            }
            self.at_hand = held.at(self.next, 1)?;
            self.next += self.at_hand.len() as u64;
        }
        let count = bytes.len().min(self.at_hand.len());
        self.at_hand.copy_to_slice(&mut bytes[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::domain::ids::PartitionId;
    use crate::domain::raw::Form;
    use crate::sources::files::columns::Rows;
    use crate::sources::files::location::Chunks;
    use crate::storage::key::ObjectKey;
    use crate::storage::patience::Patience;
    use crate::storage::simulated::{Faults, Simulated};

    const KEY: &str = "recordings/a.ndjson";

    fn key() -> ObjectKey {
        ObjectKey::of(KEY.split('/'))
    }

    /// Bytes that tell their places.
    fn contents(count: usize) -> Bytes {
        (0..count).map(|at| (at % 251) as u8 ^ (at >> 13) as u8).collect()
    }

    fn object_in(storage: &Storage, bytes: &Bytes) -> Object {
        storage.put(&key(), bytes).unwrap();
        Object::new(format!("s3://b/{KEY}"), storage.clone(), storage.find(&key()).unwrap().unwrap())
    }

    fn read(mut from: impl Read) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn a_stream_gives_the_bytes_from_any_place_on() {
        let bytes = contents(3_000_000);
        let object = object_in(&Storage::in_memory().unwrap(), &bytes);
        for from in [0, 1, 262_143, 262_144, 2_999_999, 3_000_000, 4_000_000] {
            let wanted = &bytes[bytes.len().min(from)..];
            for open_files in [1, 64] {
                let found = read(object.read_from(from as u64, Share::of(open_files))).unwrap();
                assert!(found == wanted, "from {from} of {open_files}: {} bytes", found.len());
            }
        }
    }

    #[test]
    fn pieces_stay_within_the_share_of_an_object() {
        let bytes = contents(40 << 20);
        let object = object_in(&Storage::in_memory().unwrap(), &bytes);
        for (open_files, wanted) in [(1, 4 << 20), (16, 2 << 20), (64, 512 << 10), (1000, 512 << 10)] {
            let (mut stream, mut longest, mut byte) = (object.read_from(0, Share::of(open_files)), 0, [0]);
            while stream.read(&mut byte).unwrap() > 0 {
                longest = longest.max(stream.piece.len() + 1);
                stream.piece.clear();
            }
            assert_eq!(longest, wanted, "{open_files} open files");
        }
    }

    #[test]
    fn what_is_read_while_the_store_stumbles_is_the_same() {
        let bytes = contents(1 << 20);
        let pause = Duration::from_millis(1);
        let patience = Patience { pause, pause_max: pause, ..Patience::at_start() };
        for seed in 0..20 {
            let faults = Faults { before: 300, after: 200, delayed: 0 };
            let store = Simulated::new(Arc::new(InMemory::new()), seed, faults);
            let storage = Storage::over(Arc::new(store), patience).unwrap();
            let found = read(object_in(&storage, &bytes).read_from(77, Share::of(64))).unwrap();
            assert!(found == bytes[77..], "seed {seed}");
        }
    }

    #[test]
    fn an_object_that_changed_or_vanished_is_an_error_that_names_it() {
        let check = |change: &dyn Fn(&Storage), wanted: &str| {
            let storage = Storage::in_memory().unwrap();
            let object = object_in(&storage, &contents(3 << 20));
            let mut stream = object.read_from(0, Share::of(64));
            stream.read_exact(&mut [0; 1000]).unwrap();
            change(&storage);
            let told = |error: SourceError| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                [Some(error.to_string()), source].into_iter().flatten().collect::<Vec<_>>().join(": ")
            };
            assert!(read(stream).is_err());
            assert_eq!(told(object.take_fault().unwrap()), wanted);
            assert!(object.take_fault().is_none(), "it is told once");
            assert_eq!(told(object.confirm().unwrap_err()), wanted);
            assert!(object.windows(Share::of(1)).bytes_at(0, 1).is_err());
        };
        let put = |bytes: Bytes| move |storage: &Storage| storage.put(&key(), &bytes).unwrap();
        let name = "`s3://b/recordings/a.ndjson`";
        check(&put(contents(72)), &format!("{name} changed from 3145728 to 72 bytes while it was read"));
        check(&put(contents(3 << 20)), &format!("{name} was written anew while it was read"));
        let gone = format!("cannot read {name}: `recordings/a.ndjson` does not exist");
        check(&|storage| storage.delete(&key()).unwrap(), &gone);
    }

    #[test]
    fn windows_hold_nothing_but_what_is_expected() {
        let bytes = contents(1 << 20);
        let object = object_in(&Storage::in_memory().unwrap(), &bytes);
        let windows = object.windows(Share::of(1));
        let size = bytes.len();
        assert_eq!(windows.bytes_at(size as u64 - 8, 8).unwrap(), bytes[size - 8..]);
        assert_eq!(read(windows.read_from(size as u64 - 5000)).unwrap(), bytes[size - 5000..]);
        assert_eq!(lock(&windows.0).windows.len(), 1, "the footer is one request");
        let expected = [700_000..710_000, 1000..5000, 5000..90_000];
        windows.expect(expected.to_vec(), 3);
        for range in &expected {
            for at in range.clone().step_by(977) {
                let end = range.end.min(at + 977) as usize;
                assert_eq!(windows.bytes_at(at, end - at as usize).unwrap(), bytes[at as usize..end]);
            }
        }
        let held: Vec<_> =
            lock(&windows.0).windows.iter().map(|(from, bytes)| (*from, *from + bytes.len() as u64)).collect();
        assert_eq!(held, [(size as u64 - FOOTER_BYTES, size as u64), (700_000, 710_000), (1000, 90_000)]);
        assert_eq!(windows.bytes_at(size as u64, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn columns_side_by_side_are_each_fetched_about_once_and_held_within_the_share() {
        let bytes = contents(24 << 20);
        let object = object_in(&Storage::in_memory().unwrap(), &bytes);
        let windows = object.windows(Share::of(64));
        let columns: Vec<Range<u64>> = (0..6).map(|column| column * (4 << 20)..(column + 1) * (4 << 20)).collect();
        windows.expect(columns.clone(), columns.len());
        let mut fetches = 0;
        for step in 0..(4 << 20) / 10_000 {
            for column in &columns {
                let at = column.start + step * 10_000;
                let before = lock(&windows.0)
                    .windows
                    .iter()
                    .any(|(from, held)| *from <= at && at + 10_000 <= from + held.len() as u64);
                assert_eq!(windows.bytes_at(at, 10_000).unwrap(), bytes[at as usize..at as usize + 10_000]);
                fetches += usize::from(!before);
                let held: usize = lock(&windows.0).windows.iter().map(|(_, held)| held.len()).sum();
                assert!(held <= 1 << 20, "{held} bytes are held");
            }
        }
        let least = (24 << 20) / lock(&windows.0).window_bytes as usize;
        assert!(fetches <= least + least / 8 + columns.len(), "{fetches} requests where {least} would do");
    }

    /// A narrow column beside a wide one, in four groups of rows.
    fn columns() -> Bytes {
        let narrow = Int64Array::from_iter_values(0..8000);
        let wide = StringArray::from_iter_values((0..8000u64).map(|row| format!("{:0400}", row * 0x9E37_79B9)));
        let columns: [(&str, ArrayRef); 2] = [("wide", Arc::new(wide)), ("narrow", Arc::new(narrow))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2000)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn of_columns_only_the_wanted_ones_are_fetched_and_only_from_the_wanted_row_on() {
        let bytes = columns();
        assert!(bytes.len() > 3 << 20);
        let object = object_in(&Storage::in_memory().unwrap(), &bytes);
        let fetched_from = |next: i64| {
            let windows = object.windows(Share::of(1));
            let mut rows = Rows::open(Chunks::Object(windows.clone()), next, &[vec!["narrow".to_owned()]]).unwrap();
            let mut values = Vec::new();
            while let Some(batch) = rows.next(PartitionId(0), 1000).unwrap() {
                let Form::Columns(columns) = &batch.form else { panic!("{batch:?}") };
                assert_eq!(columns.num_columns(), 1);
                values.extend_from_slice(columns.column(0).as_primitive::<Int64Type>().values());
            }
            assert_eq!(values, (next..8000).collect::<Vec<_>>());
            let held = lock(&windows.0);
            held.windows.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() - FOOTER_BYTES
        };
        let (all, half, none) = (fetched_from(0), fetched_from(4100), fetched_from(8000));
        assert!(all < 200_000 && half * 3 < all * 2 && none == 0, "{all}, {half} and {none} bytes");
    }
}
