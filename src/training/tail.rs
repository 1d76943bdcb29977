//! The tail of a distribution of scores, as extreme value theory has it: beyond a high value, excesses follow a generalised Pareto
//! distribution (Pickands, 1975; Balkema and de Haan, 1974). It says which score one row in so many exceeds, be it fewer than there are.
//!
//! Fitted as SPOT does (Siffer, Fouque, Termier and Largouet, 2017): by maximum likelihood with Grimshaw's trick (1993), which leaves one
//! unknown.

/// Excesses below which a tail says nothing.
const EXCESSES_MIN: usize = 10;
/// Where Grimshaw's function is looked at for a change of sign.
const STEPS: usize = 200;

/// Excesses over a high value, and the distribution that they follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    /// The value over which a score belongs to the tail.
    over: f64,
    /// The share of all scores that do.
    share: f64,
    shape: f64,
    scale: f64,
}

impl Tail {
    /// `excesses` are scores less `over`, all above zero, of `count` scores in all. None where they are too few or all alike.
    pub(super) fn of(over: f64, excesses: &[f64], count: u64) -> Option<Tail> {
        let greatest = excesses.iter().copied().fold(0.0, f64::max);
        let least = excesses.iter().copied().fold(f64::INFINITY, f64::min);
        if excesses.len() < EXCESSES_MIN || least >= greatest {
            return None;
        }
        let mean = excesses.iter().sum::<f64>() / excesses.len() as f64;
        let exponential = (0.0, mean);
        let candidates = roots(excesses, mean, least, greatest).into_iter().map(|x| solution(excesses, x));
        let likely = |(shape, scale): &(f64, f64)| likelihood(excesses, *shape, *scale);
        let (shape, scale) = candidates
            .chain([exponential])
            .filter(|found| likely(found).is_finite())
            .max_by(|a, b| likely(a).total_cmp(&likely(b)))?;
        Some(Tail { over, share: excesses.len() as f64 / count as f64, shape, scale })
    }

    /// The score that a share `risk` of rows exceeds.
    pub(super) fn exceeded_by(&self, risk: f64) -> f64 {
        let ratio = risk / self.share;
        let excess = if self.shape.abs() < 1e-9 {
            -libm::log(ratio) * self.scale
        } else {
            (libm::pow(ratio, -self.shape) - 1.0) * self.scale / self.shape
        };
        self.over + excess.max(0.0)
    }
}

/// `1 + mean(ln(1 + x y))`, less one the shape that belongs to `x`, and `mean(1 / (1 + x y))`.
fn grimshaw(excesses: &[f64], x: f64) -> (f64, f64) {
    let count = excesses.len() as f64;
    let logs = excesses.iter().map(|excess| libm::log1p(x * excess)).sum::<f64>() / count;
    let inverses = excesses.iter().map(|excess| 1.0 / (1.0 + x * excess)).sum::<f64>() / count;
    (1.0 + logs, inverses)
}

fn solution(excesses: &[f64], x: f64) -> (f64, f64) {
    let shape = grimshaw(excesses, x).0 - 1.0;
    (shape, shape / x)
}

/// Where `u(x) v(x) = 1`, other than zero: between `-1/greatest` and `2 (mean - least) / least^2`.
fn roots(excesses: &[f64], mean: f64, least: f64, greatest: f64) -> Vec<f64> {
    let off = |x: f64| {
        let (u, v) = grimshaw(excesses, x);
        u * v - 1.0
    };
    let near = 1e-8 / mean;
    let low = (-1.0 / greatest * (1.0 - 1e-8), -near);
    let high = (
        near.max(2.0 * (mean - least) / (mean * least) * 1e-3).min(1.0 / mean),
        2.0 * (mean - least) / (least * least),
    );
    let mut found = Vec::new();
    for (from, to) in [low, (near, high.0), high] {
        let place = |step: usize| from + (to - from) * step as f64 / STEPS as f64;
        for step in 0..STEPS {
            let (mut a, mut b) = (place(step), place(step + 1));
            let has_changed_sign = off(a) * off(b) < 0.0;
            if !has_changed_sign {
                continue;
            }
            for _ in 0..60 {
                let middle = (a + b) / 2.0;
                if off(a) * off(middle) <= 0.0 { b = middle } else { a = middle }
            }
            found.push((a + b) / 2.0);
        }
    }
    found
}

/// The logarithm of the likelihood; not finite where the distribution cannot give all excesses.
fn likelihood(excesses: &[f64], shape: f64, scale: f64) -> f64 {
    let count = excesses.len() as f64;
    if scale.is_nan() || scale <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if shape == 0.0 {
        return -count * libm::log(scale) - excesses.iter().sum::<f64>() / scale;
    }
    let logs: f64 = excesses.iter().map(|excess| libm::log1p(shape * excess / scale)).sum();
    -count * libm::log(scale) - (1.0 + 1.0 / shape) * logs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Excesses of a generalised Pareto distribution at even places.
    fn excesses(shape: f64, scale: f64, count: usize) -> Vec<f64> {
        let at = |place: usize| (place as f64 + 0.5) / count as f64;
        let excess = |p: f64| {
            if shape == 0.0 { -(1.0 - p).ln() * scale } else { ((1.0 - p).powf(-shape) - 1.0) * scale / shape }
        };
        (0..count).map(|place| excess(at(place))).collect()
    }

    #[test]
    fn the_distribution_that_gave_the_excesses_is_found() {
        for (shape, scale) in [(0.3, 2.0), (-0.3, 2.0), (0.0, 0.01), (0.8, 100.0)] {
            let tail = Tail::of(5.0, &excesses(shape, scale, 2000), 100_000).unwrap();
            assert!(
                (tail.shape - shape).abs() < 0.03 && (tail.scale / scale - 1.0).abs() < 0.03,
                "{shape} {scale}: {tail:?}"
            );
            // A fiftieth of the rows is beyond 5: one in 5,000 is a hundredth of those.
            let wanted =
                5.0 + if shape == 0.0 { 100f64.ln() * scale } else { (100f64.powf(shape) - 1.0) * scale / shape };
            assert!((tail.exceeded_by(0.0002) / wanted - 1.0).abs() < 0.1, "{} {wanted}", tail.exceeded_by(0.0002));
        }
    }

    #[test]
    fn few_or_equal_excesses_are_no_tail() {
        assert_eq!(Tail::of(0.0, &[1.0; 100], 1000), None);
        assert_eq!(Tail::of(0.0, &[1.0, 2.0], 1000), None);
    }
}
