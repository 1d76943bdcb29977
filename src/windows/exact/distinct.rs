//! How many different values there were: a set of their hashes, and beyond a size a sketch of fixed size.
//!
//! Up to 1,024 different values the answer is exact (but for a collision of 64-bit hashes, one in 10^13 there). Beyond, it is a HyperLogLog of 4,096
//! registers: standard error 1.6 %. Both forms and the change between them depend on the set of values alone, not on order.

/// Different values that are counted exactly.
pub const DISTINCT_EXACT_MAX: usize = 1024;
const PRECISION: u32 = 12;
pub const REGISTERS: usize = 1 << PRECISION;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distinct {
    /// Ascending, at most `DISTINCT_EXACT_MAX` of them in a pane.
    Hashes(Vec<u64>),
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct::Hashes(Vec::new())
    }
}

impl Distinct {
    #[inline]
    pub fn add(&mut self, hash: u64) {
        match self {
            Distinct::Registers(registers) => register(registers, hash),
            Distinct::Hashes(hashes) => {
                if let Err(index) = hashes.binary_search(&hash) {
                    hashes.insert(index, hash);
                    self.bound();
                }
            }
        }
    }

    fn bound(&mut self) {
        if let Distinct::Hashes(hashes) = self
            && hashes.len() > DISTINCT_EXACT_MAX
        {
            let mut registers = Box::new([0; REGISTERS]);
            hashes.iter().for_each(|hash| register(&mut registers, *hash));
            *self = Distinct::Registers(registers);
        }
    }

    pub fn merge(&mut self, other: &Distinct) {
        match (&mut *self, other) {
            (Distinct::Hashes(mine), Distinct::Hashes(theirs)) => {
                *mine = union(mine, theirs);
                self.bound();
            }
            (Distinct::Hashes(mine), Distinct::Registers(theirs)) => {
                let mut registers = theirs.clone();
                mine.iter().for_each(|hash| register(&mut registers, *hash));
                *self = Distinct::Registers(registers);
            }
            (Distinct::Registers(mine), Distinct::Hashes(theirs)) => {
                theirs.iter().for_each(|hash| register(mine, *hash));
            }
            (Distinct::Registers(mine), Distinct::Registers(theirs)) => {
                for (mine, theirs) in mine.iter_mut().zip(theirs.iter()) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
    }

    pub fn count(&self) -> u64 {
        match self {
            Distinct::Hashes(hashes) => hashes.len() as u64,
            Distinct::Registers(registers) => estimate(registers),
        }
    }

    pub fn heap_bytes(&self) -> usize {
        match self {
            Distinct::Hashes(hashes) => 8 * hashes.capacity(),
            Distinct::Registers(_) => REGISTERS,
        }
    }
}

/// The high bits choose the register, which keeps the longest run of zeros in front of the rest.
#[inline]
fn register(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = (hash >> (64 - PRECISION)) as usize;
    let zeros = (hash << PRECISION | 1 << (PRECISION - 1)).leading_zeros() as u8 + 1;
    registers[index] = registers[index].max(zeros);
}

/// The highest value of a register.
pub const REGISTER_MAX: u8 = (64 - PRECISION + 1) as u8;

fn union(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        all.push(x.min(y));
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    all.extend_from_slice(&a[i..]);
    all.extend_from_slice(&b[j..]);
    all
}

/// Ertl's improved estimate: no tables and no logarithms, so the same everywhere.
fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let mut histogram = [0u32; REGISTER_MAX as usize + 1];
    for value in registers {
        histogram[usize::from(*value)] += 1;
    }
    let size = REGISTERS as f64;
    let top = usize::from(REGISTER_MAX);
    let mut sum = size * tail(1.0 - f64::from(histogram[top]) / size);
    for count in histogram[1..top].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += size * head(f64::from(histogram[0]) / size);
    let half_by_ln_2 = 0.5 * std::f64::consts::LOG2_E;
    (half_by_ln_2 * size * size / sum).round() as u64
}

/// The share of empty registers, corrected.
fn head(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * y;
        y += y;
        if sum == before {
            return sum;
        }
    }
}

/// The share of registers that are not full, corrected.
fn tail(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        y *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * y;
        if sum == before {
            return sum / 3.0;
        }
    }
}
