//! The score against its definition, written once more without any state; and the laws of what is remembered.

use arrow::array::StringArray;
use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const SETTINGS: TailSettings = TailSettings { history: 300, rows_min: 100, quiet_us: DAY, again: 1.1 };

fn timing(lateness: i64) -> WindowTiming {
    WindowTiming { size: HOUR / 2, slide: HOUR / 2, lateness }
}

fn row() -> RecordBatch {
    let schema = Schema::new(vec![Field::new("key", DataType::Utf8, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(StringArray::from(vec!["pump"]))]).unwrap()
}

fn told(tails: &mut Tails, start: i64, value: f64) -> Option<Told> {
    tails.tell(&SETTINGS, (b"pump", start), &[value], row).remove(0)
}

/// Half hours with a daily course, a little noise in steps, spikes, and a few that are missing.
fn series(count: i64) -> Vec<(i64, f64)> {
    let value = |at: i64| {
        let daily = [0.0, 1.0, 3.0, 6.0, 3.0, 1.0][(at / 8 % 6) as usize];
        let noise = ((at * 7919) % 211) as f64 / 50.0;
        let spike = if at % 173 == 172 { 25.0 } else { 0.0 };
        (at * HOUR / 2, daily + noise + spike)
    };
    (0..count).filter(|at| at % 37 != 5).map(value).collect()
}

/// The definition, over the whole series at once: improbability and score of each window.
fn defined(series: &[(i64, f64)]) -> Vec<(f64, f64)> {
    let values: Vec<f64> = series.iter().map(|(_, value)| *value).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let deviation = |values: &[f64]| {
        let middle = mean(values);
        mean(&values.iter().map(|value| (value - middle).powi(2)).collect::<Vec<f64>>()).sqrt()
    };
    let trail = |values: &[f64], at: usize, over: usize| values[(at + 1).saturating_sub(over)..=at].to_vec();
    let usual = |at: usize, period: i64, slot: i64, begin: i64, most: usize| {
        let place = |time: i64| ((time - begin).div_euclid(period), (time - begin).rem_euclid(period) / slot);
        let (own, slot) = place(series[at].0);
        let mut periods: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (time, value) in &series[..at] {
            let (period, of) = place(*time);
            if of == slot && period < own {
                periods.entry(period).or_default().push(*value);
            }
        }
        let mut means: Vec<f64> = periods.values().rev().take(most).map(|values| mean(values)).collect();
        means.sort_by(f64::total_cmp);
        let half = means.len() / 2;
        let median = || if means.len().is_multiple_of(2) { (means[half - 1] + means[half]) / 2.0 } else { means[half] };
        (means.len() >= 2).then(median)
    };
    let daily: Vec<f64> =
        (0..values.len()).map(|at| usual(at, DAY, HOUR / 4, 0, 14).map_or(0.0, |usual| values[at] - usual)).collect();
    let weekly: Vec<f64> = (0..values.len())
        .map(|at| usual(at, 7 * DAY, HOUR, 4 * DAY, 4).map_or(daily[at], |usual| values[at] - usual))
        .collect();
    let floor = 0.01 * (deviation(&values[..100]) + 1e-9);
    let shapes = |at: usize| -> Vec<f64> {
        let mut shapes: Vec<f64> = [1, 6, 24, 96].map(|over| mean(&trail(&values, at, over))).to_vec();
        for over in [1, 6, 24] {
            let change = |at: usize| mean(&trail(&values, at, over));
            shapes.push(if at < over { 0.0 } else { change(at) - change(at - over) });
        }
        shapes.extend([12, 48].map(|over| (deviation(&trail(&values, at, over)) + floor).ln()));
        shapes.extend([1, 6, 24].map(|over| mean(&trail(&daily, at, over))));
        shapes.extend([6, 24].map(|over| mean(&trail(&weekly, at, over))));
        shapes
    };
    let shapes: Vec<Vec<f64>> = (0..values.len()).map(shapes).collect();
    let improbable = |at: usize| {
        if at < 100 {
            return 0.0;
        }
        let one = |shape: usize| {
            let before: Vec<f64> = shapes[at.saturating_sub(300)..at].iter().map(|shapes| shapes[shape]).collect();
            let turned: Vec<f64> = before.iter().map(|value| -value).collect();
            let mut sorted = before.clone();
            sorted.sort_by(f64::total_cmp);
            let at_share = |share: f64| sorted[(share * sorted.len() as f64) as usize];
            let spread = at_share(0.95) - at_share(0.05);
            upper(&before, shapes[at][shape], spread).max(upper(&turned, -shapes[at][shape], spread))
        };
        (0..14).map(one).sum::<f64>() / 14.0
    };
    let nats: Vec<f64> = (0..values.len()).map(improbable).collect();
    let score = |at: usize| {
        let last_day = (0..at).filter(|before| series[at].0 - series[*before].0 <= DAY);
        let greatest = last_day.map(|before| nats[before]).fold(0.0, f64::max);
        (nats[at], if nats[at] > 1.1 * greatest { nats[at] } else { 0.0 })
    };
    (0..values.len()).map(score).collect()
}

/// The negative logarithm of the chance of what is as high as `value`, by a generalised Pareto tail over the highest fiftieth.
fn upper(before: &[f64], value: f64, spread: f64) -> f64 {
    let mut sorted = before.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let tail = (count / 50).max(5);
    let over = sorted[count - tail - 1];
    if value <= over {
        return 0.0;
    }
    let excesses: Vec<f64> = sorted[count - tail..].iter().map(|value| value - over).collect();
    let mean = excesses.iter().sum::<f64>() / tail as f64;
    let variance = excesses.iter().map(|excess| excess * excess).sum::<f64>() / tail as f64 - mean * mean;
    let shape = if variance > 0.0 { (0.5 * (1.0 - mean * mean / variance)).clamp(0.0, 0.5) } else { 0.0 };
    let mean = mean.max(0.02 * spread).max(1e-9);
    let excess = value - over;
    let within = if shape < 1e-6 { excess / mean } else { (shape * excess / (mean * (1.0 - shape))).ln_1p() / shape };
    within - ((tail as f64 + 1.0) / (count as f64 + 1.0)).ln()
}

#[test]
fn the_score_is_what_its_definition_says() {
    let series = series(1500);
    let mut tails = Tails::new(timing(0));
    let mut found = 0;
    for ((start, value), (nats, score)) in series.iter().zip(defined(&series)) {
        let told = told(&mut tails, *start, *value).map_or((0.0, 0.0), |told| (told.nats, told.score));
        assert!((told.0 - nats).abs() < 1e-9 && (told.1 - score).abs() < 1e-9, "{told:?} {nats} {score} at {start}");
        found += usize::from(told.1 > 0.0);
        tails.settle(*start);
    }
    assert!(found > 5, "{found} scores count");
}

/// What is said in the end, by detectors that are stopped and go on where `stops` says.
fn in_the_end(
    series: &[(i64, f64)],
    lateness: i64,
    corrections: &[(usize, f64)],
    stops: &[usize],
) -> BTreeMap<i64, Option<Told>> {
    let timing = timing(lateness);
    let mut tails = Tails::new(timing);
    let mut all = BTreeMap::new();
    for (at, (start, value)) in series.iter().enumerate() {
        let wrong = corrections.iter().find(|(corrected, _)| *corrected == at).map(|(_, wrong)| *wrong);
        all.insert(*start, told(&mut tails, *start, wrong.unwrap_or(*value)));
        // A few windows later, and not yet final, it is put right; what looks back on it is told again.
        let due = at.checked_sub(2).filter(|due| corrections.iter().any(|(corrected, _)| corrected == due));
        if let Some(due) = due.filter(|_| lateness > 0) {
            let right = series[due];
            let followers = series[..=at].iter().filter(|(start, _)| timing.last_final(*start) >= right.0);
            for (start, value) in [right].iter().chain(followers) {
                all.insert(*start, told(&mut tails, *start, *value));
            }
        }
        tails.settle(start - HOUR);
        if stops.contains(&at) {
            let saved = saved_by(&mut tails);
            tails = Tails::new(timing);
            for batch in saved {
                assert_eq!(detector_of(&batch), Some("odd"));
                let (rows, series) = parted(&batch, &row().schema()).unwrap();
                tails.restore(b"pump".as_slice().into(), rows, &words_of(&series, 0)).unwrap();
            }
        }
    }
    all
}

/// The state of tails of which every part changed.
fn saved_by(tails: &mut Tails) -> Vec<RecordBatch> {
    let mut saved = Vec::new();
    tails.snapshot("odd", &mut |_, state| match state {
        PartState::Batch(batch) => saved.push(batch),
        PartState::Unchanged => panic!("every part changed"),
    });
    saved
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn corrections_and_stops_leave_the_bits_that_the_right_values_give_at_once(
        corrections in prop::collection::vec((100usize..480, -50.0..50.0), 1..30),
        stops in prop::collection::vec(50usize..500, 0..4),
    ) {
        let series = series(500);
        let lateness = 3 * HOUR;
        let wanted = in_the_end(&series, lateness, &[], &[]);
        prop_assert!(wanted.values().flatten().filter(|told| told.score > 0.0).count() > 2);
        prop_assert_eq!(in_the_end(&series, lateness, &corrections, &stops), wanted);
    }

    #[test]
    fn damaged_state_is_refused_or_sound(at in any::<prop::sample::Index>(), word in any::<i64>()) {
        let mut tails = Tails::new(timing(0));
        series(150).iter().for_each(|(start, value)| assert!(told(&mut tails, *start, *value).is_none_or(|told| told.nats >= 0.0)));
        let (rows, series) = parted(&saved_by(&mut tails)[0], &row().schema()).unwrap();
        let mut words = words_of(&series, 0);
        let at = at.index(words.len());
        words[at] = word;
        let mut damaged = Tails::new(timing(0));
        if damaged.restore(b"pump".as_slice().into(), rows, &words).is_some() {
            told(&mut damaged, 10_000 * HOUR, 1.0);
        }
    }
}

#[test]
fn a_key_that_was_silent_for_long_begins_anew_and_is_forgotten() {
    let mut tails = Tails::new(timing(0));
    series(200)
        .iter()
        .for_each(|(start, value)| assert!(told(&mut tails, *start, *value).is_none_or(|told| told.nats >= 0.0)));
    let long = 200 * HOUR / 2 + i64::from(SETTINGS.history) * HOUR;
    assert!(told(&mut tails, long, 1.0).is_none(), "it has no past");
    tails.settle(long + HOUR);
    assert_eq!(tails.keys.len(), 1);
    tails.settle(2 * long);
    tails.settle(2 * long);
    assert!(tails.keys.is_empty());
}
