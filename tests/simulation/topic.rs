//! A topic with transactions: each checkpoint's rows at once or not at all, and only of the process that opened it last.

use std::sync::{Arc, Mutex, MutexGuard};

use tidewatch::sinks::kafka::{AnomalyTopic, KafkaOutputError, Refusal, Rows, Sent};

use crate::store::Truth;
use crate::turnstile::Turnstile;

/// What a reader of committed records sees, in its order.
#[derive(Debug, Default)]
pub struct Topic {
    owner: u64,
    last: Option<u64>,
    /// Idempotency key and row.
    pub rows: Vec<(String, String)>,
}

impl Topic {
    /// A row that is there twice.
    pub fn repeated(&self) -> Option<String> {
        let mut keys: Vec<&str> = self.rows.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1])?;
        Some(format!("the topic has `{}` twice", twice[0]))
    }
}

/// A process's hold on the topic.
pub struct Producer {
    pub topic: Arc<Mutex<Topic>>,
    pub truth: Arc<Truth>,
    pub turnstile: Arc<Turnstile>,
    pub faults: u32,
    owner: u64,
}

impl Producer {
    /// Fences off whoever had it, and tells which epoch was sent last.
    pub fn open(
        topic: &Arc<Mutex<Topic>>,
        truth: &Arc<Truth>,
        turnstile: &Arc<Turnstile>,
        faults: u32,
    ) -> (Producer, Option<u64>) {
        let mut inner = topic.lock().unwrap();
        inner.owner += 1;
        let (topic, truth, turnstile) = (Arc::clone(topic), Arc::clone(truth), Arc::clone(turnstile));
        (Producer { topic, truth, turnstile, faults, owner: inner.owner }, inner.last)
    }

    /// The topic, unless somebody took it over.
    fn owned(&self) -> Result<MutexGuard<'_, Topic>, KafkaOutputError> {
        let topic = self.topic.lock().unwrap();
        match topic.owner == self.owner {
            true => Ok(topic),
            false => Err(KafkaOutputError::Fenced { transactional_id: "simulated".into() }),
        }
    }

    fn lost(epoch: u64) -> KafkaOutputError {
        KafkaOutputError::Indeterminate { topic: "simulated".into(), sequence: epoch, cause: "no answer".into() }
    }
}

impl AnomalyTopic for Producer {
    fn send(&mut self, epoch: u64, rows: &dyn Rows) -> Result<Sent, KafkaOutputError> {
        let fate = self.turnstile.roll(1000);
        // The process dies, or is not told.
        let (dies, is_lost) = (fate < self.faults, fate < 2 * self.faults);
        if dies && fate.is_multiple_of(2) {
            self.turnstile.die_here();
        }
        let is_there = self.owned()?.last.is_some_and(|last| last >= epoch);
        if is_there || rows.is_empty() {
            return Ok(if is_there { Sent::AlreadyThere } else { Sent::Nothing });
        }
        // They come from the store: others go on meanwhile, and may take the topic over.
        let mut sent = Vec::new();
        let read = rows.visit(&mut |row| {
            sent.push((row.idempotency_key.to_owned(), String::from_utf8_lossy(row.value).into_owned()));
            Ok(())
        });
        match read {
            Err(Refusal::Unread(source)) => return Err(KafkaOutputError::Unread { sequence: epoch, source }),
            other => other.expect("nothing else is refused here"),
        }
        let mut topic = self.owned()?;
        if !self.truth.watch().is_committed(epoch) {
            self.truth.watch().report(format!("epoch {epoch} was sent, and no manifest holds it"));
        }
        let count = sent.len();
        topic.last = Some(epoch);
        topic.rows.extend(sent);
        drop(topic);
        match (dies, is_lost) {
            (true, _) => self.turnstile.die_here(),
            (_, true) => Err(Producer::lost(epoch)),
            _ => Ok(Sent::Committed { rows: count }),
        }
    }

    fn reopen(&mut self) -> Result<(), KafkaOutputError> {
        let mut topic = self.topic.lock().unwrap();
        topic.owner += 1;
        self.owner = topic.owner;
        Ok(())
    }
}
