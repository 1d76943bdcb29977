//! Decoding that any worker of the process may do for another.
//!
//! One big file, or one busy topic partition, is read by one worker. That worker posts what it has read ahead; workers with
//! nothing to do decode it; and the reader takes the results in the order in which it read them. Which record becomes what depends on
//! the record alone, so who decodes it changes nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use crate::decode::{Decode, Decoded};
use crate::domain::raw::{Form, RawBatch};

/// What is smaller than this costs more to hand over than to decode.
const BYTES_MIN: usize = 64 << 10;
const ROWS_MIN: usize = 1024;

/// The jobs of one process.
#[derive(Default)]
pub struct DecodePool {
    posted: Mutex<VecDeque<Arc<DecodeJob>>>,
    /// The workers' threads, which are woken when there is something to do.
    workers: Mutex<Vec<Thread>>,
}

/// A batch that was read, and what it became.
pub struct DecodeJob {
    partition_name: String,
    step: Mutex<Step>,
    is_done: Condvar,
}

enum Step {
    Waiting(RawBatch),
    Underway,
    Done(RawBatch, Decoded),
}

impl DecodePool {
    /// The calling thread is a worker's, and will be woken for what others post.
    pub fn join(&self) {
        lock(&self.workers).push(thread::current());
    }

    /// How many batches a worker does well to read ahead.
    pub fn ahead(&self) -> usize {
        match lock(&self.workers).len() {
            0 | 1 => 1,
            workers => 2 * workers,
        }
    }

    /// Leaves a batch to whoever comes first.
    pub fn post(&self, raw: RawBatch, partition_name: String) -> Arc<DecodeJob> {
        let is_worth_it =
            raw.bytes.len() >= BYTES_MIN || (matches!(raw.form, Form::Columns(_)) && raw.len() >= ROWS_MIN);
        let job = Arc::new(DecodeJob { partition_name, step: Mutex::new(Step::Waiting(raw)), is_done: Condvar::new() });
        if is_worth_it {
            let mut posted = lock(&self.posted);
            // What the readers decoded themselves in the meantime.
            while posted.front().is_some_and(|job| !job.is_waiting()) {
                posted.pop_front();
            }
            posted.push_back(Arc::clone(&job));
            drop(posted);
            let this = thread::current().id();
            lock(&self.workers).iter().filter(|worker| worker.id() != this).for_each(Thread::unpark);
        }
        job
    }

    /// Decodes the oldest batch that nobody has begun. No, if there is none.
    pub fn help(&self, decoder: &mut dyn Decode) -> bool {
        loop {
            let Some(job) = lock(&self.posted).pop_front() else { return false };
            if job.work(decoder) {
                return true;
            }
        }
    }
}

impl DecodeJob {
    fn is_waiting(&self) -> bool {
        matches!(*lock(&self.step), Step::Waiting(_))
    }

    /// Decodes the batch, unless somebody has begun to.
    fn work(&self, decoder: &mut dyn Decode) -> bool {
        let mut step = lock(&self.step);
        match std::mem::replace(&mut *step, Step::Underway) {
            Step::Waiting(raw) => {
                drop(step);
                let decoded = decoder.decode(&raw, &self.partition_name);
                *lock(&self.step) = Step::Done(raw, decoded);
                self.is_done.notify_one();
                true
            }
            begun => {
                *step = begun;
                false
            }
        }
    }

    /// The batch and what it became: decoded here if nobody has begun, else waited for, which takes no longer than a batch does.
    pub fn finish(&self, decoder: &mut dyn Decode) -> (RawBatch, Decoded) {
        self.work(decoder);
        let mut step = lock(&self.step);
        loop {
            match std::mem::replace(&mut *step, Step::Underway) {
                Step::Done(raw, decoded) => return (raw, decoded),
                other => {
                    *step = other;
                    step = self.is_done.wait(step).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// A panic ends the process; until then nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Decoder;
    use crate::domain::ids::{Offset, PartitionId};
    use crate::domain::raw::Offsets;
    use crate::domain::schema::{EventSchema, KeySource, TimeFormat, TimeSource};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    fn decoder() -> Decoder {
        let schema = EventSchema {
            time: TimeSource::Fields { paths: vec![vec!["ts".to_owned()]], format: TimeFormat::UnixSeconds },
            key: KeySource::Field(vec!["k".to_owned()]),
            fields: Vec::new(),
            record_bytes_max: 1000,
        };
        Decoder::new(&schema).unwrap()
    }

    /// Large enough to be posted; its events tell which it is.
    fn batch(number: i64) -> RawBatch {
        let (mut bytes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        while bytes.len() < BYTES_MIN {
            starts.push(bytes.len() as u32);
            bytes.extend(format!(r#"{{"ts":{},"k":"a"}}"#, number * 100_000 + starts.len() as i64).bytes());
            ends.push(bytes.len() as u32);
        }
        let (partition, form) = (PartitionId(0), Form::Objects);
        let offsets = Offsets::Dense { first: Offset(number * 100_000) };
        RawBatch { partition, form, bytes, starts, ends, offsets, received: None, keys: None, tombstones: Vec::new() }
    }

    fn times((raw, decoded): &(RawBatch, Decoded)) -> (Offset, Vec<i64>) {
        (raw.offset(0), decoded.events.times().to_vec())
    }

    #[test]
    fn whoever_decodes_every_batch_is_decoded_once_and_comes_back_in_its_order() {
        const BATCHES: i64 = 200;
        let (pool, is_over, helped) = (DecodePool::default(), AtomicBool::new(false), AtomicUsize::new(0));
        pool.join();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    pool.join();
                    let mut decoder = decoder();
                    while !is_over.load(Ordering::Acquire) {
                        helped.fetch_add(usize::from(pool.help(&mut decoder)), Ordering::Relaxed);
                    }
                });
            }
            let (mut mine, mut own) = (decoder(), 0);
            let mut ahead: VecDeque<(i64, Arc<DecodeJob>)> = VecDeque::new();
            for number in 0..BATCHES {
                ahead.push_back((number, pool.post(batch(number), "t/0".to_owned())));
                if ahead.len() == 6 {
                    let (number, job) = ahead.pop_front().unwrap();
                    own += usize::from(job.is_waiting());
                    let expected = (batch(number), mine.decode(&batch(number), "t/0"));
                    assert_eq!(times(&job.finish(&mut mine)), times(&expected));
                }
            }
            for (_, job) in ahead {
                job.finish(&mut mine);
            }
            is_over.store(true, Ordering::Release);
            assert!(own < BATCHES as usize);
        });
        assert!(!pool.help(&mut decoder()), "nothing is left");
        assert!(helped.into_inner() <= BATCHES as usize);
    }

    #[test]
    fn what_is_small_stays_with_its_reader() {
        let pool = DecodePool::default();
        let mut small = batch(0);
        small.starts.truncate(10);
        small.ends.truncate(10);
        small.bytes.truncate(small.ends[9] as usize);
        let job = pool.post(small, "t/0".to_owned());
        assert!(!pool.help(&mut decoder()));
        assert_eq!(job.finish(&mut decoder()).1.events.len(), 10);
    }
}
