//! Values that are never printed, and which keys hold them.
//!
//! Promise: a secret comes from the environment, or from a file that the environment names; neither the configuration
//! file nor the command line may hold one, and no text that Tidewatch writes shows one.

use std::fmt;

use super::fault::Wrong;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the one place that hands it to a client.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The sections that hold an account of a store, and their keys that are secrets.
const S3_SECTIONS: [&str; 2] = ["output.s3", "source.files.s3"];
const S3_SECRETS: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];

/// Whether the value at this path is a secret.
pub(super) fn is_secret(path: &[String]) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    if S3_SECTIONS.contains(&above.join(".").as_str()) {
        return S3_SECRETS.contains(&last.as_str());
    }
    above.iter().any(|name| name == "librdkafka") && is_secret_property(last)
}

/// Whether a property of librdkafka holds a secret. Judged by its name, so that properties of later versions are covered.
pub(super) fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit(['.', '_']).next().unwrap_or_default();
    matches!(last, "password" | "secret" | "passphrase")
        || name.ends_with("key.pem")
        || matches!(name.as_str(), "ssl_key" | "sasl.oauthbearer.config")
}

/// What is said of a secret that stands where it must not.
pub(super) fn misplaced(path: &str) -> Wrong {
    let variable = variable_of(path);
    Wrong::new(
        "a secret is read from the environment only, never from a file that is passed around or a command line",
        format!("take it out here and set {variable}, or name a file that holds it in {variable}_FILE"),
    )
}

/// The environment variable that overrides a key: its parts in capitals, joined by two underscores.
fn variable_of(key: &str) -> String {
    let (section, property) = match key.split_once(".librdkafka.") {
        Some((section, property)) => (format!("{section}.librdkafka"), property),
        None => key.rsplit_once('.').map_or((String::new(), key), |(section, name)| (section.to_owned(), name)),
    };
    let shout = |text: &str| text.replace(['.', ' ', '-', '"'], "_").to_uppercase();
    let parts =
        section.split('.').filter(|part| !part.is_empty()).map(shout).chain([shout(property.trim_matches('"'))]);
    format!("TIDEWATCH__{}", parts.collect::<Vec<_>>().join("__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_stars_in_every_format() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(secret.clone())), "*** *** Some(\n    ***,\n)");
    }

    #[test]
    fn properties_that_hold_secrets_are_known_by_their_names() {
        for name in ["sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "ssl_key"] {
            assert!(is_secret_property(name), "{name}");
        }
        for name in ["sasl.username", "sasl.mechanism", "ssl.ca.location", "ssl.ca.pem", "ssl.key.location"] {
            assert!(!is_secret_property(name), "{name}");
        }
        assert!(is_secret_property("sasl.oauthbearer.client.secret"));
        assert!(is_secret_property("sasl.oauthbearer.assertion.private.key.passphrase"));
    }

    #[test]
    fn the_cure_names_the_variable_to_set() {
        assert_eq!(
            variable_of("source.kafka.librdkafka.\"sasl.password\""),
            "TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD"
        );
        assert_eq!(variable_of("output.s3.secret_access_key"), "TIDEWATCH__OUTPUT__S3__SECRET_ACCESS_KEY");
        assert_eq!(variable_of("source.files.s3.session_token"), "TIDEWATCH__SOURCE__FILES__S3__SESSION_TOKEN");
    }
}
