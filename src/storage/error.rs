//! What can go wrong with a store, told by what the caller can do about it, and never with a secret in the text.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use crate::storage::key::ObjectKey;

/// Why the store did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("`{key}` does not exist")]
    NotFound { key: ObjectKey },
    #[error("`{key}` already exists")]
    AlreadyExists { key: ObjectKey },
    /// It will say the same again: credentials, permissions, a missing bucket, an operation it does not have.
    #[error("the store refused `{key}`")]
    Refused { key: ObjectKey, source: Cause },
    /// A write that may have happened, or may still happen.
    #[error("it is not known whether `{key}` was written, after waiting for {}", seconds(*waited))]
    Indeterminate { key: ObjectKey, waited: Duration, source: Cause },
    /// Something that only reads, or can be repeated safely, was not answered.
    #[error("the store did not answer for `{key}` within {}", seconds(*waited))]
    Unavailable { key: ObjectKey, waited: Duration, source: Cause },
    #[error("`{key}` {}", changed(*had, *has))]
    Changed { key: ObjectKey, had: u64, has: u64 },
    #[error("`{key}` has {found} bytes instead of {wanted}")]
    WrongSize { key: ObjectKey, found: u64, wanted: u64 },
    #[error("the bytes of `{key}` are not those that were written")]
    WrongDigest { key: ObjectKey },
    #[error(
        "the store let `{key}` be created twice: without conditional writes two processes could both believe to own the output"
    )]
    NotConditional { key: ObjectKey },
    #[error("`{url}` is no place to store anything: {fault}")]
    BadUrl { url: String, fault: String },
    #[error("cannot open `{url}`")]
    CannotOpen { url: String, source: Cause },
    #[error("cannot sweep `{folder}`")]
    CannotSweep { folder: String, source: std::io::Error },
}

fn changed(had: u64, has: u64) -> String {
    match had == has {
        true => "was written anew since it was found".to_string(),
        false => format!("had {had} bytes when it was found, and has {has} now"),
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

/// What the store, or the way to it, said: the texts of the whole chain of errors, without the credentials.
pub struct Cause(String);

impl Cause {
    pub(super) fn new(error: &(dyn Error + 'static), secrets: &Secrets) -> Cause {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            let more = source.to_string();
            // Most errors of the store's client repeat their source in their own text.
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            next = source.source();
        }
        Cause(secrets.hide(&without_markup(&text)))
    }

    pub(super) fn text(text: impl Into<String>) -> Cause {
        Cause(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Cause {}

/// The credentials in use, so that they can be taken out of texts: S3's own error replies repeat some of them.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn new(values: impl IntoIterator<Item = String>) -> Secrets {
        Secrets(values.into_iter().filter(|value| value.len() >= 4).collect())
    }

    /// The variables that S3's credentials come from.
    pub(super) fn from_environment() -> Secrets {
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        Secrets::new(names.iter().filter_map(|name| std::env::var(name).ok()))
    }

    /// These and more.
    pub(super) fn and(self, values: impl IntoIterator<Item = String>) -> Secrets {
        let Secrets(more) = Secrets::new(values);
        Secrets(self.0.into_iter().chain(more).collect())
    }

    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// What an answer of the store means for the caller.
#[derive(Debug)]
pub(super) enum Fault {
    NotFound,
    AlreadyExists,
    Refused(Cause),
    /// A time-out, a broken connection, a 5xx: nobody knows what happened, and the next try may succeed.
    Passing(Cause),
}

impl Fault {
    pub(super) fn of(error: object_store::Error, secrets: &Secrets) -> Fault {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Fault::NotFound,
            E::AlreadyExists { .. } => Fault::AlreadyExists,
            E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::InvalidPath { .. }
            | E::UnknownConfigurationKey { .. } => Fault::Refused(Cause::new(&error, secrets)),
            _ if is_final(&error) || is_refused_list(&error.to_string()) => Fault::Refused(Cause::new(&error, secrets)),
            _ => Fault::Passing(Cause::new(&error, secrets)),
        }
    }
}

/// Whether S3 refused a list for good: the client tells what a list was answered in its text alone.
fn is_refused_list(text: &str) -> bool {
    ["status code: 401", "status code: 403", "<Code>NoSuchBucket</Code>"].iter().any(|sign| text.contains(sign))
}

/// S3's replies as a person reads them: the code and the message of the XML.
fn without_markup(text: &str) -> String {
    let element = |name: &str| {
        let (_, behind) = text.split_once(&format!("<{name}>"))?;
        Some(behind.split_once(&format!("</{name}>"))?.0)
    };
    match (text.split_once("<?xml"), element("Code"), element("Message")) {
        (Some((before, _)), Some(code), Some(message)) => format!("{before}{code}, {message}"),
        _ => text.to_string(),
    }
}

/// Whether a local disk said something that waiting does not change. (A full disk can be emptied.)
fn is_final(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                error.kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::InvalidFilename
            );
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: source.into() }
    }

    #[test]
    fn a_cause_never_shows_the_credentials() {
        let secrets = Secrets::new(["AKIA1234".to_string(), "hunter22".to_string()]);
        let cause = Cause::new(&generic("<AWSAccessKeyId>AKIA1234</AWSAccessKeyId> hunter22 hunter22"), &secrets);
        assert_eq!(cause.to_string(), "Generic S3 error: <AWSAccessKeyId>***</AWSAccessKeyId> *** ***");
        assert!(!format!("{cause:?} {secrets:?}").contains("hunter"));
    }

    #[test]
    fn a_list_that_s3_refuses_is_not_repeated_and_its_reply_is_readable() {
        let reply = |status: &str, code: &str| {
            format!(
                "Server returned non-2xx status code: {status}: <?xml version=\"1.0\"?>\n<Error><Code>{code}</Code>\
                 <Message>No.</Message></Error>"
            )
        };
        let Fault::Refused(cause) = Fault::of(generic(reply("404 Not Found", "NoSuchBucket")), &Secrets::default())
        else {
            panic!("a missing bucket stays missing")
        };
        assert!(cause.to_string().ends_with("status code: 404 Not Found: NoSuchBucket, No."), "{cause}");
        let of = |status| Fault::of(generic(reply(status, "X")), &Secrets::default());
        assert!(matches!(of("403 Forbidden"), Fault::Refused(_)));
        assert!(matches!(of("503 Slow Down"), Fault::Passing(_)));
    }

    #[test]
    fn a_denied_disk_is_refused_and_a_full_one_passes() {
        let of = |kind: ErrorKind| Fault::of(generic(std::io::Error::from(kind)), &Secrets::default());
        assert!(matches!(of(ErrorKind::PermissionDenied), Fault::Refused(_)));
        assert!(matches!(of(ErrorKind::StorageFull), Fault::Passing(_)));
        assert!(matches!(of(ErrorKind::ConnectionReset), Fault::Passing(_)));
    }
}
