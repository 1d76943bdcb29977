//! One value of a record, as a format has it, asked for as the kind that is wanted.

use crate::decode::events::Place;
use crate::decode::number::decimal::Window;
use crate::decode::number::integer::{Fraction, NotInteger};

/// Why a value is not of the kind that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    WrongType,
    OutOfRange,
    LoneSurrogate,
}

impl From<NotInteger> for Misfit {
    fn from(fault: NotInteger) -> Misfit {
        match fault {
            NotInteger::HasFraction => Misfit::WrongType,
            NotInteger::OutOfRange => Misfit::OutOfRange,
        }
    }
}

/// A value. Methods that give `Ok(None)` mean null: it counts as missing.
pub(super) trait Value<'v>: Copy {
    /// The nearest double, never -0.0.
    fn float(self) -> Result<Option<f64>, Misfit>;

    /// Times `10^power`, exactly.
    fn integer(self, power: u32, fraction: Fraction) -> Result<Option<i64>, Misfit>;

    fn boolean(self) -> Result<Option<bool>, Misfit>;

    /// A text of at most 16 bytes that stands in the record as it is: its bytes (and what follows them), and how many.
    fn short_text(self) -> Option<([u8; 16], usize)>;

    /// A text, or the spelling of another value.
    fn text<'b>(self, scratch: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, Misfit>
    where
        'v: 'b;

    /// Microseconds since 1970, where the format itself says that the value is a time.
    fn time(self) -> Option<i64> {
        None
    }

    /// Microseconds since 1970, from a number of units of `10^-(6 - power)` seconds.
    #[inline(always)]
    fn unix_time(self, power: u32) -> Result<Option<i64>, Misfit> {
        self.integer(power, Fraction::RoundDown)
    }
}

/// The values of one record.
pub(super) trait Row {
    type Value<'v>: Value<'v>
    where
        Self: 'v;

    /// The value of a place, if there is one. `copy` is room for one that stands too near to the end of its buffer.
    fn value<'v>(&'v self, place: Place, copy: &'v mut Window) -> Option<Self::Value<'v>>;
}
