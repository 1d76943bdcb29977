//! Recordings written for a test and read back as events: by the files' reader and the decoder, as a run has them.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt32Type};
use tidewatch::decode::{Decode, Decoder};
use tidewatch::domain::ids::Offset;
use tidewatch::domain::schema::{
    EventSchema, FIRST_FIELD, FieldKind, FieldSpec, KEY, KeySource, TimeFormat, TimeSource,
};
use tidewatch::sources::files::{FileFormat, FileReader, FilesSpec, discover};
use tidewatch::sources::{Read, Reader, SourceError};

pub fn field(name: &str, kind: FieldKind) -> FieldSpec {
    FieldSpec { name: name.into(), kind, path: vec![name.into()], default: None, required: false, missing_as: None }
}

/// Events whose time counts in microseconds from 0, and whose key is the file's name.
pub fn schema(fields: Vec<FieldSpec>) -> EventSchema {
    EventSchema {
        time: TimeSource::Counted { from: 0, every: 1 },
        key: KeySource::Partition,
        fields,
        record_bytes_max: 1000,
    }
}

pub fn timed(names: &[&str], format: TimeFormat) -> TimeSource {
    TimeSource::Fields { paths: names.iter().map(|name| vec![(*name).to_owned()]).collect(), format }
}

pub fn spec(path: &Path, schema: &EventSchema) -> FilesSpec {
    FilesSpec {
        wanted: schema.paths().map(<[String]>::to_vec).collect(),
        record_bytes_max: schema.record_bytes_max,
        block_bytes: 256,
        open_files_max: 4,
        ..FilesSpec::new(vec![path.display().to_string()], FileFormat::Csv)
    }
}

/// Every record of what is at `path`: `offset time|key|fields`, or `offset reason field`; then the error that ended it.
pub fn outcomes(spec: &FilesSpec, schema: &EventSchema, from: i64) -> (Vec<String>, Option<SourceError>) {
    let files = discover(spec).unwrap();
    let names: Vec<String> = files.iter().map(|file| file.partition.name.clone()).collect();
    let mut reader = FileReader::new(spec, files, &|_| Some(Offset(from)));
    let mut decoder = Decoder::new(schema).unwrap();
    let (mut lines, mut ended) = (Vec::new(), 0);
    while ended < names.len() {
        let mut reads = Vec::new();
        if let Err(error) = reader.read(7, &mut reads) {
            return (lines, Some(error));
        }
        for read in reads {
            match read {
                Read::Records(raw) => {
                    let decoded = decoder.decode(&raw, &names[raw.partition.0 as usize]);
                    assert_eq!(raw.len(), decoded.events.len() + decoded.rejects.len());
                    let mut found: Vec<(i64, String)> = Vec::new();
                    for reject in &decoded.rejects {
                        let field = reject.reason.field().map(|field| format!(" {field}")).unwrap_or_default();
                        found.push((reject.offset.0, format!("{}{field}", reject.reason.name())));
                    }
                    let columns = decoded.events.columns().columns();
                    for (row, offset) in decoded.events.offsets().iter().enumerate() {
                        let shown = [&columns[KEY]].into_iter().chain(&columns[FIRST_FIELD..]);
                        let shown: Vec<String> = shown.map(|column| show(column, row)).collect();
                        found.push((*offset, format!("{}|{}", decoded.events.times()[row], shown.join("|"))));
                    }
                    found.sort();
                    lines.extend(found.into_iter().map(|(offset, line)| format!("{offset} {line}")));
                }
                Read::Ended { .. } => ended += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    (lines, None)
}

/// A value as it would be written, floats by their bits' shortest spelling, texts in quotes.
fn show(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    match column.data_type() {
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        _ => {
            let column = column.as_dictionary::<UInt32Type>();
            format!("{:?}", column.values().as_string::<i32>().value(column.keys().value(row) as usize))
        }
    }
}
