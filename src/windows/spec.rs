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
    /// A percentile in thousandths: 500 is the median, 950 is p95, 999 is p999. Linear interpolation while exact.
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
