//! The stage against a naive calculation over all events, in every way the same events may come.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};
use proptest::prelude::*;

use crate::domain::ids::Epoch;
use crate::domain::table::Table;
use crate::domain::time::EventTime;
use crate::stage::{EpochEnd, Output, Share, Stage};
use crate::windows::Windows;
use crate::windows::group_hash::GroupHash;
use crate::windows::harness::{Event, Row, Stored, Value, batch, batch_coded, dictionary, rows, schema, spec};
use crate::windows::spec::{Aggregate, WindowSpec};

const NUMBER_AGGREGATES: [&str; 18] = [
    "count",
    "sum",
    "mean",
    "stddev",
    "variance",
    "stddev_pop",
    "variance_pop",
    "min",
    "max",
    "range",
    "first",
    "last",
    "distinct",
    "missing",
    "rate",
    "skewness",
    "kurtosis",
    "rms",
];

fn rational(value: f64) -> BigRational {
    BigRational::from_float(value).unwrap()
}

fn whole(value: i64) -> BigRational {
    BigRational::from_integer(value.into())
}

/// What each field is as a number, exactly.
fn number_of(event: &Event, field: &str) -> Option<BigRational> {
    match field {
        "float" => event.float.map(rational),
        "int" => event.int.map(whole),
        _ => event.bool.map(|value| whole(value.into())),
    }
}

fn own_value(event: &Event, field: &str) -> Option<Value> {
    match field {
        "float" => event.float.map(|value| Value::Float((value + 0.0).to_bits())),
        "int" => event.int.map(Value::Int),
        "bool" => event.bool.map(|value| Value::Int(value.into())),
        "key" => Some(Value::Text(event.key.clone())),
        _ => event.text.clone().map(Value::Text),
    }
}

fn to_float(value: &BigRational) -> f64 {
    value.to_f64().unwrap()
}

/// `a / b^(n/2)` in logarithms of two, for numbers that no double holds.
fn quotient_of_root(a: &BigRational, b: &BigRational, n: i32) -> f64 {
    // b = m * 4^k with m near one; then a / b^(n/2) = a / 2^(kn) / m^(n/2)
    let k = (b.numer().bits() as i64 - b.denom().bits() as i64).div_euclid(2) as i32;
    let m = to_float(&(b / whole(4).pow(k)));
    to_float(&(a / whole(2).pow(k * n))) / m.powf(f64::from(n) / 2.0)
}

/// Linear interpolation between the two nearest of `sorted`.
fn percentile(sorted: &[BigRational], thousandths: u16) -> BigRational {
    let place = whole(sorted.len() as i64 - 1) * whole(thousandths.into()) / whole(1000);
    let index = place.floor().to_integer().to_usize().unwrap();
    let next = sorted.get(index + 1).unwrap_or(&sorted[index]);
    &sorted[index] + (next - &sorted[index]) * (place - whole(index as i64))
}

fn aggregate_of(events: &[&Event], field: &str, aggregate: Aggregate, size: i64) -> Value {
    use Aggregate as A;
    let mut ordered: Vec<&&Event> = events.iter().filter(|event| own_value(event, field).is_some()).collect();
    ordered.sort_by_key(|event| (event.time, event.partition, event.offset));
    let n = ordered.len() as i64;
    let own = |event: Option<&&&Event>| event.and_then(|event| own_value(event, field)).unwrap_or(Value::Null);
    match aggregate {
        A::Count => return Value::Int(n),
        A::Distinct => {
            return Value::Int(
                ordered.iter().filter_map(|event| own_value(event, field)).collect::<BTreeSet<_>>().len() as i64,
            );
        }
        A::First => return own(ordered.first()),
        A::Last => return own(ordered.last()),
        A::Missing => return Value::Float((1.0 - n as f64 / events.len() as f64).to_bits()),
        A::Rate => return Value::Float((n as f64 * 1e6 / size as f64).to_bits()),
        _ => {}
    }
    let x: Vec<BigRational> = ordered.iter().filter_map(|event| number_of(event, field)).collect();
    let t: Vec<BigRational> = ordered.iter().map(|event| whole(event.time)).collect();
    if x.is_empty() {
        return Value::Null;
    }
    let sum = |terms: &[BigRational]| terms.iter().sum::<BigRational>();
    let mean = sum(&x) / whole(n);
    let moment = |k: i32| x.iter().map(|x| (x - &mean).pow(k)).sum::<BigRational>() / whole(n);
    let mut sorted = x.clone();
    sorted.sort();
    let deviation = |variance: BigRational| quotient_of_root(&whole(1), &variance, -1);
    let found = match aggregate {
        A::Sum => Some(to_float(&sum(&x))),
        A::Mean => Some(to_float(&mean)),
        A::Stddev | A::Variance if n < 2 => None,
        A::Variance => Some(to_float(&(moment(2) * whole(n) / whole(n - 1)))),
        A::VariancePop => Some(to_float(&moment(2))),
        A::Stddev => Some(deviation(moment(2) * whole(n) / whole(n - 1))),
        A::StddevPop => Some(deviation(moment(2))),
        A::RootMeanSquare => Some(deviation(x.iter().map(|x| x * x).sum::<BigRational>() / whole(n))),
        A::Min => Some(to_float(&sorted[0])),
        A::Max => Some(to_float(&sorted[sorted.len() - 1])),
        A::Range => Some(to_float(&(&sorted[sorted.len() - 1] - &sorted[0]))),
        A::Median => Some(to_float(&percentile(&sorted, 500))),
        A::Percentile(thousandths) => Some(to_float(&percentile(&sorted, thousandths))),
        A::Skewness | A::Kurtosis if moment(2).is_zero() => None,
        A::Skewness => Some(quotient_of_root(&moment(3), &moment(2), 3)),
        A::Kurtosis => Some(to_float(&(moment(4) / (moment(2) * moment(2)))) - 3.0),
        A::Slope => {
            let (st, sx) = (sum(&t), sum(&x));
            let spread = whole(n) * t.iter().map(|t| t * t).sum::<BigRational>() - &st * &st;
            let products = t.iter().zip(&x).map(|(t, x)| t * x).sum::<BigRational>();
            (!spread.is_zero()).then(|| to_float(&((whole(n) * products - st * sx) / spread * whole(1_000_000))))
        }
        A::Count | A::Distinct | A::First | A::Last | A::Missing | A::Rate => None,
    };
    found.filter(|value| value.is_finite()).map_or(Value::Null, |value| Value::Float((value + 0.0).to_bits()))
}

/// The rows of all windows, by window and group.
fn oracle(spec: &WindowSpec, events: &[Event]) -> BTreeMap<Key, Row> {
    let (size, slide) = (spec.size.as_micros() as i64, spec.slide.as_micros() as i64);
    let mut windows: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
    for event in events {
        let group: Vec<Value> = spec.by.iter().map(|by| own_value(event, by).unwrap_or(Value::Null)).collect();
        let mut start = event.time.div_euclid(slide) * slide;
        while start + size > event.time {
            windows.entry((start, group.clone())).or_default().push(event);
            start -= slide;
        }
    }
    let row = |((start, group), events): (&Key, &Vec<&Event>)| {
        let mut row: Row = spec.by.iter().cloned().zip(group.iter().cloned()).collect();
        row.insert("window_start".to_owned(), Value::Int(*start));
        row.insert("window_end".to_owned(), Value::Int(start + size));
        row.insert("count".to_owned(), Value::Int(events.len() as i64));
        for output in &spec.aggregates {
            row.insert(output.column(), aggregate_of(events, &output.field, output.aggregate, size));
        }
        row
    };
    windows.iter().map(|entry| (entry.0.clone(), row(entry))).collect()
}

type Key = (i64, Vec<Value>);

fn key_of(spec: &WindowSpec, row: &Row) -> Key {
    let Value::Int(start) = row["window_start"] else { panic!("a window without a start") };
    (start, spec.by.iter().map(|by| row[by].clone()).collect())
}

/// The newest row of each window and group, without its revision. Revisions count from 0 without a gap.
fn newest(spec: &WindowSpec, all: &[Row]) -> BTreeMap<Key, Row> {
    let mut newest: BTreeMap<Key, Row> = BTreeMap::new();
    let mut revisions: BTreeMap<Key, i64> = BTreeMap::new();
    for row in all {
        let (key, mut row) = (key_of(spec, row), row.clone());
        let revision = row.remove("revision").unwrap();
        let next = revisions.entry(key.clone()).or_default();
        assert_eq!(revision, Value::Int(*next), "{key:?}");
        *next += 1;
        newest.insert(key, row);
    }
    newest
}

fn is_close(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Float(a), Value::Float(b)) => {
            let (a, b) = (f64::from_bits(*a), f64::from_bits(*b));
            a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()) || (a - b).abs() < 1e-300
        }
        _ => found == wanted,
    }
}

fn agree(found: &BTreeMap<Key, Row>, wanted: &BTreeMap<Key, Row>) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, wanted) in wanted {
        for (column, value) in wanted {
            // Kurtosis of a few values is near -3 + 3: compare what it was before.
            let shifted = |value: &Value| match value {
                Value::Float(bits) if column.ends_with("kurtosis") => {
                    Value::Float((f64::from_bits(*bits) + 3.0).to_bits())
                }
                other => other.clone(),
            };
            let found = &found[key][column];
            let is_skewness = column.ends_with("skewness") && is_near_zero(found) && is_near_zero(value);
            prop_assert!(
                is_skewness || is_close(&shifted(found), &shifted(value)),
                "{key:?} {column}: {found:?} is not {value:?}"
            );
        }
    }
    Ok(())
}

/// As `agree`, but to the bit.
fn same(found: &BTreeMap<Key, Row>, wanted: &BTreeMap<Key, Row>) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, wanted) in wanted {
        for (column, value) in wanted {
            prop_assert_eq!(&found[key][column], value, "{:?} {}", key, column);
        }
    }
    Ok(())
}

fn is_near_zero(value: &Value) -> bool {
    matches!(value, Value::Float(bits) if f64::from_bits(*bits).abs() < 1e-14)
}

/// What happens in one epoch.
#[derive(Clone, Debug)]
struct EpochPlan {
    events: Vec<Event>,
    publish: i64,
    retain: i64,
    is_checkpoint: bool,
}

/// Cuts events into epochs. No later event is below an epoch's retained watermark; publication runs ahead of it.
fn epochs(events: &[Event], cuts: &[(u16, i64, bool)]) -> Vec<EpochPlan> {
    let mut ends: Vec<usize> = cuts.iter().map(|(cut, _, _)| *cut as usize % (events.len() + 1)).collect();
    ends.sort_unstable();
    let (mut start, mut publish, mut plans) = (0, i64::MIN, Vec::new());
    for (end, (_, ahead, is_checkpoint)) in ends.into_iter().zip(cuts) {
        let retain = events[end..].iter().map(|event| event.time).min().unwrap_or(publish);
        publish = publish.max(retain.saturating_add(*ahead));
        plans.push(EpochPlan {
            events: events[start..end].to_vec(),
            publish,
            retain: retain.min(publish),
            is_checkpoint: *is_checkpoint,
        });
        start = end;
    }
    let all = (i64::MAX, i64::MAX, true);
    plans.push(EpochPlan { events: events[start..].to_vec(), publish: all.0, retain: all.1, is_checkpoint: all.2 });
    plans
}

/// A way in which the same epochs may be worked off.
#[derive(Clone, Debug)]
struct Way {
    seed: u64,
    workers: usize,
    /// At the first checkpoint after this epoch the state goes to so many other workers.
    move_after: usize,
    workers_then: usize,
    has_shared_dictionaries: bool,
}

fn stages(spec: &WindowSpec, workers: usize) -> Vec<Windows> {
    (0..workers).map(|_| Windows::new(spec, &schema(), Table::Windows(0)).unwrap()).collect()
}

fn restored(spec: &WindowSpec, stored: &[Stored], workers: usize) -> Vec<Windows> {
    let state: Vec<RecordBatch> = stored.iter().flat_map(Stored::batches).collect();
    let mut stages = stages(spec, workers);
    for (worker, stage) in stages.iter_mut().enumerate() {
        stage.restore(&state, Share { worker, workers }).unwrap();
    }
    stages
}

fn run(spec: &WindowSpec, plans: &[EpochPlan], way: &Way) -> Vec<Row> {
    let mut seed = way.seed;
    let mut below = move |bound: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((seed >> 33) as usize) % bound
    };
    let all = || plans.iter().flat_map(|plan| &plan.events);
    let keys = dictionary(all().map(|event| &event.key));
    let texts = dictionary(all().filter_map(|event| event.text.as_ref()));
    let columns = spec.columns_needed(&schema());
    let mut hash = GroupHash::new(spec, &schema()).unwrap();
    let mut workers = stages(spec, way.workers);
    let mut stored = vec![Stored::default(); way.workers];
    let mut has_moved = false;
    let mut published = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let mut events = plan.events.clone();
        for index in (1..events.len()).rev() {
            events.swap(index, below(index + 1));
        }
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (cut, later) = rest.split_at(1 + below(rest.len().min(40)));
            rest = later;
            let whole = if way.has_shared_dictionaries { batch_coded(cut, &keys, &texts) } else { batch(cut) };
            let whole = whole.project(&columns).unwrap();
            let of_worker: Vec<usize> =
                hash.of_rows(&whole).iter().map(|hash| Share::worker_of(*hash, workers.len())).collect();
            for (worker, stage) in workers.iter_mut().enumerate() {
                let rows = of_worker.iter().map(|of| Some(*of == worker)).collect();
                stage.on_batch(arrow::compute::filter_record_batch(&whole, &rows).unwrap(), &mut Output::default());
            }
        }
        let end = EpochEnd {
            epoch: Epoch(number as u64),
            is_checkpoint: plan.is_checkpoint,
            publish: EventTime(plan.publish),
            retain: EventTime(plan.retain),
        };
        for stage in &mut workers {
            let mut output = Output::default();
            stage.on_epoch_end(end, &mut output);
            assert!(output.0.iter().all(|rows| rows.table == Table::Windows(0)));
            published.extend(rows(&output));
        }
        if plan.is_checkpoint {
            stored.iter_mut().zip(&mut workers).for_each(|(stored, stage)| drop(stored.take(stage)));
        }
        if plan.is_checkpoint && number >= way.move_after && !has_moved {
            has_moved = true;
            workers = restored(spec, &stored, way.workers_then);
            stored = vec![Stored::default(); way.workers_then];
        }
    }
    assert!(workers.iter().all(|stage| stage.size().groups == 0), "what is final is forgotten");
    published
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        5 => (-1.0..1.0f64).prop_map(|x| 1e9 + x),
        3 => (-500i32..500).prop_map(|x| f64::from(x) / 10.0),
        1 => Just(-0.0),
        1 => (-1.0..1.0f64, -60i32..60).prop_map(|(x, e)| x * 10f64.powi(e)),
    ]
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -5i64..5, 1 => any::<i64>(), 2 => (1i64 << 53)..(1 << 54)]
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = (
        -60i64..160,
        0u8..5,
        0u64..3,
        prop::option::weighted(0.8, float()),
        prop::option::weighted(0.8, int()),
        prop::option::weighted(0.8, any::<bool>()),
        prop::option::weighted(0.7, 0u8..4),
    );
    prop::collection::vec(event, 0..most).prop_map(|events| {
        let event =
            |(offset, (time, key, partition, float, int, bool, text)): (usize, (_, _, _, _, _, _, Option<u8>))| Event {
                time: 1_000_000 * time + offset as i64 % 3,
                key: format!("pump-{key}"),
                partition,
                offset: offset as i64,
                float,
                int,
                bool,
                text: text.map(|text| ["", "a", "b\0", "ü"][text as usize].to_owned()),
            };
        events.into_iter().enumerate().map(event).collect()
    })
}

/// Windows by size and slide in seconds, grouped, with and without values kept.
fn specs() -> impl Strategy<Value = WindowSpec> {
    let shapes = vec![(10, 10), (60, 10), (15, 10), (7, 3), (200, 200), (30, 30)];
    let groups: Vec<&[&str]> = vec![&[], &["key"], &["text"], &["key", "bool"], &["text", "int"], &["float"]];
    (prop::sample::select(shapes), prop::sample::select(groups), 0usize..3, 0i64..30).prop_map(
        |((size, slide), by, percentiles, lateness)| {
            let mut aggregates: Vec<(&str, &str)> = vec![];
            for field in ["float", "int", "bool"] {
                aggregates.extend(NUMBER_AGGREGATES.map(|aggregate| (field, aggregate)));
                aggregates.push((field, "slope"));
                aggregates.extend(["p95", "median", "p001"][..percentiles].iter().map(|name| (field, *name)));
            }
            aggregates.extend(["first", "missing", "distinct", "count", "last"].map(|aggregate| ("text", aggregate)));
            let second = 1_000_000;
            spec(size * second, slide * second, by, &aggregates, lateness * second)
        },
    )
}

fn ways() -> impl Strategy<Value = Vec<Way>> {
    let way = (any::<u64>(), 1usize..4, 0usize..4, 1usize..4, any::<bool>());
    let way = way.prop_map(|(seed, workers, move_after, workers_then, has_shared_dictionaries)| Way {
        seed,
        workers,
        move_after,
        workers_then,
        has_shared_dictionaries,
    });
    prop::collection::vec(way, 2)
}

fn cuts() -> impl Strategy<Value = Vec<(u16, i64, bool)>> {
    prop::collection::vec((any::<u16>(), 0i64..100_000_000, any::<bool>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_the_oracle_and_the_same_bits_whatever_the_way(
        events in events(120), spec in specs(), ways in ways(), cuts in cuts(), other_cuts in cuts(),
    ) {
        let wanted = oracle(&spec, &events);
        let one = Way { seed: 1, workers: 1, move_after: usize::MAX, workers_then: 1, has_shared_dictionaries: false };
        let plans = epochs(&events, &cuts);
        let first = run(&spec, &plans, &one);
        let of_first = newest(&spec, &first);
        agree(&of_first, &wanted)?;
        for way in &ways {
            // The same epochs give the same rows with the same revisions.
            let mut rows = run(&spec, &plans, way);
            let order = |row: &Row| (key_of(&spec, row), row["revision"].clone());
            rows.sort_by_key(order);
            let mut first = first.clone();
            first.sort_by_key(order);
            prop_assert_eq!(&rows, &first);
            // Other epochs give the same newest rows.
            let other = run(&spec, &epochs(&events, &other_cuts), way);
            same(&newest(&spec, &other), &of_first)?;
        }
    }
}

#[test]
fn a_cell_with_too_many_values_gives_percentiles_from_its_sketch_any_way() {
    let spec = spec(
        20_000_000,
        10_000_000,
        &["key"],
        &[
            ("float", "median"),
            ("float", "stddev"),
            ("float", "max"),
            ("float", "skewness"),
            ("float", "p01"),
            ("int", "p95"),
        ],
        0,
    );
    let event = |index: i64| Event {
        // Pane 0 has 600 events, pane 1 has 60.
        time: if index < 600 { index } else { 10_000_000 + index },
        key: "pump".to_owned(),
        offset: index,
        float: Some(100.0 + (index * 7919 % 660) as f64),
        int: Some(index),
        ..Event::default()
    };
    let events: Vec<Event> = (0..660).map(event).collect();
    let plans = epochs(&events, &[(200, 0, true), (400, 0, true)]);
    let way = |seed| Way { seed, workers: 2, move_after: 0, workers_then: 3, has_shared_dictionaries: seed == 2 };
    let found = newest(&spec, &run(&spec, &plans, &way(1)));
    assert_eq!(found, newest(&spec, &run(&spec, &plans, &way(2))));
    let wanted = oracle(&spec, &events);
    for (key, wanted) in &wanted {
        for (column, value) in wanted {
            let found = &found[key][column];
            match (found, value) {
                (Value::Float(a), Value::Float(b)) if !is_close(found, value) => {
                    let (a, b) = (f64::from_bits(*a), f64::from_bits(*b));
                    let is_sketched =
                        key.0 < 10_000_000 && ["median", "p01", "p95"].iter().any(|name| column.ends_with(name));
                    assert!(is_sketched && (a - b).abs() < 0.004 * b, "{key:?} {column}: {a} is not {b}");
                }
                _ => assert!(is_close(found, value), "{key:?} {column}: {found:?} is not {value:?}"),
            }
        }
    }
}
