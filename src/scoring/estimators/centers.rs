//! K-means: the score is the distance to the nearest centre; a feature's part is the square of its own distance.

use crate::models::centers::Centers;
use crate::scoring::estimators::{Attribution, Estimate};

#[derive(Debug)]
pub(super) struct NearestCenter {
    centers: Centers,
    /// Of the rows scored last.
    nearest: Vec<u32>,
}

impl NearestCenter {
    pub(super) fn new(centers: Centers) -> NearestCenter {
        NearestCenter { centers, nearest: Vec::new() }
    }
}

/// The place of the nearest centre and the square of the distance to it; of several as near, the first. NaN is nearest to the first.
pub(crate) fn nearest(centers: &Centers, row: &[f32]) -> (usize, f64) {
    let square = |center: &[f64]| {
        let off = center.iter().zip(row).map(|(center, value)| f64::from(*value) - center);
        off.fold(0.0, |sum, off| sum + off * off)
    };
    let mut squares = centers.iter().map(square).enumerate();
    let first = squares.next().unwrap_or((0, f64::NAN));
    squares.fold(first, |least, found| if found.1 < least.1 { found } else { least })
}

impl Estimate for NearestCenter {
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f64>) {
        self.nearest.clear();
        for row in rows.chunks_exact(self.centers.features()) {
            let (place, square) = nearest(&self.centers, row);
            self.nearest.push(place as u32);
            scores.push(square.sqrt());
        }
    }

    fn explain(&mut self, rows: &[f32], index: usize) -> Vec<Attribution> {
        let width = self.centers.features();
        let row = &rows[index * width..][..width];
        let center = self.centers.iter().nth(self.nearest[index] as usize);
        let attribution = |(center, value): (&f64, &f32)| {
            let off = f64::from(*value) - center;
            Attribution { expected: *center, part: off * off }
        };
        center.into_iter().flatten().zip(row).map(attribution).collect()
    }

    fn cluster(&self, index: usize) -> Option<u32> {
        self.nearest.get(index).copied()
    }
}
