//! Where simulated messages go: a topic, a folder of recordings, one recording, or standard output.
//!
//! Promise: a partition is one topic partition or one file. The truth lies beside: in `<topic>-truth`, or in `_truth.ndjson` in the same folder,
//! whose name begins with `_` so that nobody who reads the folder takes it for events. A file that exists is not touched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::sinks::kafka::{Record, RecordProducer, RecordsError, RecordsSpec};
use crate::sources::simulator::{Event, Recording, RecordingFormat, SimulatorSpec, Truth};

use super::super::Refusal;

/// Of a folder; that of `day.csv` is `_truth-day.ndjson`.
const TRUTH: &str = "_truth.ndjson";

/// What `--to` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Topic { brokers: String, topic: String },
    Folder { path: PathBuf, format: RecordingFormat },
    File { path: PathBuf, format: RecordingFormat },
    StandardOutput,
}

impl Destination {
    pub(super) fn read(to: &str, format: Option<RecordingFormat>) -> Result<Destination, Refusal> {
        if let Some(place) = to.strip_prefix("kafka://") {
            return match place.split_once('/') {
                Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() && !topic.contains('/') => {
                    Ok(Destination::Topic { brokers: brokers.to_owned(), topic: topic.to_owned() })
                }
                _ => Err(Refusal::new(format!("`{to}` names no topic; write --to kafka://localhost:9092/topic"))),
            };
        }
        if to.contains("://") {
            return Err(Refusal::new(format!("`{to}` is no place to write to; name kafka://…, a folder or a file")));
        }
        if to == "-" {
            return Ok(Destination::StandardOutput);
        }
        let path = PathBuf::from(to);
        let ending = path.extension().and_then(|ending| ending.to_str());
        let by_name = RecordingFormat::ALL.into_iter().find(|format| Some(format.name()) == ending);
        match (by_name, format) {
            (Some(named), Some(wanted)) if named != wanted => {
                Err(Refusal::new(format!("`{to}` ends in .{}, and --format says {}", named.name(), wanted.name())))
            }
            (Some(format), _) if !path.is_dir() => Ok(Destination::File { path, format }),
            (_, format) => Ok(Destination::Folder { path, format: format.unwrap_or(RecordingFormat::Ndjson) }),
        }
    }

    pub(super) fn is_kafka(&self) -> bool {
        matches!(self, Destination::Topic { .. })
    }

    /// Whether it holds one partition and no more.
    pub(super) fn is_single(&self) -> bool {
        matches!(self, Destination::File { .. } | Destination::StandardOutput)
    }

    /// How many partitions it has, where that is not for the simulation to say.
    pub(super) fn partitions(&self) -> anyhow::Result<Option<u32>> {
        match self {
            Destination::Topic { brokers, topic } => {
                let found = RecordProducer::partitions_of(&records(brokers, topic, 0)).map_err(judged)?;
                Ok(found.and_then(|count| u32::try_from(count).ok()))
            }
            Destination::Folder { .. } => Ok(None),
            Destination::File { .. } | Destination::StandardOutput => Ok(Some(1)),
        }
    }

    /// Makes what is needed to write.
    pub(super) fn open(&self, spec: &SimulatorSpec) -> anyhow::Result<Open> {
        match self {
            Destination::Topic { brokers, topic } => {
                let data = RecordProducer::open(&records(brokers, topic, spec.partitions)).map_err(judged)?;
                let truth = RecordProducer::open(&records(brokers, &format!("{topic}-truth"), 1)).map_err(judged)?;
                Ok(Open::Topic { data, truth, payload: Vec::new() })
            }
            Destination::Folder { path, format } => {
                std::fs::create_dir_all(path)
                    .with_context(|| format!("cannot make the folder `{}`", path.display()))?;
                let name = |index| path.join(format!("{}-{index}.{}", spec.profile, format.name()));
                let files = (0..spec.partitions).map(|index| recording(&name(index), *format, spec));
                Ok(Open::Files {
                    recordings: files.collect::<anyhow::Result<_>>()?,
                    truth: Some(create(&path.join(TRUTH))?),
                })
            }
            Destination::File { path, format } => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let truth = path.with_file_name(format!("_truth-{stem}.ndjson"));
                let recordings = vec![recording(path, *format, spec)?];
                Ok(Open::Files { recordings, truth: Some(create(&truth)?) })
            }
            Destination::StandardOutput => {
                let output: Output = Box::new(BufWriter::new(io::stdout()));
                let recording = Recording::new(RecordingFormat::Ndjson, spec, output)?;
                Ok(Open::Files { recordings: vec![recording], truth: None })
            }
        }
    }
}

fn records(brokers: &str, topic: &str, partitions: u32) -> RecordsSpec {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    RecordsSpec { brokers, topic, partitions, properties: BTreeMap::new() }
}

/// Another number of partitions, or another topic, would do.
fn judged(error: RecordsError) -> anyhow::Error {
    match error {
        RecordsError::TooFewPartitions { .. } => Refusal::new(error.to_string()).into(),
        other => other.into(),
    }
}

type Output = Box<dyn Write + Send>;

/// A destination that is being written to.
pub(super) enum Open {
    Topic { data: RecordProducer, truth: RecordProducer, payload: Vec<u8> },
    Files { recordings: Vec<Recording<Output>>, truth: Option<Output> },
}

impl Open {
    pub(super) fn write(&mut self, partition: usize, event: &Event<'_>) -> anyhow::Result<()> {
        match self {
            Open::Topic { data, payload, .. } => {
                payload.clear();
                event.write_json(payload);
                let (key, stamp_ms) = (event.device.as_bytes(), Some(event.arrival_ms));
                // There are at most so many partitions as the specification allows.
                Ok(data.send(Record { partition: partition as u32, key, payload, stamp_ms })?)
            }
            Open::Files { recordings, .. } => Ok(recordings[partition].write(event)?),
        }
    }

    /// Writes a row of the truth.
    pub(super) fn tell(&mut self, row: &Truth) -> anyhow::Result<()> {
        let line = row.as_json();
        match self {
            Open::Topic { truth, .. } => {
                let (key, payload) = (row.device.as_bytes(), line.as_bytes());
                Ok(truth.send(Record { partition: 0, key, payload, stamp_ms: Some(row.to) })?)
            }
            Open::Files { truth: Some(truth), .. } => Ok(writeln!(truth, "{line}")?),
            Open::Files { truth: None, .. } => Ok(()),
        }
    }

    /// Lets readers of the files see what was written so far.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Open::Topic { .. } => Ok(()),
            Open::Files { recordings, truth } => {
                recordings.iter_mut().try_for_each(Recording::flush)?;
                Ok(truth.iter_mut().try_for_each(Write::flush)?)
            }
        }
    }

    /// Makes sure that all is there.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Open::Topic { data, truth, .. } => {
                data.finish()?;
                Ok(truth.finish()?)
            }
            Open::Files { recordings, truth } => {
                let mut outputs = recordings.into_iter().map(Recording::finish).collect::<io::Result<Vec<_>>>()?;
                outputs.extend(truth);
                Ok(outputs.iter_mut().try_for_each(Write::flush)?)
            }
        }
    }
}

fn recording(path: &Path, format: RecordingFormat, spec: &SimulatorSpec) -> anyhow::Result<Recording<Output>> {
    Recording::new(format, spec, create(path)?).with_context(|| format!("cannot write `{}`", path.display()))
}

fn create(path: &Path) -> anyhow::Result<Output> {
    match File::create_new(path) {
        Ok(file) => Ok(Box::new(BufWriter::with_capacity(256 << 10, file))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let problem = format!("`{}` is there already: remove it, or name another place", path.display());
            Err(Refusal::new(problem).into())
        }
        Err(error) => Err(anyhow::Error::from(error).context(format!("cannot make `{}`", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(to: &str, format: Option<RecordingFormat>) -> Result<Destination, String> {
        Destination::read(to, format).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_place_is_told_by_its_name() {
        use RecordingFormat::{Csv, Ndjson, Parquet};
        let (brokers, topic) = ("a:1,b:2".to_owned(), "t".to_owned());
        assert_eq!(read("kafka://a:1,b:2/t", None), Ok(Destination::Topic { brokers, topic }));
        assert_eq!(read("-", None), Ok(Destination::StandardOutput));
        let file = |path: &str, format| Ok(Destination::File { path: path.into(), format });
        let folder = |path: &str, format| Ok(Destination::Folder { path: path.into(), format });
        assert_eq!(read("x/day.csv", None), file("x/day.csv", Csv));
        assert_eq!(read("x/day.parquet", Some(Parquet)), file("x/day.parquet", Parquet));
        assert_eq!(read("x/day", None), folder("x/day", Ndjson));
        assert_eq!(read("x/day", Some(Csv)), folder("x/day", Csv));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_refused_with_one_that_can() {
        assert!(read("kafka://localhost:9092", None).unwrap_err().contains("kafka://localhost:9092/topic"));
        assert!(read("s3://bucket/x", None).unwrap_err().contains("name kafka://…, a folder or a file"));
        assert!(read("x.csv", Some(RecordingFormat::Parquet)).unwrap_err().contains("ends in .csv"));
    }
}
