//! Is the topic of `[output.kafka]` there?

use serde_json::json;

use crate::sinks::kafka::inquire;

use super::super::engine;
use super::{Asked, Finding, PATIENCE, cluster};

pub(super) fn probe(asked: &Asked) -> Vec<Finding> {
    let Some(output) = &asked.draft.output else { return Vec::new() };
    let Some(section) = &output.kafka else { return Vec::new() };
    let pipeline = asked.draft.pipeline.as_ref().map_or("check", |pipeline| pipeline.name.as_str());
    let spec = engine::kafka_output(pipeline, &output.url, section);
    vec![match inquire(&spec, PATIENCE) {
        Ok(partitions) => {
            let data = json!({ "topic": spec.topic, "partitions": partitions });
            Finding::seen(
                "anomalies",
                format!("topic {} at {}, {partitions} partitions", spec.topic, spec.brokers),
                data,
            )
        }
        Err(error) => Finding::Fault(cluster::fault("output.kafka", "output.kafka.topic", &error)),
    }]
}
