//! Where outputs go: a folder of this machine, or a prefix of the test's own on the store.

use tempfile::TempDir;
use tidewatch::audit::verify::{Depth, verify};
use tidewatch::storage::patience::Patience;
use tidewatch::storage::{S3Options, Storage};

use crate::testbed::{fresh, variable};

/// The output of one pipeline.
pub struct Place {
    pub url: String,
    /// `--output` and what it needs.
    pub arguments: Vec<String>,
    options: S3Options,
    _folder: Option<TempDir>,
}

impl Place {
    pub fn local() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("output").to_str().unwrap().to_owned();
        let arguments = vec!["--output".to_owned(), url.clone()];
        Place { url, arguments, options: S3Options::default(), _folder: Some(folder) }
    }

    /// None where there is no store.
    pub fn on_store() -> Option<Place> {
        let endpoint = variable("TIDEWATCH_TEST_S3_ENDPOINT")?;
        let bucket = variable("TIDEWATCH_TEST_S3_BUCKET")?;
        let url = format!("s3://{bucket}/{}", fresh("real"));
        let set = format!("output.s3.endpoint={endpoint}");
        let arguments = vec!["--output".to_owned(), url.clone(), "--set".to_owned(), set];
        let options = S3Options { endpoint: Some(endpoint), ..S3Options::default() };
        Some(Place { url, arguments, options, _folder: None })
    }

    /// The program reaches the store at this endpoint; who looks at what it left, as before.
    pub fn behind(mut self, endpoint: &str) -> Place {
        *self.arguments.last_mut().unwrap() = format!("output.s3.endpoint={endpoint}");
        self
    }

    pub fn open(&self) -> Storage {
        Storage::open(&self.url, &self.options, Patience::at_start()).unwrap()
    }

    /// Of the store, if it is on one.
    pub fn endpoint(&self) -> Option<&str> {
        self.options.endpoint.as_deref()
    }

    /// What is wrong with the output, as its stored bytes alone tell it.
    pub fn faults(&self) -> Vec<String> {
        let found = verify(&self.url, &self.options, Depth::Rows, None).unwrap();
        found.findings.iter().map(ToString::to_string).collect()
    }

    /// Every offset, event, row and file is where it should be.
    pub fn assert_whole(&self, when: &str) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{when}: {}", faults.join("\n"));
    }

    /// The command line: `words`, and where the output goes.
    pub fn with<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        words.iter().copied().chain(self.arguments.iter().map(String::as_str)).collect()
    }
}
