//! What a Kafka source and a Kafka output have in common: brokers, topics, and whatever else librdkafka understands.

use std::collections::BTreeMap;

use super::fault::Wrong;
use super::reader::Reader;
use super::secret::{Secret, is_secret_property, misplaced};
use super::tree::{Node, Value};
use super::value::{Read, shown, texts, unfit};

/// Properties of librdkafka by name.
pub type Properties = BTreeMap<String, Property>;

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    Plain(String),
    Secret(Secret),
}

impl Property {
    /// The value itself, for the one place that hands it to librdkafka.
    pub fn reveal(&self) -> &str {
        match self {
            Property::Plain(value) => value,
            Property::Secret(secret) => secret.reveal(),
        }
    }
}

/// Properties that are ours to set: exactly-once would break, or another key already says it.
const OURS: [(&str, &str); 11] = [
    ("bootstrap.servers", "write `brokers` beside [librdkafka]"),
    ("metadata.broker.list", "write `brokers` beside [librdkafka]"),
    ("group.id", "write `group` beside [librdkafka]"),
    ("auto.offset.reset", "write `start` and `on_lost` beside [librdkafka]"),
    ("enable.auto.commit", "take it out: offsets are committed with the state they belong to"),
    ("auto.commit.interval.ms", "take it out: offsets are committed with the state they belong to"),
    ("enable.auto.offset.store", "take it out: offsets are committed with the state they belong to"),
    ("enable.partition.eof", "take it out: it is set as the reader needs it"),
    ("transactional.id", "take it out: it follows from the pipeline's name"),
    ("enable.idempotence", "take it out: rows are sent in transactions"),
    ("isolation.level", "take it out: only committed records are read"),
];

/// `[….librdkafka]`: any property; names with dots may be quoted or not.
pub(super) fn properties(reader: Reader<'_>) -> Properties {
    let mut found = Properties::new();
    for (name, node) in reader.entries() {
        collect(&reader, name.to_owned(), node, &mut found);
    }
    found
}

fn collect(reader: &Reader<'_>, name: String, node: &Node, found: &mut Properties) {
    if let Value::Table(inner) = &node.value {
        // `security.protocol = "ssl"` without quotes is a table to TOML and one property to everybody else.
        return inner.0.iter().for_each(|(below, node)| collect(reader, format!("{name}.{below}"), node, found));
    }
    if let Some(property) = reader.judge(&name, node, property(reader, &name, node)) {
        found.insert(name, property);
    }
}

fn property(reader: &Reader<'_>, name: &str, node: &Node) -> Read<Property> {
    if let Some((_, cure)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(Wrong::new("this property is not yours to set here", *cure));
    }
    match &node.value {
        Value::Secret(secret) => Ok(Property::Secret(secret.clone())),
        _ if is_secret_property(name) => Err(misplaced(&reader.key_of(name))),
        Value::Text(text) => Ok(Property::Plain(text.clone())),
        Value::Integer(number) => Ok(Property::Plain(number.to_string())),
        Value::Float(number) => Ok(Property::Plain(number.to_string())),
        Value::Boolean(flag) => Ok(Property::Plain(flag.to_string())),
        Value::Time(_) | Value::List(_) | Value::Table(_) => {
            Err(unfit(node, "a property's value", "write a text, a number, true or false"))
        }
    }
}

/// One text with commas, or a list.
pub(super) fn brokers(node: &Node) -> Read<String> {
    let brokers = texts(node)?.join(",");
    for broker in brokers.split(',').map(str::trim) {
        // librdkafka takes a protocol in front, and its own port where none is named.
        let address = broker.split_once("://").map_or(broker, |(_, address)| address);
        let port = match address.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok_and(|port| port > 0),
            _ => true,
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        if host.is_empty() || !port || host.contains(char::is_whitespace) || host.contains(['@', '/']) {
            return Err(Wrong::new(
                format!("{} is not the address of a broker", shown(broker)),
                "write host:port, several joined by commas: \"kafka-1:9092,kafka-2:9092\"",
            ));
        }
    }
    Ok(brokers.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

/// Kafka's own rule for topics.
pub(super) fn topic_name(topic: &str) -> Read<()> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.chars().all(is_legal) && topic.len() <= 249 && !matches!(topic, "." | "..") {
        return Ok(());
    }
    Err(Wrong::new(
        format!("{} is not a legal name of a topic", shown(topic)),
        "Kafka allows letters, digits, `.`, `_` and `-`, at most 249",
    ))
}
