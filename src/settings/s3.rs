//! `[output.s3]` and `[source.files.s3]`: how a store is reached, where it is not AWS, and by whom.

use super::fault::Wrong;
use super::reader::Reader;
use super::secret::{Secret, is_secret, misplaced};
use super::tree::{Node, Value};
use super::value::{Read, boolean, text, unfit};

/// What differs from AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Section {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `bucket.host/key` instead of `host/bucket/key`.
    pub virtual_hosted: bool,
    /// Where they are not given, AWS's own variables (`AWS_ACCESS_KEY_ID`, …) and the machine's role count.
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
}

pub(super) fn read(reader: Reader<'_>) -> S3Section {
    let secret = |name: &'static str| reader.optional(name, |node| secret(&reader.key_of(name), node));
    let section = S3Section {
        endpoint: reader.optional("endpoint", endpoint),
        region: reader.optional("region", text),
        virtual_hosted: reader.or("virtual_hosted", false, boolean),
        access_key_id: secret("access_key_id"),
        secret_access_key: secret("secret_access_key"),
        session_token: secret("session_token"),
    };
    match (&section.access_key_id, &section.secret_access_key) {
        (Some(_), None) => reader.fault("access_key_id", half("secret_access_key")),
        (None, Some(_)) => reader.fault("secret_access_key", half("access_key_id")),
        (None, None) if section.session_token.is_some() => {
            reader.fault("session_token", half("access_key_id and secret_access_key"));
        }
        _ => {}
    }
    reader.finish();
    section
}

fn half(other: &str) -> Wrong {
    Wrong::new(format!("this is half of an account: {other} is missing"), "set them together, or none of them")
}

fn secret(key: &str, node: &Node) -> Read<Secret> {
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    debug_assert!(is_secret(&path), "overrides must know it as a secret");
    match &node.value {
        Value::Secret(secret) => Ok(secret.clone()),
        _ => Err(misplaced(key)),
    }
}

fn endpoint(node: &Node) -> Read<String> {
    let url = text(node)?;
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match host.map(|host| host.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['@', '/', '?', '#', ' ']) => Ok(url),
        _ => Err(unfit(node, "the address of a store", "write \"http://host:port\" or \"https://host\"")),
    }
}
