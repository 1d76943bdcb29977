//! Asking a cluster whether topics are there, with a client that creates nothing, joins nothing and commits nothing.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::link::Link;
use crate::broker::{self, BrokerError};

/// How long to look for the cause of a failure after each request.
const SERVE: Duration = Duration::from_millis(5);

/// How many partitions each topic has, in the order of the topics, or why it cannot be used. An error of the whole if the cluster
/// itself cannot: then no topic was asked for.
pub fn partition_counts(
    mut config: ClientConfig,
    link: Link,
    topics: &[String],
    patience: Duration,
) -> Result<Vec<Result<usize, BrokerError>>, BrokerError> {
    config.set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer<Link> = config.create_with_context(link).map_err(broker::creation)?;
    let until = Instant::now() + patience;
    let count = |topic: &String| {
        let serve = || while consumer.poll(SERVE).is_some() {};
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        match broker::partitions_of(consumer.client(), serve, topic, left) {
            Ok(partitions) => Ok(Ok(partitions.len())),
            Err(fault @ (BrokerError::UnknownTopic { .. } | BrokerError::Forbidden { .. })) => Ok(Err(fault)),
            Err(fault) => Err(fault),
        }
    };
    topics.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::mock::MockBroker;

    fn ask(brokers: &str, topics: &[&str]) -> Result<Vec<Result<usize, BrokerError>>, BrokerError> {
        let mut config = broker::configure(brokers, &[], &Default::default(), &[]).unwrap();
        config.set("group.id", "inquiry");
        let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
        partition_counts(config, Link::new("test", brokers), &topics, Duration::from_millis(1500))
    }

    #[test]
    fn topics_are_counted_and_a_broker_that_is_away_is_told_with_its_cause() {
        let broker = MockBroker::start().unwrap();
        broker.create_topic("flows", 3).unwrap();
        let counts = ask(&broker.brokers(), &["flows"]).unwrap();
        assert!(matches!(counts[..], [Ok(3)]), "{counts:?}");
        let away = ask("127.0.0.1:1", &["flows"]).unwrap_err();
        assert!(away.to_string().to_lowercase().contains("refused"), "{away}");
    }
}
