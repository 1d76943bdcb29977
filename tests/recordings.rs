//! Recordings as they are found in the wild: what becomes of each record of delimited, columnar and compressed files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod recordings_kit;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int32Array, RecordBatch, StringArray,
    StringViewArray, StructArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Int8Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use recordings_kit::{field, outcomes, schema, spec, timed};
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeFormat};
use tidewatch::sources::files::CellOptions;

fn read(name: &str, bytes: &[u8], schema: &EventSchema) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let (lines, error) = outcomes(&spec(&path, schema), schema, 0);
    assert!(error.is_none(), "{error:?}");
    for from in 1..=lines.len() as i64 {
        let (rest, _) = outcomes(&spec(&path, schema), schema, from);
        assert_eq!(rest, lines[from as usize..], "reading goes on at record {from}");
    }
    lines
}

fn check(text: &str, schema: &EventSchema, wanted: &[&str]) {
    assert_eq!(read("a.csv", text.as_bytes(), schema), wanted, "{text}");
}

fn two() -> EventSchema {
    schema(vec![field("x", FieldKind::Float), field("t", FieldKind::Text)])
}

#[test]
fn columns_are_found_by_name_in_any_order_and_may_be_missing() {
    check("x,t\n1.5,a\n-2,b\n", &two(), &["0 0|\"a.csv\"|1.5|\"a\"", "1 1|\"a.csv\"|-2.0|\"b\""]);
    check("t;other;x\na;9;1\n", &two(), &["0 0|\"a.csv\"|1.0|\"a\""]);
    check("t\na\n", &two(), &["0 0|\"a.csv\"|null|\"a\""]);
    check("\u{feff}# made by hand\r\n\r\n\"t\"\t x \r\nb\t 2 \r\n", &two(), &["0 0|\"a.csv\"|2.0|\"b\""]);
}

#[test]
fn an_empty_cell_is_missing_and_quotes_write_an_empty_text() {
    check(
        "x,t\n,\n\"\",\"\"\n  ,\" \"\n",
        &two(),
        &["0 0|\"a.csv\"|null|null", "1 1|\"a.csv\"|null|\"\"", "2 2|\"a.csv\"|null|\" \""],
    );
}

#[test]
fn quotes_hold_separators_line_breaks_and_doubled_quotes() {
    check(
        "x,t\n1,\"a,\"\"b\"\"\nc\"\n\"2\",d\"e\n3, \"f\" \n",
        &two(),
        &["0 0|\"a.csv\"|1.0|\"a,\\\"b\\\"\\nc\"", "1 1|\"a.csv\"|2.0|\"d\\\"e\"", "2 2|\"a.csv\"|3.0|\"f\""],
    );
}

#[test]
fn ragged_rows_are_quarantined_and_the_rest_goes_on() {
    check(
        "x,t\n1\n1,a,b\n1,a,\n1,a, ,\n2,\"b\"c\n3,c\n",
        &two(),
        &[
            "0 syntax",
            "1 syntax",
            "2 2|\"a.csv\"|1.0|\"a\"",
            "3 3|\"a.csv\"|1.0|\"a\"",
            "4 syntax",
            "5 5|\"a.csv\"|3.0|\"c\"",
        ],
    );
}

#[test]
fn values_of_the_wrong_kind_are_quarantined_by_name() {
    let fields = vec![field("x", FieldKind::Float), field("n", FieldKind::Int), field("ok", FieldKind::Bool)];
    let required = FieldSpec { required: true, ..field("y", FieldKind::Float) };
    let all = schema([fields, vec![required]].concat());
    check(
        "x,n,ok,y\n+.5,007,True,1\nNaN,,0,1\nhigh,1,1,1\n1,1.5,1,1\n1,1,yes,1\ninf,1,1,1\n1,1,1,n/a\n",
        &all,
        &[
            "0 0|\"a.csv\"|0.5|7|true|1.0",
            "1 1|\"a.csv\"|null|null|false|1.0",
            "2 wrong_type x",
            "3 wrong_type n",
            "4 wrong_type ok",
            "5 out_of_range x",
            "6 missing y",
        ],
    );
}

#[test]
fn bytes_that_are_no_text_and_rows_that_are_too_long_are_quarantined() {
    let long = "z".repeat(1001);
    let text = [b"x,t\n1,\xff\n2,".as_slice(), long.as_bytes(), b"\n3,\xc3\xa9\n"].concat();
    let wanted = ["0 not_utf8", "1 too_large", "2 2|\"a.csv\"|3.0|\"é\""];
    assert_eq!(read("a.csv", &text, &two()), wanted);
}

#[test]
fn a_time_may_stand_in_two_columns_with_blanks() {
    let time = timed(&["date", "time"], TimeFormat::Pattern("%d-%b-%y %H:%M:%S".into()));
    let key = KeySource::Field(vec!["t".into()]);
    let schema = EventSchema { time, key, ..schema(vec![]) };
    check(
        "\u{feff}date,time,t\r\n25-Apr-19, 19:19:40 ,a\r\n25-Apr-19,8:59:02,b\r\n,8:59:02,c\r\n25-Apr-19,8:59:03,\r\n",
        &schema,
        &["0 1556219980000000|\"a\"", "1 1556182742000000|\"b\"", "2 bad_time date", "3 no_key"],
    );
}

#[test]
fn names_with_dots_are_names() {
    let path = vec!["a".to_owned(), "b".to_owned()];
    let schema = schema(vec![FieldSpec { path, ..field("ab", FieldKind::Int) }]);
    check("a.b\n3\n", &schema, &["0 0|\"a.csv\"|3"]);
}

#[test]
fn a_file_without_a_header_takes_the_configured_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.data");
    std::fs::write(&path, "1 | a\n2 | b\n").unwrap();
    let header = Some(vec!["x".to_owned(), "t".to_owned()]);
    let cells = CellOptions { header, ..CellOptions::default() };
    let spec = tidewatch::sources::files::FilesSpec { cells, ..spec(&path, &two()) };
    let (lines, _) = outcomes(&spec, &two(), 0);
    assert_eq!(lines, ["0 0|\"a.data\"|1.0|\"a\"", "1 1|\"a.data\"|2.0|\"b\""]);
}

#[test]
fn numbers_have_a_comma_where_that_is_configured_and_then_no_dot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "x;t\n19,87;a,b\n-0,5e1;c\n7;d\n1.234,5;e\n1.5;f\n\" 2,25 \";g\n;h\n").unwrap();
    let cells = CellOptions { decimal_comma: true, ..CellOptions::default() };
    let spec = tidewatch::sources::files::FilesSpec { cells, ..spec(&path, &two()) };
    let (lines, rejects) = outcomes(&spec, &two(), 0);
    let name = "\"a.csv\"";
    let wanted = [
        format!("0 0|{name}|19.87|\"a,b\""),
        format!("1 1|{name}|-5.0|\"c\""),
        format!("2 2|{name}|7.0|\"d\""),
        "3 wrong_type x".to_owned(),
        "4 wrong_type x".to_owned(),
        format!("5 5|{name}|2.25|\"g\""),
        format!("6 6|{name}|null|\"h\""),
    ];
    assert_eq!(lines, wanted, "{rejects:?}");
}

/// A cell as it might stand in a file: text of any kind, with what needs quotes, without blanks around it.
fn cell() -> impl Strategy<Value = String> {
    let any = prop_oneof![
        4 => "[a-z0-9.]{0,8}",
        1 => "[a-z,;|\"\n\r é]{0,12}",
        1 => proptest::num::f64::ANY.prop_map(|number| number.to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ];
    any.prop_map(|cell| cell.trim_matches([' ', '\n', '\r']).to_owned())
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_is_read_as_it_reads_it(
        rows in proptest::collection::vec([cell(), cell(), cell()], 0..20),
        separator in prop::sample::select(vec![b',', b';', b'\t', b'|']),
        always in any::<bool>(), crlf in any::<bool>(),
    ) {
        let mut writer = csv::WriterBuilder::new();
        let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        writer.delimiter(separator).quote_style(style).terminator(terminator);
        let mut writer = writer.from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let bytes = writer.into_inner().unwrap();

        let shown = |cell: &str| if cell.is_empty() && !always { "null".to_owned() } else { format!("{cell:?}") };
        let reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(&bytes[..]).into_records();
        let wanted: Vec<String> = reader.enumerate().map(|(index, row)| {
            let cells: Vec<String> = row.unwrap().iter().map(shown).collect();
            format!("{index} {index}|\"a.csv\"|{}", cells.join("|"))
        }).collect();

        let schema = schema(["a", "b", "c"].map(|name| field(name, FieldKind::Text)).to_vec());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, &bytes).unwrap();
        let (found, _) = outcomes(&spec(&path, &schema), &schema, 0);
        prop_assert_eq!(found, wanted, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn numbers_in_cells_are_those_of_the_standard_library(text in "-?[0-9]{1,25}(\\.[0-9]{1,25})?(e[+-]?[0-9]{1,3})?") {
        let schema = schema(vec![field("x", FieldKind::Float)]);
        let value: f64 = text.parse().unwrap();
        let wanted = match value.is_finite() {
            true => format!("0 0|\"a.csv\"|{:?}", value + 0.0),
            false => "0 out_of_range x".to_owned(),
        };
        prop_assert_eq!(read("a.csv", format!("x\n{text}\n").as_bytes(), &schema), [wanted]);
    }
}

/// A few hundred seeded events in every format.
struct Events {
    times: Vec<i64>,
    devices: Vec<String>,
    values: Vec<Option<f64>>,
    counts: Vec<Option<i32>>,
    flags: Vec<Option<bool>>,
}

fn events() -> Events {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    };
    let mut events = Events { times: vec![], devices: vec![], values: vec![], counts: vec![], flags: vec![] };
    for index in 0..300 {
        events.times.push(1_700_000_000_000 + index * 37 - (next() % 500) as i64);
        events.devices.push(["pump, \"1\"", "Ventil é", "a sensor with a long name"][next() as usize % 3].to_owned());
        let value = (next() as f64 / 1e9 - 8.0) * 10f64.powi((next() % 30) as i32 - 15);
        events.values.push((next() % 9 != 0).then_some(value));
        events.counts.push((next() % 9 != 0).then_some(next() as i32));
        events.flags.push((next() % 9 != 0).then_some(next() % 2 == 0));
    }
    events
}

fn event_schema() -> EventSchema {
    let inner = vec!["m".to_owned(), "value".to_owned()];
    EventSchema {
        time: timed(&["ts"], TimeFormat::UnixMillis),
        key: KeySource::Field(vec!["device".into()]),
        fields: vec![
            FieldSpec { path: inner, ..field("value", FieldKind::Float) },
            field("count", FieldKind::Int),
            field("ok", FieldKind::Bool),
        ],
        record_bytes_max: 1000,
    }
}

fn ndjson(events: &Events) -> Vec<u8> {
    let line = |row: usize| {
        let (time, device) = (events.times[row], &events.devices[row]);
        let (value, count, ok) = (events.values[row], events.counts[row], events.flags[row]);
        format!(
            "{}\n",
            serde_json::json!({ "ts": time, "device": device, "m": { "value": value }, "count": count, "ok": ok })
        )
    };
    (0..events.times.len()).map(line).collect::<String>().into_bytes()
}

fn delimited(events: &Events) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
    writer.write_record(["ok", "device", "unused", "count", "ts", "m.value"]).unwrap();
    for row in 0..events.times.len() {
        let or_empty = |text: Option<String>| text.unwrap_or_default();
        let flag = or_empty(events.flags[row].map(|flag| (if flag { "True" } else { "0" }).to_owned()));
        let count = or_empty(events.counts[row].map(|count| count.to_string()));
        let value = or_empty(events.values[row].map(|value| value.to_string()));
        let time = events.times[row].to_string();
        writer.write_record([&flag, &events.devices[row], "x", &count, &time, &value]).unwrap();
    }
    writer.into_inner().unwrap()
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(70)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn columnar(events: &Events) -> Vec<u8> {
    let value: ArrayRef = Arc::new(Float64Array::from(events.values.clone()));
    let inner = StructArray::from(vec![(Arc::new(Field::new("value", value.data_type().clone(), true)), value)]);
    parquet(vec![
        ("ok", Arc::new(BooleanArray::from(events.flags.clone()))),
        ("device", Arc::new(StringViewArray::from_iter_values(&events.devices))),
        ("count", Arc::new(Int32Array::from(events.counts.clone()))),
        ("ts", Arc::new(TimestampMillisecondArray::from(events.times.clone()))),
        ("m", Arc::new(inner)),
    ])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // Two members, as tools that append make them.
    let (first, second) = bytes.split_at(bytes.len() / 3);
    let member = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    [member(first), member(second)].concat()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 3);
    [zstd::encode_all(first, 1).unwrap(), zstd::encode_all(second, 1).unwrap()].concat()
}

#[test]
fn the_same_events_give_the_same_bits_in_every_format() {
    let events = events();
    let (json, cells, columns) = (ndjson(&events), delimited(&events), columnar(&events));
    let wanted = read("a.ndjson", &json, &event_schema());
    assert_eq!(wanted.len(), 300);
    assert!(wanted.iter().all(|line| line.contains('|')), "all are events: {wanted:?}");
    for (name, bytes) in [
        ("a.csv", cells.clone()),
        ("a.parquet", columns),
        ("a.jsonl.gz", gzip(&json)),
        ("a.json.zst", zstandard(&json)),
        ("a.csv.gz", gzip(&cells)),
        ("a.csv.zst", zstandard(&cells)),
    ] {
        assert_eq!(read(name, &bytes, &event_schema()), wanted, "{name}");
    }
}

#[test]
fn parquet_is_read_whatever_its_types() {
    let schema = EventSchema {
        time: timed(&["at"], TimeFormat::Rfc3339),
        key: KeySource::Field(vec!["kind".into()]),
        fields: vec![
            field("f", FieldKind::Float),
            field("big", FieldKind::Int),
            field("text", FieldKind::Float),
            field("ok", FieldKind::Bool),
            field("name", FieldKind::Text),
        ],
        record_bytes_max: 1000,
    };
    let kind: DictionaryArray<Int8Type> = vec![Some("a"), Some("b"), None, Some("a")].into_iter().collect();
    let file = parquet(vec![
        ("unused", Arc::new(StringArray::from(vec!["x"; 4]))),
        (
            "at",
            Arc::new(
                TimestampNanosecondArray::from(vec![Some(1_999), Some(-1), Some(0), None]).with_timezone("+02:00"),
            ),
        ),
        ("kind", Arc::new(kind)),
        ("f", Arc::new(Float32Array::from(vec![0.5, f32::NAN, 1.0, 1.0]))),
        ("big", Arc::new(UInt64Array::from(vec![7, u64::MAX, 1, 1]))),
        ("text", Arc::new(StringArray::from(vec!["1e3", "2", "3", "4"]))),
        ("ok", Arc::new(Int32Array::from(vec![Some(1), Some(0), Some(1), Some(1)]))),
        ("name", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]))),
    ]);
    let wanted = ["0 1|\"a\"|0.5|7|1000.0|true|\"1.0\"", "1 out_of_range big", "2 no_key", "3 bad_time at"];
    assert_eq!(read("a.parquet", &file, &schema), wanted);
}

#[test]
fn a_damaged_archive_gives_what_can_be_read_and_then_says_where_it_ends() {
    let events = events();
    let (json, folder) = (ndjson(&events), tempfile::tempdir().unwrap());
    for (name, bytes) in [("a.ndjson.gz", gzip(&json)), ("a.ndjson.zst", zstandard(&json))] {
        for (place, is_cut) in [(bytes.len() * 3 / 4, true), (bytes.len() * 3 / 4, false)] {
            let mut damaged = bytes.clone();
            match is_cut {
                true => damaged.truncate(place),
                false => damaged[place..].iter_mut().take(40).for_each(|byte| *byte ^= 0x5a),
            }
            let path = folder.path().join(name);
            std::fs::write(&path, damaged).unwrap();
            let (lines, error) = outcomes(&spec(&path, &event_schema()), &event_schema(), 0);
            let error = error.unwrap().to_string();
            assert!(lines.len() > 90, "the first part is whole: {} {error}", lines.len());
            let told = format!("{name}` is damaged: nothing can be read from record {} on", lines.len());
            assert!(error.ends_with(&told), "{error}");
        }
    }
    damaged_columns(folder.path(), &columnar(&events));
}

fn damaged_columns(folder: &Path, whole: &[u8]) {
    let path = folder.join("a.parquet");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (lines, error) = outcomes(&spec(&path, &event_schema()), &event_schema(), 0);
    assert!(lines.is_empty() && error.unwrap().to_string().contains("a.parquet` is damaged"));
}
