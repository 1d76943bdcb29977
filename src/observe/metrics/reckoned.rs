//! Values that are reckoned when somebody looks: ages, delays, lag. Nobody has to keep them up to date.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// One value, or none while there is nothing to tell.
pub(super) struct Reckoned {
    value: Box<dyn Fn() -> Option<f64> + Send + Sync>,
    kind: MetricType,
}

impl Reckoned {
    pub(super) fn gauge(value: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Reckoned {
        Reckoned { value: Box::new(value), kind: MetricType::Gauge }
    }

    pub(super) fn counter(value: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Reckoned {
        Reckoned { value: Box::new(value), kind: MetricType::Counter }
    }
}

impl EncodeMetric for Reckoned {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match ((self.value)(), self.kind) {
            (None, _) => Ok(()),
            (Some(value), MetricType::Counter) => {
                encoder.encode_counter::<prometheus_client::encoding::NoLabelSet, _, f64>(&value, None)
            }
            (Some(value), _) => encoder.encode_gauge(&value),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }

    fn is_empty(&self) -> bool {
        (self.value)().is_none()
    }
}

impl fmt::Debug for Reckoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reckoned")
    }
}

/// A gauge for each value of one label.
pub(super) struct ReckonedBy {
    pub(super) label: &'static str,
    pub(super) values: Box<dyn Fn() -> Vec<(String, i64)> + Send + Sync>,
}

impl EncodeMetric for ReckonedBy {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (name, value) in (self.values)() {
            encoder.encode_family(&[(self.label, name)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        (self.values)().is_empty()
    }
}

impl fmt::Debug for ReckonedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReckonedBy").field(&self.label).finish()
    }
}
