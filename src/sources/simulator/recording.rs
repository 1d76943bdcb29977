//! Simulated messages as a recording: NDJSON, CSV or Parquet.
//!
//! Promise: the three hold the same events in the same order with the same values, bit for bit once they are read as doubles; the
//! time is a number of milliseconds in all of them.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field as Column, Schema};
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

    /// Lets readers see what was written so far, where the format allows it.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Form::Text { output, .. } => output.flush(),
            Form::Parquet(_) => Ok(()),
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
    times: Int64Builder,
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
        let mut columns = vec![Column::new(TIME, DataType::Int64, false), Column::new(DEVICE, DataType::Utf8, false)];
        columns.extend(fields.iter().map(|field| Column::new(field.name, data_type(field.field_type), false)));
        columns.extend(has_label(spec).then(|| Column::new(LABEL, DataType::Utf8, false)));
        let schema = Arc::new(Schema::new(columns));
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        Ok(Table {
            writer: ArrowWriter::try_new(output, schema.clone(), Some(properties))?,
            schema,
            times: Int64Builder::new(),
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

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::sources::simulator::{SeededFaults, Simulator};

    /// A cell, by the bits of its number.
    #[derive(Debug, PartialEq)]
    enum Cell {
        Number(u64),
        Text(String),
    }

    fn number(number: f64) -> Cell {
        Cell::Number(number.to_bits())
    }

    fn written(simulator: &Simulator, format: RecordingFormat) -> Vec<u8> {
        let mut recording = Recording::new(format, simulator.spec(), Vec::new()).unwrap();
        let mut stream = simulator.partition(0);
        while let Some(event) = stream.next() {
            recording.write(&event).unwrap();
        }
        recording.finish().unwrap()
    }

    fn from_json(text: &[u8], names: &[&str]) -> Vec<Vec<Cell>> {
        let row = |line: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            let cell = |name: &&str| match &value[*name] {
                serde_json::Value::String(text) => Cell::Text(text.clone()),
                serde_json::Value::Bool(flag) => Cell::Text(flag.to_string()),
                other => number(other.as_f64().unwrap()),
            };
            names.iter().map(cell).collect()
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(row).collect()
    }

    fn from_csv(text: &[u8], names: &[&str]) -> Vec<Vec<Cell>> {
        let mut reader = csv::Reader::from_reader(text);
        assert_eq!(reader.headers().unwrap(), names);
        let cell = |text: &str| text.parse().map_or_else(|_| Cell::Text(text.to_owned()), number);
        reader.records().map(|record| record.unwrap().iter().map(cell).collect()).collect()
    }

    fn from_parquet(bytes: Vec<u8>, names: &[&str]) -> Vec<Vec<Cell>> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        let mut rows = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            let row = |index: usize| {
                let cell = |name: &&str| {
                    let column = batch.column_by_name(name).unwrap();
                    match column.data_type() {
                        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(index)),
                        DataType::Int64 => number(column.as_primitive::<Int64Type>().value(index) as f64),
                        DataType::Boolean => Cell::Text(column.as_boolean().value(index).to_string()),
                        _ => Cell::Text(column.as_string::<i32>().value(index).to_owned()),
                    }
                };
                names.iter().map(cell).collect()
            };
            rows.extend((0..batch.num_rows()).map(row));
        }
        rows
    }

    #[test]
    fn the_same_events_have_the_same_bits_in_every_format() {
        for profile in Profile::ALL {
            let seeded_faults = SeededFaults::of_every_kind(10, std::time::Duration::ZERO);
            let spec = SimulatorSpec {
                devices: 20,
                partitions: 1,
                labelled: true,
                seeded_faults,
                ..SimulatorSpec::new(profile)
            };
            let names = columns(&spec);
            let simulator = Simulator::new(spec).unwrap();
            let [json, csv, table] = RecordingFormat::ALL.map(|format| written(&simulator, format));
            let json = from_json(&json, &names);
            assert_eq!(json.len() as u64, simulator.messages(), "{profile}");
            assert!(json == from_csv(&csv, &names), "{profile}: CSV differs from JSON");
            assert!(json == from_parquet(table, &names), "{profile}: Parquet differs from JSON");
        }
    }
}
