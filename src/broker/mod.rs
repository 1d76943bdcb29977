//! The connection to a Kafka cluster that both sides share: how a client is configured, what it says when it cannot
//! connect, and a broker inside the process. Sources read through it and sinks write; neither knows the other.
//!
//! Promise: no error and no log line shows the value of a secret property, and a refused or unreachable broker is named
//! with its true cause (librdkafka itself answers "timed out").

pub mod inquiry;
pub mod link;
pub mod mock;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::broker::link::{Link, LinkState};

/// How long the start may wait for a broker that does not answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One metadata request; several fit into the patience, so that a refusal is seen soon.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the librdkafka property `{name}` is ours: {instead}")]
    Reserved { name: String, instead: &'static str },
    #[error("the librdkafka property `{name}` is not usable: {fault}")]
    Property { name: String, fault: String },
    #[error("cannot make a Kafka client: {fault}")]
    Client { fault: String },
    #[error("Kafka at `{brokers}` refuses the connection: {cause}")]
    Refused { brokers: String, cause: String },
    #[error("Kafka at `{brokers}` cannot be reached: {cause}")]
    Unreachable { brokers: String, cause: String },
    #[error("topic `{topic}` does not exist on Kafka at `{brokers}`")]
    UnknownTopic { brokers: String, topic: String },
    #[error("Kafka at `{brokers}` does not allow this account to use topic `{topic}`")]
    Forbidden { brokers: String, topic: String },
}

/// A property that we set ourselves, and what to do instead of setting it.
pub type Reserved = (&'static str, &'static str);

/// A client's configuration: our defaults, then the user's properties, which may not touch the reserved ones.
pub fn configure(
    brokers: &str,
    defaults: &[(&str, &str)],
    properties: &BTreeMap<String, String>,
    reserved: &[Reserved],
) -> Result<ClientConfig, BrokerError> {
    const ALWAYS: [Reserved; 3] = [
        ("bootstrap.servers", "set `brokers`"),
        ("metadata.broker.list", "set `brokers`"),
        ("plugin.library.paths", "no foreign code is loaded"),
    ];
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info).set("bootstrap.servers", brokers);
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in properties {
        if let Some((_, instead)) = ALWAYS.iter().chain(reserved).find(|(reserved, _)| reserved == name) {
            return Err(BrokerError::Reserved { name: name.clone(), instead });
        }
        if name == "debug" {
            config.set_log_level(RDKafkaLogLevel::Debug);
        }
        config.set(name, value);
    }
    // Checked here, once, so that a wrong name is reported by name and a wrong secret never by value.
    config.create_native_config().map_err(creation)?;
    Ok(config)
}

/// What librdkafka says against a configuration, without the values of secrets.
pub fn creation(error: KafkaError) -> BrokerError {
    match error {
        KafkaError::ClientConfig(_, _, name, _) if is_secret(&name) => {
            BrokerError::Property { name, fault: "librdkafka does not take its value (not shown)".into() }
        }
        KafkaError::ClientConfig(_, fault, name, _) => BrokerError::Property { name, fault },
        KafkaError::ClientCreation(fault) => BrokerError::Client { fault },
        other => BrokerError::Client { fault: other.to_string() },
    }
}

/// Whether a property's value must never be shown.
fn is_secret(name: &str) -> bool {
    ["password", "secret", ".pem", "sasl.username", "sasl.oauthbearer.config", "token"]
        .iter()
        .any(|part| name.contains(part))
}

/// Properties as they may be printed.
pub struct Shown<'a>(pub &'a BTreeMap<String, String>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &String, value: &String| if is_secret(name) { "…".into() } else { value.clone() };
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

/// A topic's partitions. Waits for a broker up to `patience`; `serve` must poll the client's own queue, where the true
/// cause of a failure arrives.
pub fn partitions_of(
    client: &Client<Link>,
    serve: impl Fn(),
    topic: &str,
    patience: Duration,
) -> Result<Vec<i32>, BrokerError> {
    let brokers = || client.context().brokers().to_string();
    let until = Instant::now() + patience;
    loop {
        let answer = client.fetch_metadata(Some(topic), METADATA_TIMEOUT.min(patience));
        serve();
        let fault = match answer {
            Ok(metadata) => match metadata.topics().iter().find(|found| found.name() == topic) {
                Some(found) if found.error().is_none() => {
                    client.context().heard();
                    let mut ids: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
                    ids.sort_unstable();
                    return Ok(ids);
                }
                Some(found) => {
                    found.error().map(RDKafkaErrorCode::from).unwrap_or(RDKafkaErrorCode::UnknownTopicOrPartition)
                }
                None => RDKafkaErrorCode::UnknownTopicOrPartition,
            },
            Err(error) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        };
        match fault {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                return Err(BrokerError::UnknownTopic { brokers: brokers(), topic: topic.into() });
            }
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::InvalidTopic => {
                return Err(BrokerError::Forbidden { brokers: brokers(), topic: topic.into() });
            }
            _ => {}
        }
        match client.context().state() {
            LinkState::Refused(cause) => return Err(BrokerError::Refused { brokers: brokers(), cause }),
            LinkState::Down(cause) if Instant::now() >= until => {
                return Err(BrokerError::Unreachable { brokers: brokers(), cause });
            }
            _ if Instant::now() >= until => {
                return Err(BrokerError::Unreachable { brokers: brokers(), cause: fault.to_string() });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        let properties = BTreeMap::from([(name.to_string(), value.to_string())]);
        configure("b:1", &[], &properties, &[("group.id", "set `group`")]).unwrap_err().to_string()
    }

    #[test]
    fn a_property_of_ours_is_refused_by_name_and_says_what_to_do_instead() {
        assert_eq!(refused("group.id", "g"), "the librdkafka property `group.id` is ours: set `group`");
        assert_eq!(
            refused("bootstrap.servers", "x"),
            "the librdkafka property `bootstrap.servers` is ours: set `brokers`"
        );
    }

    #[test]
    fn an_unknown_property_is_reported_by_name() {
        assert!(refused("sokket.timeout", "1").contains("`sokket.timeout`"), "{}", refused("sokket.timeout", "1"));
    }

    #[test]
    fn no_error_and_no_debug_text_shows_a_secret() {
        let secret = "hunter2\0hidden";
        assert!(!refused("sasl.password", secret).contains("hunter2"));
        let properties = BTreeMap::from([("sasl.password".to_string(), "hunter2".to_string())]);
        assert_eq!(format!("{:?}", Shown(&properties)), r#"{"sasl.password": "…"}"#);
    }
}
