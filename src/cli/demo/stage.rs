//! Where the demo plays: its folder, its configuration, its calm recording.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::cli::Refusal;
use crate::settings::{Overrides, Settings};
use crate::sources::simulator::{Profile, Recording, RecordingFormat, SeededFaults, Simulator, SimulatorSpec};

use super::super::arguments::DemoOptions;
use super::{feed, watch};

/// Written first: a folder that holds it is a demo's, and may be replaced.
const MARK: &str = "truth.ndjson";
pub(super) const CONFIGURATION_FILE: &str = "tidewatch.toml";
/// How often a device takes a reading.
const EVERY: Duration = Duration::from_secs(10);
const CONFIGURATION: &str = include_str!("demo.toml");

/// The folder and what is in it.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    /// Makes the folder anew. One that was not made by a demo is left alone.
    pub(super) fn make(path: &Path) -> anyhow::Result<Folder> {
        let shown = path.display();
        let is_empty = fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty && !path.join(MARK).is_file() {
            let cure = "name another one with --output";
            return Err(Refusal::new(format!("`{shown}` is there, and not from an earlier demo: {cure}")).into());
        }
        if path.exists() {
            fs::remove_dir_all(path).with_context(|| format!("the earlier demo in `{shown}` cannot be removed"))?;
        }
        fs::create_dir_all(path.join("calm")).with_context(|| format!("`{shown}` cannot be made"))?;
        // As the configuration has to name it, whatever folder the process stands in.
        let path = path.canonicalize().with_context(|| format!("`{shown}` cannot be found"))?;
        Ok(Folder { path })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.file(name);
        fs::write(&file, text).with_context(|| format!("`{}` cannot be written", file.display()))
    }

    /// The pipeline that the demo runs.
    pub(super) fn pipeline(&self, brokers: &str) -> anyhow::Result<Settings> {
        let brokers = serde_json::Value::from(brokers);
        let source = format!("[source.kafka]\nbrokers = {brokers}\ntopics = [\"{}\"]", feed::TOPIC);
        let topic = format!("[output.kafka]\ntopic = \"{}\"\n", watch::TOPIC);
        let text = self.configuration(&source, &topic, &self.path);
        // The environment has no say: a variable that is meant for another pipeline must not reach this one.
        let settings = Settings::parse(&text, &Overrides::default());
        settings.map_err(|faults| anyhow::anyhow!("the demo's own configuration is at fault:\n{faults}"))
    }

    /// The same for whoever goes on with it: the broker is gone with the demo, the calm recording is there.
    pub(super) fn leave_configuration(&self) -> anyhow::Result<()> {
        let source = format!("[source.files]\npaths = [{}]", quoted(&self.file("calm")));
        let text = self.configuration(&source, "", &self.file("again"));
        self.write(CONFIGURATION_FILE, &text)
    }

    fn configuration(&self, source: &str, topic: &str, output: &Path) -> String {
        let text = CONFIGURATION.replace("SOURCE\n", &format!("{source}\n")).replace("TOPIC\n", topic);
        text.replace("\"MODEL\"", &quoted(&self.file("models/fleet"))).replace("\"OUTPUT\"", &quoted(output))
    }
}

/// As TOML has it, which is as JSON has it.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

/// The fleet as the options want it: calm for a third of the time, then seeded faults of every kind.
pub(super) fn fleet(options: &DemoOptions) -> anyhow::Result<Simulator> {
    let calm = options.duration / 3;
    let spec = SimulatorSpec {
        seed: options.seed,
        devices: options.devices,
        duration: options.duration,
        every: EVERY,
        // Two days within the calm stretch, one to learn from and one to judge by: what the model has not seen it would take for a fault.
        day: calm / 2,
        seeded_faults: SeededFaults::of_every_kind(options.faults, calm),
        ..SimulatorSpec::new(Profile::Fleet)
    };
    Ok(Simulator::new(spec).map_err(|error| Refusal::new(error.to_string()))?)
}

/// Records the calm stretch as files, one a partition. Gives how many messages that are.
pub(super) fn record_calm(folder: &Folder, fleet: &Simulator) -> anyhow::Result<u64> {
    let calm_until = fleet.spec().start.0 / 1000 + i64::try_from(fleet.spec().seeded_faults.calm.as_millis())?;
    let mut messages = 0;
    for partition in 0..fleet.spec().partitions {
        let file = folder.file(&format!("calm/fleet-{partition}.parquet"));
        let unwritten = || format!("`{}` cannot be written", file.display());
        let output = File::create(&file).with_context(unwritten)?;
        let mut recording = Recording::new(RecordingFormat::Parquet, fleet.spec(), output).with_context(unwritten)?;
        let mut stream = fleet.partition(partition);
        while stream.due_ms().is_some_and(|due| due < calm_until) {
            let Some(event) = stream.next() else { break };
            recording.write(&event).with_context(unwritten)?;
            messages += 1;
        }
        recording.finish().with_context(unwritten)?;
    }
    Ok(messages)
}
