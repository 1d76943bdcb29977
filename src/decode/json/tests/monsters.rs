//! Records made to hurt: each costs one reject, and time in proportion to its length.

use super::*;

const MEGABYTE: usize = 1 << 20;

#[test]
fn a_megabyte_of_anything_is_one_reject() {
    let fields = [field("x", FieldKind::Float), field("m/x", FieldKind::Text)];
    let fill = |text: &[u8]| text.iter().copied().cycle().take(MEGABYTE).collect::<Vec<u8>>();
    for (text, wanted) in [
        (&b"{"[..], "syntax"),
        (b"[", "too_deep"),
        (b"{\"x\":", "too_deep"),
        (b"{\"m\":", "too_deep"),
        (b"[{\"mmm\":", "too_deep"),
        (b"}", "syntax"),
        (b"]", "syntax"),
        (b":", "syntax"),
        (b",", "syntax"),
        (b"\"", "syntax"),
        (b"\\", "syntax"),
        (b"\"\\", "syntax"),
        (b"\\u", "syntax"),
        (b"0", "syntax"),
        (b"1", "not_an_object"),
        (b"-", "syntax"),
        (b"1.", "syntax"),
        (b"1e", "syntax"),
        (b"true", "syntax"),
        (b"null,", "syntax"),
        (b" ", "empty"),
        (b"\n", "empty"),
        (b"\0", "syntax"),
        (b"\xff", "not_utf8"),
        (b"\xc3\xa9", "syntax"),
        (b"[]", "syntax"),
        (b"{}", "syntax"),
    ] {
        let batch = raw(&[fill(text), b"{\"x\":1}".to_vec()]);
        let outcomes = decode(&schema(fields.clone()), &batch);
        assert_eq!(outcomes, [wanted, "101|\"file.ndjson\"|1.0|null"], "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_megabyte_of_one_value_is_read_or_refused() {
    let fields = [field("x", FieldKind::Float), field("n", FieldKind::Int), field("t", FieldKind::Text)];
    let long = |before: &str, text: &str, after: &str| {
        format!("{before}{}{after}", text.repeat((MEGABYTE - before.len() - after.len()) / text.len()))
    };
    for (record, wanted) in [
        (long("{\"x\":", "9", "}"), "out_of_range x"),
        (long("{\"x\":0.", "0", "1}"), "101|\"file.ndjson\"|0.0|null|null"),
        (long("{\"n\":", "9", "}"), "out_of_range n"),
        (long("{\"n\":\"-", "9", "\"}"), "out_of_range n"),
        (long("{\"n\":1.", "0", "}"), "101|\"file.ndjson\"|null|1|null"),
        (long("{\"n\":1.", "0", "1}"), "wrong_type n"),
        (long("{\"n\":1e", "9", "}"), "out_of_range n"),
        (long("{\"n\":1e-", "9", "}"), "wrong_type n"),
        (long("{\"x\":1", "0", "e-1048560}"), "101|\"file.ndjson\"|1.0|null|null"),
        (long("{\"t\":\"", "\\ud800", "\"}"), "lone_surrogate"),
        (long("{", "\"x\":1,", "\"n\":2}"), "101|\"file.ndjson\"|1.0|2|null"),
        (long("{\"m\":[", "[],", "0]}"), "101|\"file.ndjson\"|null|null|null"),
        (long("", " ", "{\"n\":5}"), "101|\"file.ndjson\"|null|5|null"),
    ] {
        let outcomes = decode(&schema(fields.clone()), &raw(&[b"{}".to_vec(), record.clone().into_bytes()]));
        assert_eq!(outcomes[1], wanted, "{}", &record[..20]);
    }
    let escapes = long("{\"t\":\"", "\\u0041", "\"}");
    let outcomes = decode(&schema(fields), &raw(&[&escapes]));
    assert!(outcomes[0].ends_with("AAAA\""));
}

#[test]
fn depth_has_a_limit_of_127() {
    let nested = |depth: usize| format!("{{\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let outcomes = decode(&schema([]), &raw(&[nested(126), nested(127), nested(500_000)]));
    assert_eq!(outcomes, ["100|\"file.ndjson\"", "too_deep", "too_deep"]);
}

#[test]
fn texts_that_never_repeat_cost_no_more_with_time() {
    let mut decoder = JsonDecoder::new(&schema([field("t", FieldKind::Text)])).unwrap();
    for batch in 0..60 {
        let records: Vec<String> = (0..4096).map(|row| format!("{{\"t\":\"{batch}-{row}-é\"}}")).collect();
        let raw = raw(&records);
        let decoded = decoder.decode(&raw, "file.ndjson");
        assert_eq!(show(decoded.events.columns().column(4), 4095), format!("\"{batch}-4095-é\""));
        let values = decoded.events.columns().column(4).as_dictionary::<UInt32Type>().values().len();
        assert!(values <= 65_536 + 4096);
    }
}
