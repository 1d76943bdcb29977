//! What can be wrong with a configured window.

use crate::windows::spec::Aggregate;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("window `{window}` groups by `{field}`, which events do not have")]
    UnknownGroup { window: String, field: String },
    #[error("window `{window}` aggregates `{field}`, which events do not have")]
    UnknownField { window: String, field: String },
    #[error("window `{window}` cannot use `{field}`: columns of type {found} neither group nor aggregate")]
    UnusableField { window: String, field: String, found: String },
    #[error(
        "window `{window}` asks for the {aggregate} of `{field}`, which is text: texts have count, distinct, missing, first and last"
    )]
    NotForText { window: String, field: String, aggregate: Aggregate },
    #[error("window `{window}` has two columns `{column}`")]
    SameColumn { window: String, column: String },
    #[error("window `{window}` has a size of {size:?}: it must be at least a microsecond and at most 366 days")]
    Size { window: String, size: std::time::Duration },
    #[error("window `{window}` slides by {slide:?}: it must be at least a microsecond and at most the size")]
    Slide { window: String, slide: std::time::Duration },
    #[error(
        "window `{window}` would consist of {panes} panes, the greatest common divisor of size and slide; at most {max} are possible"
    )]
    Panes { window: String, panes: i64, max: i64 },
}
