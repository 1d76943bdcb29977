//! What is played again of the quarantine, and as which partitions.
//!
//! Promise: a quarantined record is played again once, in the partition behind the one that it was quarantined in; what is not accepted
//! then is quarantined there, for another time. So each record that was never accepted stands in one place from which it can be played,
//! whatever was chosen in which order, and where the process was killed. A partition is played up to the last record that would be
//! accepted; one without such a record is left alone, so that a second time changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::checkpoint::decide::Identity;
use crate::checkpoint::log::CheckpointLog;
use crate::checkpoint::manifest::{Checkpoint, Manifest, Outlook, PartitionState};
use crate::decode::admission::Admission;
use crate::decode::{Decode, Decoded, Decoder};
use crate::domain::ids::{Offset, PartitionId, redriven_name};
use crate::domain::raw::Form;
use crate::domain::reject::RejectReason;
use crate::domain::time::EventTime;
use crate::pipeline::PipelineError;
use crate::pipeline::spec::{OutputSpec, PipelineSpec};
use crate::pipeline::start::Opened;
use crate::sources::files::{FileFormat, FilePartition, FilesSpec, discover, first_records, format_of};
use crate::sources::quarantine::{Entry, Quarantine, QuarantineReader, Redriven, Rows};
use crate::sources::{Partition, SourceError};
use crate::storage::Storage;
use crate::storage::patience::Patience;

/// What is to be played again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveSpec {
    /// Whose records the output holds, in the words of its manifest.
    pub source: String,
    /// The names of reasons; none: any.
    pub reasons: BTreeSet<String>,
    /// The names of the source's partitions; none: all.
    pub partitions: BTreeSet<String>,
    /// Where recordings are whose headers say what their cells mean.
    pub files: Option<FilesSpec>,
}

/// What there is to play again.
#[derive(Debug)]
pub struct Survey {
    quarantine: Arc<Quarantine>,
    /// In the order of their ids.
    pub partitions: Vec<Surveyed>,
}

/// A partition of the source, and those of its records that wait in one place.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The name that its events know.
    pub original: String,
    /// What would be played; nothing, if none of it is chosen.
    pub redriven: Redriven,
    /// Where that begins.
    next: Offset,
    /// Records that would be accepted, or be too late, by the reason that they were quarantined for.
    pub chosen: BTreeMap<String, u64>,
    /// Records that could still not be read, by the reason that they would be quarantined for.
    pub still_refused: BTreeMap<String, u64>,
    /// Records that could be read, and that nobody asked for.
    pub unasked: u64,
}

impl Survey {
    /// How many records would be accepted, or be too late.
    pub fn chosen(&self) -> u64 {
        self.partitions.iter().flat_map(|partition| partition.chosen.values()).sum()
    }

    fn played(&self) -> impl Iterator<Item = &Surveyed> {
        self.partitions.iter().filter(|partition| !partition.redriven.entries.is_empty())
    }
}

/// The newest manifest of an output, if it has a checkpoint.
pub fn newest(output: &OutputSpec) -> Result<Option<Manifest>, PipelineError> {
    // What was mistyped must not be made.
    let Some(storage) = Storage::open_existing(&output.url, &output.s3, Patience::at_start())? else {
        return Ok(None);
    };
    Ok(CheckpointLog::newest(&storage)?.filter(|manifest| manifest.checkpoint().is_some()))
}

/// Looks at what would be played, and changes nothing.
pub fn survey(spec: &PipelineSpec, redrive: &RedriveSpec, checkpoint: &Checkpoint) -> Result<Survey, PipelineError> {
    let storage = Storage::open(&spec.output.url, &spec.output.s3, Patience::at_start())?;
    CheckpointLog::foresee(&storage, &Identity::from(spec))?;
    Surveyor::new(spec, redrive, checkpoint)?.survey(storage)
}

/// Whether somebody writes this output: a manifest follows the given one within `patience`. One who ended in good order does not.
pub fn is_written(output: &OutputSpec, newest: &Manifest, patience: Duration) -> Result<bool, PipelineError> {
    const LOOK_EVERY: Duration = Duration::from_millis(200);
    let has_ended = newest.checkpoint().is_some_and(|checkpoint| checkpoint.outlook != Outlook::Open);
    if has_ended && !newest.is_claim() {
        return Ok(false);
    }
    let storage = Storage::open(&output.url, &output.s3, Patience::at_start())?;
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if CheckpointLog::newest(&storage)?.is_some_and(|now| now.sequence != newest.sequence) {
            return Ok(true);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(false)
}

/// The quarantine as the source of a run. What it holds is looked up once the output is claimed, when nobody adds to it any more.
#[derive(Debug)]
pub struct Redrive {
    spec: RedriveSpec,
    survey: OnceLock<Survey>,
}

impl Redrive {
    pub fn new(spec: RedriveSpec) -> Redrive {
        Redrive { spec, survey: OnceLock::new() }
    }

    /// To be called by the owner of the output, before the partitions are asked for.
    pub fn look(
        &self,
        spec: &PipelineSpec,
        storage: &Storage,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), PipelineError> {
        let checkpoint = checkpoint.ok_or(PipelineError::NothingToRedrive)?;
        let found = Surveyor::new(spec, &self.spec, checkpoint)?.survey(storage.clone())?;
        // Worker 0 looks, and looks once.
        let _ = self.survey.set(found);
        Ok(())
    }

    fn played(&self) -> impl Iterator<Item = &Surveyed> {
        self.survey.get().into_iter().flat_map(Survey::played)
    }

    pub fn partitions(&self) -> Vec<Partition> {
        self.played().map(|played| played.redriven.partition.clone()).collect()
    }

    /// The name that events of a partition know.
    pub fn known_as(&self, partition: PartitionId) -> Option<String> {
        let played = self.played().find(|played| played.redriven.partition.id == partition);
        played.map(|played| played.original.clone())
    }

    /// A worker's reader, and where its partitions begin.
    pub fn open(&self, worker: usize, workers: usize) -> Result<Opened, PipelineError> {
        let quarantine = Arc::clone(&self.survey.get().ok_or(PipelineError::RedriveAlone)?.quarantine);
        let mine = self.played().enumerate().filter(|(index, _)| index % workers == worker);
        let mine: Vec<&Surveyed> = mine.map(|(_, played)| played).collect();
        let begins = mine.iter().map(|played| (played.redriven.partition.clone(), played.next)).collect();
        let partitions = mine.into_iter().map(|played| played.redriven.clone()).collect();
        Ok((Box::new(QuarantineReader::new(quarantine, partitions, &|_| None)), begins))
    }
}

/// Goes through the quarantine and judges each record as a run would.
struct Surveyor<'a> {
    spec: &'a PipelineSpec,
    redrive: &'a RedriveSpec,
    checkpoint: &'a Checkpoint,
    decoder: Decoder,
    forms: Forms<'a>,
    /// By the name of the partition that rows were quarantined in; none: it is not asked for.
    found: HashMap<String, Option<Surveyed>>,
}

/// Records are judged in batches of so many.
const BATCH_ROWS: usize = 1024;

impl<'a> Surveyor<'a> {
    fn new(
        spec: &'a PipelineSpec,
        redrive: &'a RedriveSpec,
        checkpoint: &'a Checkpoint,
    ) -> Result<Surveyor<'a>, PipelineError> {
        let decoder = Decoder::new(&spec.events)?;
        let forms = Forms { spec: redrive.files.as_ref(), found: None };
        Ok(Surveyor { spec, redrive, checkpoint, decoder, forms, found: HashMap::new() })
    }

    fn survey(mut self, storage: Storage) -> Result<Survey, PipelineError> {
        let quarantine = Quarantine::open(storage, self.checkpoint)?;
        for file in 0..quarantine.files() {
            let rows = quarantine.rows(file)?;
            let mut by_partition: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
            for row in 0..rows.len() {
                by_partition.entry(rows.partition(row)).or_default().push(row as u32);
            }
            for (name, numbers) in by_partition {
                self.judge(name, numbers, &rows, (file, &quarantine.name(file)))?;
            }
        }
        let mut partitions = Vec::new();
        for mut surveyed in self.found.into_values().flatten() {
            let entries = &mut surveyed.redriven.entries;
            entries.sort_unstable();
            if let Some(twice) = entries.windows(2).find(|pair| pair[0].offset == pair[1].offset) {
                let (file, offset) = (quarantine.name(twice[1].file), twice[0].offset);
                let fault = format!("offset {offset} of `{}` stands in the table twice", surveyed.original);
                return Err(SourceError::Quarantine { file, fault }.into());
            }
            entries.truncate(entries.iter().rposition(|entry| entry.is_chosen).map_or(0, |last| last + 1));
            partitions.push(surveyed);
        }
        partitions.sort_by_key(|surveyed| surveyed.redriven.partition.id);
        Ok(Survey { quarantine: Arc::new(quarantine), partitions })
    }

    /// Judges one file's rows of one partition.
    fn judge(
        &mut self,
        name: &str,
        mut numbers: Vec<u32>,
        rows: &Rows,
        (file, shown): (u32, &str),
    ) -> Result<(), PipelineError> {
        if !self.found.contains_key(name) {
            let begun = self.begin(name, shown)?;
            self.found.insert(name.to_owned(), begun);
        }
        let Some(surveyed) = self.found.get_mut(name).and_then(Option::as_mut) else { return Ok(()) };
        numbers.retain(|row| rows.offset(*row as usize) >= surveyed.next);
        numbers.sort_by_key(|row| rows.offset(*row as usize));
        let was_cut = |row: usize| self.redrive.files.is_some() && rows.reason(row) == RejectReason::TooLarge.name();
        for numbers in numbers.chunks(BATCH_ROWS) {
            let raw = rows.raw(surveyed.redriven.partition.id, numbers, &surveyed.redriven.form);
            let Decoded { events, rejects } = self.decoder.decode(&raw, &surveyed.original);
            let early = Admission::new(&self.spec.watermark, EventTime::MIN).admit(events, &raw).early;
            let refused: HashMap<Offset, String> =
                rejects.iter().chain(&early).map(|reject| (reject.offset, reject.reason.to_string())).collect();
            for row in numbers {
                let (offset, reason) = (rows.offset(*row as usize), rows.reason(*row as usize));
                let is_cut = was_cut(*row as usize);
                let name = reason.split(':').next().unwrap_or(reason);
                let is_asked = self.redrive.reasons.is_empty() || self.redrive.reasons.contains(name);
                let refused = if is_cut { Some(reason) } else { refused.get(&offset).map(String::as_str) };
                match refused {
                    Some(again) => *surveyed.still_refused.entry(again.to_owned()).or_default() += 1,
                    None if is_asked => *surveyed.chosen.entry(reason.to_owned()).or_default() += 1,
                    None => surveyed.unasked += 1,
                }
                let is_chosen = refused.is_none() && is_asked;
                surveyed.redriven.entries.push(Entry { offset, file, row: *row, is_chosen });
            }
        }
        Ok(())
    }

    /// The partition that plays again what was quarantined in the one of this name; none if that is not asked for.
    fn begin(&mut self, name: &str, file: &str) -> Result<Option<Surveyed>, PipelineError> {
        let fault = |fault: String| SourceError::Quarantine { file: file.to_owned(), fault };
        let from = self.checkpoint.partition(name);
        let from = from.ok_or_else(|| fault(format!("nothing was ever read from partition `{name}`")))?;
        let is_original = |other: &&PartitionState| other.id == from.id.original();
        let original = self.checkpoint.partitions.iter().find(is_original).map(|original| original.name.clone());
        let original =
            original.ok_or_else(|| fault(format!("`{name}` is played again from a partition that is unknown")))?;
        if !self.redrive.partitions.is_empty() && !self.redrive.partitions.contains(&original) {
            return Ok(None);
        }
        let id = from.id.again().ok_or_else(|| fault(format!("`{name}` was played again too often")))?;
        let partition = Partition { id, name: redriven_name(id.generation(), &original) };
        let known = self.checkpoint.partition(&partition.name);
        if known.is_some_and(|known| known.id != id) {
            return Err(fault(format!("the source has a partition `{}` of its own", partition.name)).into());
        }
        let next = known.map_or(Offset(0), |known| known.next);
        let form = self.forms.of(&original)?;
        let redriven = Redriven { partition, form, entries: Vec::new() };
        let (chosen, still_refused) = (BTreeMap::new(), BTreeMap::new());
        Ok(Some(Surveyed { original, redriven, next, chosen, still_refused, unasked: 0 }))
    }
}

/// How values are found in the records of a partition.
struct Forms<'a> {
    /// None where records are messages, which name their values themselves.
    spec: Option<&'a FilesSpec>,
    found: Option<Vec<FilePartition>>,
}

impl Forms<'_> {
    /// Only cells need their file; rows of Parquet were quarantined as objects.
    fn of(&mut self, original: &str) -> Result<Form, SourceError> {
        let Some(spec) = self.spec.filter(|spec| format_of(spec, original) == FileFormat::Csv) else {
            return Ok(Form::Objects);
        };
        let found = match &mut self.found {
            Some(found) => found,
            none => none.insert(discover(spec)?),
        };
        let gone = || SourceError::HeaderGone { partition: original.to_owned() };
        let file = found.iter().find(|file| file.partition.name == original).ok_or_else(gone)?;
        first_records(spec, file, 1)?.into_iter().next().map(|first| first.form).ok_or_else(gone)
    }
}
