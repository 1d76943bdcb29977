//! JSON records, one object each, to event batches.
//!
//! Every record is checked to its last byte, also behind the last wanted field: the syntax of RFC 8259, UTF-8, a depth of at most 127, a
//! length of at most `record_bytes_max`. A record goes through three steps:
//!
//! ```text
//! index   64 bytes at a time: are all strings, numbers and literals valid, and where do tokens begin?
//! locate  where do the wanted values start? A known order of keys, else a look-up of each key, else a walk through the tokens.
//! events  read those values, and only those, into the columns of the batch.
//! ```
//!
//! Files by what they know: tokens (`index`, `strange`, `lexer`), keys (`paths`, `template`, `walk`, `locate`), values (`string`,
//! `value`); bytes, numbers and columns are known outside, by `simd`, `number` and `events`.
//!
//! Numbers may be given as strings (`text` says how), text as numbers or booleans (it keeps their spelling), booleans as 1 and 0. Integers
//! are exact, floats are the nearest double and never -0.0; what is beyond either is refused. Of equal keys the last wins.

mod index;
mod lexer;
mod locate;
mod paths;
mod strange;
mod string;
mod template;
#[cfg(test)]
mod tests;
mod tokens;
mod value;
mod walk;

use locate::Locator;
use paths::Paths;
use value::Located;

pub use crate::decode::simd::Backend;

use crate::decode::events::{Address, Events};
use crate::decode::record::Record;
use crate::decode::simd::{Simd, Work};
use crate::decode::{BATCH_BYTES_MAX, DecodeError, Decoded};
use crate::domain::raw::RawBatch;
use crate::domain::reject::{Reject, RejectReason};
use crate::domain::schema::EventSchema;

/// Decodes batches of JSON records by one schema.
pub struct JsonDecoder {
    backend: Backend,
    record_bytes_max: usize,
    locator: Locator,
    events: Events,
}

impl JsonDecoder {
    pub fn new(schema: &EventSchema) -> Result<JsonDecoder, DecodeError> {
        JsonDecoder::with_backend(schema, Backend::available()[0])
    }

    /// A decoder for a certain set of instructions: all give the same events and rejects.
    pub fn with_backend(schema: &EventSchema, backend: Backend) -> Result<JsonDecoder, DecodeError> {
        if !backend.is_available() {
            return Err(DecodeError::Backend { backend });
        }
        let events = Events::new(schema)?;
        let mut paths = Paths::new();
        for path in events.places() {
            // In their order, so that both number them alike.
            paths.add(path);
        }
        Ok(JsonDecoder { backend, record_bytes_max: schema.record_bytes_max, locator: Locator::new(paths), events })
    }

    /// One event or one reject for each record, both in the records' order.
    pub fn decode(&mut self, raw: &RawBatch, partition_name: &str) -> Decoded {
        assert!(raw.bytes.len() <= BATCH_BYTES_MAX, "sources cut their batches below a gibibyte");
        self.events.begin(raw, partition_name);
        let backend = self.backend;
        let rejects = backend.run(Decode { decoder: self, raw });
        Decoded { events: self.events.finish(raw), rejects }
    }

    #[inline(always)]
    fn record<S: Simd>(&mut self, simd: S, raw: &RawBatch, index: usize) -> Result<(), RejectReason> {
        let (start, end) = (raw.starts[index] as usize, raw.ends[index] as usize);
        let record = Record::new(&raw.bytes[start..], end - start);
        if end - start > self.record_bytes_max {
            return Err(RejectReason::TooLarge);
        }
        let starts = self.locator.locate(simd, record)?;
        self.events.push(&Located { simd, record, starts }, Address { raw, index })
    }
}

/// All records of a batch, on one backend.
struct Decode<'a> {
    decoder: &'a mut JsonDecoder,
    raw: &'a RawBatch,
}

impl Work for Decode<'_> {
    type Output = Vec<Reject>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<Reject> {
        let mut rejects = Vec::new();
        for index in 0..self.raw.len() {
            if let Err(reason) = self.decoder.record(simd, self.raw, index) {
                rejects.push(Reject { offset: self.raw.offset(index), reason });
            }
        }
        rejects
    }
}
