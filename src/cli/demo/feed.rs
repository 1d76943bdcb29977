//! The simulated fleet on its way into the broker: at a pace, and never so far ahead of the reader that the broker forgets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::broker::BrokerError;
use crate::broker::mock::MockBroker;
use crate::sources::simulator::{PartitionStream, Simulator};

pub(super) const TOPIC: &str = "fleet";

/// Messages that are written and not read. The broker keeps about 5 MiB a partition: twenty thousand messages, if all were of one.
const AHEAD_MAX: u64 = 20_000;
/// Messages between two looks at what was read.
const BURST: u64 = 500;
/// How far the rate looks back.
const RATE_SPAN: Duration = Duration::from_secs(2);

/// Sends the simulation in the order of arrival.
pub(super) struct Feed<'a> {
    broker: &'a MockBroker,
    streams: Vec<PartitionStream>,
    /// Messages a second, at most.
    rate: f64,
    begun: Instant,
    sent: u64,
    payload: Vec<u8>,
    looks: VecDeque<(Instant, u64)>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(broker: &'a MockBroker, simulator: &Simulator, rate: f64) -> Feed<'a> {
        let streams = (0..simulator.spec().partitions).map(|partition| simulator.partition(partition)).collect();
        let (begun, looks) = (Instant::now(), VecDeque::new());
        Feed { broker, streams, rate, begun, sent: 0, payload: Vec::new(), looks }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn is_done(&self) -> bool {
        self.streams.iter().all(|stream| stream.due_ms().is_none())
    }

    /// Sends what is due by now; at most a burst. `read` is how many were read in all.
    pub(super) fn step(&mut self, read: u64) -> Result<(), BrokerError> {
        // A count of messages: far below 2^53.
        let due = (self.begun.elapsed().as_secs_f64() * self.rate) as u64;
        let until = due.min(read.saturating_add(AHEAD_MAX)).min(self.sent + BURST);
        while self.sent < until && self.send_next()? {}
        self.broker.flush()
    }

    /// Sends the message that arrives next, of all partitions. No, at the end.
    fn send_next(&mut self) -> Result<bool, BrokerError> {
        let due = self.streams.iter().enumerate().filter_map(|(place, stream)| Some((stream.due_ms()?, place)));
        let first = due.min();
        let Some((_, place)) = first else { return Ok(false) };
        if let Some(event) = self.streams[place].next() {
            self.payload.clear();
            event.write_json(&mut self.payload);
            let key = event.device.as_bytes();
            let partition = i32::try_from(place).unwrap_or(i32::MAX);
            self.broker.append_at(TOPIC, partition, Some(key), Some(&self.payload), Some(event.arrival_ms))?;
            self.sent += 1;
        }
        Ok(true)
    }

    /// Messages a second that were read of late.
    pub(super) fn rate_of(&mut self, read: u64) -> f64 {
        let now = Instant::now();
        self.looks.push_back((now, read));
        while self.looks.len() > 2 && now.duration_since(self.looks[0].0) > RATE_SPAN {
            self.looks.pop_front();
        }
        let (then, before) = self.looks[0];
        let span = now.duration_since(then).as_secs_f64();
        if span > 0.0 { (read - before) as f64 / span } else { 0.0 }
    }
}
