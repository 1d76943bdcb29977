//! The messages of one partition, in the order in which they arrive.
//!
//! First it is decided which message comes next, which is cheap; then its values are worked out. So skipping to an offset costs a few
//! nanoseconds a message, and what is held back needs no memory but its address.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::domain::ids::Offset;
use crate::sources::simulator::SimulatorSpec;
use crate::sources::simulator::device::{Device, Value};
use crate::sources::simulator::event::Event;
use crate::sources::simulator::fault::{Fate, Fault};
use crate::sources::simulator::plan::Plan;

/// The label of an event that nothing is wrong with.
const NORMAL: &str = "normal";

/// See the module. Each message has an offset, from 0.
pub struct PartitionStream {
    spec: Arc<SimulatorSpec>,
    /// In the order in which they send within an interval.
    devices: Vec<Device>,
    /// The faults of each of them.
    faults: Vec<Vec<Fault>>,
    /// Where the decision about what comes next stands.
    tick: u64,
    place: usize,
    /// Messages that come late, by when and from whom: the ticks of their readings.
    held: BTreeMap<(u64, usize), Vec<u64>>,
    /// What comes next; never empty before the end.
    ahead: VecDeque<Message>,
    next: Offset,
    values: Vec<Value>,
}

/// A message by its address.
#[derive(Clone, Copy, Debug)]
struct Message {
    place: usize,
    /// Of its reading.
    tick: u64,
    arrival_ms: i64,
}

impl PartitionStream {
    pub(super) fn new(spec: &Arc<SimulatorSpec>, plan: &Plan, index: u32) -> PartitionStream {
        let numbers = (index..spec.devices).step_by(spec.partitions as usize);
        let mut devices: Vec<Device> = numbers.map(|number| Device::new(spec, number)).collect();
        devices.sort_by_key(|device| (device.phase_ms, device.number));
        let faults = devices.iter().map(|device| plan.of(device.number).to_vec()).collect();
        let mut stream = PartitionStream {
            spec: spec.clone(),
            devices,
            faults,
            tick: 0,
            place: 0,
            held: BTreeMap::new(),
            ahead: VecDeque::new(),
            next: Offset(0),
            values: Vec::new(),
        };
        stream.look_ahead();
        stream
    }

    /// The offset of the next message, or the end.
    pub fn offset(&self) -> Offset {
        self.next
    }

    /// When the next message arrives, in milliseconds since 1970; `None` behind the last.
    pub fn due_ms(&self) -> Option<i64> {
        self.ahead.front().map(|message| message.arrival_ms)
    }

    /// The next message. It is not an `Iterator`, for an event borrows from the stream.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<Event<'_>> {
        let message = self.take()?;
        let device = &mut self.devices[message.place];
        let fault = fault_at(&self.faults[message.place], message.tick);
        let word = device.values(message.tick, fault, &mut self.values);
        let taken_ms = self.spec.start_ms() + message.tick as i64 * self.spec.every_ms() + device.phase_ms;
        // The low half of the word; the high one decides how long a message is held back.
        let after_ms = (i64::from(word & 0xffff) * self.spec.disorder_ms()) >> 16;
        let label = match fault {
            Some(fault) if self.spec.labelled => Some(fault.kind.name()),
            _ => device.class().or(self.spec.labelled.then_some(NORMAL)),
        };
        Some(Event {
            at_ms: taken_ms + after_ms + fault.map_or(0, Fault::clock_ms),
            arrival_ms: message.arrival_ms,
            device: &device.name,
            fields: self.spec.profile.fields(),
            values: &self.values,
            label,
        })
    }

    /// Passes over messages up to an offset; stops at the end where there are fewer.
    pub fn skip_to(&mut self, offset: Offset) {
        while self.next < offset && self.take().is_some() {}
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.ahead.pop_front()?;
        self.next = self.next.next();
        if self.ahead.is_empty() {
            self.look_ahead();
        }
        Some(message)
    }

    /// Decides until something comes, or nothing ever will.
    fn look_ahead(&mut self) {
        let ticks = self.spec.ticks();
        while self.ahead.is_empty() && !self.devices.is_empty() {
            if self.tick >= ticks {
                // Only what was held back is still to come.
                let Some((&(tick, place), _)) = self.held.first_key_value() else { return };
                (self.tick, self.place) = (tick, place);
            }
            let (tick, place) = (self.tick, self.place);
            if let Some(readings) = self.held_until(tick, place) {
                let arrival_ms = self.arrival_ms(tick, place);
                self.ahead.extend(readings.into_iter().map(|tick| Message { place, tick, arrival_ms }));
            }
            if tick < ticks {
                self.decide(tick, place);
            }
            self.place += 1;
            if self.place == self.devices.len() {
                (self.tick, self.place) = (tick + 1, 0);
            }
        }
    }

    fn held_until(&mut self, tick: u64, place: usize) -> Option<Vec<u64>> {
        if self.held.is_empty() { None } else { self.held.remove(&(tick, place)) }
    }

    /// What becomes of a device's message of this tick.
    fn decide(&mut self, tick: u64, place: usize) {
        let device = &mut self.devices[place];
        let fault = fault_at(&self.faults[place], tick).filter(|fault| fault.is_of_messages());
        let fate = fault.map_or(Fate::Comes(1), |fault| fault.fate(device.message_word(tick), self.spec.every_ms()));
        match fate {
            Fate::Comes(times) => {
                let message = Message { place, tick, arrival_ms: self.arrival_ms(tick, place) };
                self.ahead.extend((0..times).map(|_| message));
            }
            Fate::HeldBack(ticks) => self.held.entry((tick + ticks, place)).or_default().push(tick),
        }
    }

    fn arrival_ms(&self, tick: u64, place: usize) -> i64 {
        let begin = self.spec.start_ms() + tick as i64 * self.spec.every_ms();
        begin + self.devices[place].phase_ms + self.spec.disorder_ms()
    }
}

/// The fault of a device at a tick, of those it has in all.
fn fault_at(faults: &[Fault], tick: u64) -> Option<&Fault> {
    let behind = faults.partition_point(|fault| fault.from <= tick);
    faults[..behind].last().filter(|fault| tick < fault.to)
}
