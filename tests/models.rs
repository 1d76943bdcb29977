//! Versions of models from the outside: listed, promoted and rolled back, while a pipeline runs, is killed and goes on. Each row is scored
//! by the version that the manifest's schedule has for its time, on every worker and process, and in a replay.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow::events::{self, Partitions};
use flow::exposition::{address, samples};
use flow::place::Place;
use flow::program::{Desk, Program, configuration};
use flow::tables::{self, Cell, Row};
use flow::until;
use serde_json::Value;
use tidewatch::broker::mock::MockBroker;
use tidewatch::models::activation::Activation;
use tidewatch::models::estimator::{ErrorMeasure, Estimator};
use tidewatch::models::features::{Feature, Scaler};
use tidewatch::models::model::{Model, ModelParts, Threshold};
use tidewatch::models::network::{Layer, Network, Tensor};
use tidewatch::models::registry;

const ROWS: usize = 9_000;
const PARTITIONS: usize = 3;
const CENTRE: f64 = 1e9 + 2.0;

/// The next version of a model whose score is how far the feature is from a centre, which differs from version to version.
fn save(folder: &Path, feature: &str) -> u32 {
    let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![0.0] };
    let layer = Layer::Dense { units: 1, activation: Activation::Linear, bias: true };
    let tensors = [("0.kernel".to_owned(), tensor(&[1, 1])), ("0.bias".to_owned(), tensor(&[1]))];
    let next = registry::versions(folder).map_or(1, |versions| versions.len() + 1) as f64;
    let model = Model::new(ModelParts {
        estimator: Estimator::Autoencoder {
            network: Network::new(vec![1], vec![layer], tensors.into()).unwrap(),
            error: ErrorMeasure::Mae,
        },
        features: vec![Feature::of_field(feature)],
        scaler: Scaler::Standard { mean: vec![CENTRE + next / 64.0], deviation: vec![1.0] },
        threshold: Threshold { value: 0.2 * next, calibration: "given".into() },
        training_data: Some("a calm day".into()),
        metrics: BTreeMap::from([("auc".to_owned(), 0.5 + next / 100.0)]),
    });
    registry::save(folder, &model.unwrap()).unwrap().version
}

/// The example's flows with a detector on each event and one on the windows by device; three versions of each model, of which the first is in
/// force.
fn desk(brokers: &str, more: &str) -> Desk {
    let detectors = "[[detectors]]\nname = \"level\"\nmodel = \"models/level\"\non = \"events\"\n\
                     [[detectors]]\nname = \"drift\"\nmodel = \"models/drift\"\non = \"by_device\"\n";
    let desk = Desk::new(&format!("{}{detectors}{more}", configuration(brokers, "flows", false)));
    for (model, feature) in [("level", "level"), ("drift", "level_mean")] {
        let folder = desk.path(&format!("models/{model}"));
        let _: Vec<u32> = (0..3).map(|_| save(&folder, feature)).collect();
        registry::promote(&folder, 1).unwrap();
    }
    desk
}

fn send(broker: &MockBroker, part: &Partitions) {
    for (partition, events) in part.iter().enumerate() {
        for event in events {
            let line = Some(event.line.as_bytes());
            broker.append_at("flows", partition as i32, None, line, Some(event.at_ms)).unwrap();
        }
    }
    broker.flush().unwrap();
}

fn models(desk: &Desk, place: &Place, words: &[&str]) -> Value {
    let asked = ["models", "tidewatch.toml", "--json", "--output", &place.url];
    serde_json::from_str(&desk.say(&[&asked[..], words].concat())).unwrap()
}

/// By detector: from which event time on which version scores, in microseconds.
fn schedules(desk: &Desk, place: &Place) -> BTreeMap<String, Vec<(i64, String)>> {
    let micros = |from: &Value| {
        from.as_str().map_or(i64::MIN, |from| chrono::DateTime::parse_from_rfc3339(from).unwrap().timestamp_micros())
    };
    let found = models(desk, place, &[]);
    let of = |detector: &Value| {
        let versions = detector["schedule"].as_array().unwrap().iter();
        let versions = versions.map(|one| (micros(&one["from"]), one["model"].as_str().unwrap().to_owned()));
        (detector["detector"].as_str().unwrap().to_owned(), versions.collect())
    };
    found["detectors"].as_array().unwrap().iter().map(of).collect()
}

/// Waits until every word is in the log.
fn await_log(program: &Program, words: &[&str]) {
    until(&format!("{words:?} in the log"), || {
        let log = program.log();
        words.iter().all(|word| log.contains(word)).then_some(())
    });
}

/// Waits until so many events of the table name the version.
fn await_rows(place: &Place, version: &str, count: usize) {
    until(&format!("{count} events scored by {version}"), || {
        let rows = tables::rows(&place.open(), "events", &["level_model"]);
        (rows.iter().filter(|row| row["level_model"] == Cell::Text(version.into())).count() >= count).then_some(())
    });
}

fn promote(desk: &Desk, program: &Program, detector: &str, version: u32) {
    desk.say(&["models", "tidewatch.toml", "promote", detector, &version.to_string()]);
    await_log(program, &[&format!("model takes over detector=\"{detector}\" model=\"{detector}/{version}\"")]);
}

/// Every row names the version that the schedule has for its time; gives which versions there were.
fn check(rows: &[Row], time: &str, model: &str, schedule: &[(i64, String)]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for row in rows {
        let at = row[time].int();
        let (_, wanted) = schedule.iter().rev().find(|(from, _)| *from <= at).unwrap();
        assert_eq!(row[model].text(), wanted, "{row:?} by {schedule:?}");
        seen.insert(wanted.clone());
    }
    seen
}

fn check_all(place: &Place, schedules: &BTreeMap<String, Vec<(i64, String)>>, versions: [&[&str]; 2]) {
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let storage = place.open();
    let events = tables::rows(&storage, "events", &[]);
    assert_eq!(check(&events, "event_time", "level_model", &schedules["level"]), of(versions[0]));
    let windows = tables::rows(&storage, "windows/by_device", &[]);
    assert!(windows.iter().any(|row| row["revision"].int() > 0), "late events correct windows");
    assert_eq!(check(&windows, "window_end", "drift_model", &schedules["drift"]), of(versions[1]));
    let (on_windows, on_events): (Vec<Row>, Vec<Row>) = tables::rows(&storage, "anomalies", &[])
        .into_iter()
        .partition(|row| row["detector"] == Cell::Text("drift".into()));
    check(&on_events, "time", "model", &schedules["level"]);
    check(&on_windows, "window_end", "model", &schedules["drift"]);
    assert!(!on_events.is_empty() && !on_windows.is_empty());
}

/// What there is to compare of two outputs: every event, and every window's newest revision.
fn answer(place: &Place) -> (Vec<Row>, Vec<Row>, Vec<Row>) {
    let storage = place.open();
    let mut events = tables::rows(&storage, "events", &[]);
    events.iter_mut().for_each(|row| drop(row.remove("epoch")));
    events.sort_by_key(|row| (row["partition"].clone(), row["offset"].int()));
    (events, tables::newest(&storage, "by_device", "device"), tables::newest(&storage, "by_label", "label"))
}

#[test]
fn each_row_is_scored_by_the_version_in_force_at_its_time_whoever_is_killed() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("flows", PARTITIONS as i32).unwrap();
    let (desk, place) = (desk(&broker.brokers(), ""), Place::local());
    let parts = events::cut(&events::flows(ROWS, PARTITIONS, 61), 6);
    let run = |workers: &str| desk.start(&place.with(&["run", "tidewatch.toml", "-w", workers]));
    let program = run("2");
    send(&broker, &parts[0]);
    await_rows(&place, "level/1", 1_000);
    promote(&desk, &program, "level", 2);
    promote(&desk, &program, "drift", 2);
    send(&broker, &parts[1]);
    await_rows(&place, "level/2", 1_000);
    program.kill();
    // Promoted while nothing runs: it takes over where the output ends.
    desk.say(&["models", "tidewatch.toml", "promote", "level", "3"]);
    let program = run("3");
    send(&broker, &parts[2]);
    await_rows(&place, "level/3", 1_000);
    desk.say(&["models", "tidewatch.toml", "rollback", "level"]);
    await_log(&program, &["model takes over detector=\"level\" model=\"level/2\""]);
    send(&broker, &parts[3]);
    // Perhaps before the change is in a manifest, perhaps behind it.
    program.kill();
    let mut cluster = desk.start_cluster(2, &place.with(&["run", "tidewatch.toml", "-w", "1"]));
    send(&broker, &parts[4]);
    await_rows(&place, "level/2", 4_000);
    promote(&desk, &cluster[0], "drift", 3);
    send(&broker, &parts[5]);
    send(&broker, &events::closers(ROWS, PARTITIONS));
    until("the last window", || {
        let rows = tables::rows(&place.open(), "windows/by_device", &["drift_model"]);
        rows.iter().any(|row| row["drift_model"] == Cell::Text("drift/3".into())).then_some(())
    });
    cluster.remove(0).terminate().well();
    cluster.into_iter().for_each(|program| drop(program.end().well()));
    place.assert_whole("after all");
    let schedules = schedules(&desk, &place);
    let named = |detector: &str| schedules[detector].iter().map(|(_, model)| model.as_str()).collect::<Vec<_>>();
    assert_eq!(named("level"), ["level/1", "level/2", "level/3", "level/2"]);
    assert_eq!(named("drift"), ["drift/1", "drift/2", "drift/3"]);
    check_all(&place, &schedules, [&["level/1", "level/2", "level/3"], &["drift/1", "drift/2", "drift/3"]]);
    // A replay follows the same schedule, and says the same to the bit.
    let again = Place::local();
    let replay = ["replay", "tidewatch.toml", "--from", "kafka", "--models-of", &place.url, "-q", "-w", "1"];
    desk.start(&again.with(&replay)).end().well();
    assert_eq!(answer(&again), answer(&place));
    // Without one, the versions in force score everything.
    let anew = Place::local();
    desk.start(&anew.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q", "-w", "2"])).end().well();
    let versions = tables::rows(&anew.open(), "events", &["level_model"]);
    assert!(versions.iter().all(|row| row["level_model"] == Cell::Text("level/2".into())));
}

#[test]
fn a_version_that_does_not_fit_is_refused_and_the_one_before_stays() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("flows", PARTITIONS as i32).unwrap();
    let (desk, place) = (desk(&broker.brokers(), "\n[http]\nlisten = \"127.0.0.1:0\"\n"), Place::local());
    let folder = desk.path("models/level");
    let misfit = save(&folder, "nowhere").to_string();
    let damaged = save(&folder, "level");
    std::fs::write(folder.join(format!("{damaged}/weights.safetensors")), b"damaged").unwrap();
    let run = || desk.start(&place.with(&["run", "tidewatch.toml", "-w", "2"]));
    let program = run();
    let parts = events::cut(&events::flows(ROWS, PARTITIONS, 62), 3);
    send(&broker, &parts[0]);
    await_rows(&place, "level/1", 1_000);
    let promote = |words: &[&str]| desk.start(&[&["models", "tidewatch.toml", "promote"], words].concat()).end();
    promote(&["level", &misfit]).with(2, &["is not put in force", "needs the column `nowhere`"]);
    promote(&["level", &damaged.to_string()]).with(2, &["have the digest"]);
    promote(&["level", "9"]).with(2, &["has no version 9; there are 1, 2, 3, 4, 5"]);
    promote(&["2"]).with(2, &["which detector? There are level, drift"]);
    assert_eq!(registry::in_force(&folder).unwrap(), 1, "nothing was changed");
    // Somebody who does not ask us.
    std::fs::write(folder.join("current"), &misfit).unwrap();
    let refused = "promoted model refused detector=\"level\"";
    await_log(&program, &[refused, "needs the column `nowhere`", "stays=\"level/1\""]);
    let address = address(&program);
    assert_eq!(samples(address)["tidewatch_model_refused{detector=\"level\"}"], 1.0);
    send(&broker, &parts[1]);
    await_rows(&place, "level/1", 3_000);
    assert_eq!(program.log().matches(refused).count(), 1, "told once");
    program.kill();
    let program = run();
    await_log(&program, &["the model in force is refused", refused]);
    desk.say(&["models", "tidewatch.toml", "promote", "level", "2"]);
    await_log(&program, &["model takes over detector=\"level\" model=\"level/2\""]);
    assert_eq!(samples(self::address(&program))["tidewatch_model_refused{detector=\"level\"}"], 0.0);
    send(&broker, &parts[2]);
    await_rows(&place, "level/2", 1_000);
    program.terminate().well();
    // What the output names must be there, and be what it was.
    let moved = desk.path("moved");
    std::fs::rename(folder.join("1"), &moved).unwrap();
    let words =
        ["the output names the model level/1 of detector `level`, and it cannot be loaded", "there is no model in"];
    run().end().with(2, &words);
    std::fs::rename(folder.join("3"), folder.join("1")).unwrap();
    run().end().with(2, &["the model level/1 of detector `level` is not the one that the output names"]);
    std::fs::rename(folder.join("1"), folder.join("3")).unwrap();
    std::fs::rename(&moved, folder.join("1")).unwrap();
    desk.start(&place.with(&["run", "tidewatch.toml", "--once"])).end().well();
    place.assert_whole("after all");
}

#[test]
fn versions_are_listed_with_what_is_known_of_them() {
    let (desk, place) = (desk("localhost:9", ""), Place::local());
    let unfit = save(&desk.path("models/drift"), "nowhere");
    assert_eq!(models(&desk, &place, &["promote", "level", "3"])["before"], 1);
    let rolled_back = models(&desk, &place, &["rollback", "level"]);
    assert_eq!((&rolled_back["in_force"], &rolled_back["before"]), (&Value::from(1), &Value::from(3)));
    models(&desk, &place, &["promote", "level", "2"]);
    let found = models(&desk, &place, &[]);
    let level = &found["detectors"][0];
    assert_eq!((&level["in_force"], &level["pinned"]), (&Value::from(2), &Value::from(false)));
    assert_eq!(level["versions"][1]["threshold"], 0.4);
    assert_eq!(level["versions"][1]["metrics"]["auc"], 0.52);
    assert_eq!(level["versions"][1]["in_force"], true);
    assert_eq!(level["schedule"], Value::Array(vec![]), "there is no output yet");
    assert_eq!(found["detectors"][1]["versions"][0]["version"], unfit);
    assert!(found["detectors"][1]["versions"][0]["unusable"].as_str().unwrap().contains("`nowhere`"));
    let told = desk.say(&["models", "tidewatch.toml", "--output", &place.url]);
    for words in [
        "level on events: models/level",
        "in force    version 2",
        "auc 0.5200; trained on a calm day",
        "drift on window by_device",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let pinned = ["models", "tidewatch.toml", "--set", "detectors.level.model=models/level/1"];
    assert!(desk.say(&pinned).contains("version 1, pinned by the configuration"));
    let ended = desk.start(&[&pinned[..], &["promote", "level", "3"]].concat()).end();
    ended.with(2, &["is pinned to version 1 of its model"]);
}
