//! From a URL to a store: a folder, `file:///…` or `s3://bucket/prefix`.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AwsCredential, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};

use crate::storage::digest::unhex;
use crate::storage::error::{Cause, Secrets, StorageError};

/// `[output.s3]` and `[source.files.s3]`: only what differs from AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// `http://localhost:9000`. Saying `http://` allows plain HTTP.
    pub endpoint: Option<String>,
    /// Otherwise `AWS_REGION`, or `us-east-1`.
    pub region: Option<String>,
    /// `bucket.host/key` instead of `host/bucket/key`.
    pub virtual_hosted: bool,
    /// Otherwise AWS's own variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), or what the machine's role
    /// gives.
    pub account: Option<S3Account>,
}

/// An account of an object store. It never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Account {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a URL means.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    S3 { bucket: String, prefix: String },
}

/// An opened store.
pub(super) struct Opened {
    pub store: Arc<dyn ObjectStore>,
    /// The folder, where the store is one.
    pub folder: Option<PathBuf>,
    pub secrets: Secrets,
}

pub(super) fn open(url: &str, options: &S3Options) -> Result<Opened, StorageError> {
    let cannot_open = |error: &(dyn std::error::Error + 'static), secrets: &Secrets| StorageError::CannotOpen {
        url: url.to_string(),
        source: Cause::new(error, secrets),
    };
    match place(url)? {
        Place::Folder(folder) => {
            let secrets = Secrets::default();
            std::fs::create_dir_all(&folder).map_err(|error| cannot_open(&error, &secrets))?;
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| cannot_open(&error, &secrets))?;
            Ok(Opened { store: Arc::new(store.with_fsync(true)), folder: Some(folder), secrets })
        }
        Place::S3 { bucket, prefix } => {
            let secrets = secrets(options.account.as_ref());
            let store = s3(&bucket, options).build().map_err(|error| cannot_open(&error, &secrets))?;
            let prefix = Path::parse(&prefix).map_err(|error| cannot_open(&error, &secrets))?;
            Ok(Opened { store: Arc::new(PrefixStore::new(store, prefix)), folder: None, secrets })
        }
    }
}

/// The folder that a URL names, if it names one.
pub(super) fn folder_of(url: &str) -> Result<Option<PathBuf>, StorageError> {
    Ok(match place(url)? {
        Place::Folder(folder) => Some(folder),
        Place::S3 { .. } => None,
    })
}

fn s3(bucket: &str, options: &S3Options) -> AmazonS3Builder {
    install_tls();
    // The time-outs and the patience are `Remote`'s own: the client's one would cover a body of any length with the same
    // span, and its retries end after a few seconds. Two quick ones spare a pause after a single broken connection.
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(5),
    };
    let is_plain = options.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(3))
        .with_allow_http(is_plain);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry)
        .with_client_options(client)
        .with_virtual_hosted_style_request(options.virtual_hosted);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(account) = &options.account {
        // As a whole, so that no token of the environment joins it.
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(AwsCredential {
            key_id: account.access_key_id.clone(),
            secret_key: account.secret_access_key.clone(),
            token: account.session_token.clone(),
        })));
    }
    builder
}

/// Whatever could be repeated by a store's reply.
fn secrets(account: Option<&S3Account>) -> Secrets {
    let own = account.into_iter().flat_map(|account| {
        let S3Account { access_key_id, secret_access_key, session_token } = account.clone();
        [Some(access_key_id), Some(secret_access_key), session_token].into_iter().flatten()
    });
    Secrets::from_environment().and(own)
}

/// The HTTP client is built without a provider of cryptography and panics when none is installed, even for plain HTTP.
fn install_tls() {
    static ONCE: Once = Once::new();
    // An error says that another one was installed before, which serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

fn place(url: &str) -> Result<Place, StorageError> {
    let bad = |shown: &str, fault: &str| Err(StorageError::BadUrl { url: shown.to_string(), fault: fault.to_string() });
    let Some((scheme, rest)) = url.split_once("://") else {
        return match url.trim() {
            "" => bad(url, "it is empty"),
            folder => Ok(Place::Folder(PathBuf::from(folder))),
        };
    };
    match scheme {
        "file" if !rest.starts_with('/') => {
            bad(url, "a file URL has three slashes and a whole path: `file:///var/lib/tidewatch`")
        }
        "file" => match decode(rest) {
            Some(path) => Ok(Place::Folder(PathBuf::from(path))),
            None => bad(url, "its percent signs are not followed by two hexadecimal digits of UTF-8 text"),
        },
        "s3" => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.contains('@') {
                return bad(
                    "s3://…",
                    "credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), never from the URL",
                );
            }
            if bucket.is_empty() || rest.contains(['?', '#']) {
                return bad(url, "it should be `s3://bucket/prefix`");
            }
            Ok(Place::S3 { bucket: bucket.to_string(), prefix: prefix.trim_matches('/').to_string() })
        }
        _ => bad(&format!("{scheme}://…"), "only folders, `file:///…` and `s3://…` are known"),
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?.to_ascii_lowercase();
            let [byte] = unhex::<1>(&digits)?;
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3_place(bucket: &str, prefix: &str) -> Place {
        Place::S3 { bucket: bucket.into(), prefix: prefix.into() }
    }

    #[test]
    fn a_url_names_a_folder_or_a_bucket_with_a_prefix() {
        let cases = [
            ("out", Place::Folder("out".into())),
            ("/var/out", Place::Folder("/var/out".into())),
            ("file:///var/my%20out", Place::Folder("/var/my out".into())),
            ("s3://tidewatch", s3_place("tidewatch", "")),
            ("s3://tidewatch/a/b/", s3_place("tidewatch", "a/b")),
        ];
        for (url, wanted) in cases {
            assert_eq!(place(url).unwrap(), wanted, "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_and_credentials_in_them_are_not_repeated() {
        for url in ["", "file://out", "file:///a%2", "s3://", "s3:///x", "s3://b/x?y", "gs://b", "s3://key:hunter2@b/x"]
        {
            let error = place(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_account_is_never_shown_and_taken_out_of_what_a_store_says() {
        let account = S3Account {
            access_key_id: "AKIA1234".into(),
            secret_access_key: "hunter22".into(),
            session_token: Some("token777".into()),
        };
        let options = S3Options { account: Some(account), ..S3Options::default() };
        let reply = std::io::Error::other("<Key>AKIA1234</Key> hunter22 token777");
        let said = Cause::new(&reply, &secrets(options.account.as_ref())).to_string();
        assert_eq!(said, "<Key>***</Key> *** ***");
        assert!(format!("{options:?}").contains("account: Some(***)"), "{options:?}");
        let Ok(opened) = open("s3://bucket/prefix", &options) else { panic!("nothing is asked yet") };
        assert!(!format!("{:?}", opened.store).contains("hunter22"), "the client shows its account");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = format!("{}/below", file.path().display());
        let Err(error) = open(&url, &S3Options::default()) else { panic!("a file has no folders") };
        assert_eq!(error.to_string(), format!("cannot open `{url}`"));
    }
}
