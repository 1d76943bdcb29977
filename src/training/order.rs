//! Which number is the k-th smallest of more than memory may hold: exactly, by counting digits.

use crate::training::error::TrainingError;
use crate::training::store::Rows;

/// Sixteen bits at a time.
const DIGIT_BITS: u32 = 16;
const READ_ROWS: u64 = 1 << 16;

/// The k-th smallest, from 0. There are more than `k`.
pub(super) fn smallest(values: &mut Rows<i64>, k: u64) -> Result<i64, TrainingError> {
    let (mut prefix, mut before) = (0u64, k);
    let mut read = Vec::new();
    for digit in (0..u64::BITS / DIGIT_BITS).rev() {
        let shift = digit * DIGIT_BITS;
        let mut counts = vec![0u64; 1 << DIGIT_BITS];
        for from in (0..values.len()).step_by(READ_ROWS as usize) {
            read.clear();
            values.read(from, READ_ROWS, &mut read)?;
            for value in &read {
                let bits = ordered(*value);
                // Shifted in two steps, for at the first digit all bits go.
                if (bits >> shift) >> DIGIT_BITS == prefix {
                    counts[(bits >> shift) as usize & 0xffff] += 1;
                }
            }
        }
        let mut found = 0;
        for (digit, count) in counts.iter().enumerate() {
            found = digit;
            if before < *count {
                break;
            }
            before -= *count;
        }
        prefix = prefix << DIGIT_BITS | found as u64;
    }
    Ok((prefix ^ SIGN) as i64)
}

const SIGN: u64 = 1 << 63;

fn ordered(value: i64) -> u64 {
    value as u64 ^ SIGN
}

/// A percentile of scores, which are finite and not negative, that were kept by their bits; linear between neighbours, as numpy has it.
pub(super) fn percentile(scores: &mut Rows<i64>, percent: f64) -> Result<f64, TrainingError> {
    let last = scores.len().saturating_sub(1);
    let place = (last as f64 * (percent / 100.0).clamp(0.0, 1.0)).min(last as f64);
    let score = |bits: i64| f64::from_bits(bits as u64);
    let low = score(smallest(scores, place.floor() as u64)?);
    let share = place - place.floor();
    if share == 0.0 {
        return Ok(low);
    }
    let high = score(smallest(scores, place.floor() as u64 + 1)?);
    Ok(low + (high - low) * share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(values: &[i64], memory: u64) -> Rows<i64> {
        let mut rows = Rows::new(1, memory);
        values.iter().for_each(|value| rows.push(&[*value]).unwrap());
        rows
    }

    proptest! {
        #[test]
        fn the_kth_smallest_is_that_of_the_sorted_list(
            mut values in prop::collection::vec(prop_oneof![any::<i64>(), -3i64..3], 1..40), k in any::<prop::sample::Index>(),
        ) {
            let k = k.index(values.len());
            let found = smallest(&mut rows(&values, 7), k as u64).unwrap();
            values.sort_unstable();
            prop_assert_eq!(found, values[k]);
        }
    }

    #[test]
    fn percentiles_lie_between_neighbours_as_numpy_has_it() {
        let bits: Vec<i64> = [3.0f64, 0.0, 1.0, 2.0, 10.0].iter().map(|score| score.to_bits() as i64).collect();
        let mut scores = rows(&bits, 100);
        let found = [0.0, 50.0, 62.5, 87.5, 100.0].map(|percent| percentile(&mut scores, percent).unwrap());
        assert_eq!(found, [0.0, 2.0, 2.5, 6.5, 10.0]);
    }
}
