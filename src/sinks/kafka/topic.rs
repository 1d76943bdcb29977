//! Makes the topics that are ours to make.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::error::RDKafkaErrorCode;

use crate::broker::link::Link;
use crate::broker::{self, BrokerError, PATIENCE};

/// Why a topic was not made.
pub(super) enum NotMade {
    Client(BrokerError),
    Refused(String),
}

/// Makes a topic. That it is there already is as good.
pub(super) fn create(config: &ClientConfig, link: Link, topic: &NewTopic<'_>) -> Result<(), NotMade> {
    let admin: AdminClient<Link> =
        config.create_with_context(link).map_err(|error| NotMade::Client(broker::creation(error)))?;
    let refused = |cause: &dyn ToString| NotMade::Refused(cause.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| refused(&error))?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = runtime.block_on(admin.create_topics([topic], &options)).map_err(|error| refused(&error))?;
    match made.into_iter().find_map(Result::err) {
        None | Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
        Some((_, code)) => Err(refused(&code)),
    }
}
