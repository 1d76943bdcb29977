//! Simulated messages as a recording: NDJSON, CSV or Parquet.
//!
//! Promise: the three hold the same events in the same order with the same values, bit for bit once they are read as doubles.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field as Column, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::sources::simulator::device::Value;
use crate::sources::simulator::event::{DEVICE, Event, LABEL, TIME};
use crate::sources::simulator::profile::FieldType;
use crate::sources::simulator::{Profile, SimulatorSpec};

/// How a recording is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingFormat {
    Ndjson,
    Csv,
    Parquet,
}

impl RecordingFormat {
    pub const ALL: [RecordingFormat; 3] = [RecordingFormat::Ndjson, RecordingFormat::Csv, RecordingFormat::Parquet];

    /// As options name it, and what a file's name ends in.
    pub fn name(self) -> &'static str {
        match self {
            RecordingFormat::Ndjson => "ndjson",
            RecordingFormat::Csv => "csv",
            RecordingFormat::Parquet => "parquet",
        }
    }
}

/// A recording that is being written. It is whole once `finish` has returned.
pub struct Recording<W: Write + Send>(Form<W>);

enum Form<W: Write + Send> {
    Text { output: W, line: Vec<u8>, is_csv: bool },
    Parquet(Box<Table<W>>),
}

impl<W: Write + Send> Recording<W> {
    pub fn new(format: RecordingFormat, spec: &SimulatorSpec, output: W) -> io::Result<Recording<W>> {
        let form = match format {
            RecordingFormat::Ndjson => Form::Text { output, line: Vec::new(), is_csv: false },
            RecordingFormat::Csv => {
                let mut output = output;
                writeln!(output, "{}", columns(spec).join(","))?;
                Form::Text { output, line: Vec::new(), is_csv: true }
            }
            RecordingFormat::Parquet => Form::Parquet(Box::new(Table::new(spec, output)?)),
        };
        Ok(Recording(form))
    }

    pub fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        match &mut self.0 {
            Form::Text { output, line, is_csv } => {
                line.clear();
                if *is_csv {
                    event.write_csv(line);
                } else {
                    event.write_json(line);
                }
                line.push(b'\n');
                output.write_all(line)
            }
            Form::Parquet(table) => table.write(event),
        }
    }

    /// Writes what is left, and gives back what was written to.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Form::Text { mut output, .. } => output.flush().map(|()| output),
            Form::Parquet(table) => table.finish(),
        }
    }
}

/// The names of the columns, in their order.
fn columns(spec: &SimulatorSpec) -> Vec<&'static str> {
    let fields = spec.profile.fields().iter().map(|field| field.name);
    let label = has_label(spec).then_some(LABEL);
    [TIME, DEVICE].into_iter().chain(fields).chain(label).collect()
}

fn has_label(spec: &SimulatorSpec) -> bool {
    spec.labelled || spec.profile == Profile::Iomt
}

/// Rows that become a row group at a time.
const ROWS: usize = 64 << 10;

/// A table of Parquet that grows by row groups.
struct Table<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: Arc<Schema>,
    times: TimestampMillisecondBuilder,
    devices: StringBuilder,
    fields: Vec<Builder>,
    labels: Option<StringBuilder>,
    rows: usize,
}

enum Builder {
    Number(Float64Builder),
    Whole(Int64Builder),
    Flag(BooleanBuilder),
    Text(StringBuilder),
}

impl Builder {
    fn of(field_type: FieldType) -> Builder {
        match field_type {
            FieldType::Decimal(_) => Builder::Number(Float64Builder::new()),
            FieldType::Whole => Builder::Whole(Int64Builder::new()),
            FieldType::Flag => Builder::Flag(BooleanBuilder::new()),
            FieldType::Text => Builder::Text(StringBuilder::new()),
        }
    }

    fn append(&mut self, value: Value) {
        match (self, value) {
            (Builder::Number(column), value) => column.append_option(value.number()),
            (Builder::Whole(column), Value::Whole(number)) => column.append_value(number),
            (Builder::Flag(column), Value::Flag(flag)) => column.append_value(flag),
            (Builder::Text(column), Value::Text(text)) => column.append_value(text),
            (Builder::Whole(column), _) => column.append_null(),
            (Builder::Flag(column), _) => column.append_null(),
            (Builder::Text(column), _) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Number(column) => Arc::new(column.finish()),
            Builder::Whole(column) => Arc::new(column.finish()),
            Builder::Flag(column) => Arc::new(column.finish()),
            Builder::Text(column) => Arc::new(column.finish()),
        }
    }
}

impl<W: Write + Send> Table<W> {
    fn new(spec: &SimulatorSpec, output: W) -> io::Result<Table<W>> {
        let data_type = |field_type| match field_type {
            FieldType::Decimal(_) => DataType::Float64,
            FieldType::Whole => DataType::Int64,
            FieldType::Flag => DataType::Boolean,
            FieldType::Text => DataType::Utf8,
        };
        let fields = spec.profile.fields();
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let mut columns = vec![Column::new(TIME, time, false), Column::new(DEVICE, DataType::Utf8, false)];
        columns.extend(fields.iter().map(|field| Column::new(field.name, data_type(field.field_type), false)));
        columns.extend(has_label(spec).then(|| Column::new(LABEL, DataType::Utf8, false)));
        let schema = Arc::new(Schema::new(columns));
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        Ok(Table {
            writer: ArrowWriter::try_new(output, schema.clone(), Some(properties))?,
            schema,
            times: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            devices: StringBuilder::new(),
            fields: fields.iter().map(|field| Builder::of(field.field_type)).collect(),
            labels: has_label(spec).then(StringBuilder::new),
            rows: 0,
        })
    }

    fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.times.append_value(event.at_ms);
        self.devices.append_value(event.device);
        self.fields.iter_mut().zip(event.values).for_each(|(column, value)| column.append(*value));
        if let Some(labels) = &mut self.labels {
            labels.append_value(event.label.unwrap_or_default());
        }
        self.rows += 1;
        if self.rows == ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> io::Result<()> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.times.finish()), Arc::new(self.devices.finish())];
        columns.extend(self.fields.iter_mut().map(Builder::finish));
        columns.extend(self.labels.as_mut().map(|labels| Arc::new(labels.finish()) as ArrayRef));
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(io::Error::other)?;
        self.rows = 0;
        self.writer.write(&batch)?;
        Ok(self.writer.flush()?)
    }

    fn finish(mut self) -> io::Result<W> {
        if self.rows > 0 {
            self.write_group()?;
        }
        Ok(self.writer.into_inner()?)
    }
}
