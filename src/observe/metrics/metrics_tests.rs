//! What the text of `/metrics` says of counts that are known.

use std::time::Duration;

use super::*;

fn line<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

#[test]
fn counts_and_their_labels_stand_in_the_text() {
    let metrics = Metrics::new("iomt");
    metrics.progress.add(10, 1000);
    let quarantined = BTreeMap::from([("syntax", 2)]);
    metrics.intake.add(Tally { accepted: 7, late: 3, too_late: 1, lost: 4, quarantined });
    metrics.detector("flow", "iomt/3").anomalies.inc_by(5);
    metrics.window("by_label").published.inc_by(6);
    metrics.output.published("windows/by_label", 300, 6);
    metrics.flow.latency.add(Duration::from_secs(3), 7);
    let text = metrics.to_text();
    let wanted = [
        ("tidewatch_build_info{version=\"0.1.0\",pipeline=\"iomt\"}", "1"),
        ("tidewatch_records_read_total", "10"),
        ("tidewatch_bytes_read_total", "1000"),
        ("events_processed_total", "7"),
        ("tidewatch_events_late_total", "3"),
        ("tidewatch_events_too_late_total", "1"),
        ("tidewatch_records_lost_total", "4"),
        ("tidewatch_records_quarantined_total{reason=\"syntax\"}", "2"),
        ("anomalies_detected_total{detector=\"flow\",model=\"iomt/3\"}", "5"),
        ("tidewatch_windows_published_total{window=\"by_label\"}", "6"),
        ("tidewatch_bytes_published_total{table=\"windows/by_label\"}", "300"),
        ("processing_latency_seconds_bucket{le=\"5.0\"}", "7"),
        ("processing_latency_seconds_sum", "21.0"),
    ];
    for (name, value) in wanted {
        assert_eq!(line(&text, name), Some(value), "{name} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let totals = metrics.totals();
    assert_eq!((totals.records, totals.quarantined, totals.windows, totals.anomalies), (10, 2, 6, 5));
}

#[test]
fn what_is_not_known_yet_is_not_told_as_a_number() {
    let metrics = Metrics::new("p");
    assert!(!metrics.to_text().contains("tidewatch_watermark"), "there is no watermark before the first event");
    metrics.intake.saw(EventTime(30_000_000));
    metrics.progress.set_watermark(EventTime(28_000_000));
    let text = metrics.to_text();
    assert_eq!(line(&text, "tidewatch_watermark_timestamp_seconds"), Some("28.0"));
    assert_eq!(line(&text, "tidewatch_watermark_behind_newest_event_seconds"), Some("2.0"));
    metrics.progress.set_watermark(EventTime::MAX);
    assert!(!metrics.to_text().contains("tidewatch_watermark"), "nor after the last");
}

#[test]
fn a_gauge_is_the_sum_of_the_parts_of_workers_that_are_there() {
    let gauge = Gauge::default();
    let (mut one, mut other) = (Part::of(&gauge), Part::of(&gauge));
    one.set(5);
    other.set(7);
    one.set(2);
    assert_eq!(gauge.get(), 9);
    drop(other);
    assert_eq!(gauge.get(), 2);
}
