//! Anomalies to a Kafka topic: the rows of a checkpoint in one transaction, together with a record of progress. And plain records,
//! without a transaction.
//!
//! Promise: a reader of committed records sees each checkpoint's rows once, whatever is killed when; a second producer with
//! the same transactional id ends the first. What was done is known from the progress topic alone, never from a reply.

mod json;
mod producer;
mod progress;
mod records;
mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Where anomalies are sent: each checkpoint's at once, and once.
pub trait AnomalyTopic: Send {
    /// Sends the rows of the checkpoint with this epoch, unless it was done. Epochs must not fall.
    fn send(&mut self, epoch: u64, rows: &dyn Rows) -> Result<Sent, KafkaOutputError>;

    /// Takes the topic over once more, after an error. Only for the owner of the output.
    fn reopen(&mut self) -> Result<(), KafkaOutputError>;
}

/// The rows of a checkpoint. They need not be in memory all at once.
pub trait Rows {
    fn is_empty(&self) -> bool;

    /// Hands each row to `take`, in the same order at each call, until that refuses one.
    fn visit(&self, take: &mut dyn FnMut(Message<'_>) -> Result<(), Refusal>) -> Result<(), Refusal>;
}

/// Why a row did not get into a transaction.
#[derive(Debug)]
pub enum Refusal {
    /// Another attempt may go well.
    Passing(String),
    /// No attempt will.
    TooLarge { key: String, bytes: usize },
    /// The rows cannot be read from where they are kept.
    Unread(Box<dyn std::error::Error + Send + Sync>),
}

impl AnomalyTopic for AnomalyProducer {
    fn send(&mut self, epoch: u64, rows: &dyn Rows) -> Result<Sent, KafkaOutputError> {
        AnomalyProducer::send(self, epoch, rows)
    }

    fn reopen(&mut self) -> Result<(), KafkaOutputError> {
        AnomalyProducer::reopen(self)
    }
}

pub use json::{MalformedAnomalies, Message, Messages};
pub use producer::{AnomalyProducer, Sent};
pub use records::{Record, RecordProducer, RecordsError, RecordsSpec};

use crate::broker::inquiry::partition_counts;
use crate::broker::link::Link;
use crate::broker::{self, BrokerError, Reserved, Shown};

/// The topic of anomalies.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOutputSpec {
    pub brokers: String,
    pub topic: String,
    /// Where progress is kept, by transactional id; made if it is missing. `<topic>-progress` if none.
    pub progress_topic: Option<String>,
    /// Anything else librdkafka understands.
    pub properties: BTreeMap<String, String>,
    /// The same in every run of a pipeline, and no other pipeline's.
    pub transactional_id: String,
}

impl KafkaOutputSpec {
    pub fn progress_topic(&self) -> String {
        self.progress_topic.clone().unwrap_or_else(|| format!("{}-progress", self.topic))
    }
}

impl fmt::Debug for KafkaOutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOutputSpec")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("progress_topic", &self.progress_topic)
            .field("properties", &Shown(&self.properties))
            .field("transactional_id", &self.transactional_id)
            .finish()
    }
}

/// Why rows did not get out.
#[derive(Debug, thiserror::Error)]
pub enum KafkaOutputError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// This process must end: another one does its work.
    #[error("another process has taken over the transactional id `{transactional_id}`")]
    Fenced { transactional_id: String },
    /// Nothing of the checkpoint is visible, and it may be sent again.
    #[error("the anomalies of checkpoint {sequence} were not written to `{topic}`: {cause}")]
    Refused { topic: String, sequence: u64, cause: String },
    /// This process must end: only opening anew shows what happened.
    #[error("it is not known whether the anomalies of checkpoint {sequence} were written to `{topic}`: {cause}")]
    Indeterminate { topic: String, sequence: u64, cause: String },
    #[error(
        "the anomaly of `{key}` takes {bytes} bytes, and `{topic}` does not take so many: raise `max.message.bytes` of the topic and \
         `message.max.bytes` under [output.kafka.librdkafka], or let fewer features explain it"
    )]
    TooLarge { topic: String, key: String, bytes: usize },
    #[error("the anomalies of checkpoint {sequence} cannot be read from where they were staged")]
    Unread { sequence: u64, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot make the topic `{topic}`, where the progress of the anomalies is kept: {cause}")]
    ProgressTopic { topic: String, cause: String },
    #[error("cannot read the progress of the anomalies from `{topic}`: {cause}")]
    Progress { topic: String, cause: String },
    #[error("cannot begin transactions as `{transactional_id}`: {cause}")]
    Transactions { transactional_id: String, cause: String },
}

/// Properties whose values our promises rest on.
const RESERVED: [Reserved; 5] = [
    ("transactional.id", "it is the pipeline's name"),
    ("enable.idempotence", "a transaction needs it"),
    ("acks", "a transaction needs all"),
    ("request.required.acks", "a transaction needs all"),
    ("group.id", "nothing is committed to a group here"),
];

/// How many partitions the topic has, or why it cannot be used; no transaction is begun and nobody is fenced off.
pub fn inquire(spec: &KafkaOutputSpec, patience: Duration) -> Result<usize, BrokerError> {
    let mut config = broker::configure(&spec.brokers, &[], &spec.properties, &RESERVED)?;
    config.set("group.id", progress::group(spec));
    let link = Link::new("anomalies output", &spec.brokers);
    let counts = partition_counts(config, link, std::slice::from_ref(&spec.topic), patience)?;
    counts.into_iter().next().unwrap_or(Ok(0))
}
