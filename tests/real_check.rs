//! `check` against a real broker and a real store: what is there is in order, and what is not is named.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

mod testbed;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use testbed::{Cluster, fresh, kafka, variable};

const CONFIG: &str = "examples/iomt/tidewatch.toml";

fn check(arguments: &[String], environment: &[(&str, &str)]) -> (i32, String) {
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["check", CONFIG]).args(arguments);
    let Output { status, stdout, stderr } = command.envs(environment.iter().copied()).output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "a check is short, and this took {:?}", begun.elapsed());
    let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert!(!said.contains("hunter2"), "a secret is shown:\n{said}");
    (status.code().unwrap(), said)
}

fn source(brokers: &str, topic: &str) -> Vec<String> {
    let set = |text: String| ["--set".to_owned(), text];
    [set(format!("source.kafka.brokers={brokers}")), set(format!("source.kafka.topics={topic}"))].concat()
}

#[test]
fn a_good_configuration_is_in_order_and_a_missing_topic_and_bucket_are_named() {
    let (Some(brokers), Some(endpoint), Some(bucket)) =
        (kafka(), variable("TIDEWATCH_TEST_S3_ENDPOINT"), variable("TIDEWATCH_TEST_S3_BUCKET"))
    else {
        return;
    };
    let cluster = Cluster::at(&brokers);
    let topic = cluster.topic("check", 3);
    let writer = cluster.writer();
    let recording = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/iomt-flows.ndjson")).unwrap();
    for (index, line) in recording.lines().enumerate() {
        writer.send(&topic, index as i32 % 3, None, Some(line.as_bytes()));
    }
    rdkafka::producer::Producer::flush(&writer.0, Duration::from_secs(10)).unwrap();
    let store = |bucket: &str| {
        let endpoint = ["--set".to_owned(), format!("output.s3.endpoint={endpoint}")];
        [vec!["--output".to_owned(), format!("s3://{bucket}/{}", fresh("check"))], endpoint.to_vec()].concat()
    };
    let (code, said) = check(&[source(&brokers, &topic), store(&bucket)].concat(), &[]);
    assert_eq!(code, 0, "{said}");
    for words in ["3 partitions", "all are events", "anomalies (", "can be written, with nothing committed yet"] {
        assert!(said.contains(words), "`{words}` is missing from\n{said}");
    }
    let (code, said) = check(&[source(&brokers, "no-such-topic"), store("no-such-bucket")].concat(), &[]);
    assert_eq!(code, 2, "{said}");
    for words in ["topic `no-such-topic` does not exist", "NoSuchBucket"] {
        assert!(said.contains(words), "`{words}` is missing from\n{said}");
    }
    let account = [
        ("TIDEWATCH__OUTPUT__S3__ACCESS_KEY_ID", "nobody-hunter2"),
        ("TIDEWATCH__OUTPUT__S3__SECRET_ACCESS_KEY", "hunter2-secret"),
    ];
    let (code, said) = check(&[source(&brokers, &topic), store(&bucket)].concat(), &account);
    assert!(code == 2 && said.contains("InvalidAccessKeyId"), "the configured account goes before AWS's own:\n{said}");
}

#[test]
fn a_wrong_password_is_told_as_such() {
    let (Some(brokers), Some(authority), Some(user)) = (
        variable("TIDEWATCH_TEST_KAFKA_SECURE"),
        variable("TIDEWATCH_TEST_KAFKA_CA"),
        variable("TIDEWATCH_TEST_KAFKA_USER"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = ["--output".to_owned(), folder.path().join("out").display().to_string()];
    let environment = [
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL", "SASL_SSL"),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_MECHANISM", "SCRAM-SHA-512"),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_USERNAME", &user),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD", "hunter2"),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SSL_CA_LOCATION", &authority),
    ];
    let (code, said) = check(&[source(&brokers, "flows"), out.to_vec()].concat(), &environment);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("source.kafka.librdkafka") && said.contains("invalid credentials"), "{said}");
}
