//! `demo`: everything at once, on one machine, with nothing else installed or started.
//!
//! A broker inside the process, a simulated fleet with seeded faults written into it, a model trained on the calm stretch,
//! and the real pipeline on two workers between that broker and a folder. At the end the tables are read back and held
//! against the truth.

mod feed;
mod judge;
mod report;
mod stage;
mod view;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::HumanCount;

use crate::audit::refused::{self, Refused};
use crate::audit::tables::Tables;
use crate::audit::{anomalies, ledger};
use crate::broker::mock::MockBroker;
use crate::models::registry;
use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::settings::Settings;
use crate::sources::simulator::{Simulator, Truth};
use crate::storage::S3Options;
use crate::training::input::InputSpec;
use crate::training::recording::RecordingSpec;
use crate::training::train::{self, Watch as Watching};

use super::arguments::DemoOptions;
use super::engine::{self, Input, Job};
use super::learning::Learning;
use super::placement::Placement;
use super::print;
use feed::Feed;
use report::Report;
use stage::Folder;
use view::{Look, View};
use watch::Watch;

const WORKERS: usize = 2;
/// How long the feed rests when nothing is due.
const REST: Duration = Duration::from_millis(2);

pub(super) fn demo(options: &DemoOptions, is_quiet: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let say = |text: String| {
        if !is_quiet {
            eprintln!("{text}");
        }
    };
    let fleet = stage::fleet(options)?;
    let folder = Folder::make(&options.output)?;
    let truth: Vec<String> = fleet.truth().iter().map(Truth::as_json).collect();
    folder.write("truth.ndjson", &(truth.join("\n") + "\n"))?;
    let broker = MockBroker::start().context("the broker inside of the process cannot be started")?;
    broker.create_topic(feed::TOPIC, i32::try_from(fleet.spec().partitions)?)?;
    broker.create_topic(watch::TOPIC, 1)?;
    let settings = folder.pipeline(&broker.brokers())?;
    folder.leave_configuration()?;

    let calm = stage::record_calm(&folder, &fleet)?;
    say(format!(
        "1. {} messages of {} devices while nothing is wrong: {}",
        HumanCount(calm),
        options.devices,
        options.output.join("calm").display()
    ));
    let Some(model) = learn(&settings, &folder, &stop, is_quiet)? else { return Ok(()) };
    say(format!("2. {model}"));
    say(format!(
        "3. {} messages with {} faults into a Kafka broker inside of this process; {WORKERS} workers read them",
        HumanCount(fleet.messages()),
        truth.len()
    ));
    let flowing = flow(options, &fleet, &broker, &settings, &stop, is_quiet)?;
    let text = account(options, &fleet, &settings, &flowing, begun)?;
    folder.write("report.txt", &text)?;
    print(format!("\n{text}{}", next(&options.output)).as_bytes())
}

fn shown(folder: &Folder, name: &str) -> String {
    folder.file(name).display().to_string()
}

/// Trains the detector on the calm stretch. Nothing if it was interrupted.
fn learn(settings: &Settings, folder: &Folder, stop: &StopSignal, is_quiet: bool) -> anyhow::Result<Option<String>> {
    let (Some(section), Some(window)) = (settings.detectors.first(), settings.windows.first()) else {
        return Err(anyhow::anyhow!("the demo's configuration has no detector"));
    };
    let recording = RecordingSpec {
        files: engine::files(vec![shown(folder, "calm")], &settings.event, S3Options::default()),
        events: settings.event.schema.clone(),
        watermark: settings.watermark.clone(),
    };
    let mut learning = Learning::new(&section.spec.name, section.training.epochs_max, is_quiet);
    let is_stopped = || stop.is_requested();
    let watch = Watching { told: &mut |news| learning.take(news), is_stopped: &is_stopped };
    let trained = match train::train(&section.training, &InputSpec::Windows(window.clone()), &recording, watch) {
        Ok(trained) => trained,
        Err(crate::training::error::TrainingError::Stopped) => return Ok(None),
        Err(error) => return Err(anyhow::Error::from(error).context("the model cannot be trained")),
    };
    drop(learning);
    let account = serde_json::to_vec_pretty(&trained.account).context("the account of the training")?;
    let version = registry::save_with_account(Path::new(&section.spec.model), &trained.model, Some(&account))?;
    let account = &trained.account;
    Ok(Some(format!(
        "model {version} trained on {} windows of 10 min in {} epochs; above {:.3} a window is abnormal",
        HumanCount(account.training_rows),
        account.curve.len(),
        account.calibration.threshold
    )))
}

/// A pipeline that has run.
struct Flowing {
    metrics: Arc<Metrics>,
    is_whole: bool,
    events_per_second: f64,
}

/// Feeds the broker while the pipeline reads it, until all is read or somebody stops it.
fn flow(
    options: &DemoOptions,
    fleet: &Simulator,
    broker: &MockBroker,
    settings: &Settings,
    interrupted: &StopSignal,
    is_quiet: bool,
) -> anyhow::Result<Flowing> {
    let metrics = Arc::new(Metrics::new(&settings.pipeline.name));
    let stop = StopSignal::default();
    let running = start(settings, Input::Live, &stop, &metrics)?;
    let mut watch = Watch::new(broker.reader(watch::TOPIC)?);
    let mut feed = Feed::new(broker, fleet, options.rate);
    let mut view = View::open(is_quiet);
    let title = format!("Tidewatch: {} devices, seed {}, {WORKERS} workers", options.devices, options.seed);
    let begun = Instant::now();
    while !running.is_finished() && !interrupted.is_requested() {
        let totals = metrics.totals();
        let read = totals.records;
        if feed.is_done() && read >= feed.sent() {
            break;
        }
        let before = feed.sent();
        feed.step(read)?;
        watch.listen();
        view.show(&Look {
            title: &title,
            totals,
            lag: feed.sent().saturating_sub(read),
            rate: feed.rate_of(read),
            messages: fleet.messages(),
            start: fleet.spec().start,
            watermark: metrics.progress.look().watermark,
            suspects: watch.latest(),
        });
        if feed.sent() == before {
            thread::sleep(REST);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    view.close();
    stop.request();
    ended(running)?;
    // Once more up to what is there: resumes, finds nothing new, and makes every row visible that still waited for its file.
    let rest = start(settings, Input::Once, &StopSignal::default(), &Arc::new(Metrics::new(&settings.pipeline.name)))?;
    ended(rest)?;
    let (is_whole, read) = (!interrupted.is_requested(), metrics.totals().records);
    Ok(Flowing { metrics, is_whole, events_per_second: read as f64 / took.max(0.001) })
}

type Running = JoinHandle<anyhow::Result<()>>;

fn start(settings: &Settings, input: Input, stop: &StopSignal, metrics: &Arc<Metrics>) -> anyhow::Result<Running> {
    let job = Job {
        settings: settings.clone(),
        input,
        placement: Placement { workers: WORKERS, index: 0, hosts: Vec::new() },
        models_of: None,
        stop: stop.clone(),
        metrics: Arc::clone(metrics),
    };
    let thread = thread::Builder::new().name("pipeline".to_owned()).spawn(move || engine::run(job).map(drop));
    thread.context("the pipeline's thread cannot be started")
}

fn ended(running: Running) -> anyhow::Result<()> {
    // A panic has ended the process before it could come here.
    running.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pipeline panicked")))
}

/// Reads the tables back and holds them against the truth.
fn account(
    options: &DemoOptions,
    fleet: &Simulator,
    settings: &Settings,
    flowing: &Flowing,
    begun: Instant,
) -> anyhow::Result<String> {
    let tables = Tables::open(&settings.output.url, &S3Options::default())?;
    let balance = ledger::balance(&tables)?;
    let found = anomalies::newest(&tables)?;
    let refused = refused::by_reason(&tables, Refused::Quarantine)?;
    let read_until = flowing.metrics.progress.look().watermark;
    let has_begun = |truth: &Truth| flowing.is_whole || read_until.is_some_and(|until| truth.from * 1000 < until.0);
    let judgement = judge::judge(fleet.truth().into_iter().filter(has_begun).collect(), &found);
    let report = Report {
        devices: options.devices,
        duration: options.duration,
        seed: options.seed,
        is_whole: flowing.is_whole,
        start: fleet.spec().start.0,
        judgement: &judgement,
        balance: &balance,
        refused: &refused,
        late: flowing.metrics.totals().late,
        corrected: flowing.metrics.totals().corrected,
        events_per_second: flowing.events_per_second,
        took: begun.elapsed(),
    };
    Ok(report.text())
}

/// What to try next.
fn next(output: &Path) -> String {
    let folder = output.display();
    format!(
        "
In {folder}: windows/ and anomalies/ as Parquet, ledger/, the model in models/, the faults in truth.ndjson, this in report.txt.

Try next:
  duckdb -c \"select key, window_end, score, why[1].feature from '{folder}/anomalies/**/*.parquet' qualify row_number() over (partition by detector, key, window_start order by revision desc) = 1 and not retracted order by score desc limit 10\"
  tidewatch verify {folder} --deep                               is all of it there, and once?
  tidewatch replay {folder}/{config} --from {folder}/calm        the calm stretch alone: how many false alarms?
  tidewatch demo --seed 8                                        another fleet, other faults
",
        config = stage::CONFIGURATION_FILE
    )
}
