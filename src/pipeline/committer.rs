//! What a checkpoint is committed of, and what follows: the manifest, then everything that makes it visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::log::CheckpointLog;
use crate::checkpoint::manifest::{Account, Checkpoint, Counts, Outlook, PartitionState, PublishFile, StateObject};
use crate::checkpoint::schedule::ModelSchedule;
use crate::checkpoint::state;
use crate::domain::ids::{Epoch, Offset, PartitionId};
use crate::domain::membership::Memberships;
use crate::observe::vitals::Vitals;
use crate::pipeline::PipelineError;
use crate::pipeline::account::{PartitionReport, Report};
use crate::pipeline::agreement::Change;
use crate::pipeline::promotions::Promotions;
use crate::pipeline::spec::Until;
use crate::pipeline::staging::OUTBOX;
use crate::pipeline::surroundings::Surroundings;
use crate::sinks::kafka::{AnomalyTopic, KafkaOutputError, Message, Messages, Refusal, Rows};
use crate::sinks::ledger::{LedgerSink, table_accounts};
use crate::sinks::parquet::{Part, Publication};
use crate::sources::kafka::KafkaClient;
use crate::storage::Storage;

/// So many files at once, with so few rows each, that their number is worth a word.
const FILES_MANY: usize = 2000;
const ROWS_FEW: u64 = 1000;

/// The owner of the output. One a cluster, on a thread of its own: its calls block.
pub struct Committer {
    pub log: CheckpointLog,
    pub storage: Storage,
    pub ledger: LedgerSink,
    pub configuration: BTreeMap<String, String>,
    pub until: Until,
    /// What was counted in open windows whose tables are no longer made, until the ledger has it: it is dropped.
    pub dropped: BTreeMap<String, u64>,
    /// Of the last checkpoint.
    pub outlook: Outlook,
    pub models: Vec<ModelSchedule>,
    /// Event time: up to where windows were published.
    pub published: Option<i64>,
    /// Looked after between two commits, where versions of models may take over.
    pub promotions: Option<Arc<Promotions>>,
    /// Where the last checkpoint left the partitions.
    pub partitions: BTreeMap<String, PartitionState>,
    /// Where anomalies are sent.
    pub anomalies: Option<Box<dyn AnomalyTopic>>,
    /// Whose group hears of offsets.
    pub group: Option<Arc<KafkaClient>>,
    pub vitals: Arc<Vitals>,
    pub surroundings: Arc<dyn Surroundings>,
}

impl Committer {
    /// Commits a checkpoint of which every worker has reported, and makes it visible.
    pub fn commit(&mut self, epoch: Epoch, mut reports: Vec<Report>) -> Result<Arc<Checkpoint>, PipelineError> {
        reports.sort_by_key(|report| report.worker);
        let is_last = reports.iter().all(|report| report.is_last);
        self.change(&reports);
        let mut partitions: Vec<PartitionReport> = Vec::new();
        let mut state = Vec::new();
        let mut parts = Vec::new();
        let mut members: BTreeMap<String, Memberships> = BTreeMap::new();
        for report in reports {
            partitions.extend(report.partitions);
            state.extend(report.state);
            parts.push(report.tables);
            for (table, more) in report.members {
                let sum = members.entry(table).or_default();
                *sum = sum.and(more);
            }
        }
        partitions.sort_by(|one, other| one.account.partition.cmp(&other.account.partition));
        let part = Part::merged(parts);
        for report in &partitions {
            self.advance(report);
        }
        self.outlook = self.outlook_of(is_last, &partitions);
        let events = partitions.iter().map(|report| report.account.counts.accepted).sum();
        for (table, refused) in std::mem::take(&mut self.dropped) {
            members.insert(table, Memberships { events, refused, ..Memberships::default() });
        }
        let accounts = partitions.iter().map(|report| Account::Partition(report.account.clone()));
        let tables = table_accounts(&part, &members).into_iter().map(Account::Table);
        let accounts = accounts.chain(tables).collect();
        let publication = if is_last { Publication::All } else { Publication::WhenDue };
        let committed = self.add(epoch, state, part, accounts, publication)?;
        // What the group hears nobody protects: one that slept must not set it back.
        self.log.confirm()?;
        let next: Vec<(PartitionId, Offset)> = partitions.iter().map(|report| (report.id, report.account.to)).collect();
        if let Some(group) = &self.group {
            group.commit(&next);
        }
        Ok(committed)
    }

    fn add(
        &mut self,
        epoch: Epoch,
        state: Vec<StateObject>,
        part: Part,
        accounts: Vec<Account>,
        publication: Publication,
    ) -> Result<Arc<Checkpoint>, PipelineError> {
        let at = self.surroundings.wall();
        let place = (self.log.next_sequence(), epoch);
        let ledger = self.ledger.on_checkpoint(accounts, place, at, publication)?;
        for object in &ledger.objects {
            self.storage.put(&object.key, &object.bytes)?;
        }
        let publish: Vec<PublishFile> = part.publish.into_iter().chain(ledger.publish).collect();
        let committed = self.log.commit(Checkpoint {
            epoch,
            at,
            outlook: self.outlook,
            configuration: self.configuration.clone(),
            partitions: self.partitions.values().cloned().collect(),
            state,
            staged: part.staged,
            publish,
            ledger: ledger.ledger,
            chain: ledger.chain,
            models: self.models.clone(),
            published: self.published,
        })?;
        self.send(&committed.checkpoint)?;
        let published = self.log.publish(&committed)?;
        self.log.sweep()?;
        let rows: u64 = committed.checkpoint.publish.iter().map(|file| file.rows).sum();
        if published >= FILES_MANY && rows / (published as u64) < ROWS_FEW {
            tracing::warn!(
                files = published,
                rows,
                "events are so sparse that files hold few rows: `partition_by = \"day\"` under [output] makes fewer of them"
            );
        }
        tracing::info!(%epoch, sequence = committed.sequence.0, published, "checkpoint committed");
        Ok(committed.checkpoint)
    }

    /// Sends a checkpoint's anomalies, in one transaction with its epoch: a second time changes nothing.
    pub fn send(&mut self, checkpoint: &Checkpoint) -> Result<(), PipelineError> {
        let Some(topic) = &mut self.anomalies else { return Ok(()) };
        let objects: Vec<&StateObject> = checkpoint.state.iter().filter(|object| object.stage == OUTBOX).collect();
        let names = self.partitions.values().map(|partition| (partition.id, partition.name.as_str())).collect();
        let outbox = Outbox { storage: &self.storage, objects, names };
        let _waiting = self.vitals.waits();
        deliver(topic.as_mut(), &self.log, checkpoint.epoch, &outbox)
    }

    /// A partition that has ended before has no report any more.
    fn outlook_of(&self, is_last: bool, partitions: &[PartitionReport]) -> Outlook {
        let closes = self.until == Until::Closed && partitions.iter().all(|report| report.has_ended);
        match (self.outlook, is_last) {
            (Outlook::Closed, _) => Outlook::Closed,
            (_, true) if closes => Outlook::Closed,
            (_, true) => Outlook::Stopped,
            (_, false) => Outlook::Open,
        }
    }

    /// What must never be written down wrong: all workers came to the same changes.
    fn change(&mut self, reports: &[Report]) {
        let agreed = |report: &Report| (report.changes.clone(), report.published);
        assert!(reports.windows(2).all(|two| agreed(&two[0]) == agreed(&two[1])), "workers disagree: {reports:?}");
        let Some(report) = reports.first() else { return };
        self.published = self.published.max(report.published);
        for Change { detector, version } in &report.changes {
            let schedule = self.models.iter_mut().find(|schedule| schedule.detector == *detector);
            schedule.expect("only detectors at work are changed").change(version.clone());
        }
    }

    fn advance(&mut self, report: &PartitionReport) {
        let account = &report.account;
        let state = self.partitions.entry(account.partition.clone()).or_insert_with(|| PartitionState {
            name: account.partition.clone(),
            id: report.id,
            next: account.from,
            max_event_time: None,
            ended: false,
            totals: Counts::default(),
            marks: BTreeMap::new(),
        });
        state.id = report.id;
        state.next = account.to;
        state.max_event_time = report.seen;
        state.ended = report.has_ended;
        state.totals = state.totals.and(&account.counts);
    }
}

/// A checkpoint's anomalies where they were staged. No more than an object is in memory.
struct Outbox<'a> {
    storage: &'a Storage,
    objects: Vec<&'a StateObject>,
    names: BTreeMap<PartitionId, &'a str>,
}

impl Outbox<'_> {
    fn messages(&self, object: &StateObject) -> Result<Vec<Messages>, PipelineError> {
        let name_of = |id: PartitionId| self.names.get(&id).map_or_else(|| id.0.to_string(), |name| (*name).to_owned());
        let bytes = self.storage.get_exactly(&object.key, object.size, &object.sha256)?;
        state::decode(&bytes)?.iter().map(|rows| Ok(Messages::of(rows, &name_of)?)).collect()
    }
}

impl Rows for Outbox<'_> {
    fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn visit(&self, take: &mut dyn FnMut(Message<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        for object in &self.objects {
            let messages = self.messages(object).map_err(|error| Refusal::Unread(Box::new(error)))?;
            messages.iter().try_for_each(|messages| messages.visit(take))?;
        }
        Ok(())
    }
}

/// Sends until it is done, for as long as a store would be waited for.
///
/// The manifest decides whose the output is, not who began a transaction last: one that slept while it started may have taken the
/// transactional id from its successor, who takes it back.
fn deliver(
    topic: &mut dyn AnomalyTopic,
    log: &CheckpointLog,
    epoch: Epoch,
    rows: &dyn Rows,
) -> Result<(), PipelineError> {
    let mut attempts = log.patience().start();
    let mut error = match topic.send(epoch.0, rows) {
        Ok(_) => return Ok(()),
        Err(error) if is_final(&error) => return Err(error.into()),
        Err(error) => error,
    };
    tracing::warn!(%epoch, %error, "anomalies were not sent, trying again");
    loop {
        log.confirm()?;
        match attempts.next_pause() {
            Some(pause) => std::thread::sleep(pause),
            None => return Err(error.into()),
        }
        match topic.reopen().and_then(|()| topic.send(epoch.0, rows)) {
            Ok(_) => break,
            Err(again) if is_final(&again) => return Err(again.into()),
            Err(again) => error = again,
        }
    }
    tracing::info!(%epoch, waited_seconds = attempts.waited().as_secs_f64(), "anomalies are sent again");
    Ok(())
}

/// Whether no other attempt can go better.
fn is_final(error: &KafkaOutputError) -> bool {
    matches!(error, KafkaOutputError::TooLarge { .. } | KafkaOutputError::Unread { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointError;
    use crate::checkpoint::decide::Identity;
    use crate::sinks::kafka::Sent;

    /// Refuses until it was opened so many times.
    struct Fenced {
        opens_needed: usize,
        sent: Vec<u64>,
    }

    impl AnomalyTopic for Fenced {
        fn send(&mut self, epoch: u64, _: &dyn Rows) -> Result<Sent, KafkaOutputError> {
            if self.opens_needed > 0 {
                return Err(KafkaOutputError::Fenced { transactional_id: "iomt".into() });
            }
            self.sent.push(epoch);
            Ok(Sent::Committed { rows: 1 })
        }

        fn reopen(&mut self) -> Result<(), KafkaOutputError> {
            self.opens_needed -= 1;
            Ok(())
        }
    }

    fn open(storage: &Storage) -> CheckpointLog {
        let identity = Identity { pipeline: "iomt".into(), source: "files".into(), configuration: BTreeMap::new() };
        CheckpointLog::open(storage.clone(), identity).unwrap().log
    }

    #[test]
    fn a_fenced_producer_is_taken_back_by_the_owner_of_the_output_and_by_nobody_else() {
        let storage = Storage::in_memory().unwrap();
        let replaced = open(&storage);
        let owner = open(&storage);
        let fenced = || Fenced { opens_needed: 2, sent: Vec::new() };
        let (mut topic, messages) = (fenced(), Messages::default());
        deliver(&mut topic, &owner, Epoch(7), &messages).unwrap();
        assert_eq!((topic.opens_needed, topic.sent), (0, vec![7]));
        let mut topic = fenced();
        let error = deliver(&mut topic, &replaced, Epoch(7), &messages).unwrap_err();
        assert!(matches!(error, PipelineError::Checkpoint(CheckpointError::Superseded { .. })), "{error}");
        assert_eq!((topic.opens_needed, topic.sent), (2, vec![]), "it takes nothing from its successor");
    }
}
