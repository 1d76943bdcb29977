//! What a Kafka client tells about its connection while it runs: logged once per change, never once per attempt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

/// How the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nothing was heard yet.
    Unknown,
    Up,
    /// No answer; librdkafka goes on trying.
    Down(String),
    /// Wrong account, wrong certificate: trying again does not help.
    Refused(String),
}

/// The context of every Kafka client of ours. Clones share it: clients that follow each other tell of one connection.
#[derive(Clone)]
pub struct Link(Arc<Told>);

/// What was told so far.
struct Told {
    /// Who speaks, for the logs: "source", "anomalies output".
    role: &'static str,
    brokers: String,
    state: Mutex<LinkState>,
    /// Whether `state` is anything but `Up`: asked for every batch, so without the lock.
    troubled: AtomicBool,
    /// What librdkafka last wrote of a failed connection: some causes it tells nowhere else.
    last_failure: Mutex<Option<String>>,
    /// The first record that could not be delivered, and why.
    undelivered: Mutex<Option<String>>,
}

impl Link {
    pub fn new(role: &'static str, brokers: &str) -> Link {
        Link(Arc::new(Told {
            role,
            brokers: brokers.to_string(),
            state: Mutex::new(LinkState::Unknown),
            troubled: AtomicBool::new(true),
            last_failure: Mutex::new(None),
            undelivered: Mutex::new(None),
        }))
    }

    pub fn brokers(&self) -> &str {
        &self.0.brokers
    }

    pub fn state(&self) -> LinkState {
        lock(&self.0.state).clone()
    }

    /// The broker answered.
    pub fn heard(&self) {
        if !self.0.troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = lock(&self.0.state);
        if !matches!(*state, LinkState::Unknown | LinkState::Up) {
            tracing::info!(role = self.0.role, brokers = self.0.brokers, "kafka answers again");
        }
        *state = LinkState::Up;
        self.0.troubled.store(false, Ordering::Relaxed);
    }

    /// Something is wrong with the connection, or with what came over it.
    pub fn trouble(&self, code: RDKafkaErrorCode, cause: &str) {
        let mut state = lock(&self.0.state);
        let written = lock(&self.0.last_failure).clone();
        let cause = match code {
            RDKafkaErrorCode::AllBrokersDown => written.as_deref().unwrap_or(cause),
            _ => cause,
        };
        let next = match code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::ClusterAuthorizationFailed => LinkState::Refused(cause.to_string()),
            // Says less than the errors of the single brokers, which come first.
            RDKafkaErrorCode::AllBrokersDown if matches!(*state, LinkState::Down(_) | LinkState::Refused(_)) => return,
            _ => LinkState::Down(cause.to_string()),
        };
        match (&*state, &next) {
            (LinkState::Down(_), LinkState::Down(_)) | (LinkState::Refused(_), _) => {}
            (_, LinkState::Refused(_)) => {
                tracing::error!(role = self.0.role, brokers = self.0.brokers, cause, "kafka refuses the connection");
            }
            _ => tracing::warn!(role = self.0.role, brokers = self.0.brokers, cause, "kafka does not answer"),
        }
        if !matches!(*state, LinkState::Refused(_)) {
            *state = next;
        }
        self.0.troubled.store(true, Ordering::Relaxed);
    }

    /// The first record that could not be delivered since the last call, and why.
    pub fn take_undelivered(&self) -> Option<String> {
        lock(&self.0.undelivered).take()
    }
}

/// The lock, whoever panicked while holding it: what it guards is whole at every instant.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl ClientContext for Link {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Connection failures arrive as errors too and are logged there, once.
        let routine = matches!(facility, "FAIL" | "ERROR");
        if facility == "FAIL" {
            // In front stands the name of a thread of librdkafka.
            let cause = message.split_once("]: ").map_or(message, |(_, cause)| cause);
            *lock(&self.0.last_failure) = Some(cause.to_string());
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(role = self.0.role, facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if !routine => {
                tracing::warn!(role = self.0.role, facility, message, "librdkafka");
            }
            _ => tracing::debug!(role = self.0.role, facility, message, "librdkafka"),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) | None => {}
            Some(code) => self.trouble(code, reason),
        }
    }
}

impl ConsumerContext for Link {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let failed = match &result {
            Ok(()) => offsets.elements().iter().find_map(|element| element.error().err()),
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => None,
            Err(error) => Some(error.clone()),
        };
        if let Some(error) = failed {
            // The manifest holds the truth; the group is for the usual tools alone.
            tracing::warn!(%error, "offsets were not committed to the group");
        }
    }
}

impl ProducerContext for Link {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut first = lock(&self.0.undelivered);
            if first.is_none() {
                *first = Some(format!("{error} (topic `{}`)", message.topic()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_stands_until_the_broker_answers() {
        let link = Link::new("test", "b:1");
        link.trouble(RDKafkaErrorCode::BrokerTransportFailure, "connection refused");
        link.trouble(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(link.state(), LinkState::Down("connection refused".into()));
        link.heard();
        assert_eq!(link.state(), LinkState::Up);
    }

    #[test]
    fn a_cause_that_is_only_written_to_the_log_is_told_when_all_brokers_are_down() {
        let link = Link::new("test", "b:1");
        link.log(RDKafkaLogLevel::Error, "FAIL", "[thrd:b:1/bootstrap]: b:1/bootstrap: connecting to a SSL listener?");
        link.trouble(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(link.state(), LinkState::Down("b:1/bootstrap: connecting to a SSL listener?".into()));
    }

    #[test]
    fn a_refusal_is_not_hidden_by_the_outage_that_follows_it() {
        let link = Link::new("test", "b:1");
        link.trouble(RDKafkaErrorCode::Authentication, "invalid credentials");
        link.trouble(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        link.trouble(RDKafkaErrorCode::BrokerTransportFailure, "disconnected");
        assert_eq!(link.state(), LinkState::Refused("invalid credentials".into()));
    }
}
