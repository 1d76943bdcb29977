//! What a window keeps and gives: its specification, checked against the events once.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::domain::schema::{FieldKind, text_type, time_type};
use crate::domain::time::micros;
use crate::windows::error::WindowError;
use crate::windows::grid::Grid;
use crate::windows::group_column::{GroupColumn, kind_of};
use crate::windows::spec::{Aggregate, WindowSpec};

/// What has to be kept of a field for its aggregates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub sums: bool,
    pub squares: bool,
    pub powers: bool,
    pub extremes: bool,
    pub slope: bool,
    pub ends: bool,
    pub distinct: bool,
    /// How many percentiles. With any, values are kept, and sums, powers and extremes come from them.
    pub percentiles: usize,
}

impl Needs {
    fn add(&mut self, aggregate: Aggregate) {
        use Aggregate as A;
        match aggregate {
            A::Count | A::Missing | A::Rate => {}
            A::Sum | A::Mean => self.sums = true,
            A::Stddev | A::Variance | A::StddevPop | A::VariancePop | A::RootMeanSquare => {
                (self.sums, self.squares) = (true, true);
            }
            A::Min | A::Max | A::Range => self.extremes = true,
            A::First | A::Last => self.ends = true,
            A::Median | A::Percentile(_) => self.percentiles += 1,
            A::Distinct => self.distinct = true,
            A::Skewness | A::Kurtosis => self.powers = true,
            A::Slope => self.slope = true,
        }
    }
}

/// A field of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPlan {
    pub name: String,
    pub kind: FieldKind,
    pub needs: Needs,
    /// Its aggregates, each with its place among the window's aggregates.
    pub outputs: Vec<(Aggregate, usize)>,
}

/// A window's specification with names resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub grid: Grid,
    /// Microseconds.
    pub allowed_lateness: i64,
    pub by: Vec<GroupColumn>,
    /// By name, so that the order of the configuration is not part of the state.
    pub fields: Vec<FieldPlan>,
    /// The number of aggregates.
    pub aggregates: usize,
    /// Of the window's rows.
    pub schema: SchemaRef,
}

impl Plan {
    /// About how many panes are kept while no partition is behind the others.
    pub fn panes_retained(&self) -> i64 {
        self.grid.size().saturating_add(self.allowed_lateness) / self.grid.pane_length()
    }
}

/// The columns that the window groups by.
pub fn group_columns(spec: &WindowSpec, events: &Schema) -> Result<Vec<GroupColumn>, WindowError> {
    let column = |name: &String| {
        let unknown = |_| WindowError::UnknownGroup { window: spec.name.clone(), field: name.clone() };
        let field = events.field_with_name(name).map_err(unknown)?;
        Ok(GroupColumn { name: name.clone(), kind: usable_kind(spec, field)? })
    };
    spec.by.iter().map(column).collect()
}

fn usable_kind(spec: &WindowSpec, field: &Field) -> Result<FieldKind, WindowError> {
    kind_of(field.data_type()).ok_or_else(|| WindowError::UnusableField {
        window: spec.name.clone(),
        field: field.name().clone(),
        found: field.data_type().to_string(),
    })
}

impl Plan {
    pub fn new(spec: &WindowSpec, events: &Schema) -> Result<Plan, WindowError> {
        let grid = Grid::new(spec)?;
        let by = group_columns(spec, events)?;
        let mut fields: Vec<FieldPlan> = Vec::new();
        for (place, output) in spec.aggregates.iter().enumerate() {
            let unknown = |_| WindowError::UnknownField { window: spec.name.clone(), field: output.field.clone() };
            let kind = usable_kind(spec, events.field_with_name(&output.field).map_err(unknown)?)?;
            let index = fields.iter().position(|field| field.name == output.field).unwrap_or_else(|| {
                let name = output.field.clone();
                fields.push(FieldPlan { name, kind, needs: Needs::default(), outputs: Vec::new() });
                fields.len() - 1
            });
            if kind == FieldKind::Text && !is_for_text(output.aggregate) {
                let (window, field) = (spec.name.clone(), output.field.clone());
                return Err(WindowError::NotForText { window, field, aggregate: output.aggregate });
            }
            fields[index].needs.add(output.aggregate);
            fields[index].outputs.push((output.aggregate, place));
        }
        let schema = schema_of(spec, events, &by, &fields)?;
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Plan {
            name: spec.name.clone(),
            grid,
            allowed_lateness: micros(spec.allowed_lateness),
            by,
            fields,
            aggregates: spec.aggregates.len(),
            schema,
        })
    }

    /// What two plans must have in common for one to take the other's state.
    pub fn layout(&self) -> String {
        use std::fmt::Write;
        let mut layout = format!("size={} pane={}", self.grid.size(), self.grid.pane_length());
        for column in &self.by {
            let _ = write!(layout, " by={:?}:{:?}", column.name, column.kind);
        }
        for field in &self.fields {
            let needs = field.needs;
            let _ = write!(layout, " field={:?}:{:?}", field.name, field.kind);
            let parts = [
                (needs.sums, "sums"),
                (needs.squares, "squares"),
                (needs.powers, "powers"),
                (needs.extremes, "extremes"),
                (needs.slope, "slope"),
                (needs.ends, "ends"),
                (needs.distinct, "distinct"),
                (needs.percentiles > 0, "values"),
            ];
            parts.iter().filter(|(is_kept, _)| *is_kept).for_each(|(_, part)| layout.extend(["+", part]));
        }
        layout
    }
}

fn is_for_text(aggregate: Aggregate) -> bool {
    use Aggregate as A;
    matches!(aggregate, A::Count | A::Distinct | A::Missing | A::First | A::Last)
}

fn schema_of(
    spec: &WindowSpec,
    events: &Schema,
    by: &[GroupColumn],
    fields: &[FieldPlan],
) -> Result<SchemaRef, WindowError> {
    let mut columns =
        vec![Field::new("window_start", time_type(), false), Field::new("window_end", time_type(), false)];
    for column in by {
        let nullable = events.field_with_name(&column.name).is_ok_and(Field::is_nullable);
        columns.push(Field::new(&column.name, type_of(column.kind), nullable));
    }
    columns.push(Field::new("count", DataType::Int64, false));
    for output in &spec.aggregates {
        let kind = fields.iter().find(|field| field.name == output.field).map(|field| field.kind);
        let (data_type, nullable) = match (output.aggregate, kind) {
            (Aggregate::Count | Aggregate::Distinct, _) => (DataType::Int64, false),
            (Aggregate::First | Aggregate::Last, Some(kind)) => (type_of(kind), true),
            _ => (DataType::Float64, true),
        };
        columns.push(Field::new(output.column(), data_type, nullable));
    }
    columns.push(Field::new("revision", DataType::Int32, false));
    let mut names = HashSet::new();
    if let Some(column) = columns.iter().find(|column| !names.insert(column.name().as_str())) {
        return Err(WindowError::SameColumn { window: spec.name.clone(), column: column.name().clone() });
    }
    Ok(Arc::new(Schema::new(columns)))
}

fn type_of(kind: FieldKind) -> DataType {
    match kind {
        FieldKind::Text => text_type(),
        other => other.data_type(),
    }
}
