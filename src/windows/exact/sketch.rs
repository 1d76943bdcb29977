//! Counts of values in buckets taken from a double's own bits: sign, exponent and seven bits of mantissa.
//!
//! A bucket's middle is within 0.4 % of each of its values (doubles below 2e-308 apart). No logarithm, no collapsing, integers only: any order of
//! adding and merging gives the same counts. A sketch grows with the buckets that are hit, 32 buckets at a time: 2 to 4 KiB for values
//! of one magnitude, 4 MiB if every double there is were to come.

use crate::windows::exact::percentile::Rank;

const PAGE: usize = 32;
/// Bits of the double below the bucket's.
const BELOW: u32 = 45;

/// Invariant: pages ascend by number, and each holds at least one value.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    pages: Vec<(i32, Box<[u64; PAGE]>)>,
    /// Where the last value went: the next mostly goes there too.
    recent: usize,
}

/// Buckets ascend with the values; zero has bucket 0.
#[inline]
fn bucket_of(value: f64) -> i32 {
    let bits = value.to_bits();
    let magnitude = bits & !(1 << 63);
    let bucket = if magnitude == 0 { 0 } else { (magnitude >> BELOW) as i32 + 1 };
    if bits >> 63 == 0 { bucket } else { -bucket }
}

fn middle_of(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let middle = f64::from_bits((u64::from(bucket.unsigned_abs()) - 1) << BELOW | 1 << (BELOW - 1));
    if bucket > 0 { middle } else { -middle }
}

/// The highest bucket of a finite value.
const BUCKET_MAX: i32 = 0x7ff << 7;

impl Sketch {
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.add_to(bucket_of(value), 1);
    }

    #[inline]
    fn add_to(&mut self, bucket: i32, count: u64) {
        let (page, place) = (bucket >> 5, (bucket & 31) as usize);
        if self.pages.get(self.recent).is_none_or(|found| found.0 != page) {
            self.recent = self.page_index(page);
        }
        self.pages[self.recent].1[place] += count;
    }

    fn page_index(&mut self, page: i32) -> usize {
        self.pages.binary_search_by_key(&page, |found| found.0).unwrap_or_else(|index| {
            self.pages.insert(index, (page, Box::new([0; PAGE])));
            index
        })
    }

    pub fn merge(&mut self, other: &Sketch) {
        for (page, counts) in &other.pages {
            let index = self.page_index(*page);
            for (count, more) in self.pages[index].1.iter_mut().zip(counts.iter()) {
                *count += more;
            }
        }
    }

    /// Occupied buckets with their counts, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        let of_page = |(page, counts): &'_ (i32, Box<[u64; PAGE]>)| {
            let page = *page;
            let counts = **counts;
            counts.into_iter().enumerate().map(move |(place, count)| (page << 5 | place as i32, count))
        };
        self.pages.iter().flat_map(of_page).filter(|(_, count)| *count > 0)
    }

    /// From buckets and counts; nothing if a bucket cannot be, or the counts are more than `2^48`.
    pub fn from_buckets(buckets: &[(i32, u64)]) -> Option<Sketch> {
        let mut sketch = Sketch::default();
        let mut total = 0u64;
        for (bucket, count) in buckets {
            total = total.checked_add(*count).filter(|total| *total <= 1 << 48)?;
            if *count == 0 || !(-BUCKET_MAX..=BUCKET_MAX).contains(bucket) {
                return None;
            }
            sketch.add_to(*bucket, *count);
        }
        Some(sketch)
    }

    /// The percentile among `count` values (all that were added).
    pub fn percentile(&self, thousandths: u16, count: u64) -> Option<f64> {
        let rank = Rank::of(thousandths, count)?;
        let (mut seen, mut lower) = (0, None);
        for (bucket, count) in self.buckets() {
            seen += count;
            if lower.is_none() && seen > rank.index {
                lower = Some(middle_of(bucket));
            }
            if let Some(lower) = lower.filter(|_| seen > rank.index + 1) {
                return Some(rank.between(lower, middle_of(bucket)));
            }
        }
        lower
    }

    pub fn heap_bytes(&self) -> usize {
        self.pages.capacity() * size_of::<(i32, Box<[u64; PAGE]>)>() + self.pages.len() * 8 * PAGE
    }
}
