//! What an intake makes of a scripted source.

use std::collections::VecDeque;
use std::fmt::Write;

use super::*;
use crate::decode::Decoder;
use crate::domain::raw::{Form, Offsets};
use crate::domain::reject::RejectReason;
use crate::domain::schema::{EventSchema, KeySource, TimeFormat, TimeSource};

/// Hands on what it was given, one thing a call, and notes what it is told.
#[derive(Default)]
struct Script {
    reads: VecDeque<Read>,
    told: Told,
}

impl Reader for Script {
    fn read(&mut self, _rows_max: usize, out: &mut Vec<Read>) -> Result<(), SourceError> {
        out.extend(self.reads.pop_front());
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.told.borrow_mut().push(format!("pause {}", partition.0));
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        self.told.borrow_mut().push(format!("resume {}", partition.0));
        Ok(())
    }
}

fn spec() -> WatermarkSpec {
    WatermarkSpec {
        out_of_orderness: Duration::from_secs(2),
        allowed_lateness: Duration::from_secs(10),
        idle_after: Duration::from_secs(60),
        future_skew: Duration::from_secs(5),
        max_drift: Duration::from_secs(100),
        idle_retention: Duration::from_secs(1000),
    }
}

/// Events at these seconds, at these offsets.
fn records(partition: u64, events: &[(i64, i64)]) -> Read {
    let (mut bytes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for (_, second) in events {
        starts.push(bytes.len() as u32);
        bytes.extend(format!(r#"{{"ts":{second},"k":"a"}}"#).bytes());
        ends.push(bytes.len() as u32);
    }
    Read::Records(RawBatch {
        partition: PartitionId(partition),
        form: Form::Objects,
        bytes,
        starts,
        ends,
        offsets: Offsets::Sparse(events.iter().map(|(offset, _)| *offset).collect()),
        received: None,
        keys: None,
        tombstones: Vec::new(),
    })
}

type Told = std::rc::Rc<std::cell::RefCell<Vec<String>>>;

fn intake(until: Until, reads: Vec<Read>) -> (Intake, Told) {
    intake_of_process(until, reads, Arc::default())
}

fn intake_of_process(until: Until, reads: Vec<Read>, pool: Arc<DecodePool>) -> (Intake, Told) {
    let schema = EventSchema {
        time: TimeSource::Fields { paths: vec![vec!["ts".to_owned()]], format: TimeFormat::UnixSeconds },
        key: KeySource::Field(vec!["k".to_owned()]),
        fields: Vec::new(),
        record_bytes_max: 1000,
    };
    let begin = |id: u64| Begin {
        known_as: format!("p{id}"),
        partition: Partition { id: PartitionId(id), name: format!("t/{id}") },
        next: Offset(0),
        seen: EventTime::MIN,
        first: EventTime::MIN,
    };
    let script = Script { reads: reads.into(), ..Script::default() };
    let told = script.told.clone();
    let decoder = Box::new(Decoder::new(&schema).unwrap());
    let decoding = (decoder as Box<dyn Decode>, pool);
    (Intake::new(0, Box::new(script), decoding, spec(), vec![begin(0), begin(1)], until), told)
}

fn read_all(intake: &mut Intake, now: Instant) -> Vec<Item> {
    (0..10).flat_map(|_| intake.read(100, now).unwrap().unwrap_or_default()).collect()
}

fn shown(time: Option<EventTime>) -> String {
    match time {
        None => "none".to_owned(),
        Some(EventTime::MIN) => "min".to_owned(),
        Some(EventTime::MAX) => "max".to_owned(),
        Some(EventTime(micros)) => (micros / 1_000_000).to_string(),
    }
}

fn mark(intake: &Intake, now: Instant) -> String {
    let Mark { live, idle, .. } = intake.mark(now);
    format!("live {} idle {}", shown(live), shown(idle))
}

fn caught_up(partition: u64, next: i64) -> Read {
    Read::CaughtUp { partition: PartitionId(partition), next: Offset(next) }
}

fn ended(partition: u64, next: i64) -> Read {
    Read::Ended { partition: PartitionId(partition), next: Offset(next) }
}

#[test]
fn every_offset_is_in_one_account_under_one_heading() {
    let broken = match records(0, &[(9, 50)]) {
        Read::Records(raw) => Read::Records(RawBatch { bytes: vec![b'{'; raw.bytes.len()], ..raw }),
        other => other,
    };
    let lost = Read::Lost { partition: PartitionId(0), from: Offset(12), to: Offset(20) };
    // 3 is a hole; 40 - 2 - 10 = 28 is the least second that is accepted after 40; 11 holds a marker.
    let reads = vec![records(0, &[(0, 10), (2, 40), (4, 27), (5, 28)]), broken, caught_up(0, 12), lost];
    let (mut intake, _) = intake(Until::Stopped, reads);
    let items = read_all(&mut intake, Instant::now());
    let mut tables = String::new();
    for item in &items {
        match item {
            Item::Events(batch) => write!(tables, "events {} ", batch.num_rows()).unwrap(),
            Item::Rows(rows) => write!(tables, "{:?} {} ", rows.table, rows.batch.num_rows()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tables, "Late 1 events 3 Quarantine 1 ");
    let accounts = intake.close_accounts();
    let account = &accounts[0].account;
    assert!(account.is_balanced());
    let counts = account.counts;
    assert_eq!((account.from, account.to), (Offset(0), Offset(20)));
    assert_eq!((counts.accepted, counts.too_late, counts.quarantined), (3, 1, 1));
    assert_eq!((counts.skipped, counts.lost), (7, 8));
    assert_eq!(intake.close_accounts()[0].account.from, Offset(20), "the next account begins where this one ended");
}

#[test]
fn a_partition_that_has_more_to_read_holds_back_the_others_and_an_idle_one_does_not() {
    let reads = vec![records(0, &[(0, 100)]), caught_up(1, 0), records(1, &[(0, 30)]), caught_up(1, 1)];
    let (mut intake, _) = intake(Until::Stopped, reads);
    let begin = Instant::now();
    intake.read(100, begin).unwrap();
    assert_eq!(mark(&intake, begin), "live min idle none", "nobody knows what partition 1 has");
    intake.read(100, begin).unwrap();
    assert_eq!(mark(&intake, begin), "live 98 idle min", "it has nothing");
    intake.read(100, begin).unwrap();
    assert_eq!(mark(&intake, begin), "live 28 idle none", "it spoke");
    intake.read(100, begin).unwrap();
    assert_eq!(mark(&intake, begin + Duration::from_secs(59)), "live 28 idle none");
    assert_eq!(mark(&intake, begin + Duration::from_secs(60)), "live 98 idle 28", "it fell silent");
}

#[test]
fn at_the_end_of_a_replay_everything_closes_and_at_that_of_a_run_once_nothing_does() {
    let reads = || vec![records(0, &[(0, 100)]), ended(0, 1), ended(1, 0)];
    let wanted = [
        (Until::Closed, "live max idle none"),
        (Until::CaughtUp, "live 98 idle min"),
        (Until::Redriven, "live none idle none"),
    ];
    for (until, wanted) in wanted {
        let (mut intake, _) = intake(until, reads());
        assert!(!intake.is_exhausted());
        read_all(&mut intake, Instant::now());
        assert!(intake.is_exhausted());
        assert_eq!(mark(&intake, Instant::now()), wanted);
    }
}

#[test]
fn what_is_played_again_moves_no_watermark_and_is_judged_by_its_own() {
    let passed_over = match records(0, &[(7, 100), (8, 100)]) {
        Read::Records(raw) => {
            let reject = |offset| Reject { offset: Offset(offset), reason: RejectReason::Empty };
            Read::Refused(raw, vec![reject(7), reject(8)])
        }
        other => other,
    };
    // 100 - 2 - 10 = 88 is the least second that is accepted after 100.
    let reads = vec![records(0, &[(2, 100), (4, 88), (6, 87)]), passed_over, ended(0, 9), ended(1, 0)];
    let (mut intake, _) = intake(Until::Redriven, reads);
    let mut quarantined = 0;
    for _ in 0..10 {
        for item in intake.read(100, Instant::now()).unwrap().unwrap_or_default() {
            if let Item::Rows(Rows { table: Table::Quarantine, batch }) = item {
                quarantined += batch.num_rows();
            }
        }
        assert_eq!(mark(&intake, Instant::now()), "live none idle none");
    }
    let counts = intake.close_accounts()[0].account.counts;
    assert_eq!((counts.read, counts.accepted, counts.too_late, counts.quarantined), (5, 2, 1, 2));
    assert_eq!((quarantined, counts.skipped, intake.is_exhausted()), (2, 4, true));
}

#[test]
fn a_live_run_is_never_exhausted_even_without_partitions() {
    let (mut intake, _) = intake(Until::Stopped, vec![ended(0, 0), ended(1, 0)]);
    read_all(&mut intake, Instant::now());
    assert!(!intake.is_exhausted());
}

fn second(second: i64) -> EventTime {
    EventTime(second * 1_000_000)
}

#[test]
fn a_partition_far_ahead_of_the_slowest_of_others_waits_until_that_has_come_near() {
    let (mut intake, told) = intake(Until::Stopped, vec![records(0, &[(0, 500)]), ended(1, 0)]);
    read_all(&mut intake, Instant::now());
    for slowest in [399, 397, 398, 440, 448, 449] {
        intake.align(second(slowest), Instant::now()).unwrap();
    }
    assert_eq!(*told.borrow(), ["pause 0", "resume 0"], "498 is ahead of 397 + 100, and near 448 + 50");
}

#[test]
fn the_slowest_is_known_at_once_where_it_is_of_the_same_worker() {
    let reads = [(0, 100), (1, 100), (0, 300), (1, 200), (1, 260)];
    let reads = reads.map(|(partition, at)| records(partition, &[(at, at)])).into();
    let (mut intake, told) = intake(Until::Stopped, reads);
    let told_after_each: Vec<String> = (0..5)
        .map(|_| {
            intake.read(100, Instant::now()).unwrap();
            intake.align(EventTime::MAX, Instant::now()).unwrap();
            std::mem::take(&mut *told.borrow_mut()).join(" ")
        })
        .collect();
    assert_eq!(
        told_after_each,
        ["pause 0", "resume 0", "pause 0", "", "resume 0"],
        "nobody knows where 1 begins at first"
    );
}

#[test]
fn nobody_reads_more_than_a_first_batch_before_it_is_known_where_the_others_begin() {
    let (mut intake, told) = intake(Until::Stopped, vec![records(0, &[(0, 500)]), ended(1, 0)]);
    intake.align(EventTime::MIN, Instant::now()).unwrap();
    assert!(told.borrow().is_empty(), "where it begins itself is to be found out, too");
    read_all(&mut intake, Instant::now());
    intake.align(EventTime::MIN, Instant::now()).unwrap();
    intake.align(EventTime::MAX, Instant::now()).unwrap();
    assert_eq!(*told.borrow(), ["pause 0", "resume 0"], "where there are no others, none is waited for");
}

#[test]
fn what_may_lead_too_far_ahead_is_decoded_before_more_is_read() {
    let pool = Arc::new(DecodePool::default());
    (0..2).for_each(|_| pool.join());
    let at = [100, 110, 120, 160, 170, 180, 190, 200].map(|at| records(0, &[(at, at)]));
    let reads = [ended(1, 0)].into_iter().chain(at).collect();
    let (mut intake, _) = intake_of_process(Until::Stopped, reads, pool);
    let mut left_to_others = || {
        intake.align(second(100), Instant::now()).unwrap();
        intake.read(100, Instant::now()).unwrap();
        intake.partitions[&PartitionId(0)].batches_ahead
    };
    let left: Vec<usize> = (0..4).map(|_| left_to_others()).collect();
    assert_eq!(left, [0, 2, 2, 0], "it is not known where 0 begins; it is; it still is near; 158 is not");
}
