//! What a Kafka cluster has against a section of the configuration, and what to do about it.

use crate::broker::BrokerError;
use crate::settings::{Fault, quoted};

use super::outside;

/// The fault of a section such as `source.kafka`, whose topics stand under `topics_key`.
pub(super) fn fault(section: &str, topics_key: &str, error: &BrokerError) -> Fault {
    let variables = format!("TIDEWATCH__{}__LIBRDKAFKA__", section.to_uppercase().replace('.', "__"));
    let (key, cure) = match error {
        BrokerError::Reserved { name, instead } => {
            (format!("{section}.librdkafka.{}", quoted(name)), format!("take it out: {instead}"))
        }
        BrokerError::Property { name, .. } => (
            format!("{section}.librdkafka.{}", quoted(name)),
            "write a property as librdkafka names it (CONFIGURATION.md of librdkafka lists them)".to_owned(),
        ),
        BrokerError::Client { .. } => (
            format!("{section}.librdkafka"),
            "put right what librdkafka says of these properties taken together".to_owned(),
        ),
        BrokerError::Refused { .. } => (
            format!("{section}.librdkafka"),
            format!(
                "the account, its password ({variables}SASL_PASSWORD or …_PASSWORD_FILE), sasl.mechanism, security.protocol and \
                 ssl.ca.location must be those of the cluster"
            ),
        ),
        BrokerError::Unreachable { .. } => (
            format!("{section}.brokers"),
            "start the cluster, or name its address; where it speaks TLS, set security.protocol".to_owned(),
        ),
        BrokerError::UnknownTopic { topic, .. } => {
            (topics_key.to_owned(), format!("create the topic `{topic}`, or name one that is there"))
        }
        BrokerError::Forbidden { topic, .. } => {
            (topics_key.to_owned(), format!("give the account the right to `{topic}`, or use another account"))
        }
    };
    outside(key, error.to_string(), cure)
}
