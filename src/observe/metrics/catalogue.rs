//! Every metric with its name, its type, its labels and what it means: the only place that knows.
//!
//! Three names are given by those who watched such pipelines before (`events_processed_total`, `anomalies_detected_total`,
//! `processing_latency_seconds`); all others begin with `tidewatch_`. Counters get their `_total` from the encoder.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::domain::time::EventTime;
use crate::observe::metrics::reckoned::{Reckoned, ReckonedBy};
use crate::observe::metrics::{Families, Metrics, checkpoint_age, own_process, seconds, wall_seconds};

pub(super) fn register(registry: &mut Registry, metrics: &Metrics, pipeline: &str) {
    let info = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("pipeline", pipeline.to_owned())];
    registry.register("tidewatch_build", "The version that runs, and the pipeline that it runs", Info::new(info));
    source(registry, metrics);
    event_time(registry, metrics);
    flow(registry, metrics);
    of_windows(registry, &metrics.families);
    of_detectors(registry, &metrics.families);
    output(registry, metrics);
    process(registry);
}

fn source(registry: &mut Registry, metrics: &Metrics) {
    let (progress, intake) = (&metrics.progress, &metrics.intake);
    registry.register("tidewatch_records_read", "Records read", progress.rows.clone());
    registry.register("tidewatch_bytes_read", "Bytes of the payloads of records read", progress.bytes.clone());
    let help = "Events accepted: decoded, in time, and handed to windows and detectors";
    registry.register("events_processed", help, intake.accepted.clone());
    let help = "Accepted events behind the watermark of their partition, which may correct published windows";
    registry.register("tidewatch_events_late", help, intake.late.clone());
    let help = "Events behind the watermark by more than the allowed lateness: in the table `late`";
    registry.register("tidewatch_events_too_late", help, intake.too_late.clone());
    let help = "Records that are no events, by reason: in the table `quarantine`";
    registry.register("tidewatch_records_quarantined", help, intake.quarantined.clone());
    let help = "Offsets that retention had deleted before they were read";
    registry.register("tidewatch_records_lost", help, intake.lost.clone());
    let help = "Records that were fetched from the broker and not read yet";
    registry.register("tidewatch_source_waiting_records", help, intake.waiting.clone());
    let help = "Seconds in which workers did not read because windows or store were behind, summed over the workers";
    registry.register("tidewatch_source_throttled_seconds", help, intake.throttled.clone());
    let help = "Records between what was read and the end of a partition that this process reads";
    let lag = Arc::clone(&metrics.lag);
    registry.register(
        "tidewatch_partition_lag_records",
        help,
        ReckonedBy { label: "partition", values: Box::new(move || lag.look()) },
    );
}

fn event_time(registry: &mut Registry, metrics: &Metrics) {
    let progress = Arc::clone(&metrics.progress);
    let watermark = move || progress.look().watermark;
    let newest = Arc::clone(&metrics.intake.newest);
    let newest = move || Some(EventTime(newest.load(Ordering::Relaxed))).filter(|newest| *newest != EventTime::MIN);
    let at = watermark.clone();
    let help = "The watermark, up to which event time is complete, as seconds since 1970";
    registry.register("tidewatch_watermark_timestamp_seconds", help, Reckoned::gauge(move || at().map(seconds)));
    let (at, from) = (watermark.clone(), newest.clone());
    let behind = move || Some((seconds(from()?) - seconds(at()?)).max(0.0));
    let help = "Seconds between the newest event that was accepted and the watermark";
    registry.register("tidewatch_watermark_behind_newest_event_seconds", help, Reckoned::gauge(behind));
    let help = "Seconds between the clock of this machine and the watermark";
    let behind = move || Some(wall_seconds() - seconds(watermark()?));
    registry.register("tidewatch_watermark_behind_clock_seconds", help, Reckoned::gauge(behind));
}

fn flow(registry: &mut Registry, metrics: &Metrics) {
    let flow = &metrics.flow;
    let help = "Seconds from the reading of an event's batch to the commit of its epoch, once for each accepted event";
    registry.register("processing_latency_seconds", help, flow.latency.clone());
    let help = "Seconds from the end of a checkpoint's epoch to its commit, one for each checkpoint";
    registry.register("tidewatch_checkpoint_duration_seconds", help, flow.checkpoint.clone());
    let vitals = Arc::clone(&metrics.vitals);
    let age = move || Some(checkpoint_age(&vitals));
    let help = "Seconds since the last commit, or since the start before the first";
    registry.register("tidewatch_checkpoint_age_seconds", help, Reckoned::gauge(age));
    registry.register("tidewatch_workers", "Workers of this process", flow.workers.clone());
    let help = "Epochs that were begun and have not gone through windows and detectors";
    registry.register("tidewatch_epochs_in_flight", help, flow.epochs_in_flight.clone());
    let help = "Epochs that were begun and are not committed";
    registry.register("tidewatch_epochs_uncommitted", help, flow.epochs_uncommitted.clone());
}

fn of_windows(registry: &mut Registry, families: &Families) {
    let help = "Windows published for the first time, one for each group";
    registry.register("tidewatch_windows_published", help, families.published.clone());
    let help = "Windows published again because of late events";
    registry.register("tidewatch_windows_corrected", help, families.corrected.clone());
    let help = "Accepted events whose windows were final when they came: in the table `late` as `window_final`";
    registry.register("tidewatch_window_events_too_late", help, families.window_too_late.clone());
    let help = "Windows that hold events and are not final, summed over the workers; as of the last checkpoint";
    registry.register("tidewatch_windows_open", help, families.open.clone());
    let help = "Groups with events in windows that are not final; as of the last checkpoint";
    registry.register("tidewatch_window_groups", help, families.groups.clone());
    let help = "Bytes of memory that the state of a window takes; as of the last checkpoint";
    registry.register("tidewatch_window_state_bytes", help, families.state_bytes.clone());
}

fn of_detectors(registry: &mut Registry, families: &Families) {
    registry.register("tidewatch_scores", "Rows that a detector gave a finite score", families.scored.clone());
    let help = "Rows whose score is not finite, and therefore null";
    registry.register("tidewatch_unscored", help, families.unscored.clone());
    let help = "Rows whose score is above the threshold";
    registry.register("anomalies_detected", help, families.anomalies.clone());
    let help = "Anomalies of windows that were retracted because late events corrected the window";
    registry.register("tidewatch_anomalies_retracted", help, families.retracted.clone());
    let help = "1 if the model of a configured detector is loaded, 0 if the pipeline runs without it";
    registry.register("tidewatch_detector_loaded", help, families.loaded.clone());
    let help = "1 while a version of the detector's model is promoted that it cannot use: the log says why, and the one before stays in force";
    registry.register("tidewatch_model_refused", help, families.refused.clone());
    let help = "How often a version of the detector's model took over while the pipeline ran";
    registry.register("tidewatch_model_takeovers", help, families.takeovers.clone());
}

fn output(registry: &mut Registry, metrics: &Metrics) {
    let output = &metrics.output;
    registry.register("tidewatch_files_published", "Files made visible, by table", output.files.clone());
    registry.register("tidewatch_bytes_published", "Bytes of files made visible, by table", output.bytes.clone());
    registry.register("tidewatch_rows_published", "Rows of files made visible, by table", output.rows.clone());
    let help = "Bytes handed to the store that are not durable yet";
    registry.register("tidewatch_uploads_pending_bytes", help, output.uploads_pending_bytes.clone());
    let help = "Bytes of rows in memory that wait for their file";
    registry.register("tidewatch_rows_held_bytes", help, output.rows_held_bytes.clone());
}

fn process(registry: &mut Registry) {
    let help = "Bytes of memory that are resident";
    registry.register("tidewatch_process_resident_memory_bytes", help, Reckoned::gauge(own_process::resident_bytes));
    let help = "Seconds of processor time in user and system mode";
    registry.register("tidewatch_process_cpu_seconds", help, Reckoned::counter(own_process::cpu_seconds));
    let (begun, help) = (wall_seconds(), "When the process began, as seconds since 1970");
    registry.register("tidewatch_process_start_time_seconds", help, Reckoned::gauge(move || Some(begun)));
}
