//! `verify`: whether an output is whole, told in a page, or as JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::audit::AuditError;
use crate::audit::verify::finding::Finding;
use crate::audit::verify::source::{Origin, SourceSpec};
use crate::audit::verify::{self, Depth, Verification};
use crate::checkpoint::manifest::Counts;
use crate::settings::SourceSection;
use crate::sources::kafka::{KafkaSpec, Lost};
use crate::storage::S3Options;

use super::arguments::ConfigurationOptions;
use super::engine::{self, Input};
use super::{Refusal, configuration, print, replay};

/// Prove from the stored files that nothing was lost or counted twice
///
/// Reads manifests, the ledger and the names, sizes and footers of all files: every offset is accounted for once, each accepted event
/// is counted in its windows, nothing is missing and nothing is there that should not be. With --deep also every byte: digests, and that
/// each row is there once. The pipeline may be running. Exit code 0, or 1 with what is wrong, 2 where there is no output.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch verify ./tidewatch-demo --deep
  tidewatch verify pipeline.toml                       the output of a configuration, with its store and account
  tidewatch verify s3://bucket/prefix --endpoint http://localhost:9000
  tidewatch verify ./january --source pipeline.toml --from recordings/
  tidewatch verify s3://bucket/prefix --json | jq '.findings[].message'

S3 accounts: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or those of the configuration.")]
pub(super) struct VerifyOptions {
    /// A folder, s3://bucket/prefix, or the configuration whose output it is
    #[arg(value_name = "URL")]
    pub(super) output: String,
    /// Read every byte: digests, and the rows themselves
    #[arg(long)]
    pub(super) deep: bool,
    /// Where the store is, if it is not AWS
    #[arg(long, value_name = "URL")]
    pub(super) endpoint: Option<String>,
    /// Also read the source of this configuration again: does each stretch of offsets hold what was read there? Give the configuration
    /// by which it was read
    #[arg(long, value_name = "CONFIG")]
    pub(super) source: Option<PathBuf>,
    /// What was replayed, instead of the configured source: files, folders or globs, or `kafka`
    #[arg(long, num_args = 1.., value_name = "PATH", requires = "source")]
    pub(super) from: Vec<String>,
    /// Print what was found as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn verify(options: &VerifyOptions) -> anyhow::Result<ExitCode> {
    let (url, store) = place(options)?;
    let depth = if options.deep { Depth::Rows } else { Depth::Footers };
    let source = options.source.as_deref().map(|config| source(config, &options.from)).transpose()?;
    let found = match verify::verify(&url, &store, depth, source.as_ref()) {
        Ok(found) => found,
        Err(error @ (AuditError::NoOutput | AuditError::NoManifest { .. })) => {
            return Err(Refusal::new(format!("`{url}` cannot be verified: {error}")).into());
        }
        Err(error) => return Err(error.into()),
    };
    if options.json {
        print(format!("{:#}\n", as_json(&url, &found)).as_bytes())?;
    } else {
        print(as_text(&url, &found).as_bytes())?;
    }
    if found.is_whole() {
        return Ok(ExitCode::SUCCESS);
    }
    if !options.json {
        eprintln!("error: `{url}` is not whole: {}", faults(found.findings.len()));
    }
    Ok(ExitCode::from(1))
}

/// The output's URL and what its store needs. A file can only be a configuration: outputs are folders.
fn place(options: &VerifyOptions) -> anyhow::Result<(String, S3Options)> {
    if !Path::new(&options.output).is_file() {
        return Ok((options.output.clone(), S3Options { endpoint: options.endpoint.clone(), ..S3Options::default() }));
    }
    let config = PathBuf::from(&options.output);
    let settings = configuration::load(&ConfigurationOptions { config, output: None, set: Vec::new() })?;
    let mut store = engine::s3(&settings.output.s3);
    store.endpoint = options.endpoint.clone().or(store.endpoint);
    Ok((settings.output.url, store))
}

/// The source that is held against the output.
fn source(config: &Path, from: &[String]) -> anyhow::Result<SourceSpec> {
    let options = ConfigurationOptions { config: config.to_path_buf(), output: None, set: Vec::new() };
    let settings = configuration::load(&options)?;
    let input = if from.is_empty() { Input::Live } else { replay::input(from, Some(&settings.source))? };
    let store = engine::store_of_recordings(Some(&settings.source), Some(&settings.output));
    let files = |paths: &[String]| Origin::Files(engine::files(paths.to_vec(), &settings.event, store));
    let origin = match (&input, &settings.source) {
        (Input::Recordings(paths), _) => files(paths),
        (_, SourceSection::Files(section)) => files(&section.paths),
        // What was deleted since is no fault of the output.
        (_, SourceSection::Kafka(section)) => {
            Origin::Kafka(KafkaSpec { on_lost: Lost::Record, ..engine::kafka(section) })
        }
        (_, SourceSection::Simulator(_)) => {
            return Err(
                Refusal::new("--source compares with Kafka or with recordings, and this is a simulation").into()
            );
        }
    };
    Ok(SourceSpec { origin, events: settings.event.schema.clone(), watermark: settings.watermark.clone() })
}

fn faults(count: usize) -> String {
    if count == 1 { "one fault".to_owned() } else { format!("{count} faults") }
}

/// All partitions together.
fn records(found: &Verification) -> Counts {
    found.sums.partitions.values().fold(Counts::default(), |sum, partition| sum.and(&partition.counts))
}

fn as_text(url: &str, found: &Verification) -> String {
    let mut text = format!("{url}\n");
    let mut line = |what: &str, words: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<12}{words}");
    };
    let count = HumanCount;
    let epoch = found.epoch.map_or_else(|| "nothing committed".to_owned(), |epoch| format!("epoch {epoch}"));
    line("output", format!("{}, reading {}; manifest {}, {epoch}", found.pipeline, found.source, found.sequence));
    let Counts { read, accepted, too_late, quarantined, skipped, lost } = records(found);
    let mut words = format!("{} records of {} partitions: ", count(read), found.sums.partitions.len());
    let _ = write!(words, "{} accepted, {} too late", count(accepted), count(too_late));
    let _ = write!(words, ", {} quarantined", count(quarantined));
    if skipped + lost > 0 {
        let _ = write!(words, "; {} offsets hold no record, {} lost", count(skipped), count(lost));
    }
    line("read", words);
    line("ledger", format!("{} rows of {} checkpoints", count(found.sums.rows), count(found.sums.checkpoints as u64)));
    for (table, sums) in &found.sums.tables {
        let Some(memberships) = sums.memberships else { continue };
        let (events, published) = (count(memberships.events), count(memberships.published));
        let open = count(memberships.open);
        let mut words = format!("{events} events, counted {published} times in published windows, {open} in open ones");
        if memberships.refused > 0 {
            let _ = write!(words, "; {} times refused by final ones", count(memberships.refused));
        }
        line(table.strip_prefix("windows/").unwrap_or(table), words);
    }
    let (rows, bytes) = (count(found.rows), HumanBytes(found.bytes));
    line("files", format!("{} files, {rows} rows, {bytes}", count(found.files)));
    line(
        "looked at",
        match found.depth {
            Depth::Footers => "manifests, ledger, names, sizes, footers (--deep reads every byte)".to_owned(),
            Depth::Rows => "every byte, every digest, every row".to_owned(),
        },
    );
    for remark in &found.remarks {
        line("note", remark.to_string());
    }
    if found.is_whole() {
        text.push_str("\nwhole: nothing is missing, nothing is there twice\n");
        return text;
    }
    let _ = writeln!(text, "\n{}", faults(found.findings.len()));
    for finding in &found.findings {
        let _ = writeln!(text, "  {finding}");
    }
    text
}

fn as_json(url: &str, found: &Verification) -> serde_json::Value {
    let told = |value: serde_json::Result<serde_json::Value>, message: String| {
        // Every field of a finding has a form in JSON; if one had not, its text would still be told.
        let mut value = value.unwrap_or_else(|_| json!({}));
        value["message"] = json!(message);
        value
    };
    let finding = |finding: &Finding| told(serde_json::to_value(finding), finding.to_string());
    let partitions = found.sums.partitions.iter().map(|(partition, sums)| {
        json!({ "partition": partition, "from_offset": sums.first, "to_offset": sums.next, "counts": sums.counts })
    });
    let tables = found.sums.tables.iter().map(|(table, sums)| {
        json!({
            "table": table,
            "rows": sums.rows,
            "rows_published": sums.published,
            "rows_superseded": sums.superseded,
            "rows_open": sums.open,
            "memberships": sums.memberships,
        })
    });
    json!({
        "ok": found.is_whole(),
        "output": url,
        "pipeline": found.pipeline,
        "source": found.source,
        "sequence": found.sequence,
        "epoch": found.epoch,
        "deep": found.depth == Depth::Rows,
        "checkpoints": found.sums.checkpoints,
        "read": records(found),
        "partitions": partitions.collect::<Vec<_>>(),
        "tables": tables.collect::<Vec<_>>(),
        "files": { "files": found.files, "rows": found.rows, "bytes": found.bytes },
        "findings": found.findings.iter().map(finding).collect::<Vec<_>>(),
        "remarks": found.remarks.iter().map(|remark| told(serde_json::to_value(remark), remark.to_string())).collect::<Vec<_>>(),
    })
}
