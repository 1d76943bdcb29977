//! The rows that a window publishes, as columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Array, Int64Array, Int64Builder, RecordBatch, StringBuilder,
    StringDictionaryBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::UInt32Type;

use crate::domain::schema::FieldKind;
use crate::windows::cells::Accumulators;
use crate::windows::exact::number::Number;
use crate::windows::group_column::{GroupColumn, GroupValue, KeyReader};
use crate::windows::pane::Pane;
use crate::windows::plan::{FieldPlan, Plan};
use crate::windows::spec::Aggregate;
use crate::windows::summary::{NumberSummary, TextSummary, part};

/// A row to publish: a window and a group, and the cells of its panes in `Due::parts`.
#[derive(Clone, Copy, Debug)]
pub struct DueRow {
    pub window: i64,
    pub group: u32,
    pub revision: i32,
    parts_start: u32,
    parts_end: u32,
}

/// Rows that are due, in the order in which they are published.
#[derive(Default)]
pub struct Due<'a> {
    pub rows: Vec<DueRow>,
    /// A pane and the group's cell in it.
    parts: Vec<(&'a Pane, u32)>,
}

impl<'a> Due<'a> {
    /// Adds a row, unless the group has no cell in any of the window's panes.
    pub fn push(&mut self, window: i64, group: u32, panes: &[&'a Pane], revision: impl FnOnce() -> i32) {
        let start = self.parts.len() as u32;
        self.parts.extend(panes.iter().filter_map(|pane| pane.cell_of(group).map(|cell| (*pane, cell))));
        let end = self.parts.len() as u32;
        if end > start {
            self.rows.push(DueRow { window, group, revision: revision(), parts_start: start, parts_end: end });
        }
    }

    pub fn parts_count(&self) -> usize {
        self.parts.len()
    }

    /// One batch of all rows, with the schema of the plan. `key` gives a group's key.
    pub fn to_batch(&self, plan: &Plan, key: impl Fn(u32) -> &'a [u8]) -> RecordBatch {
        let starts = self.rows.iter().map(|row| plan.grid.window_start(row.window));
        let ends = self.rows.iter().map(|row| plan.grid.window_end(row.window));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(starts).with_timezone("UTC")),
            Arc::new(TimestampMicrosecondArray::from_iter_values(ends).with_timezone("UTC")),
        ];
        columns.extend(group_arrays(&plan.by, self.rows.iter().map(|row| key(row.group)), TextType::Dictionary));
        let events = self.rows.iter().map(|row| self.events_of(row) as i64);
        columns.push(Arc::new(Int64Array::from_iter_values(events)));
        let mut aggregates: Vec<Option<ArrayRef>> = vec![None; plan.aggregates];
        for (index, field) in plan.fields.iter().enumerate() {
            let arrays = self.field_arrays(plan, index, field);
            for ((_, place), array) in field.outputs.iter().zip(arrays) {
                aggregates[*place] = Some(array);
            }
        }
        columns.extend(aggregates.into_iter().flatten());
        columns.push(Arc::new(Int32Array::from_iter_values(self.rows.iter().map(|row| row.revision))));
        RecordBatch::try_new(Arc::clone(&plan.schema), columns)
            .expect("the plan made the schema from the same fields, in the same order")
    }

    /// The counts of rows of windows after this one, together.
    pub fn events_after(&self, window: i64) -> u64 {
        self.rows.iter().filter(|row| row.window > window).map(|row| self.events_of(row)).sum()
    }

    fn events_of(&self, row: &DueRow) -> u64 {
        self.parts_of(row).map(|(pane, cell)| pane.events(cell)).sum()
    }

    fn parts_of(&self, row: &DueRow) -> impl Iterator<Item = (&'a Pane, usize)> {
        let parts = &self.parts[row.parts_start as usize..row.parts_end as usize];
        parts.iter().map(|(pane, cell)| (*pane, *cell as usize))
    }

    /// One array for each aggregate of the field.
    fn field_arrays(&self, plan: &Plan, index: usize, field: &FieldPlan) -> Vec<ArrayRef> {
        let mut columns: Vec<Column> =
            field.outputs.iter().map(|(output, _)| Column::of(*output, field.kind, self.rows.len())).collect();
        match field.kind {
            FieldKind::Float => self.add_numbers::<f64>(plan, index, field, &mut columns, |cells| match cells {
                Accumulators::Float(cells) => Some(cells),
                _ => None,
            }),
            FieldKind::Int | FieldKind::Bool => {
                self.add_numbers::<i64>(plan, index, field, &mut columns, |cells| match cells {
                    Accumulators::Integer(cells) => Some(cells),
                    _ => None,
                });
            }
            FieldKind::Text => self.add_texts(plan, index, field, &mut columns),
        }
        columns.into_iter().map(Column::finish).collect()
    }

    /// Group after group within one field: its accumulators lie side by side.
    fn add_numbers<N: Number + OfKind>(
        &self,
        plan: &Plan,
        index: usize,
        field: &FieldPlan,
        columns: &mut [Column],
        typed: fn(&Accumulators) -> Option<&crate::windows::cells::NumberCells<N>>,
    ) {
        let mut summary = NumberSummary::<N>::new(field.needs);
        for row in &self.rows {
            let start = plan.grid.window_start(row.window);
            summary.gather(self.parts_of(row).filter_map(|(pane, cell)| {
                let cells = &pane.fields[index];
                let typed = typed(&cells.accumulators)?;
                Some(part(typed, cells, cell, pane.events(cell), pane.origin() - start))
            }));
            for (column, (aggregate, _)) in columns.iter_mut().zip(&field.outputs) {
                match aggregate {
                    Aggregate::Count => column.push_integer(Some(summary.count() as i64)),
                    Aggregate::Distinct => column.push_integer(Some(summary.distinct() as i64)),
                    Aggregate::First => N::push(column, summary.ends.first.as_ref().map(|(_, value)| *value)),
                    Aggregate::Last => N::push(column, summary.ends.last.as_ref().map(|(_, value)| *value)),
                    other => column.push_float(summary.float(*other, plan.grid.size())),
                }
            }
        }
    }

    fn add_texts(&self, plan: &Plan, index: usize, field: &FieldPlan, columns: &mut [Column]) {
        let mut summary = TextSummary::default();
        for row in &self.rows {
            let start = plan.grid.window_start(row.window);
            summary.gather(self.parts_of(row).filter_map(|(pane, cell)| {
                let cells = &pane.fields[index];
                let Accumulators::Text(typed) = &cells.accumulators else {
                    return None;
                };
                Some(part(typed, cells, cell, pane.events(cell), pane.origin() - start))
            }));
            for (column, (aggregate, _)) in columns.iter_mut().zip(&field.outputs) {
                match aggregate {
                    Aggregate::Count => column.push_integer(Some(summary.count() as i64)),
                    Aggregate::Distinct => column.push_integer(Some(summary.distinct() as i64)),
                    Aggregate::First => column.push_text(summary.ends.first.as_ref().map(|(_, text)| &**text)),
                    Aggregate::Last => column.push_text(summary.ends.last.as_ref().map(|(_, text)| &**text)),
                    _ => column.push_float(summary.missing()),
                }
            }
        }
    }
}

/// A column under construction.
enum Column {
    Float(Float64Builder),
    Integer(Int64Builder),
    Bool(BooleanBuilder),
    Text(StringDictionaryBuilder<UInt32Type>),
    Plain(StringBuilder),
}

impl Column {
    fn of(aggregate: Aggregate, kind: FieldKind, rows: usize) -> Column {
        match (aggregate, kind) {
            (Aggregate::Count | Aggregate::Distinct, _) | (Aggregate::First | Aggregate::Last, FieldKind::Int) => {
                Column::Integer(Int64Builder::with_capacity(rows))
            }
            (Aggregate::First | Aggregate::Last, FieldKind::Bool) => Column::Bool(BooleanBuilder::with_capacity(rows)),
            (Aggregate::First | Aggregate::Last, FieldKind::Text) => Column::Text(StringDictionaryBuilder::new()),
            _ => Column::Float(Float64Builder::with_capacity(rows)),
        }
    }

    fn of_group(kind: FieldKind, texts: TextType, rows: usize) -> Column {
        match (kind, texts) {
            (FieldKind::Text, TextType::Plain) => Column::Plain(StringBuilder::with_capacity(rows, rows * 16)),
            _ => Column::of(Aggregate::First, kind, rows),
        }
    }

    fn push_float(&mut self, value: Option<f64>) {
        if let Column::Float(builder) = self {
            builder.append_option(value);
        }
    }

    fn push_integer(&mut self, value: Option<i64>) {
        match self {
            Column::Integer(builder) => builder.append_option(value),
            Column::Bool(builder) => builder.append_option(value.map(|value| value != 0)),
            Column::Float(_) | Column::Text(_) | Column::Plain(_) => {}
        }
    }

    fn push_text(&mut self, value: Option<&str>) {
        match self {
            Column::Text(builder) => builder.append_option(value),
            Column::Plain(builder) => builder.append_option(value),
            Column::Float(_) | Column::Integer(_) | Column::Bool(_) => {}
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Column::Float(mut builder) => Arc::new(builder.finish()),
            Column::Integer(mut builder) => Arc::new(builder.finish()),
            Column::Bool(mut builder) => Arc::new(builder.finish()),
            Column::Text(mut builder) => Arc::new(builder.finish()),
            Column::Plain(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// A number's way into a column of its field's own type.
trait OfKind: Sized {
    fn push(column: &mut Column, value: Option<Self>);
}

impl OfKind for f64 {
    fn push(column: &mut Column, value: Option<f64>) {
        column.push_float(value);
    }
}

impl OfKind for i64 {
    fn push(column: &mut Column, value: Option<i64>) {
        column.push_integer(value);
    }
}

/// How texts are held: as a dictionary in memory, plain where equal rows must give equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextType {
    Dictionary,
    Plain,
}

/// The columns of a group, from the keys of rows.
pub fn group_arrays<'k>(by: &[GroupColumn], keys: impl Iterator<Item = &'k [u8]>, texts: TextType) -> Vec<ArrayRef> {
    let rows = keys.size_hint().0;
    let mut columns: Vec<Column> = by.iter().map(|column| Column::of_group(column.kind, texts, rows)).collect();
    for key in keys {
        let mut reader = KeyReader::new(key);
        for (column, by) in columns.iter_mut().zip(by) {
            match (reader.next(by.kind), by.kind) {
                (GroupValue::Text(text), _) => column.push_text(Some(text)),
                (GroupValue::Float(value), _) => column.push_float(Some(value)),
                (GroupValue::Int(value), _) => column.push_integer(Some(value)),
                (GroupValue::Bool(value), _) => column.push_integer(Some(i64::from(value))),
                (GroupValue::Null, FieldKind::Text) => column.push_text(None),
                (GroupValue::Null, FieldKind::Float) => column.push_float(None),
                (GroupValue::Null, FieldKind::Int | FieldKind::Bool) => column.push_integer(None),
            }
        }
    }
    columns.into_iter().map(Column::finish).collect()
}
