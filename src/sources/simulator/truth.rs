//! The truth beside the data: one row for each fault, so that what a detector found can be judged.

use serde::{Deserialize, Serialize};

/// A fault that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// As `FaultKind` names it.
    pub kind: String,
    pub device: String,
    /// The fields that were changed; none for a fault of messages.
    pub fields: Vec<String>,
    /// The readings taken from then, in milliseconds since 1970. Of a device with a wrong clock: by a right one.
    pub from: i64,
    /// Up to then, which is no longer part of it.
    pub to: i64,
    pub magnitude: f64,
    /// How many messages it changed, withheld (silence), added (duplicates) or delayed (late, out of order).
    pub messages: u64,
}

impl Truth {
    /// As a line of NDJSON, without its end.
    pub fn as_json(&self) -> String {
        serde_json::json!({
            "kind": self.kind,
            "device": self.device,
            "fields": self.fields,
            "from": self.from,
            "to": self.to,
            "magnitude": self.magnitude,
            "messages": self.messages,
        })
        .to_string()
    }
}
