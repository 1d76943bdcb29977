//! Metrics as a strict reader of OpenMetrics text sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tidewatch::serve::ask;

use super::program::Program;
use super::until;

/// The value of each sample, by its name and labels as they stand in the text.
pub type Samples = BTreeMap<String, f64>;

/// Where a program serves, as its log says.
pub fn address(program: &Program) -> SocketAddr {
    until("the address in the log", || {
        let log = program.log();
        let line = log.lines().find(|line| line.contains("serving /metrics"))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    })
}

pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask::get(&address.to_string(), path, Duration::from_secs(30)).unwrap();
    (answer.status, answer.body)
}

pub fn samples(address: SocketAddr) -> Samples {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200, "{text}");
    parsed(&text)
}

/// Panics where the text breaks a rule: a family is described once, before its samples and with all of them together; a
/// sample stands there once, with the ending that its type asks for; buckets rise to the count.
pub fn parsed(text: &str) -> Samples {
    let (mut samples, mut types) = (Samples::new(), BTreeMap::new());
    let (mut helped, mut current) = (BTreeSet::new(), String::new());
    let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("it does not end with # EOF:\n{text}"));
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(words.len() > 10 && words.ends_with('.'), "{line}");
            assert!(helped.insert(name.to_owned()), "{name} is described twice");
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').unwrap();
            assert!(helped.contains(name), "{name} has no help");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two types");
            current = name.to_owned();
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line} is no sample"));
            let value = value.parse().unwrap_or_else(|_| panic!("{line} has no number"));
            let ending = name.split('{').next().unwrap().strip_prefix(current.as_str());
            let ending = ending.unwrap_or_else(|| panic!("{line} stands among the samples of {current}"));
            let endings: &[&str] = match types[&current].as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                other => panic!("{current} is a {other}"),
            };
            assert!(endings.contains(&ending), "{line} is no sample of a {}", types[&current]);
            assert!(samples.insert(name.to_owned(), value).is_none(), "{name} stands there twice");
        }
    }
    types.iter().filter(|(_, kind)| *kind == "histogram").for_each(|(name, _)| check_histogram(name, text, &samples));
    samples
}

fn check_histogram(name: &str, text: &str, samples: &Samples) {
    let begin = format!("{name}_bucket{{le=\"");
    let buckets: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(&begin))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert!(buckets.len() > 2 && buckets.is_sorted(), "{name}: {buckets:?}");
    assert_eq!(samples[&format!("{name}_bucket{{le=\"+Inf\"}}")], samples[&format!("{name}_count")], "{name}");
}

/// The sum over all label sets of one sample's name.
pub fn sum(samples: &Samples, name: &str) -> f64 {
    let of = |sample: &&String| {
        sample.as_str() == name || sample.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
    };
    samples.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
}
