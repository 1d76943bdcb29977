//! The verbs and their options, and the help that teaches them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::observe::logging::{Format, Verbosity};
use crate::serve::PORT;
use crate::settings::Argument;
use crate::sources::simulator::RecordingFormat;

use super::models::ModelsOptions;
use super::redrive::RedriveOptions;
use super::simulate::Rate;
use super::verify::VerifyOptions;

const EXAMPLES: &str = "\
Examples:
  tidewatch demo                                   everything at once, nothing else needed
  tidewatch check pipeline.toml                    all faults at once, with their cures
  tidewatch run pipeline.toml -w 4                 live, until Ctrl-C; resumes where it was
  tidewatch replay pipeline.toml --from day.ndjson the same results from a recording
  tidewatch redrive pipeline.toml                  quarantined records again, once mended
  tidewatch import model.h5 scaler.json --to models/flows
  tidewatch train pipeline.toml --from calm.ndjson a model of your own
  tidewatch models pipeline.toml promote 2         and in force, while it runs
  tidewatch verify pipeline.toml --deep            is all of it there, and once?

Any key of the configuration can be overridden, by the environment and above it by --set:
  TIDEWATCH__OUTPUT__URL=s3://bucket/prefix tidewatch run pipeline.toml
  tidewatch run pipeline.toml --set windows.by_label.size=20s

Secrets come from the environment only: TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD=…,
or …_PASSWORD_FILE=/run/secrets/kafka. S3 accounts: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

Exit codes: 0 done, 1 it failed or verify found a fault, 2 usage or configuration.";

/// Streaming anomaly detection for device telemetry
///
/// Reads events from Kafka or from recordings, computes exact event-time windows and model scores, and writes Parquet
/// to a folder or an S3 store, each row exactly once. One TOML file says what to do.
#[derive(Debug, Parser)]
#[command(name = "tidewatch", version, after_long_help = EXAMPLES, after_help = "Examples and more: tidewatch --help")]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) logs: Logs,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Demo(DemoOptions),
    Run(RunOptions),
    Replay(ReplayOptions),
    Redrive(RedriveOptions),
    Check(CheckOptions),
    Import(ImportOptions),
    Simulate(SimulateOptions),
    Train(TrainOptions),
    Evaluate(EvaluateOptions),
    Models(ModelsOptions),
    Verify(VerifyOptions),
    Health(HealthOptions),
    Completions(CompletionsOptions),
    Manual(ManualOptions),
}

/// See it work: a simulated fleet with faults, found by a model that is trained on the spot
///
/// Starts a Kafka broker inside of the process, writes a fleet of devices with seeded faults into it, trains an autoencoder on the calm first
/// third, and runs the real pipeline on two workers, in accelerated time. Then holds what was found against what was
/// injected. Needs nothing else; takes less than a minute.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch demo
  tidewatch demo --seed 8 --devices 120 --faults 30
  tidewatch demo --duration 2h --rate 20000 --output /tmp/fleet")]
pub(super) struct DemoOptions {
    /// The devices' signals and faults follow from it
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(super) seed: u64,
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) devices: u32,
    /// How many faults, of every kind in turn
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(super) faults: u32,
    /// Messages a second that are sent at most
    #[arg(long, value_name = "N", default_value = "40000", value_parser = rate)]
    pub(super) rate: f64,
    /// Simulated time in all, of which the first third is calm
    #[arg(long, value_name = "SPAN", default_value = "48h", value_parser = demo_duration)]
    pub(super) duration: Duration,
    /// Where everything is written; an earlier demo there is replaced
    #[arg(long, value_name = "FOLDER", default_value = "tidewatch-demo")]
    pub(super) output: PathBuf,
}

/// Below this there is hardly a window to learn from.
const DEMO_SHORTEST: Duration = Duration::from_secs(2 * 3600);

fn demo_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < DEMO_SHORTEST { Err("write 2h or more: time passes fast here".to_owned()) } else { Ok(duration) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "write a number of messages a second, above 0".to_owned())
}

/// Run live, until stopped; resumes where it was
///
/// Ends cleanly on Ctrl-C or SIGTERM, after a last checkpoint; a second Ctrl-C ends at once, and nothing that was
/// committed is lost. Started again, also with another number of workers, it goes on where it was.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch run pipeline.toml
  tidewatch run pipeline.toml --once                   from cron: up to what is there now
  tidewatch run pipeline.toml -w 4 -n 2 -p 0 --hosts hosts.txt")]
pub(super) struct RunOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    /// Read up to what is there now and end, leaving open windows in the state
    #[arg(long)]
    pub(super) once: bool,
    /// At the end, print what was done as one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) placement: PlacementOptions,
}

/// Compute the results of recorded events
///
/// The same configuration gives the same output as the live run did. Closes every window at the end. Interrupted, and
/// started again, it goes on where it was.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch replay pipeline.toml --from recordings/
  tidewatch replay pipeline.toml --from 'days/2026-01-*.ndjson' --output ./january
  tidewatch replay pipeline.toml --from 's3://bucket/day=*/*.ndjson.gz'
  tidewatch replay pipeline.toml --from kafka          the configured topics as they stand now")]
pub(super) struct ReplayOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    /// Files, folders or globs to read, here or as s3://bucket/…; or `kafka` for the configured topics as they stand now
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub(super) from: Vec<String>,
    /// Score by the versions of models that scored this output, at the same event times [default: the versions in force score everything]
    #[arg(long, value_name = "URL")]
    pub(super) models_of: Option<String>,
    /// Print the closing summary as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) placement: PlacementOptions,
}

/// Look for faults before anything starts
///
/// Reads the configuration and asks everything it names: broker and topics, store, models. Decodes and scores a sample of
/// the input. Tells all faults at once, each with its key and the cure. Starts nothing, writes no results, commits no
/// offset. Exit code 0, or 2 with the list.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch check pipeline.toml
  tidewatch check pipeline.toml --from day.ndjson  would this recording be understood?
  tidewatch check pipeline.toml --json | jq '.faults[].key'")]
pub(super) struct CheckOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    /// Judge what `replay --from` would read, instead of the configured source
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(super) from: Vec<String>,
    /// Print the findings as one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// Make a model version of a trained Keras network
///
/// Takes a Keras network (.h5 or .keras) and what belongs to it: the scaler as scikit-learn pickles it
/// (.pkl, .pickle or .joblib) or as scaler.json, threshold.json, numeric_features.json. Needs neither Python nor an HDF5
/// library. The scores equal those of Keras. No code of a pickle is run: its numbers are read, and one that names
/// anything but what it takes is refused.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch import lstm.h5 scaler.pkl threshold.json numeric_features.json --to models/iomt
  tidewatch import dense.keras scaler.json --to models/pumps --error mse --threshold 0.017")]
pub(super) struct ImportOptions {
    /// The network, and the files that belong to it
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// The model's folder; the new version is made below it
    #[arg(long, value_name = "MODEL")]
    pub(super) to: String,
    /// How the reconstruction error is measured, where the files do not say
    #[arg(long, value_enum)]
    pub(super) error: Option<ErrorMeasure>,
    /// The score above which a row is an anomaly, where the files do not say
    #[arg(long, value_name = "N", value_parser = threshold, allow_negative_numbers = true)]
    pub(super) threshold: Option<f64>,
    /// Print what was understood and written as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Train the configured detectors on recorded events
///
/// Learns what is normal from the rows that each detector scores, events or windows, and writes the next version into its model's folder, whole or
/// not at all. The last share in time is kept aside: it ends the training and sets the threshold. The same recording, configuration and
/// seed give the same model.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch train pipeline.toml --from calm/
  tidewatch train pipeline.toml --from day.ndjson --detector flow --set detectors.flow.training.epochs=10
  tidewatch train pipeline.toml --from day.ndjson --json | jq '.detectors[].calibration.threshold'")]
pub(super) struct TrainOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    #[command(flatten)]
    pub(super) recorded: RecordedOptions,
}

/// Judge the detectors' models by labelled recordings
///
/// Scores every row with the version in force, and compares with the labels: how well scores rank anomalies above the normal (ROC AUC,
/// average precision, share found at 1 % and 0.1 % false alarms), and what the model's threshold makes of them, by label and by key. Intervals hold
/// 95 % of resamples. Anomalies of a key that follow each other in time are a range; how well those are covered (range-aware precision, recall and F1 by
/// Tatbul et al., 2018) and how soon they are found (the score of the Numenta benchmark, standard profile) is told, too.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch evaluate pipeline.toml --from labelled.ndjson --label label
  tidewatch evaluate pipeline.toml --from labelled/ --label attack_type --normal none --normal unknown
  tidewatch evaluate pipeline.toml --from nab/data --ranges nab/combined_windows.json --json | jq '.detectors[].nab'")]
pub(super) struct EvaluateOptions {
    #[command(flatten)]
    pub(super) configuration: ConfigurationOptions,
    #[command(flatten)]
    pub(super) recorded: RecordedOptions,
    /// The field, or the window's group, that holds the truth
    #[arg(long, value_name = "FIELD", required_unless_present = "ranges")]
    pub(super) label: Option<String>,
    /// Or a JSON file of what is an anomaly when: {"key": [["from", "to"], ...]}, times as 2014-04-10 07:15:00 (UTC) or RFC 3339;
    /// or the truth that `simulate` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["label", "normal"])]
    pub(super) ranges: Option<PathBuf>,
    /// A label of normal rows; may be repeated [default: benign, normal, 0 and false, capitals aside]
    #[arg(long, value_name = "VALUE")]
    pub(super) normal: Vec<String>,
    /// Of the resamples behind the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
    /// Judge an isolation forest with default settings beside each detector: trained on these recordings, of the same features and rows
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(super) baseline: Vec<String>,
}

/// Recorded events, and for which detectors.
#[derive(Debug, Args)]
pub(super) struct RecordedOptions {
    /// Files, folders or globs to read, here or as s3://bucket/…
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub(super) from: Vec<String>,
    /// This detector alone; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) detector: Vec<String>,
    /// Print what was found as one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ErrorMeasure {
    /// Mean absolute error
    Mae,
    /// Mean squared error
    Mse,
}

fn threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("write a number from 0 on".to_owned()),
    }
}

/// Send simulated devices with seeded faults into Kafka or files
///
/// The same profile, seed, devices, duration and faults give the same messages, byte for byte. The truth about the faults lies
/// beside: in the topic TOPIC-truth, or in the same folder in _truth.ndjson (of day.csv: _truth-day.ndjson). A record of Kafka is keyed by its device and stamped with the
/// simulated time of its arrival. Takes [source.simulator] of CONFIG, and the options above it; needs neither.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch simulate --to day/ --devices 200 --duration 1h --faults 12 --label
  tidewatch simulate --to flows.ndjson --profile iomt --devices 50 --duration 10m --seed 11
  tidewatch simulate --to kafka://localhost:9092/fleet --speed realtime --faults 20
  tidewatch simulate --to kafka://localhost:9092/sensors --profile sensors --rate 50000/s
  tidewatch simulate pipeline.toml --to day.parquet --json")]
pub(super) struct SimulateOptions {
    /// The TOML file whose [source.simulator] is taken
    #[arg(value_name = "CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// kafka://BROKERS/TOPIC, a folder, a file (.ndjson, .csv, .parquet), or - for standard output
    #[arg(long, value_name = "PLACE")]
    pub(super) to: String,
    /// How the files of a folder are written [default: ndjson]
    #[arg(long, value_name = "FORMAT", value_parser = recording_format)]
    pub(super) format: Option<RecordingFormat>,
    /// fleet, iomt or sensors [default: fleet]
    #[arg(long)]
    pub(super) profile: Option<String>,
    /// What is left to chance follows from it [default: 7]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// How many devices [default: 60; iomt: 50; sensors: 10000]
    #[arg(long, value_name = "N")]
    pub(super) devices: Option<u64>,
    /// Files or topic partitions [default: what the topic has; one for a file, else 4]
    #[arg(long, value_name = "N")]
    pub(super) partitions: Option<u64>,
    /// Simulated time in all [default: 10m]
    #[arg(long, value_name = "SPAN")]
    pub(super) duration: Option<String>,
    /// How often each device sends [default: 1s]
    #[arg(long, value_name = "SPAN")]
    pub(super) every: Option<String>,
    /// When simulated time begins: RFC 3339, or now [default: 2026-01-01T00:00:00Z; into Kafka: now]
    #[arg(long, value_name = "TIME")]
    pub(super) start: Option<String>,
    /// How many faults the seed places, of every kind in turn [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) faults: Option<u64>,
    /// How long nothing goes wrong at first [default: 0s]
    #[arg(long, value_name = "SPAN")]
    pub(super) calm: Option<String>,
    /// Add a field `label` to every message: normal, or the fault
    #[arg(long)]
    pub(super) label: bool,
    /// How fast simulated time passes: realtime, a factor, or max [default: max]
    #[arg(long, value_name = "SPEED", conflicts_with = "rate")]
    pub(super) speed: Option<String>,
    /// The same as messages a second in all: 1000/s, or max
    #[arg(long, value_parser = Rate::parse)]
    pub(super) rate: Option<Rate>,
    /// Override a key of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = Argument::parse)]
    pub(super) set: Vec<Argument>,
    /// Print what was sent as one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

fn recording_format(name: &str) -> Result<RecordingFormat, String> {
    let found = RecordingFormat::ALL.into_iter().find(|format| format.name() == name);
    found.ok_or_else(|| "write ndjson, csv or parquet".to_owned())
}

/// Ask a running process whether it is alive
///
/// For health checks where there is no curl, as in our container image. Exit code 0 if it is, else 1 and why.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch health                                 is every worker at work?
  tidewatch health 127.0.0.1:9464 --ready          are its results up to date?")]
pub(super) struct HealthOptions {
    /// Where it serves HTTP, as `http.listen` has it
    #[arg(value_name = "HOST:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).to_string())]
    pub(super) address: String,
    /// Ask whether it is ready: output claimed, source connected, commits up to date
    #[arg(long)]
    pub(super) ready: bool,
}

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch completions bash > ~/.local/share/bash-completion/completions/tidewatch
  tidewatch completions zsh > \"${fpath[1]}/_tidewatch\"
  tidewatch completions fish > ~/.config/fish/completions/tidewatch.fish")]
pub(super) struct CompletionsOptions {
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

/// Print a manual page, or write those of all verbs
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  tidewatch manual | man -l -                      the page of the program
  tidewatch manual run | man -l -                  the page of a verb
  tidewatch manual --to ~/.local/share/man/man1    all pages, as files")]
pub(super) struct ManualOptions {
    /// The verb whose page is printed [default: the program's own]
    #[arg(value_name = "VERB")]
    pub(super) verb: Option<String>,
    /// Write all pages into this folder instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "verb")]
    pub(super) to: Option<PathBuf>,
}

/// The configuration and what stands above it.
#[derive(Debug, Args)]
pub(super) struct ConfigurationOptions {
    /// The TOML file that says what to do
    #[arg(value_name = "CONFIG")]
    pub(super) config: PathBuf,
    /// Write the results there instead: a folder, or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub(super) output: Option<String>,
    /// Override a key of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = Argument::parse)]
    pub(super) set: Vec<Argument>,
}

/// Workers and processes.
#[derive(Debug, Args)]
pub(super) struct PlacementOptions {
    /// Workers in each process [default: pipeline.workers, else one a core; in a cluster one]
    #[arg(short = 'w', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) workers: Option<u16>,
    /// Processes of the cluster
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) processes: u16,
    /// This process, from 0
    #[arg(short = 'p', long, value_name = "INDEX", default_value_t = 0)]
    pub(super) process: u16,
    /// One host:port a line, one for each process [default: localhost]
    #[arg(long, value_name = "FILE", requires = "processes")]
    pub(super) hosts: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// How log lines on standard error are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, display_order = 900)]
    log: LogFormat,
    /// Log warnings and errors only, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 901)]
    pub(super) quiet: bool,
    /// Log more; twice, still more. TIDEWATCH_LOG=module=level chooses exactly
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 902)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Logs {
    pub(super) fn format(&self) -> Format {
        match self.log {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }

    pub(super) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Debug,
            (false, _) => Verbosity::Trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_of_all_verbs_agree_with_each_other() {
        Arguments::command().debug_assert();
    }
}
