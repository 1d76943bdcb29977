//! What holds for every accumulator: any order, cut and merge gives the same bits, and they are the right ones.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use proptest::prelude::*;

use crate::windows::exact::distinct::{DISTINCT_EXACT_MAX, Distinct};
use crate::windows::exact::extremes::Extremes;
use crate::windows::exact::integer::Integer;
use crate::windows::exact::kept::{Held, KEPT_MAX, Kept};
use crate::windows::exact::moments::Divisor;
use crate::windows::exact::number::{Number, Picked};
use crate::windows::exact::percentile;
use crate::windows::exact::powers::Powers;
use crate::windows::exact::sketch::Sketch;
use crate::windows::exact::slope::Slope;
use crate::windows::exact::sums::Sums;
use crate::windows::hash;

fn rational(value: f64) -> BigRational {
    BigRational::from_float(value).unwrap()
}

fn whole(value: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(value.into())
}

/// Whether no other double is nearer to the true value.
fn is_nearest(value: f64, truth: &BigRational) -> bool {
    if value.is_infinite() {
        let limit = rational(f64::MAX) + (rational(f64::MAX) - rational(f64::MAX.next_down())) / BigInt::from(2);
        return if value > 0.0 { *truth >= limit } else { -truth >= limit };
    }
    let distance = (rational(value) - truth).abs();
    let neighbours = [value.next_up(), value.next_down()];
    neighbours.iter().all(|other| other.is_infinite() || distance <= (rational(*other) - truth).abs())
}

fn relative_error(value: f64, truth: &BigRational) -> f64 {
    if truth.is_zero() {
        return value.abs();
    }
    ((rational(value) - truth) / truth).abs().to_f64().unwrap()
}

/// To far more places than a double has.
fn root(value: &BigRational) -> BigRational {
    if value.is_zero() {
        return value.clone();
    }
    let bits = 2700usize;
    let scaled = value.numer() * (BigInt::from(1) << (2 * bits)) / value.denom();
    BigRational::new(scaled.sqrt(), BigInt::from(1) << bits)
}

#[derive(Clone, Copy, Debug)]
enum Family {
    Offset,
    Plain,
    Lognormal,
    AllMagnitudes,
    Integers,
    Decimals,
    Subnormal,
    MostlyZeros,
}

fn value_of(family: Family, a: u64, b: u64) -> f64 {
    let unit = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
    let (u, w) = (unit(a), unit(b));
    match family {
        Family::Offset => 1e9 + 4.0 * u,
        Family::Plain => 50.0 + 40.0 * u,
        Family::Lognormal => u * (30.0 * w).exp(),
        Family::AllMagnitudes => u * 10f64.powi((w * 600.0) as i32),
        Family::Integers => ((u * 2000.0) as i64) as f64,
        Family::Decimals => ((u * 20000.0) as i64) as f64 / 100.0,
        Family::Subnormal => f64::from_bits(a & ((1 << 52) - 1)),
        Family::MostlyZeros if b.is_multiple_of(3) => u,
        Family::MostlyZeros if b.is_multiple_of(2) => -0.0,
        Family::MostlyZeros => 0.0,
    }
}

/// Two families meet in one accumulator, so that every form and every change of form is passed through.
fn values() -> impl Strategy<Value = Vec<f64>> {
    use Family::*;
    let family = || {
        prop::sample::select(vec![Offset, Plain, Lognormal, AllMagnitudes, Integers, Decimals, Subnormal, MostlyZeros])
    };
    let raw = prop::collection::vec((any::<u64>(), any::<u64>(), 0u8..10), 2..120);
    (family(), family(), raw).prop_map(|(most, some, raw)| {
        raw.into_iter().map(|(a, b, kind)| value_of(if kind == 0 { some } else { most }, a, b)).collect()
    })
}

/// Adds the values in a random order, in random cuts, to accumulators that are merged in a random tree.
fn any_way<A, N: Number>(
    values: &[N],
    mut seed: u64,
    new: impl Fn() -> A,
    mut add: impl FnMut(&mut A, &[N]),
    mut merge: impl FnMut(&mut A, &A),
) -> A {
    let mut below = move |bound: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((seed >> 33) as usize) % bound
    };
    let mut values = values.to_vec();
    for index in (1..values.len()).rev() {
        values.swap(index, below(index + 1));
    }
    let mut parts: Vec<A> = (0..1 + below(7)).map(|_| new()).collect();
    let mut rest = values.as_slice();
    while !rest.is_empty() {
        let (run, later) = rest.split_at(1 + below(rest.len()));
        let part = below(parts.len());
        add(&mut parts[part], run);
        rest = later;
    }
    while parts.len() > 1 {
        let part = parts.swap_remove(below(parts.len()));
        let into = below(parts.len());
        merge(&mut parts[into], &part);
    }
    parts.pop().unwrap()
}

fn sums_any_way<N: Number>(values: &[N], seed: u64) -> Sums {
    any_way(values, seed, Sums::default, |sums, run| sums.add_run::<true, N>(run), |sums, other| sums.merge(other))
}

/// Every result, as bits.
fn results(sums: &Sums, n: u64) -> Vec<Option<u64>> {
    let variance = |divisor| sums.variance(n, divisor);
    let results = [
        Some(sums.sum().to_f64()),
        sums.mean(n).map(|mean| mean.to_f64()),
        variance(Divisor::Sample).map(|variance| variance.to_f64()),
        variance(Divisor::Sample).map(|variance| variance.root()),
        variance(Divisor::Population).map(|variance| variance.to_f64()),
        sums.root_mean_square(n),
    ];
    results.map(|result| result.map(f64::to_bits)).to_vec()
}

fn check_sums(sums: &Sums, exact: &[BigRational]) -> Result<(), TestCaseError> {
    let n = exact.len() as u64;
    let total: BigRational = exact.iter().sum();
    let squares: BigRational = exact.iter().map(|value| value * value).sum();
    let spread = whole(n) * &squares - &total * &total;
    let variance = &spread / whole(n * (n - 1));
    prop_assert!(is_nearest(sums.sum().to_f64(), &total));
    prop_assert!(is_nearest(sums.mean(n).unwrap().to_f64(), &(&total / whole(n))));
    prop_assert!(is_nearest(sums.variance(n, Divisor::Sample).unwrap().to_f64(), &variance));
    prop_assert!(is_nearest(sums.variance(n, Divisor::Population).unwrap().to_f64(), &(&spread / whole(n * n))));
    let deviation = sums.variance(n, Divisor::Sample).unwrap().root();
    prop_assert!(deviation < 1e-290 || relative_error(deviation, &root(&variance)) < 2.3e-16);
    let rms = sums.root_mean_square(n).unwrap();
    prop_assert!(rms < 1e-290 || rms.is_infinite() || relative_error(rms, &root(&(squares / whole(n)))) < 2.3e-16);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn sums_have_the_same_bits_for_any_order_cut_and_merge_and_are_rounded_once(
        values in values(),
        seeds in prop::collection::vec(any::<u64>(), 3),
    ) {
        let n = values.len() as u64;
        let mut sums = Sums::default();
        sums.add_run::<true, f64>(values.as_slice());
        let wanted = results(&sums, n);
        let rows: Vec<u32> = (0..values.len() as u32).collect();
        let mut adopted = Sums::default();
        adopted.adopt(sums_any_way(&values[..1 + values.len() / 7], seeds[1]).habit());
        adopted.add_run::<true, f64>(Picked { column: &values, rows: &rows });
        prop_assert_eq!(results(&adopted, n), wanted.clone());
        let mut without_squares = Sums::default();
        without_squares.add_run::<false, f64>(values.as_slice());
        prop_assert_eq!(results(&without_squares, n)[..2].to_vec(), wanted[..2].to_vec());
        for seed in seeds {
            prop_assert_eq!(results(&sums_any_way(&values, seed), n), wanted.clone());
        }
        check_sums(&sums, &values.iter().map(|value| rational(*value)).collect::<Vec<_>>())?;
    }

    #[test]
    fn integers_of_any_size_sum_exactly(
        values in prop::collection::vec(prop_oneof![any::<i64>(), -9i64..9, Just(i64::MIN), Just(i64::MAX)], 2..60),
        seed in any::<u64>(),
    ) {
        let sums = sums_any_way(&values, seed);
        check_sums(&sums, &values.iter().map(|value| whole(*value)).collect::<Vec<_>>())?;
    }

    #[test]
    fn quotients_are_the_nearest_doubles(
        limbs in prop::collection::vec(any::<u64>(), 1..5),
        zeros in 0usize..4,
        divisors in (1u64.., 1u64..),
        is_small in any::<bool>(),
        exponent in -400i64..300,
    ) {
        let (first, second) = if is_small { (divisors.0 >> 33 | 1, divisors.1 >> 40 | 1) } else { divisors };
        let mut limbs = limbs;
        let zeros = zeros.min(limbs.len() - 1);
        limbs[..zeros].fill(0);
        limbs.push(0);
        let found = Integer::<8>::from_twos(&limbs).ratio(exponent, first, second).to_f64();
        let integer = limbs.iter().rev().fold(BigInt::zero(), |integer, limb| (integer << 64) + *limb);
        let truth = whole(integer) / whole(BigInt::from(first) * second) * whole(2).pow(exponent as i32);
        prop_assert!(is_nearest(found, &truth), "{:e}", found);
    }

    #[test]
    fn a_slope_has_the_same_bits_when_panes_are_merged_and_is_right(
        values in values(), cut in any::<u16>(), distance in 0i64..3_600_000_000,
    ) {
        let n = values.len();
        let cut = cut as usize % n;
        let time = |index: usize| 1_000_000 * index as i64 + if index < cut { 17 } else { distance };
        let mut whole_window = Slope::default();
        values.iter().enumerate().for_each(|(index, value)| whole_window.add(time(index), *value));
        let (mut first, mut second) = (Slope::default(), Slope::default());
        (0..cut).rev().for_each(|index| first.add(time(index), values[index]));
        (cut..n).for_each(|index| second.add(time(index) - distance, values[index]));
        first.merge(&second, distance, (n - cut) as u64);
        let found = whole_window.per_second(n as u64);
        prop_assert_eq!(found.map(f64::to_bits), first.per_second(n as u64).map(f64::to_bits));
        let (t, x): (Vec<_>, Vec<_>) = (0..n).map(|index| (whole(time(index)), rational(values[index]))).unzip();
        let (st, stt): (BigRational, BigRational) = (t.iter().sum(), t.iter().map(|t| t * t).sum());
        let (sx, stx): (BigRational, BigRational) = (x.iter().sum(), t.iter().zip(&x).map(|(t, x)| t * x).sum());
        let spread = whole(n as u64) * stt - &st * &st;
        let truth = (whole(n as u64) * stx - &st * sx) / &spread * whole(1_000_000);
        if let Some(found) = found.filter(|found| found.is_finite()) && truth.abs() > rational(1e-290) {
            prop_assert!(relative_error(found, &truth) < 1e-15);
        }
    }

    #[test]
    fn a_sketch_counts_the_same_any_way_and_is_within_its_error(values in values(), seed in any::<u64>()) {
        let add = |sketch: &mut Sketch, run: &[f64]| run.iter().for_each(|value| sketch.add(*value));
        let mut sketch = Sketch::default();
        add(&mut sketch, &values);
        let other = any_way(&values, seed, Sketch::default, add, |sketch, other| sketch.merge(other));
        prop_assert_eq!(sketch.buckets().collect::<Vec<_>>(), other.buckets().collect::<Vec<_>>());
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let n = values.len() as u64;
        for rank in [0, (n - 1) / 2, n - 1] {
            let thousandths = (1000 * rank / (n - 1)) as u16;
            if u64::from(thousandths) * (n - 1) == 1000 * rank {
                let (truth, found) = (sorted[rank as usize], sketch.percentile(thousandths, n).unwrap());
                prop_assert!(truth.abs() < 2.3e-308 || (found - truth).abs() <= 0.00391 * truth.abs());
            }
        }
    }

    #[test]
    fn extremes_are_the_first_and_the_last_of_sorted_values(values in values(), seed in any::<u64>()) {
        let found = any_way(
            &values, seed, Extremes::default, |ends, run| ends.add_run(run), |ends: &mut Extremes<f64>, other| ends.merge(other),
        );
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let bits = |(least, greatest): (f64, f64)| (least.to_bits(), greatest.to_bits());
        let wanted = (sorted[0] + 0.0, sorted[sorted.len() - 1] + 0.0);
        prop_assert_eq!(found.of_values().map(bits), Some(bits(wanted)));
    }

    #[test]
    fn cells_keep_their_own_values_until_they_have_too_many(
        runs in prop::collection::vec((0usize..6, 1usize..40), 0..60), compact_at in 0usize..60,
    ) {
        let mut kept = Kept::<i64>::new(false);
        kept.grow(6);
        let mut wanted: [Vec<i64>; 6] = Default::default();
        for (index, (cell, length)) in runs.into_iter().enumerate() {
            if index == compact_at {
                kept.compact(&[3, 1, 0, 5, 4, 2]);
            }
            let run: Vec<i64> = (0..length as i64).map(|value| 1000 * index as i64 + value).collect();
            kept.add_run(cell, run.as_slice());
            wanted[cell].extend(run);
        }
        for (cell, wanted) in wanted.iter().enumerate() {
            match kept.held(cell) {
                Held::Values(values) => prop_assert_eq!(values, wanted),
                Held::Crowd(crowd) => {
                    prop_assert!(wanted.len() > KEPT_MAX);
                    prop_assert_eq!(crowd.count, wanted.len() as u64);
                    prop_assert_eq!(crowd.sums.sum().to_f64(), wanted.iter().sum::<i64>() as f64);
                }
            }
        }
    }

    #[test]
    fn percentiles_of_values_are_the_same_selected_or_sorted(values in values(), thousandths in 1u16..1000) {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let mut values = values;
        let found = percentile::select(&mut values, thousandths).unwrap();
        prop_assert_eq!(Some(found.to_bits()), percentile::of_sorted(&sorted, thousandths).map(f64::to_bits));
        prop_assert!(sorted[0] <= found && found <= sorted[sorted.len() - 1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn skewness_and_kurtosis_have_the_same_bits_any_way_and_are_right(values in values(), seed in any::<u64>()) {
        let n = values.len() as u64;
        let mut powers = Powers::default();
        powers.add_run::<f64>(values.as_slice());
        let other = any_way(
            &values, seed, Powers::default, |powers, run| powers.add_run::<f64>(run), |powers, other| powers.merge(other),
        );
        let bits = |powers: &Powers| powers.shape(n).map(|shape| (shape.skewness.to_bits(), shape.kurtosis.to_bits()));
        prop_assert_eq!(bits(&powers), bits(&other));
        let mean = values.iter().map(|value| rational(*value)).sum::<BigRational>() / whole(n);
        let moment = |k: i32| values.iter().map(|value| (rational(*value) - &mean).pow(k)).sum::<BigRational>() / whole(n);
        let (m2, m3, m4) = (moment(2), moment(3), moment(4));
        let Some(shape) = powers.shape(n) else {
            prop_assert!(m2.is_zero());
            return Ok(());
        };
        let skewness = &m3 / (&m2 * root(&m2));
        prop_assert!(skewness.is_zero() || relative_error(shape.skewness, &skewness) < 1e-12);
        let kurtosis = &m4 / (&m2 * &m2);
        prop_assert!(((rational(shape.kurtosis) - &kurtosis + whole(3)) / &kurtosis).abs().to_f64().unwrap() < 1e-12);
    }
}

#[test]
fn percentiles_are_those_of_numpy() {
    let values = [3.0, 1.0, 2.0, 10.0];
    for (thousandths, wanted) in [(500, 2.5), (250, 1.75), (950, 8.95), (10, 1.03), (999, 9.979)] {
        let found = percentile::select(&mut values.clone(), thousandths).unwrap();
        assert!((found - wanted).abs() < 1e-14, "{thousandths}: {found}");
    }
    assert_eq!(percentile::select::<f64>(&mut [], 500), None);
    assert_eq!(percentile::select(&mut [-f64::MAX, f64::MAX], 500), Some(0.0));
}

#[test]
fn different_values_are_counted_exactly_while_few_and_within_the_stated_error_when_many() {
    for different in [0, 1, DISTINCT_EXACT_MAX as i64, DISTINCT_EXACT_MAX as i64 + 1, 5_000, 30_000, 300_000] {
        let hashes: Vec<i64> =
            (0..different).chain(0..different / 3).map(|value| hash::of_bits(value as u64) as i64).collect();
        let add = |distinct: &mut Distinct, run: &[i64]| run.iter().for_each(|hash| distinct.add(*hash as u64));
        let mut distinct = Distinct::default();
        add(&mut distinct, &hashes);
        let merged = any_way(&hashes, 7, Distinct::default, add, |distinct, other| distinct.merge(other));
        assert_eq!(distinct, merged, "{different} values in another order");
        let found = distinct.count() as f64;
        let allowed = if different <= DISTINCT_EXACT_MAX as i64 { 0.0 } else { 3.0 * 0.016 * different as f64 };
        assert!((found - different as f64).abs() <= allowed, "{different} values were counted as {found}");
    }
}

#[test]
fn a_deviation_of_one_around_a_billion_is_not_lost() {
    let values: Vec<f64> = (0..1001).map(|index| 1e9 + f64::from(index % 3 - 1)).collect();
    let mut sums = Sums::default();
    sums.add_run::<true, f64>(values.as_slice());
    let exact: Vec<BigRational> = values.iter().map(|value| rational(*value)).collect();
    check_sums(&sums, &exact).unwrap();
}
