//! Bad records, foreign outputs, services that are not there, and a broker that wants TLS and a password.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::BTreeMap;
use std::time::Duration;

use flow::place::Place;
use flow::program::{Desk, configuration};
use flow::tables::{self, Cell};
use flow::topic::Topic;
use flow::{events, naive};

#[test]
fn bad_records_are_kept_with_their_address_and_reason_and_the_rest_is_counted() {
    let Some(brokers) = testbed::kafka() else { return };
    let topic = Topic::new(&brokers, 1);
    let sent = events::flows(1_000, 1, 21);
    // As near to a megabyte as a broker takes with its usual settings.
    let braces = vec![b'{'; 999_000];
    let at = events::BEGIN_MS;
    let wrong_type = format!(r#"{{"ts":{at},"device":"d","Rate":"fast"}}"#);
    let no_key = format!(r#"{{"ts":{at},"Rate":1}}"#);
    let deep = format!(r#"{{"ts":{at},"device":"d","x":{}"#, r#"{"x":"#.repeat(100_000));
    let bad: [(Option<&[u8]>, &str); 12] = [
        (None, "empty"),
        (Some(b""), "empty"),
        (Some(b" \n"), "empty"),
        (Some(&braces), "syntax"),
        (Some(deep.as_bytes()), "too_deep"),
        (Some(b"{\"device\":\"\xff\xfe\"}"), "not_utf8"),
        (Some(br#"{"ts":"yesterday","device":"d"}"#), "bad_time"),
        (Some(br#"{"device":"d"}"#), "bad_time"),
        (Some(wrong_type.as_bytes()), "wrong_type"),
        (Some(no_key.as_bytes()), "no_key"),
        (Some(b"[1,2]"), "not_an_object"),
        (Some(br#"{"ts":1,"#), "syntax"),
    ];
    topic.send(&vec![sent[0][..500].to_vec()]);
    bad.iter().for_each(|(payload, _)| topic.send_raw(0, *payload));
    topic.send(&vec![sent[0][500..].to_vec()]);
    let (desk, place) = (Desk::new(&configuration(&brokers, &topic.name, false)), Place::local());
    desk.start(&place.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q"])).end().well();
    let storage = place.open();
    let rows = tables::rows(&storage, "quarantine", &[]);
    let found: BTreeMap<i64, (&Cell, &Cell)> =
        rows.iter().map(|row| (row["offset"].int(), (&row["reason"], &row["payload"]))).collect();
    assert_eq!((rows.len(), found.len()), (bad.len(), bad.len()));
    for (index, (payload, reason)) in bad.iter().enumerate() {
        let (told, kept) = found[&(500 + index as i64)];
        assert!(told.text().starts_with(reason), "record {index}: {told:?} instead of {reason}");
        match (payload, kept) {
            (None, kept) => assert_eq!(*kept, Cell::Null, "record {index}"),
            (Some(payload), Cell::Bytes(kept)) => assert!(kept == payload, "record {index}: other bytes"),
            (_, kept) => panic!("record {index}: {kept:?}"),
        }
    }
    assert!(rows.iter().all(|row| row["partition"] == Cell::Text(format!("{}/0", topic.name))));
    assert!(rows.iter().all(|row| row["received"] != Cell::Null));
    let account = &tables::accounts(&storage)[&0];
    let too_late = naive::admit(&sent).too_late.len() as i64;
    assert_eq!((account.read, account.quarantined, account.too_late), (1_012, 12, too_late));
    let counted = tables::newest(&storage, "by_label", "label").iter().map(|row| row["count"].int()).sum::<i64>();
    assert_eq!(counted, 1_000 - too_late);
}

/// Four files of flows, and a configuration that reads files only.
fn desk_of_files() -> Desk {
    let desk = Desk::new(&configuration("localhost:9", "nowhere", false));
    events::record(&events::flows(400, 2, 22), &desk.path("flows"));
    events::record(&events::flows(400, 2, 23), &desk.path("others"));
    desk
}

#[test]
fn an_output_of_another_pipeline_source_or_configuration_is_refused_and_left_alone() {
    let (desk, place) = (desk_of_files(), Place::local());
    let replay = |words: &[&str]| {
        let words = [&["replay", "tidewatch.toml", "-q"], words].concat();
        desk.start(&place.with(&words)).end()
    };
    replay(&["--from", "flows"]).well();
    let before = tables::newest(&place.open(), "by_label", "label");
    replay(&["--from", "flows", "--set", "pipeline.name=other"]).with(2, &["belongs to pipeline `iomt`", "`other`"]);
    replay(&["--from", "others"]).with(2, &["files: flows", "files: others", "give it an output of its own"]);
    replay(&["--from", "flows", "--set", "windows.by_label.size=20s"]).with(2, &["windows.by_label", "has changed"]);
    assert_eq!(tables::newest(&place.open(), "by_label", "label"), before);
    let foreign = Place::local();
    let folder = std::path::Path::new(&foreign.url).join("events");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("theirs.parquet"), "PAR1").unwrap();
    desk.start(&foreign.with(&["replay", "tidewatch.toml", "-q", "--from", "flows"]))
        .end()
        .with(2, &["has files in `events` but no checkpoint"]);
}

#[test]
fn a_model_or_a_recording_that_is_not_there_is_named_before_anything_is_written() {
    let (desk, place) = (desk_of_files(), Place::local());
    desk.start(&place.with(&["replay", "tidewatch.toml", "-q", "--from", "nowhere"])).end().with(2, &["nowhere"]);
    let detects = Desk::new(&configuration("localhost:9", "nowhere", true).replace("models/iomt", "models/gone"));
    events::record(&events::flows(10, 1, 24), &detects.path("flows"));
    let ended = detects.start(&place.with(&["replay", "tidewatch.toml", "-q", "--from", "flows"])).end();
    ended.with(2, &["detector `flow`", "models/gone"]);
    assert!(!std::path::Path::new(&place.url).exists());
}

/// Enough for the time that a first contact is given, and far from a service manager's patience.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_broker_that_is_not_there_is_told_soon_with_its_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let desk = Desk::new(&configuration(&closed.to_string(), "flows", false));
    let ended = desk.start(&Place::local().with(&["run", "tidewatch.toml"])).end();
    ended.with(1, &[&closed.to_string()]);
    assert!(ended.took < SOON, "{:?}", ended.took);
}

#[test]
fn a_topic_that_is_not_there_is_told_soon_by_name() {
    let Some(brokers) = testbed::kafka() else { return };
    let desk = Desk::new(&configuration(&brokers, "no-such-topic", false));
    for verb in [&["run", "tidewatch.toml"][..], &["replay", "tidewatch.toml", "--from", "kafka"]] {
        let ended = desk.start(&Place::local().with(verb)).end();
        ended.with(1, &["`no-such-topic`", "does not exist", &brokers]);
        assert!(ended.took < SOON, "{:?}", ended.took);
    }
}

#[test]
fn a_bucket_or_a_store_that_is_not_there_is_told_soon_by_name() {
    let Some(place) = Place::on_store() else { return };
    let desk = desk_of_files();
    let replay = place.with(&["replay", "tidewatch.toml", "--from", "flows", "-q"]);
    let from: Vec<&str> = replay.iter().copied().filter(|word| *word != "--output" && *word != place.url).collect();
    let ended = desk.start(&[&from[..], &["--output", "s3://no-such-bucket/x"]].concat()).end();
    ended.with(1, &["no-such-bucket"]);
    assert!(ended.took < SOON, "{:?}", ended.took);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("output.s3.endpoint=http://{closed}");
    let words = ["replay", "tidewatch.toml", "--from", "flows", "-q", "--output", &place.url, "--set", &nowhere];
    let ended = desk.start(&words).end();
    ended.with(1, &[&closed.to_string()]);
    assert!(ended.took < SOON, "{:?}", ended.took);
}

#[test]
fn a_broker_with_tls_and_a_password_is_read_and_the_password_never_shown() {
    let (Some(brokers), Some(secure)) = (testbed::kafka(), testbed::variable("TIDEWATCH_TEST_KAFKA_SECURE")) else {
        return;
    };
    let of = |name: &str| testbed::variable(&format!("TIDEWATCH_TEST_KAFKA_{name}")).unwrap();
    let (authority, user, password) = (of("CA"), of("USER"), of("PASSWORD"));
    let topic = Topic::new(&brokers, 2);
    let sent = events::flows(2_000, 2, 25);
    topic.send(&sent);
    let (desk, place) = (Desk::new(&configuration(&secure, &topic.name, false)), Place::local());
    let replay = place.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q"]);
    let with_password = |password: &str| {
        let property = |name: &str| format!("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__{name}");
        let set = [
            (property("SECURITY_PROTOCOL"), "SASL_SSL"),
            (property("SASL_MECHANISM"), "SCRAM-SHA-512"),
            (property("SASL_USERNAME"), &user),
            (property("SASL_PASSWORD"), password),
            (property("SSL_CA_LOCATION"), &authority),
        ];
        let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        desk.start_with(&replay, &set).end()
    };
    let refused = with_password("hunter2");
    refused.with(1, &["refuses the connection"]);
    assert!(!refused.log.contains("hunter2"), "{}", refused.log);
    let ended = with_password(&password).well();
    assert!(!ended.log.contains(&password), "{}", ended.log);
    let read: i64 = tables::accounts(&place.open()).values().map(|account| account.read).sum();
    assert_eq!(read, 2_000);
}

#[test]
fn what_retention_deleted_stops_the_run_unless_the_loss_may_be_recorded() {
    let Some(brokers) = testbed::kafka() else { return };
    let topic = Topic::new(&brokers, 1);
    let sent = events::cut(&events::flows(400, 1, 26), 4);
    let (desk, place) = (Desk::new(&configuration(&brokers, &topic.name, false)), Place::local());
    let once = place.with(&["run", "tidewatch.toml", "--once"]);
    topic.send(&sent[0]);
    desk.start(&once).end().well();
    sent[1..].iter().for_each(|part| topic.send(part));
    topic.delete_before(0, 250);
    let told = ["offset 100", &topic.name, "partition 0", "250", "on_lost = \"continue\"", "another output"];
    desk.start(&once).end().with(1, &told);
    desk.start(&[&once[..], &["--set", "source.kafka.on_lost=continue"]].concat()).end().well();
    place.assert_whole("with a loss that is recorded");
    let account = &tables::accounts(&place.open())[&0];
    assert_eq!((account.next, account.read, account.lost), (400, 250, 150));
}
