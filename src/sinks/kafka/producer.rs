//! Sends the anomalies of one checkpoint after the other, each in one transaction.
//!
//! It blocks, so it belongs to the coordinator's own thread. Nothing is retried without a limit: every call ends within
//! about `LIMIT`, with a known outcome or with one that says it is unknown.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::link::Link;
use crate::broker::{self, BrokerError, PATIENCE};
use crate::sinks::kafka::{KafkaOutputError, KafkaOutputSpec, RESERVED, Refusal, Rows, progress};

/// How long a checkpoint's rows may take to get out. An outage that is longer ends the process, and the next one knows.
const LIMIT: Duration = Duration::from_secs(60);

/// One call for a commit; after it the same commit is asked for again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for deliveries before looking again. The crate's own flush looks only every 100 ms.
const POLL: Duration = Duration::from_millis(2);

/// Between a transaction that was aborted and the next.
const AGAIN: Duration = Duration::from_millis(100);

const DEFAULTS: [(&str, &str); 9] = [
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("batch.size", "262144"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("transaction.timeout.ms", "60000"),
    // The same key goes to the same partition as from the clients that are written in Java.
    ("partitioner", "murmur2_random"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
];

/// See the module.
pub struct AnomalyProducer {
    producer: BaseProducer<Link>,
    spec: KafkaOutputSpec,
    last: Option<u64>,
}

/// What became of a checkpoint's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Committed {
        rows: usize,
    },
    /// An earlier process, or an earlier call, committed them.
    AlreadyThere,
    /// There were none.
    Nothing,
}

/// Why a transaction is not committed yet.
enum Setback {
    /// It can be aborted and done again.
    Aborted(String),
    Final(KafkaOutputError),
}

impl AnomalyProducer {
    /// Takes over the transactional id, which finishes or aborts what an earlier process left open and fences it off; then
    /// reads which checkpoint was committed last.
    pub fn open(spec: KafkaOutputSpec) -> Result<(AnomalyProducer, Option<u64>), KafkaOutputError> {
        let link = Link::new("anomalies output", &spec.brokers);
        let opened = AnomalyProducer::open_with(spec, link)?;
        let last = opened.last;
        Ok((opened, last))
    }

    /// Takes the transactional id over once more, after an error that this producer does not survive. Only for the owner of the output.
    pub fn reopen(&mut self) -> Result<(), KafkaOutputError> {
        *self = AnomalyProducer::open_with(self.spec.clone(), Link::clone(self.producer.context()))?;
        Ok(())
    }

    fn open_with(spec: KafkaOutputSpec, link: Link) -> Result<AnomalyProducer, KafkaOutputError> {
        let mut config = broker::configure(&spec.brokers, &DEFAULTS, &spec.properties, &RESERVED)?;
        config.set("transactional.id", &spec.transactional_id);
        let producer: BaseProducer<Link> = config.create_with_context(link).map_err(broker::creation)?;
        let serve = || producer.poll(POLL);
        broker::partitions_of(producer.client(), serve, &spec.topic, PATIENCE)?;
        let progress_topic = spec.progress_topic();
        let partitions = match broker::partitions_of(producer.client(), serve, &progress_topic, PATIENCE) {
            Err(BrokerError::UnknownTopic { .. }) => {
                progress::create(&spec)?;
                wait_for_topic(&producer, &progress_topic)?
            }
            other => other?,
        };
        let mut opened = AnomalyProducer { producer, spec, last: None };
        opened.take_over()?;
        opened.last = progress::last(&opened.spec, &partitions, Link::clone(opened.producer.context()))?;
        opened.producer.context().heard();
        Ok(opened)
    }

    fn take_over(&self) -> Result<(), KafkaOutputError> {
        let until = Instant::now() + LIMIT;
        loop {
            let Err(error) = self.producer.init_transactions(COMMIT_TIMEOUT) else { return Ok(()) };
            self.producer.poll(POLL);
            if !is_retriable(&error) || Instant::now() >= until {
                let transactional_id = self.spec.transactional_id.clone();
                return Err(KafkaOutputError::Transactions { transactional_id, cause: error.to_string() });
            }
        }
    }

    /// Sends a checkpoint's rows, unless progress says that it was done. Sequences must not fall. After an error other than
    /// `Refused` this producer is of no use any more.
    pub fn send(&mut self, sequence: u64, rows: &dyn Rows) -> Result<Sent, KafkaOutputError> {
        if self.last.is_some_and(|last| sequence <= last) {
            return Ok(Sent::AlreadyThere);
        }
        if rows.is_empty() {
            return Ok(Sent::Nothing);
        }
        let until = Instant::now() + LIMIT;
        let mut is_told = false;
        loop {
            match self.transact(sequence, rows, until) {
                Ok(rows) => {
                    self.last = Some(sequence);
                    self.producer.context().heard();
                    return Ok(Sent::Committed { rows });
                }
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Aborted(cause)) if Instant::now() >= until => return Err(self.refused(sequence, cause)),
                Err(Setback::Aborted(cause)) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(sequence, cause, "a transaction of anomalies was aborted and is done again");
                    }
                    self.producer.poll(AGAIN);
                }
            }
        }
    }

    /// One transaction: the rows, the progress record, the commit.
    fn transact(&self, sequence: u64, rows: &dyn Rows, until: Instant) -> Result<usize, Setback> {
        // What an aborted attempt left undelivered is no news of this one.
        self.producer.context().take_undelivered();
        self.producer.begin_transaction().map_err(|error| Setback::Final(self.broken(sequence, &error)))?;
        match self.fill(sequence, rows, until) {
            Ok(count) => self.commit(sequence, until).map(|()| count),
            Err(Refusal::Passing(cause)) => Err(self.abort(sequence, cause, until)),
            Err(Refusal::TooLarge { key, bytes }) => {
                self.abort(sequence, String::new(), until);
                Err(Setback::Final(KafkaOutputError::TooLarge { topic: self.spec.topic.clone(), key, bytes }))
            }
            Err(Refusal::Unread(source)) => {
                self.abort(sequence, String::new(), until);
                Err(Setback::Final(KafkaOutputError::Unread { sequence, source }))
            }
        }
    }

    fn fill(&self, sequence: u64, rows: &dyn Rows, until: Instant) -> Result<usize, Refusal> {
        let mut count = 0;
        rows.visit(&mut |row| {
            let header = Header { key: "idempotency-key", value: Some(row.idempotency_key.as_bytes()) };
            let headers = OwnedHeaders::new().insert(header);
            count += 1;
            self.enqueue(BaseRecord::to(&self.spec.topic).key(row.key).payload(row.value).headers(headers), until)
        })?;
        let (topic, progress) = (self.spec.progress_topic(), progress::record(sequence));
        let id = self.spec.transactional_id.as_bytes();
        self.enqueue(BaseRecord::to(&topic).key(id).payload(progress.as_bytes()), until)?;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(POLL);
            if Instant::now() >= until {
                return Err(Refusal::Passing("Kafka does not take the rows".into()));
            }
        }
        match self.producer.context().take_undelivered() {
            Some(cause) => Err(Refusal::Passing(cause)),
            None => Ok(count),
        }
    }

    fn enqueue(&self, mut record: BaseRecord<'_, [u8], [u8]>, until: Instant) -> Result<(), Refusal> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) if Instant::now() < until => {
                    self.producer.poll(POLL);
                    record = again;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), record)) => {
                    let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
                    return Err(Refusal::TooLarge { key, bytes: record.payload.map_or(0, <[u8]>::len) });
                }
                Err((error, _)) => return Err(Refusal::Passing(error.to_string())),
            }
        }
    }

    /// Asks for the commit until it is known to have happened.
    fn commit(&self, sequence: u64, until: Instant) -> Result<(), Setback> {
        loop {
            let Err(error) = self.producer.commit_transaction(COMMIT_TIMEOUT) else { return Ok(()) };
            self.producer.poll(POLL);
            match &error {
                KafkaError::Transaction(fault) if fault.txn_requires_abort() => {
                    return Err(self.abort(sequence, error.to_string(), until));
                }
                // The same commit goes on where it was.
                error if is_retriable(error) && Instant::now() < until => {}
                error => return Err(Setback::Final(self.broken(sequence, error))),
            }
        }
    }

    /// Gives the transaction up: nothing of it will ever be visible.
    fn abort(&self, sequence: u64, cause: String, until: Instant) -> Setback {
        loop {
            let Err(error) = self.producer.abort_transaction(COMMIT_TIMEOUT) else { return Setback::Aborted(cause) };
            self.producer.poll(POLL);
            if !is_retriable(&error) || Instant::now() >= until {
                // Without a commit the broker aborts it in the end; but this producer cannot begin another.
                return Setback::Final(self.fenced().unwrap_or_else(|| self.refused(sequence, cause)));
            }
        }
    }

    /// What an error means that no second try mends.
    fn broken(&self, sequence: u64, error: &KafkaError) -> KafkaOutputError {
        let fenced = if error.rdkafka_error_code().is_some_and(fences) { Some(self.fence()) } else { self.fenced() };
        fenced.unwrap_or_else(|| {
            let (topic, cause) = (self.spec.topic.clone(), error.to_string());
            KafkaOutputError::Indeterminate { topic, sequence, cause }
        })
    }

    /// Whether the client says for good that another producer took over.
    fn fenced(&self) -> Option<KafkaOutputError> {
        let (code, _) = self.producer.client().fatal_error()?;
        fences(code).then(|| self.fence())
    }

    fn fence(&self) -> KafkaOutputError {
        KafkaOutputError::Fenced { transactional_id: self.spec.transactional_id.clone() }
    }

    fn refused(&self, sequence: u64, cause: String) -> KafkaOutputError {
        KafkaOutputError::Refused { topic: self.spec.topic.clone(), sequence, cause }
    }
}

/// A topic that was just made is known to every broker a moment later.
fn wait_for_topic(producer: &BaseProducer<Link>, topic: &str) -> Result<Vec<i32>, BrokerError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match broker::partitions_of(producer.client(), || producer.poll(POLL), topic, PATIENCE) {
            Err(BrokerError::UnknownTopic { .. }) if Instant::now() < until => producer.poll(Duration::from_millis(20)),
            other => return other,
        }
    }
}

fn fences(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(fault) => fault.is_retriable(),
        KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}
