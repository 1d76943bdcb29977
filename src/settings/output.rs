//! `[output]`: where results go, and how often.

use std::time::Duration;

use crate::sinks::tables::PartitionBy;

use super::fault::Wrong;
use super::kafka::{Properties, brokers, properties, topic_name};
use super::reader::Reader;
use super::s3::{self, S3Section};
use super::source::SourceSection;
use super::tree::Node;
use super::value::{Read, duration, one_of, shown, size, text};

/// `[output]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSection {
    /// `s3://bucket/prefix`, `file:///…`, or a folder.
    pub url: String,
    pub events: EventsStored,
    /// Rows become visible once their file is this old; zero: at every checkpoint.
    pub publish_every: Duration,
    /// Or this large, in bytes.
    pub file_size: u64,
    /// How far the tables' folders go down.
    pub partition_by: PartitionBy,
    pub s3: S3Section,
    pub kafka: Option<KafkaOutputSection>,
}

/// Which scored events are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsStored {
    All,
    Anomalies,
    None,
}

/// `[output.kafka]`: anomalies as JSON on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOutputSection {
    pub brokers: String,
    pub topic: String,
    pub librdkafka: Properties,
}

pub(super) fn read(reader: Reader<'_>, source: Option<&SourceSection>) -> Option<OutputSection> {
    let url = reader.required("url", "\"./output\"", url);
    let stored = [("all", EventsStored::All), ("anomalies", EventsStored::Anomalies), ("none", EventsStored::None)];
    let events = reader.or("events", EventsStored::Anomalies, one_of(&stored));
    let publish_every = reader.or("publish_every", Duration::from_secs(60), duration);
    let file_size = reader.or("file_size", 128 << 20, size);
    let folders = [("hour", PartitionBy::Hour), ("day", PartitionBy::Day)];
    let partition_by = reader.or("partition_by", PartitionBy::Hour, one_of(&folders));
    let s3 = reader.section("s3").map(s3::read).unwrap_or_default();
    let kafka = reader.section("kafka").map(|kafka| read_kafka(kafka, source));
    let is_sound = reader.finish();
    // A faulty [output.kafka] has made the section unsound.
    let section =
        OutputSection { url: url?, events, publish_every, file_size, partition_by, s3, kafka: kafka.flatten() };
    is_sound.then_some(section)
}

fn url(node: &Node) -> Read<String> {
    const CURE: &str = "write \"s3://bucket/prefix\", \"file:///folder\", or a folder";
    let url = text(node)?;
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(url) };
    let bad = |problem: String| Err(Wrong::new(problem, CURE));
    match scheme {
        "s3" if rest.contains('@') => Err(Wrong::new(
            "an account does not belong in a URL",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
        )),
        "s3" if rest.starts_with('/') || rest.is_empty() => bad(format!("{} names no bucket", shown(&url))),
        "s3" if rest.contains(['?', '#']) => bad("a store's URL has neither `?` nor `#`".to_owned()),
        "file" if !rest.starts_with('/') => bad(format!("{} needs three slashes and a whole path", shown(&url))),
        "s3" | "file" => Ok(url),
        other => bad(format!("results cannot be written to {}", shown(&format!("{other}://…")))),
    }
}

/// Properties of the source that an output to the same brokers needs too: how to get in.
const WAY_IN: [&str; 5] = ["security.", "sasl.", "ssl.", "enable.ssl.", "enable.sasl."];

fn read_kafka(reader: Reader<'_>, source: Option<&SourceSection>) -> Option<KafkaOutputSection> {
    let topic = reader.required("topic", "\"iomt-anomalies\"", |node| {
        let topic = text(node)?;
        topic_name(&topic)?;
        Ok(topic)
    });
    let given = reader.optional("brokers", brokers);
    let own = reader.section("librdkafka").map(properties).unwrap_or_default();
    let (brokers, librdkafka) = match (given, source) {
        (Some(brokers), _) => (Some(brokers), own),
        (None, Some(SourceSection::Kafka(source))) => {
            let way_in = |name: &String| WAY_IN.iter().any(|beginning| name.starts_with(beginning));
            let mut properties = source.librdkafka.clone();
            properties.retain(|name, _| way_in(name));
            properties.extend(own);
            (Some(source.brokers.clone()), properties)
        }
        // The source is at fault itself, and its brokers may have been meant.
        (None, None) => (None, own),
        (None, Some(SourceSection::Files(_) | SourceSection::Simulator(_))) => {
            (reader.required("brokers", "\"localhost:9092\"", brokers), own)
        }
    };
    if let (Some(topic), Some(SourceSection::Kafka(source))) = (&topic, source)
        && source.topics.contains(topic)
        && brokers.as_ref() == Some(&source.brokers)
    {
        let wrong =
            Wrong::new("anomalies would be read again as events: the source reads this topic", "name another topic");
        reader.fault("topic", wrong);
    }
    let is_sound = reader.finish();
    is_sound.then_some(KafkaOutputSection { brokers: brokers?, topic: topic?, librdkafka })
}
