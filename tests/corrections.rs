//! Late events that correct windows after their publication: what stands afterwards is what a batch calculation over all accepted
//! events says, whoever was killed meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flow::events::{self, Partitions, Random};
use flow::naive;
use flow::place::Place;
use flow::program::{Desk, Program, configuration};
use flow::tables::{self, Row};
use flow::topic::Topic;
use tidewatch::audit::anomalies::newest;
use tidewatch::audit::tables::Tables;
use tidewatch::models::activation::Activation;
use tidewatch::models::estimator::{ErrorMeasure, Estimator};
use tidewatch::models::features::{Feature, Scaler};
use tidewatch::models::model::{Model, ModelParts, Threshold};
use tidewatch::models::network::{Layer, Network, Tensor};
use tidewatch::models::registry;
use tidewatch::storage::S3Options;

const ROWS: usize = 16_000;
const PARTITIONS: usize = 4;
const PARTS: usize = 8;
const CENTRE: f64 = 1e9 + 2.0;
const THRESHOLD: f64 = 0.1;

/// Flows, each part of which ends with events of the 25 s before it.
fn flows(seed: u64) -> Vec<Partitions> {
    let mut random = Random(seed);
    let mut parts = events::cut(&events::flows(ROWS, PARTITIONS, seed), PARTS);
    for partition in parts.iter_mut().flatten() {
        let of = partition.clone();
        for _ in 0..150 {
            let event = &of[random.below(of.len() as u64) as usize];
            let level = CENTRE + (random.below(16) as f64) - 8.0;
            partition.push(events::again(event, 5_000 + random.below(15_000) as i64, level));
        }
    }
    parts.push(events::closers(ROWS, PARTITIONS));
    parts
}

/// A model whose score is how far a window's mean level is from the centre.
fn save_model(folder: &Path) {
    let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![0.0] };
    let layer = Layer::Dense { units: 1, activation: Activation::Linear, bias: true };
    let tensors = [("0.kernel".to_owned(), tensor(&[1, 1])), ("0.bias".to_owned(), tensor(&[1]))];
    let model = Model::new(ModelParts {
        estimator: Estimator::Autoencoder {
            network: Network::new(vec![1], vec![layer], tensors.into()).unwrap(),
            error: ErrorMeasure::Mae,
        },
        features: vec![Feature::of_field("level_mean")],
        scaler: Scaler::Standard { mean: vec![CENTRE], deviation: vec![1.0] },
        threshold: Threshold { value: THRESHOLD, calibration: "given".into() },
        training_data: None,
        metrics: BTreeMap::new(),
    });
    registry::save(folder, &model.unwrap()).unwrap();
}

/// The configuration with a detector on the windows by device.
fn desk(brokers: &str, topic: &str, more: impl Fn(String) -> String) -> Desk {
    let detector = "[[detectors]]\nname = \"drift\"\nmodel = \"models/drift\"\non = \"by_device\"\n";
    let desk = Desk::new(&more(configuration(brokers, topic, false) + detector));
    save_model(&desk.path("models/drift"));
    desk
}

/// By device and start of the window: the bits of the score, and the revision.
type Standing = BTreeMap<(String, i64), (u64, i64)>;

fn place_of(row: &Row, key: &str) -> (String, i64) {
    (row[key].text().to_owned(), row["window_start"].int())
}

/// The newest revision of each anomaly, as far as it is not retracted.
fn standing(place: &Place) -> Standing {
    let mut newest: BTreeMap<(String, i64), Row> = BTreeMap::new();
    for row in tables::rows(&place.open(), "anomalies", &[]) {
        let other = newest.insert(place_of(&row, "key"), row.clone());
        if let Some(other) = other.filter(|other| other["revision"].int() >= row["revision"].int()) {
            assert!(other["revision"] != row["revision"], "a revision is there twice: {row:?}");
            newest.insert(place_of(&row, "key"), other);
        }
    }
    let stands = newest.into_iter().filter(|(_, row)| row["retracted"].int() == 0);
    stands.map(|(at, row)| (at, (row["score"].number().unwrap().to_bits(), row["revision"].int()))).collect()
}

/// The newest windows that the detector calls an anomaly.
fn anomalous(place: &Place) -> Standing {
    // The revision, and where it is an anomaly what stands.
    type Judged = (i64, Option<(u64, i64)>);
    let mut newest: BTreeMap<(String, i64), Judged> = BTreeMap::new();
    for row in tables::rows(&place.open(), "windows/by_device", &[]) {
        let revision = row["revision"].int();
        let (score, is_anomaly) = (row["drift_score"].number().unwrap(), row["drift_is_anomaly"].int() == 1);
        assert_eq!(is_anomaly, score > THRESHOLD, "{row:?}");
        let found = (revision, is_anomaly.then_some((score.to_bits(), revision)));
        let known = newest.entry(place_of(&row, "device")).or_insert(found);
        *known = (*known).max(found);
    }
    newest.into_iter().filter_map(|(at, (_, found))| Some((at, found?))).collect()
}

fn retractions(place: &Place) -> usize {
    tables::rows(&place.open(), "anomalies", &["retracted"]).iter().filter(|row| row["retracted"].int() == 1).count()
}

/// Against a calculation that knows nothing of the program; gives what stands.
fn check(place: &Place, sent: &Partitions) -> Standing {
    let admitted = naive::admit(sent);
    let windows = naive::windows(&admitted.accepted, (60_000, 10_000), |event| event.device.clone(), naive::by_device);
    naive::check(&tables::newest(&place.open(), "by_device", "device"), "device", &windows);
    let mut found = standing(place);
    found.retain(|(device, _), _| device != events::CLOSER);
    let mut wanted = anomalous(place);
    wanted.retain(|(device, _), _| device != events::CLOSER);
    assert_eq!(found, wanted, "what stands is what the newest windows say");
    for ((start, device), answers) in &windows {
        let score = (answers["level_mean"] - CENTRE).abs();
        // Scaled values are f32, and the mean may differ in its last bit.
        if (score - THRESHOLD).abs() > 1e-5 {
            let stands = found.contains_key(&(device.clone(), *start));
            assert_eq!(stands, score > THRESHOLD, "{device} at {start}: {score}");
        }
    }
    // How many there are depends on where checkpoints cut; that there are some is what the flows are made for.
    assert!(retractions(place) > 3, "corrections took back {} anomalies alone", retractions(place));
    found
}

/// The same, as the program itself and a stranger read it.
fn check_readers(place: &Place) {
    let read = newest(&Tables::open(&place.url, &S3Options::default()).unwrap()).unwrap();
    let read: BTreeSet<_> = read.into_iter().map(|one| ((one.key, one.from.0), one.score.to_bits())).collect();
    let stands = standing(place);
    assert_eq!(read, stands.iter().map(|(at, (score, _))| (at.clone(), *score)).collect());
    let Some(python) = testbed::variable("TIDEWATCH_TEST_PYTHON") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/standing.py");
    let asked = Command::new(python).arg(script).args([&place.url, "by_device", "device", "drift"]).output().unwrap();
    let told = String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{told}");
    assert_eq!(told.trim(), stands.len().to_string());
}

/// Ends it without a warning, some time after its start: not to wait for anything.
fn kill_after(program: Program, wait: Duration) {
    std::thread::park_timeout(wait);
    program.kill();
}

/// Gives part after part to a run up to what is there; every third part is read by one that is killed, too.
fn run_in_parts(desk: &Desk, place: &Place, parts: &[Partitions], give: impl Fn(&Partitions)) {
    let mut random = Random(5);
    for (index, part) in parts.iter().enumerate() {
        give(part);
        let run = |workers: usize| {
            let workers = workers.to_string();
            let quick = ["--set", "pipeline.checkpoint_every=100ms", "--set", "pipeline.epoch=10ms"];
            let words = [&["run", "tidewatch.toml", "--once", "-w", &workers][..], &quick].concat();
            desk.start(&place.with(&words))
        };
        if index % 3 == 1 {
            kill_after(run(1 + (index + 1) % 3), Duration::from_millis(50 + random.below(400)));
        }
        run(1 + index % 3).end().well();
    }
}

#[test]
fn what_stands_after_late_events_and_kills_is_what_a_batch_calculation_says() {
    let parts = flows(41);
    let files = |text: String| {
        let (from, to) = (text.find("[source.kafka]").unwrap(), text.find("[event]").unwrap());
        format!("{}[source.files]\npaths = [\"flows\"]\n\n{}", &text[..from], &text[to..])
    };
    let (desk, place) = (desk("localhost:9", "nowhere", files), Place::local());
    std::fs::create_dir(desk.path("flows")).unwrap();
    let append = |part: &Partitions| {
        for (partition, events) in part.iter().enumerate() {
            let path = desk.path("flows").join(format!("flows-{partition}.ndjson"));
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            events.iter().for_each(|event| writeln!(file, "{}", event.line).unwrap());
        }
    };
    run_in_parts(&desk, &place, &parts, append);
    let sent = events::joined(&parts);
    let stands = check(&place, &sent);
    check_readers(&place);
    // Nothing of it depends on what was late for whom: a replay of all of it at once finds the same.
    let undisturbed = Place::local();
    desk.start(&undisturbed.with(&["replay", "tidewatch.toml", "--from", "flows", "-q", "-w", "1"])).end().well();
    let bits = |standing: Standing| -> BTreeMap<_, _> {
        let flows = standing.into_iter().filter(|((device, _), _)| device != events::CLOSER);
        flows.map(|(at, (score, _))| (at, score)).collect()
    };
    assert_eq!(bits(stands), bits(standing(&undisturbed)));
}

#[test]
fn every_retraction_is_on_the_topic_once_after_kills() {
    let Some(brokers) = testbed::kafka() else { return };
    let parts = flows(42);
    let (topic, anomalies) = (Topic::new(&brokers, PARTITIONS), Topic::new(&brokers, 2));
    let output = |text: String| {
        let name = format!("name = {:?}", testbed::fresh("corrections"));
        text.replace("name = \"iomt\"", &name) + &format!("\n[output.kafka]\ntopic = {:?}\n", anomalies.name)
    };
    let (desk, place) = (desk(&brokers, &topic.name, output), Place::local());
    run_in_parts(&desk, &place, &parts, |part| topic.send(part));
    check(&place, &events::joined(&parts));
    check_readers(&place);
    let records = anomalies.committed();
    let keys: BTreeSet<&String> = records.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), records.len(), "an idempotency key belongs to one record");
    let mut newest: BTreeMap<(String, String), (i64, bool, u64)> = BTreeMap::new();
    let mut published: BTreeSet<(String, String, u64)> = BTreeSet::new();
    let mut retracted = Vec::new();
    for (_, payload) in &records {
        let row: serde_json::Value = serde_json::from_str(payload).unwrap();
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let (key, start, score) = (text("key"), text("window_start"), row["score"].as_f64().unwrap().to_bits());
        let (revision, is_retracted) = (row["revision"].as_i64().unwrap(), row["retracted"].as_bool().unwrap());
        let found = (revision, is_retracted, score);
        let known = newest.entry((key.clone(), start.clone())).or_insert(found);
        *known = (*known).max(found);
        match is_retracted {
            true => retracted.push((key, start, score)),
            false => drop(published.insert((key, start, score))),
        }
    }
    assert!(retracted.iter().all(|row| published.contains(row)), "a retraction is of what was published, to the bit");
    let mut stands: Vec<(String, u64)> =
        newest.into_iter().filter(|(_, (_, gone, _))| !gone).map(|((key, _), (_, _, score))| (key, score)).collect();
    let mut wanted: Vec<(String, u64)> =
        standing(&place).into_iter().map(|((key, _), (score, _))| (key, score)).collect();
    stands.sort();
    wanted.sort();
    assert_eq!(stands, wanted);
}

/// A detector a line, on windows of 10 s that are open for an hour.
fn with_detectors(names: &[&str]) -> String {
    let detector =
        |name: &&str| format!("[[detectors]]\nname = \"{name}\"\nmodel = \"models/drift\"\non = \"by_device\"\n");
    let detectors: String = names.iter().map(detector).collect();
    format!(
        r#"
[pipeline]
name = "levels"
[source.files]
paths = ["levels"]
[event]
time = {{ field = "ts", format = "unix_ms" }}
key = "device"
[event.fields]
"level" = "float"
[watermark]
out_of_orderness = "0s"
allowed_lateness = "1h"
[[windows]]
name = "by_device"
size = "10s"
by = ["key"]
[windows.aggregates]
"level" = ["mean"]
{detectors}
[output]
url = "output"
"#
    )
}

#[test]
fn a_detector_that_was_taken_out_and_returns_takes_back_what_it_said_before() {
    let (desk, place) = (Desk::new(&with_detectors(&["drift", "other"])), Place::local());
    save_model(&desk.path("models/drift"));
    std::fs::create_dir(desk.path("levels")).unwrap();
    let run = |names: &[&str], events: &[(i64, f64)]| {
        let path = desk.path("levels/0.ndjson");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for (second, level) in events {
            let at = events::BEGIN_MS + second * 1000;
            writeln!(file, r#"{{"ts":{at},"device":"a","level":{:?}}}"#, CENTRE + level).unwrap();
        }
        std::fs::write(desk.path("tidewatch.toml"), with_detectors(names)).unwrap();
        desk.start(&place.with(&["run", "tidewatch.toml", "--once", "-q", "-w", "2"])).end().well();
        let told = |row: &Row| (row["detector"].text().to_owned(), row["retracted"].int() == 1);
        tables::rows(&place.open(), "anomalies", &[]).iter().map(told).collect::<BTreeSet<_>>()
    };
    let both = |is_retracted: bool| ["drift", "other"].map(|name| (name.to_owned(), is_retracted));
    let beyond: Vec<(i64, f64)> = (0..10).map(|second| (second, 5.0)).chain([(11, 0.0)]).collect();
    assert_eq!(run(&["drift", "other"], &beyond), BTreeSet::from(both(false)));
    run(&["other"], &[(12, 0.0)]);
    // The mean is the centre with it.
    let told = run(&["drift", "other"], &[(5, -50.0)]);
    assert_eq!(told, both(false).into_iter().chain(both(true)).collect());
}
