//! Each option of a field, each way to write a time, each reason to reject.

use super::*;
use crate::decode::DecodeError;
use crate::domain::schema::Constant;

fn with(mut field: FieldSpec, change: impl FnOnce(&mut FieldSpec)) -> FieldSpec {
    change(&mut field);
    field
}

#[test]
fn floats_are_read_from_any_number_and_from_strings() {
    check_fields(
        [field("x", FieldKind::Float)],
        &[
            (r#"{"x":1}"#, "1.0"),
            (r#"{"x":-12.50}"#, "-12.5"),
            (r#"{"x":"6.25e1"}"#, "62.5"),
            (r#"{"x":"\u0037"}"#, "7.0"),
            (r#"{"x":-0.0}"#, "0.0"),
            (r#"{"x":"-0"}"#, "0.0"),
            (r#"{"x":-1e-400}"#, "0.0"),
            (r#"{"x":5e-324}"#, "5e-324"),
            (r#"{"x":0.1234567890123456789012345678901234567890}"#, "0.12345678901234568"),
            (r#"{"x":null}"#, "null"),
            (r#"{}"#, "null"),
            (r#"{"x":1e400}"#, "out_of_range x"),
            (r#"{"x":"-1e400"}"#, "out_of_range x"),
            (r#"{"x":"NaN"}"#, "null"),
            (r#"{"x":" +1."}"#, "1.0"),
            (r#"{"x":""}"#, "null"),
            (r#"{"x":"1,5"}"#, "wrong_type x"),
            (r#"{"x":true}"#, "wrong_type x"),
            (r#"{"x":[1]}"#, "wrong_type x"),
            (r#"{"x":{"y":1}}"#, "wrong_type x"),
        ],
    );
}

#[test]
fn ints_are_exact_beyond_two_to_the_53() {
    check_fields(
        [field("n", FieldKind::Int)],
        &[
            (r#"{"n":9007199254740993}"#, "9007199254740993"),
            (r#"{"n":"-9223372036854775808"}"#, "-9223372036854775808"),
            (r#"{"n":3.0}"#, "3"),
            (r#"{"n":1.5e1}"#, "15"),
            (r#"{"n":-0}"#, "0"),
            (r#"{"n":null}"#, "null"),
            (r#"{"n":9223372036854775808}"#, "out_of_range n"),
            (r#"{"n":1e30}"#, "out_of_range n"),
            (r#"{"n":0.5}"#, "wrong_type n"),
            (r#"{"n":"0x10"}"#, "wrong_type n"),
            (r#"{"n":false}"#, "wrong_type n"),
        ],
    );
}

#[test]
fn bools_may_be_words_or_one_and_zero() {
    check_fields(
        [field("ok", FieldKind::Bool)],
        &[
            (r#"{"ok":true}"#, "true"),
            (r#"{"ok":false}"#, "false"),
            (r#"{"ok":1}"#, "true"),
            (r#"{"ok":0}"#, "false"),
            (r#"{"ok":"true"}"#, "true"),
            (r#"{"ok":"f\u0061lse"}"#, "false"),
            (r#"{"ok":"True"}"#, "true"),
            (r#"{"ok":"0"}"#, "false"),
            (r#"{"ok":null}"#, "null"),
            (r#"{"ok":2}"#, "wrong_type ok"),
            (r#"{"ok":1.0}"#, "wrong_type ok"),
            (r#"{"ok":10}"#, "wrong_type ok"),
            (r#"{"ok":"yes"}"#, "wrong_type ok"),
            (r#"{"ok":{}}"#, "wrong_type ok"),
        ],
    );
}

#[test]
fn text_is_unescaped_and_other_scalars_keep_their_spelling() {
    check_fields(
        [field("t", FieldKind::Text)],
        &[
            (r#"{"t":"pump-1"}"#, r#""pump-1""#),
            (r#"{"t":""}"#, r#""""#),
            (r#"{"t":"sixteen bytes ok"}"#, r#""sixteen bytes ok""#),
            (r#"{"t":"seventeen bytes!!"}"#, r#""seventeen bytes!!""#),
            (r#"{"t":"Gr\u00fc\u00dfe, \"日本\" \ud83d\ude00\n"}"#, r#""Grüße, \"日本\" 😀\n""#),
            (r#"{"t":1.50}"#, r#""1.50""#),
            (r#"{"t":-0}"#, r#""-0""#),
            (r#"{"t":1e400}"#, r#""1e400""#),
            (r#"{"t":true}"#, r#""true""#),
            (r#"{"t":false}"#, r#""false""#),
            (r#"{"t":null}"#, "null"),
            (r#"{"t":"\ud800"}"#, "lone_surrogate"),
            (r#"{"t":[]}"#, "wrong_type t"),
            (r#"{"t":"x","u":"\ud800"}"#, r#""x""#),
        ],
    );
}

#[test]
fn nested_paths_are_followed() {
    let fields = [field("m/deep/x", FieldKind::Float), field("m/y", FieldKind::Text), field("m", FieldKind::Text)];
    check_fields(
        fields,
        &[
            (r#"{"m":{"y":"a","deep":{"x":1}}}"#, r#"wrong_type m"#),
            (r#"{"m":3}"#, r#"null|null|"3""#),
            (r#"{"other":{"m":{"y":"a"}}}"#, "null|null|null"),
        ],
    );
    check_fields(
        [field("m/deep/x", FieldKind::Float), field("m/y", FieldKind::Text)],
        &[
            (r#"{"m":{"y":"a","deep":{"x":1}}}"#, r#"1.0|"a""#),
            (r#"{"m":{"y":"a","deep":[{"x":1}]}}"#, r#"null|"a""#),
            (r#"{"m":{"y":"a"},"m":{"deep":{"x":2}}}"#, "2.0|null"),
            (r#"{"m":{"y":"a"},"m":7}"#, "null|null"),
            (r#"{ "m" : { "deep" : { "x" : 2 , "x" : 3 } } }"#, "3.0|null"),
        ],
    );
}

#[test]
fn of_equal_keys_the_last_wins() {
    check_fields(
        [field("x", FieldKind::Float)],
        &[
            (r#"{"x":1,"x":2}"#, "2.0"),
            (r#"{"x":1,"\u0078":2}"#, "2.0"),
            (r#"{"x":1,"x":null}"#, "null"),
            (r#"{"x":"no number","x":3}"#, "3.0"),
            (r#"{"x":3,"x":"no number"}"#, "wrong_type x"),
            (r#"{"quote\"x":1}"#, "null"),
        ],
    );
}

#[test]
fn a_default_stands_for_missing_and_null() {
    let fields = || {
        [
            with(field("x", FieldKind::Float), |x| x.default = Some(Constant::Float(-0.0))),
            with(field("n", FieldKind::Int), |n| n.default = Some(Constant::Int(7))),
            with(field("t", FieldKind::Text), |t| t.default = Some(Constant::Text("none".into()))),
            with(field("ok", FieldKind::Bool), |ok| (ok.default, ok.required) = (Some(Constant::Bool(true)), true)),
        ]
    };
    check_fields(
        fields(),
        &[
            (r#"{}"#, r#"0.0|7|"none"|true"#),
            (r#"{"x":null,"n":null,"t":null,"ok":null}"#, r#"0.0|7|"none"|true"#),
            (r#"{"x":1,"n":2,"t":"","ok":0}"#, r#"1.0|2|""|false"#),
        ],
    );
}

#[test]
fn a_required_field_must_be_there() {
    let fields = [
        field("x", FieldKind::Float),
        with(field("must", FieldKind::Float), |must| must.required = true),
        field("y", FieldKind::Int),
    ];
    check_fields(
        fields,
        &[
            (r#"{"must":1}"#, "null|1.0|null"),
            (r#"{"x":1}"#, "missing must"),
            (r#"{"must":null}"#, "missing must"),
            (r#"{"x":1,"must":2,"y":3}"#, "1.0|2.0|3"),
            (r#"{"must":4}"#, "null|4.0|null"),
        ],
    );
}

#[test]
fn a_value_may_mean_missing() {
    let fields = [
        with(field("x", FieldKind::Float), |x| x.missing_as = Some(Constant::Float(-999.0))),
        with(field("n", FieldKind::Int), |n| {
            (n.missing_as, n.default) = (Some(Constant::Int(-1)), Some(Constant::Int(0)))
        }),
        with(field("t", FieldKind::Text), |t| (t.missing_as, t.required) = (Some(Constant::Text("-".into())), true)),
        with(field("ok", FieldKind::Bool), |ok| ok.missing_as = Some(Constant::Bool(false))),
    ];
    check_fields(
        fields,
        &[
            (r#"{"x":-999,"n":-1,"t":"x","ok":false}"#, r#"null|0|"x"|null"#),
            (r#"{"x":"-9.99e2","n":-2,"t":"x","ok":true}"#, r#"null|-2|"x"|true"#),
            (r#"{"x":999,"t":"-"}"#, "missing t"),
            (r#"{"x":999,"t":"\u002d"}"#, "missing t"),
            (r#"{"x":999,"t":"--"}"#, r#"999.0|0|"--"|null"#),
        ],
    );
}

#[test]
fn one_json_field_may_feed_time_key_and_several_columns() {
    let twin = with(field("twin", FieldKind::Text), |twin| twin.path = path("ts"));
    let schema = EventSchema {
        time: timed("ts", TimeFormat::UnixSeconds),
        key: KeySource::Field(path("ts")),
        ..schema([field("ts", FieldKind::Float), twin])
    };
    check(
        &schema,
        &[
            (r#"{"ts":1700000000}"#, r#"1700000000000000|"1700000000"|1700000000.0|"1700000000""#),
            (r#"{"ts":"1e9"}"#, r#"1000000000000000|"1e9"|1000000000.0|"1e9""#),
            (r#"{"ts":null}"#, "bad_time ts"),
        ],
    );
}

#[test]
fn hundreds_of_fields_are_as_good_as_one() {
    let names: Vec<String> = (0..300).map(|number| format!("field_{number}")).collect();
    let json = |names: Vec<&String>| {
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{}", &name[6..])).collect();
        format!("{{{}}}", members.join(","))
    };
    let all = json(names.iter().collect());
    let reversed = json(names.iter().rev().collect());
    let odd = json(names.iter().skip(1).step_by(2).collect());
    let values: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let odd_values: Vec<&str> =
        values.iter().enumerate().map(|(number, value)| if number % 2 == 1 { value } else { "null" }).collect();
    check_fields(
        names.iter().map(|name| field(name, FieldKind::Int)),
        &[
            (&all, &values.join("|")),
            (&odd, &odd_values.join("|")),
            (&reversed, &values.join("|")),
            (&all, &values.join("|")),
        ],
    );
}

#[test]
fn times_are_read_in_each_format() {
    for (format, value, wanted) in [
        (TimeFormat::UnixSeconds, "1700000000.5", "1700000000500000"),
        (TimeFormat::UnixMillis, "1700000000123", "1700000000123000"),
        (TimeFormat::UnixMillis, "\"1700000000123\"", "1700000000123000"),
        (TimeFormat::UnixMillis, "-0.0015", "-2"),
        (TimeFormat::UnixMicros, "1.700000000123e15", "1700000000123000"),
        (TimeFormat::UnixMicros, "true", "bad_time ts"),
        (TimeFormat::UnixMillis, "1e30", "bad_time ts"),
        (TimeFormat::UnixMillis, "253402300800000", "bad_time ts"),
        (TimeFormat::UnixMillis, "null", "bad_time ts"),
        (TimeFormat::Rfc3339, "\"2024-02-29T23:59:59.123456Z\"", "1709251199123456"),
        (TimeFormat::Rfc3339, "\"2024-02-29T23\\u003a59:59+01:00\"", "1709247599000000"),
        (TimeFormat::Rfc3339, "\"yesterday\"", "bad_time ts"),
        (TimeFormat::Rfc3339, "1700000000", "bad_time ts"),
        (TimeFormat::Pattern("%d-%b-%y %H:%M:%S".into()), "\" 25-Apr-19 19:19:40 \"", "1556219980000000"),
        (TimeFormat::Pattern("%Y%m%d".into()), "20190425", "1556150400000000"),
        (TimeFormat::Pattern("%Y%m%d".into()), "{}", "bad_time ts"),
    ] {
        let schema = EventSchema { time: timed("ts", format), ..schema([]) };
        let wanted = if wanted.starts_with("bad") { wanted.into() } else { format!("{wanted}|\"file.ndjson\"") };
        check(&schema, &[(&format!("{{\"ts\":{value}}}"), &wanted), ("{}", "bad_time ts")]);
    }
}

#[test]
fn a_time_in_two_fields_is_joined_by_a_blank() {
    let time = TimeSource::Fields {
        paths: vec![path("date"), path("at/time")],
        format: TimeFormat::Pattern("%d-%b-%y %H:%M:%S".into()),
    };
    let schema = EventSchema { time, ..schema([]) };
    check(
        &schema,
        &[
            (r#"{"date":"25-Apr-19","at":{"time":" 19:19:40 "}}"#, "1556219980000000|\"file.ndjson\""),
            (r#"{"at":{"time":"19:19:40"},"date":" 25-Apr-19"}"#, "1556219980000000|\"file.ndjson\""),
            (r#"{"at":{"time":"19:19:40"}}"#, "bad_time date"),
            (r#"{"date":"25-Apr-19","at":null}"#, "bad_time at.time"),
            (r#"{"date":"25-Apr-19","at":{"time":"25:00:00"}}"#, "bad_time date at.time"),
        ],
    );
}

#[test]
fn times_may_come_from_the_record_or_its_offset() {
    let mut batch = raw(&["{}", "{}"]);
    batch.received = Some(vec![1_700_000_000_000_000, i64::MAX]);
    let received = EventSchema { time: TimeSource::Received, ..schema([]) };
    assert_eq!(decode(&received, &batch), ["1700000000000000|\"file.ndjson\"", "bad_time received"]);
    batch.received = None;
    assert_eq!(decode(&received, &batch), ["bad_time received", "bad_time received"]);
    let counted = EventSchema { time: TimeSource::Counted { from: 1_000, every: 10 }, ..schema([]) };
    assert_eq!(decode(&counted, &batch), ["2000|\"file.ndjson\"", "2010|\"file.ndjson\""]);
    let endless = EventSchema { time: TimeSource::Counted { from: 0, every: i64::MAX }, ..schema([]) };
    assert_eq!(decode(&endless, &batch), ["bad_time offset", "bad_time offset"]);
}

#[test]
fn a_key_may_be_any_scalar() {
    let keyed = EventSchema { key: KeySource::Field(path("id/device")), ..schema([]) };
    check(
        &keyed,
        &[
            (r#"{"id":{"device":"pump-1"}}"#, r#"100|"pump-1""#),
            (r#"{"id":{"device":17}}"#, r#"101|"17""#),
            (r#"{"id":{"device":false}}"#, r#"102|"false""#),
            (r#"{"id":{"device":"a device with quite a long name é"}}"#, r#"103|"a device with quite a long name é""#),
            (r#"{"id":{"device":null}}"#, "no_key"),
            (r#"{"id":{}}"#, "no_key"),
            (r#"{"id":{"device":[]}}"#, "wrong_type id.device"),
            (r#"{"id":{"device":"\udc00"}}"#, "lone_surrogate"),
        ],
    );
}

#[test]
fn a_key_may_be_the_records_own() {
    let mut batch = raw(&["{}", "{}", "{}", "{}"]);
    let from = batch.bytes.len() as u32;
    batch.bytes.extend_from_slice(b"pump-1\xff");
    batch.keys = Some(vec![Some((from, from + 6)), None, Some((from, from + 7)), Some((from, from))]);
    let keyed = EventSchema { key: KeySource::Record, ..schema([]) };
    assert_eq!(decode(&keyed, &batch), [r#"100|"pump-1""#, "no_key", "not_utf8", r#"103|"""#]);
    batch.keys = None;
    assert_eq!(decode(&keyed, &batch), ["no_key"; 4]);
}

#[test]
fn records_that_are_no_objects_are_rejected_with_a_reason() {
    let limited = EventSchema { record_bytes_max: 20, ..schema([]) };
    check(
        &limited,
        &[
            ("", "empty"),
            (" \t\r ", "empty"),
            (r#"{"a":"twenty bytes"}"#, "102|\"file.ndjson\""),
            (r#"{"a":"twenty-one by"}"#, "too_large"),
            ("                     ", "too_large"),
            (r#"{"a":1"#, "syntax"),
            (r#"{"a":1}x"#, "syntax"),
            (r#"{"a":1}{"a":1}"#, "syntax"),
            ("{\"x\":1}\0", "syntax"),
            ("\u{feff}{\"x\":1}", "syntax"),
            ("{'a':1}", "syntax"),
            ("[]", "not_an_object"),
            ("1", "not_an_object"),
            ("\"{}\"", "not_an_object"),
            ("null", "not_an_object"),
        ],
    );
    let broken = [&b"{\"a\":\"\xff\"}"[..], b"\xff", b"{\"a\":\"\xed\xa0\x80\"}", b"{\"\xc3\":1}"];
    assert_eq!(decode(&schema([]), &raw(&broken)), ["not_utf8"; 4]);
}

#[test]
fn a_tombstone_is_empty() {
    let mut batch = raw(&["{}", "", "{}"]);
    batch.tombstones = vec![1];
    let key = "|\"file.ndjson\"";
    assert_eq!(decode(&schema([]), &batch), [format!("100{key}"), "empty".into(), format!("102{key}")]);
}

#[test]
fn of_several_faults_the_first_in_the_order_of_columns_is_named() {
    let schema = EventSchema {
        time: timed("ts", TimeFormat::UnixMillis),
        key: KeySource::Field(path("device")),
        ..schema([field("a", FieldKind::Float), field("b", FieldKind::Int)])
    };
    check(
        &schema,
        &[
            (r#"{"b":"x","a":"x","device":null,"ts":"x"}"#, "bad_time ts"),
            (r#"{"b":"x","a":"x","device":null,"ts":1}"#, "no_key"),
            (r#"{"b":"x","a":"x","device":"d","ts":1}"#, "wrong_type a"),
            (r#"{"a":"x","b":"x","device":"d","ts":1}"#, "wrong_type a"),
            (r#"{"b":"x","a":null,"device":"d","ts":1}"#, "wrong_type b"),
            (r#"{"b":1,"a":2,"device":"d","ts":1}"#, r#"1000|"d"|2.0|1"#),
        ],
    );
}

#[test]
fn schemas_that_cannot_work_are_refused() {
    let refusal = |schema: &EventSchema| JsonDecoder::new(schema).err();
    let empty = schema([with(field("x", FieldKind::Float), |x| x.path.clear())]);
    assert_eq!(refusal(&empty), Some(DecodeError::EmptyPath { what: "field `x`".into() }));
    for constant in [Constant::Int(1), Constant::Float(f64::NAN), Constant::Float(f64::INFINITY)] {
        let wrong = schema([with(field("x", FieldKind::Float), |x| x.default = Some(constant.clone()))]);
        assert_eq!(refusal(&wrong), Some(DecodeError::Constant { field: "x".into(), constant: "default" }));
        let wrong = schema([with(field("x", FieldKind::Float), |x| x.missing_as = Some(constant))]);
        assert_eq!(refusal(&wrong), Some(DecodeError::Constant { field: "x".into(), constant: "missing_as" }));
    }
    let pattern = EventSchema { time: timed("ts", TimeFormat::Pattern("%Q".into())), ..schema([]) };
    assert_eq!(refusal(&pattern), Some(DecodeError::Pattern { pattern: "%Q".into() }));
    let time = TimeSource::Fields { paths: vec![path("a"), path("b")], format: TimeFormat::UnixMillis };
    assert_eq!(refusal(&EventSchema { time, ..schema([]) }), Some(DecodeError::JoinedUnixTime { fields: 2 }));
    let endless = EventSchema { record_bytes_max: usize::MAX, ..schema([]) };
    assert!(matches!(refusal(&endless), Some(DecodeError::RecordBytes { .. })));
}

#[test]
fn a_batch_without_records_gives_a_batch_without_events() {
    let mut decoder = JsonDecoder::new(&schema([field("x", FieldKind::Float), field("t", FieldKind::Text)])).unwrap();
    let decoded = decoder.decode(&raw(&[""; 0]), "file.ndjson");
    assert!(decoded.events.is_empty() && decoded.rejects.is_empty());
    assert_eq!(decoded.events.columns().num_columns(), 6);
}

#[test]
fn successive_batches_share_their_dictionaries() {
    let mut decoder = JsonDecoder::new(&schema([field("t", FieldKind::Text)])).unwrap();
    let mut values = |record: &str| {
        let events = decoder.decode(&raw(&[record]), "file.ndjson").events;
        std::sync::Arc::clone(events.columns().column(4).as_dictionary::<UInt32Type>().values())
    };
    let (first, second, third) = (values(r#"{"t":"a"}"#), values(r#"{"t":"a"}"#), values(r#"{"t":"b"}"#));
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    assert_eq!((first.len(), third.len()), (1, 2));
}
