//! A pipeline with everything on, to be disturbed: a topic that fills while it runs, detectors on events and on windows, anomalies on a
//! topic; and the proof that nothing of what was done to it shows.

use std::time::Duration;

use super::answers::{Answers, answers, assert_on_topic_once};
use super::events::{self, Partitions, Random};
use super::place::Place;
use super::program::{Desk, Program, configuration};
use super::topic::Topic;
use super::until;

pub const PARTITIONS: usize = 4;

pub struct Disturbed {
    pub topic: Topic,
    pub anomalies: Topic,
    pub desk: Desk,
    /// Where the run that nobody disturbs sends its own.
    aside: Topic,
    rows: usize,
    flows: Partitions,
}

impl Disturbed {
    /// Of so many flows, none of which is on the topic yet. `changes` are made to the configuration.
    pub fn new(brokers: &str, rows: usize, seed: u64, changes: &[(&str, &str)]) -> Disturbed {
        let [topic, anomalies, aside] = [PARTITIONS, 2, 1].map(|partitions| Topic::new(brokers, partitions));
        let mut text = configuration(brokers, &topic.name, true);
        let kafka = format!("[output.kafka]\ntopic = {:?}\n", anomalies.name);
        text = text.replacen("[[windows]]\nname = \"by_device\"", &(kafka + "\n[[windows]]\nname = \"by_device\""), 1);
        text = text.replace("checkpoint_every = \"500ms\"", "checkpoint_every = \"300ms\"");
        text.push_str(
            r#"
[[detectors]]
name = "health"
model = "models/health"
on = "by_device"
kind = "dense_autoencoder"
features = ["count", "level_mean", "level_stddev", "level_median"]
encoder = [2]
decoder = [2]
[detectors.training]
epochs = 3
percentile = 80.0
"#,
        );
        for (old, new) in changes {
            assert!(text.contains(old), "the configuration says `{old}` no longer");
            text = text.replace(old, new);
        }
        let desk = Desk::new(&text);
        events::record(&events::flows(30_000, 2, seed), &desk.path("calm"));
        desk.start(&["train", "tidewatch.toml", "--from", "calm", "--detector", "health", "-q"]).end().well();
        Disturbed { topic, anomalies, desk, aside, rows, flows: events::flows(rows, PARTITIONS, seed) }
    }

    /// Sends all flows in so many parts, with poison between them, and at last what closes their windows. `turn` is called before each part.
    pub fn send(&self, parts: usize, seed: u64, mut turn: impl FnMut()) {
        let mut random = Random(seed ^ 0x0BAD);
        for part in events::cut(&self.flows, parts) {
            turn();
            self.topic.send(&part);
            for poison in POISON {
                self.topic.send_raw(random.below(PARTITIONS as u64) as i32, poison);
            }
        }
        self.topic.send(&events::closers(self.rows, PARTITIONS));
    }

    pub fn records(&self, parts: usize) -> i64 {
        (self.rows + parts * POISON.len() + PARTITIONS) as i64
    }

    /// Starts it as one process or as several.
    pub fn start(&self, place: &Place, processes: usize, workers: usize) -> Vec<Program> {
        self.start_with(place, processes, workers, &[])
    }

    /// With more words on the command line.
    pub fn start_with(&self, place: &Place, processes: usize, workers: usize, words: &[&str]) -> Vec<Program> {
        let workers = workers.to_string();
        let run = place.with(&[&["run", "tidewatch.toml", "-w", &workers], words].concat());
        match processes {
            1 => vec![self.desk.start(&run)],
            _ => self.desk.start_cluster(processes, &run),
        }
    }

    /// Runs until everything on the topic is committed, and stops.
    pub fn drain(&self, place: &Place, what: &str) {
        let mut running = self.start(place, 1, 2);
        until("the end of the topic", || {
            running.iter_mut().for_each(|program| assert!(program.is_running(), "{what}: {}", program.log()));
            (self.topic.lag(&self.desk.group) == 0).then_some(())
        });
        running.into_iter().for_each(|program| drop(program.terminate().well()));
    }

    /// That `place` holds what a run leaves that nobody disturbed, and the topic of anomalies every one once.
    pub fn assert_undisturbed(&self, place: &Place, what: &str) -> Answers {
        let undisturbed = Place::local();
        let replay = ["replay", "tidewatch.toml", "--from", "kafka", "-q", "-w", "2"];
        let set = format!("output.kafka.topic={}", self.aside.name);
        self.desk.start(&undisturbed.with(&[&replay[..], &["--set", &set]].concat())).end().well();
        let (ours, theirs) = (answers(place), answers(&undisturbed));
        ours.assert_same(&theirs, what);
        place.assert_whole(what);
        let endpoint = place.endpoint().map_or(vec![], |endpoint| vec!["--endpoint", endpoint]);
        let verify = ["verify", &place.url, "--deep", "--source", "tidewatch.toml"];
        self.desk.start(&[&verify[..], &endpoint].concat()).end().well();
        assert_on_topic_once(place, &self.anomalies, what);
        ours
    }
}

/// Records that cannot be read.
const POISON: [Option<&[u8]>; 3] =
    [Some(br#"{"ts":1704067200000,"device":"#), None, Some(br#"{"ts":"soon","device":"d"}"#)];

/// The number in a variable, or another one; every failure has to tell it.
pub fn number(variable: &str, default: impl FnOnce() -> u64) -> u64 {
    std::env::var(variable).ok().map_or_else(default, |text| text.parse().unwrap())
}

/// Goes on later; not to wait for anything.
pub fn pass(time: Duration) {
    let until = std::time::Instant::now() + time;
    while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
        std::thread::park_timeout(left);
    }
}
