//! A real Prometheus scrapes a real run: every rule and every query of the dashboard is understood, and finds something.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flow::events;
use flow::exposition::address;
use flow::place::Place;
use flow::program::{Desk, configuration};
use flow::topic::Topic;
use flow::until;
use serde_json::Value;
use tempfile::TempDir;
use tidewatch::serve::ask;

/// Ended with the test.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// With the configuration that is shipped, but for the address and its patience.
    fn watching(program: &Path, target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
        std::fs::copy(shipped.join("rules.yml"), folder.path().join("rules.yml")).unwrap();
        let text = std::fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
        let quick = text.replace("_interval: 5s", "_interval: 1s").replace("tidewatch:9464", &target.to_string());
        assert_ne!(quick, text);
        std::fs::write(folder.path().join("prometheus.yml"), quick).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
        command.arg(format!("--web.listen-address={address}")).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Prometheus { child, address, folder }
    }

    /// The `data` of a reply; none while it cannot be asked yet.
    fn ask(&self, path: &str) -> Option<Value> {
        let answer = ask::get(&self.address.to_string(), path, Duration::from_secs(30))
            .ok()
            .filter(|answer| answer.status != 503)?;
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let reply: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}\n{}", answer.body, log()));
        assert_eq!(reply["status"], "success", "{path}: {reply}");
        Some(reply["data"].clone())
    }

    /// The samples that a query finds.
    fn query(&self, query: &str) -> Vec<Value> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
        let encoded: String = query
            .bytes()
            .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        let found = self.ask(&format!("/api/v1/query?query={encoded}"));
        found.map_or_else(Vec::new, |data| data["result"].as_array().unwrap().clone())
    }
}

/// Title and query of each target of the dashboard.
fn dashboard() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards/tidewatch.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| Some((panel["title"].as_str()?, panel["targets"].as_array()?)));
    let query = |target: &Value| target["expr"].as_str().unwrap().replace("$instance", ".+");
    let query = |target: &Value| query(target).replace("$__rate_interval", "1m");
    targets.flat_map(|(title, all)| all.iter().map(move |target| (title.to_owned(), query(target)))).collect()
}

#[test]
fn a_real_prometheus_understands_every_rule_and_every_query_of_the_dashboard() {
    let (Some(program), Some(brokers)) = (testbed::tool("prometheus"), testbed::kafka()) else { return };
    let (rows, partitions) = (6_000, 4);
    let sent = events::flows(rows, partitions, 31);
    let topic = Topic::new(&brokers, partitions);
    let desk = Desk::new(&(configuration(&brokers, &topic.name, true) + "\n[http]\nlisten = \"127.0.0.1:0\"\n"));
    let place = Place::local();
    let run = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "2"]));
    let prometheus = Prometheus::watching(&program, address(&run));
    let processed = || prometheus.query("events_processed_total").iter().map(value).sum::<f64>();
    // Rates need two looks with something between them.
    until("a first look", || (!prometheus.query("events_processed_total").is_empty()).then_some(()));
    let parts = events::cut(&sent, 2);
    topic.send(&parts[0]);
    topic.send_raw(0, Some(b"{\"no\": time}"));
    until("a look at half of the events", || (processed() > 2_000.0).then_some(()));
    topic.send(&parts[1]);
    topic.send(&events::closers(rows, partitions));
    let queries = dashboard();
    assert!(queries.len() > 30);
    until("every query to find something", || {
        let empty = queries.iter().find(|(_, query)| prometheus.query(query).is_empty());
        assert!(run.log().lines().all(|line| !line.contains("ERROR")), "{}", run.log());
        empty.is_none().then_some(()).or_else(|| {
            println!("nothing yet: {empty:?}");
            None
        })
    });
    let data = prometheus.ask("/api/v1/rules").unwrap();
    let rules = data["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10);
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&Value::from("ok"), &Value::Null), "{rule}");
    }
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}");
    assert_eq!(firing, [] as [Value; 0], "a pipeline that is well wakes nobody");
    assert_eq!(value(&prometheus.query("up{job=\"tidewatch\"}")[0]), 1.0);
    assert_eq!(value(&prometheus.query("sum(tidewatch_partition_lag_records)")[0]), 0.0, "it has caught up");
    run.terminate().well();
}

fn value(sample: &Value) -> f64 {
    sample["value"][1].as_str().unwrap().parse().unwrap()
}
