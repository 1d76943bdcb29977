//! Can the output be written, and is it ours?

use serde_json::json;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::decide::{Conflict, Recovery};
use crate::checkpoint::log::CheckpointLog;
use crate::settings::OutputSection;
use crate::storage::error::StorageError;
use crate::storage::trial::Trial;

use super::super::engine;
use super::{Asked, Finding, HASTE, whole};

const KEY: &str = "output.url";

pub(super) fn probe(asked: &Asked) -> Vec<Finding> {
    let Some(output) = &asked.draft.output else { return Vec::new() };
    let trial = match Trial::open(&output.url, &engine::s3(&output.s3), HASTE) {
        Ok(trial) => trial,
        Err(error) => return vec![refused(output, &error)],
    };
    let mut findings = Vec::new();
    // Whose it is comes first: into another's output nothing is written, not even for a moment.
    match owner(asked, &trial) {
        Ok(text) => match trial.storage().probe(&format!("check-{}", std::process::id())) {
            Ok(()) => {
                let new = if trial.is_new_folder() { "will be made" } else { "can be written" };
                let data = json!({ "url": output.url, "state": text });
                findings.push(Finding::seen("store", format!("{} {new}, {text}", output.url), data));
            }
            Err(error) => findings.push(refused(output, &error)),
        },
        Err(CheckpointError::Storage(error)) => findings.push(refused(output, &error)),
        Err(CheckpointError::Conflict(conflict)) => findings.push(owned(&conflict)),
        Err(error) => findings.push(Finding::fault(KEY, whole(&error), "try again when nobody else writes there")),
    }
    findings
}

/// What a start would find.
fn owner(asked: &Asked, trial: &Trial) -> Result<String, CheckpointError> {
    // Where a section is at fault, nobody can say yet whose output it would be.
    let identity = asked.draft.clone().whole().and_then(|settings| engine::identity(&settings, &asked.input).ok());
    let Some(identity) = identity else { return Ok("not looked into".to_owned()) };
    Ok(match CheckpointLog::foresee(trial.storage(), &identity)? {
        Recovery::Resume { after, .. } | Recovery::FinishPublishing { after, .. } => {
            format!("and goes on after epoch {} of this pipeline", after.0)
        }
        _ => "with nothing committed yet".to_owned(),
    })
}

fn owned(conflict: &Conflict) -> Finding {
    let cure = match conflict {
        Conflict::Configuration { changes } => {
            let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
            format!(
                "restore {}, or give --output another place: what is stored was made by another meaning",
                keys.join(", ")
            )
        }
        Conflict::Unreadable { .. } => "use the release that wrote it, or another place".to_owned(),
        _ => "give it a place of its own: output.url, or --output".to_owned(),
    };
    Finding::fault(KEY, whole(conflict), cure)
}

fn refused(output: &OutputSection, error: &StorageError) -> Finding {
    const ACCOUNT: &str =
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or TIDEWATCH__OUTPUT__S3__ACCESS_KEY_ID and …SECRET_ACCESS_KEY";
    let is_remote = output.url.starts_with("s3://");
    let (key, cure) = match error {
        StorageError::BadUrl { .. } => {
            (KEY, "write \"s3://bucket/prefix\", \"file:///folder\", or a folder".to_owned())
        }
        StorageError::Refused { .. } if is_remote => (
            KEY,
            format!(
                "create the bucket, and give the account ({ACCOUNT}) the right to list, read, write and delete there"
            ),
        ),
        StorageError::NotConditional { .. } => {
            (KEY, "use a store with conditional writes, such as S3 or MinIO".to_owned())
        }
        StorageError::Unavailable { .. } | StorageError::Indeterminate { .. } if is_remote => {
            ("output.s3.endpoint", format!("start the store, or name its address; and an account: {ACCOUNT}"))
        }
        _ if is_remote => (KEY, format!("check output.s3 and the account: {ACCOUNT}")),
        _ => (KEY, "name a folder that can be made and written".to_owned()),
    };
    Finding::fault(key, whole(error), cure)
}
