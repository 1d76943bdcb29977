//! What a configured window computes.

use std::time::Duration;

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
    /// A percentile in thousandths: 500 is p50, 950 is p95, 999 is p999. Linear interpolation while exact.
    Percentile(u16),
    /// Different values.
    Distinct,
    /// Share of events in the window whose value is missing, 0 to 1.
    Missing,
    /// Values a second over the window's size.
    Rate,
    Skewness,
    /// Excess kurtosis: 0 for a normal distribution.
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
