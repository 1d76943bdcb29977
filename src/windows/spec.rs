//! What a configured window computes.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};

use crate::domain::schema::FIRST_FIELD;
use crate::domain::time::micros;
use crate::domain::timing::WindowTiming;
use crate::windows::error::WindowError;
use crate::windows::plan::Plan;

/// A statistic of one field over a window. Null and NaN are not values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregate {
    /// Values that are there.
    Count,
    Sum,
    Mean,
    /// Sample deviation and variance (n - 1), as SQL has them; null for one value.
    Stddev,
    Variance,
    StddevPop,
    VariancePop,
    Min,
    Max,
    Range,
    /// By event time, then partition, then offset.
    First,
    Last,
    /// The same as p50, by its other name.
    Median,
    /// A percentile in thousandths: 500 is p50, 950 is p95, 999 is p999. Linear interpolation while exact: while no pane of the
    /// window has more than 256 values of its group. Beyond, each neighbour is within 0.4 % of the true one.
    Percentile(u16),
    /// Different values. Exact up to 1,024, then with a standard error of 1.6 %.
    Distinct,
    /// Share of events in the window whose value is missing, 0 to 1.
    Missing,
    /// Values a second over the window's size.
    Rate,
    /// Of the values themselves (`g1`); null where they are all the same.
    Skewness,
    /// Excess kurtosis of the values themselves (`g2`): 0 for a normal distribution.
    Kurtosis,
    RootMeanSquare,
    /// Least-squares slope over event time, per second.
    Slope,
}

/// One column of the window's table: `<field>_<aggregate>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateSpec {
    pub field: String,
    pub aggregate: Aggregate,
}

/// `[[windows]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    pub name: String,
    pub size: Duration,
    /// Equal to `size` for tumbling windows; never greater, never zero. Panes are the greatest common divisor of both.
    pub slide: Duration,
    /// The group: names of event columns (fields, or `key`).
    pub by: Vec<String>,
    /// In the order of the configuration; that is the order of the columns.
    pub aggregates: Vec<AggregateSpec>,
    /// From `[watermark]`.
    pub allowed_lateness: Duration,
}

/// The aggregates that are not percentiles, as the configuration and the columns name them.
const NAMES: [(&str, Aggregate); 20] = [
    ("count", Aggregate::Count),
    ("sum", Aggregate::Sum),
    ("mean", Aggregate::Mean),
    ("stddev", Aggregate::Stddev),
    ("variance", Aggregate::Variance),
    ("stddev_pop", Aggregate::StddevPop),
    ("variance_pop", Aggregate::VariancePop),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("range", Aggregate::Range),
    ("first", Aggregate::First),
    ("last", Aggregate::Last),
    ("median", Aggregate::Median),
    ("distinct", Aggregate::Distinct),
    ("missing", Aggregate::Missing),
    ("rate", Aggregate::Rate),
    ("skewness", Aggregate::Skewness),
    ("kurtosis", Aggregate::Kurtosis),
    ("rms", Aggregate::RootMeanSquare),
    ("slope", Aggregate::Slope),
];

impl Aggregate {
    /// From its name. Percentiles are `p01` to `p99`, and with a third digit `p001` to `p999` (which is 99.9 %); each has one name.
    pub fn parse(name: &str) -> Option<Aggregate> {
        if let Some((_, aggregate)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(*aggregate);
        }
        let digits = name.strip_prefix('p').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let number: u16 = digits.parse().ok().filter(|number| *number > 0)?;
        match digits.len() {
            2 => Some(Aggregate::Percentile(10 * number)),
            3 if !number.is_multiple_of(10) => Some(Aggregate::Percentile(number)),
            _ => None,
        }
    }

    /// The name that `parse` takes.
    pub fn name(self) -> String {
        match self {
            Aggregate::Percentile(thousandths) if thousandths % 10 == 0 => format!("p{:02}", thousandths / 10),
            Aggregate::Percentile(thousandths) => format!("p{thousandths:03}"),
            other => NAMES.iter().find(|(_, known)| *known == other).map_or("", |(name, _)| name).to_owned(),
        }
    }

    /// The names of all aggregates but percentiles, for messages.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl AggregateSpec {
    /// The name of the column.
    pub fn column(&self) -> String {
        format!("{}_{}", self.field, self.aggregate)
    }
}

impl WindowSpec {
    /// When its windows begin, end and become final.
    pub fn timing(&self) -> WindowTiming {
        WindowTiming { size: micros(self.size), slide: micros(self.slide), lateness: micros(self.allowed_lateness) }
    }

    /// The places of the columns of event batches that this window needs, ascending: the four that every event has, the group, the fields.
    pub fn columns_needed(&self, events: &Schema) -> Vec<usize> {
        let is_needed = |name: &str| {
            self.by.iter().any(|by| by == name) || self.aggregates.iter().any(|aggregate| aggregate.field == name)
        };
        let columns = events.fields().iter().enumerate();
        columns
            .filter(|(index, field)| *index < FIRST_FIELD || is_needed(field.name()))
            .map(|(index, _)| index)
            .collect()
    }

    /// The schema of the window's rows.
    pub fn schema(&self, events: &Schema) -> Result<SchemaRef, WindowError> {
        Ok(Plan::new(self, events)?.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_what_bears_it() {
        let percentiles = (1..1000).map(Aggregate::Percentile);
        for aggregate in NAMES.iter().map(|(_, aggregate)| *aggregate).chain(percentiles) {
            assert_eq!(Aggregate::parse(&aggregate.name()), Some(aggregate));
        }
        assert_eq!(Aggregate::parse("p95"), Some(Aggregate::Percentile(950)));
        assert_eq!(Aggregate::parse("p01"), Some(Aggregate::Percentile(10)));
        assert_eq!(Aggregate::parse("p999"), Some(Aggregate::Percentile(999)));
    }

    #[test]
    fn names_that_nothing_bears_are_refused() {
        for name in ["", "p", "p0", "p00", "p000", "p5", "p950", "p1000", "p-5", "p+5", "p٣٣", "mode", "Mean", "mean "]
        {
            assert_eq!(Aggregate::parse(name), None, "{name}");
        }
    }
}
