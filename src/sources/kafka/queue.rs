//! A partition's own queue inside librdkafka, read in batches. All unsafe code of the source is here.
//!
//! Invariant: the queue is taken before its partition is assigned, so no record ever goes to the client's own queue; that
//! mark survives later stops and starts of the partition.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::broker::link::Link;
use crate::sources::Wake;

/// One thing that was in the queue.
pub(super) enum Taken<'a> {
    Record {
        offset: i64,
        /// Milliseconds; negative where the record has none.
        stamped: i64,
        key: Option<&'a [u8]>,
        payload: Option<&'a [u8]>,
    },
    /// The partition's end was reached; `next` lies behind trailing markers.
    End {
        next: i64,
    },
    Fault {
        code: RDKafkaErrorCode,
        offset: i64,
        cause: String,
    },
}

/// Shared with librdkafka's thread, which says when the queue is not empty any more.
struct Signal {
    ready: AtomicBool,
    wake: Arc<Wake>,
}

/// See the module.
pub(super) struct PartitionQueue {
    queue: *mut sys::rd_kafka_queue_t,
    signal: Box<Signal>,
    /// The queue belongs to this client and must not outlive it.
    _consumer: Arc<BaseConsumer<Link>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and `&mut self` keeps reading to one at a time.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Splits the partition's queue from the client's. `wake` is called, on a thread of librdkafka's and under the queue's
    /// lock, whenever the queue was empty and is not any more: it may only set flags and unpark.
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<Link>>,
        topic: &str,
        partition: i32,
        wake: Arc<Wake>,
    ) -> Option<PartitionQueue> {
        unsafe extern "C" fn not_empty(_: *mut sys::rd_kafka_t, signal: *mut c_void) {
            // SAFETY: the pointer is the boxed signal of a queue that is still enabled, see `drop`.
            let signal = unsafe { &*signal.cast::<Signal>() };
            signal.ready.store(true, Ordering::Release);
            (signal.wake)();
        }
        let topic = CString::new(topic).ok()?;
        let signal = Box::new(Signal { ready: AtomicBool::new(true), wake });
        // SAFETY: the client outlives the call, the topic is a C string, and a null queue is not used. Forwarding to null
        // keeps the records here. The signal is boxed, so its address stays until `drop` has disabled the callback.
        unsafe {
            let queue = sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition);
            if queue.is_null() {
                return None;
            }
            sys::rd_kafka_queue_forward(queue, ptr::null_mut());
            let opaque = ptr::from_ref::<Signal>(&signal).cast_mut().cast::<c_void>();
            sys::rd_kafka_queue_cb_event_enable(queue, Some(not_empty), opaque);
            Some(PartitionQueue { queue, signal, _consumer: Arc::clone(consumer) })
        }
    }

    /// Whether something may be there. Stays true until a `take` found nothing.
    pub(super) fn is_ready(&self) -> bool {
        self.signal.ready.load(Ordering::Acquire)
    }

    /// Looks again even though nobody called.
    pub(super) fn suspect(&self) {
        self.signal.ready.store(true, Ordering::Release);
    }

    /// How many things are in it.
    pub(super) fn len(&self) -> usize {
        // SAFETY: the queue is ours until `drop`.
        unsafe { sys::rd_kafka_queue_length(self.queue) }
    }

    /// Takes at most `count_max` things out, oldest first, without waiting. Returns how many there were.
    pub(super) fn take(&mut self, scratch: &mut Scratch, count_max: usize, mut visit: impl FnMut(Taken<'_>)) -> usize {
        // Before looking, so that what comes in meanwhile sets it again.
        self.signal.ready.store(false, Ordering::Release);
        let count_max = count_max.min(scratch.0.len());
        // SAFETY: the array has room for `count_max` pointers. With a time-out of 0 the call only takes what is there.
        let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, 0, scratch.0.as_mut_ptr(), count_max) };
        let taken = usize::try_from(taken).unwrap_or(0);
        for message in &scratch.0[..taken] {
            // SAFETY: librdkafka filled the first `taken` pointers, each owned by us until it is destroyed, once.
            unsafe {
                visit(view(*message));
                sys::rd_kafka_message_destroy(*message);
            }
        }
        if taken > 0 {
            self.suspect();
        }
        taken
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: disabling takes the lock under which the callback runs, so the signal is not in use after it.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// The end of a partition as the last fetch told it, without asking; none before the first fetch.
pub(super) fn end_as_fetched(consumer: &BaseConsumer<Link>, topic: &str, partition: i32) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client outlives the call, the topic is a C string, and both numbers are written before it returns.
    let answer = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &mut low,
            &mut high,
        )
    };
    (answer == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// Room for the messages of one call, shared by the queues of a reader. Empty between calls.
pub(super) struct Scratch(Vec<*mut sys::rd_kafka_message_t>);

// SAFETY: between calls of `take` it holds no pointer that is used again.
unsafe impl Send for Scratch {}

impl Scratch {
    pub(super) fn new(count: usize) -> Scratch {
        Scratch(vec![ptr::null_mut(); count])
    }
}

/// # Safety
/// `message` is a message from librdkafka that is not destroyed while the view is in use.
unsafe fn view<'a>(message: *mut sys::rd_kafka_message_t) -> Taken<'a> {
    // SAFETY: as above; payload and key are null or as long as they say.
    unsafe {
        let fields = &*message;
        match fields.err {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Taken::Record {
                offset: fields.offset,
                stamped: sys::rd_kafka_message_timestamp(message, ptr::null_mut()),
                key: bytes(fields.key, fields.key_len),
                payload: bytes(fields.payload, fields.len),
            },
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => Taken::End { next: fields.offset },
            code => {
                let text = sys::rd_kafka_message_errstr(message);
                let cause =
                    if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
                Taken::Fault { code: code.into(), offset: fields.offset, cause }
            }
        }
    }
}

/// # Safety
/// `pointer` is null or points to `length` bytes that live as long as the view.
unsafe fn bytes<'a>(pointer: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as above. An empty value has a pointer, a tombstone has none.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer.cast::<u8>(), length) })
}
