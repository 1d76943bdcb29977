//! Seeded flows: the recording of the repository again and again, at new times, from more devices, with a reading near 1e9.

use std::collections::BTreeMap;
use std::path::Path;

/// 2024-01-01T00:00:00Z: behind the clock of every machine, so that nothing is from the future.
pub const BEGIN_MS: i64 = 1_704_067_200_000;
/// The device and label of events whose only end is to move the watermark beyond all others.
pub const CLOSER: &str = "closer";

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A flow, and what a calculation needs of it.
#[derive(Clone, Debug)]
pub struct Event {
    pub at_ms: i64,
    pub device: String,
    pub label: String,
    pub fields: BTreeMap<&'static str, f64>,
    pub line: String,
}

/// The fields that windows are made of.
const FIELDS: [&str; 4] = ["Rate", "Header_Length", "Tot sum", "Variance"];

/// The events of each partition, in the order of their offsets.
pub type Partitions = Vec<Vec<Event>>;

/// `rows` flows at 200 a second. Most are up to a second out of order, some come 8 s late, few come 2 minutes late.
pub fn flows(rows: usize, partitions: usize, seed: u64) -> Partitions {
    let mut random = Random(seed);
    let recorded = recorded();
    let mut made: Partitions = vec![Vec::new(); partitions];
    for row in 0..rows {
        let behind = match row {
            row if row % 499 == 498 => 120_000,
            row if row % 97 == 96 => 8_000,
            _ => random.below(1000) as i64,
        };
        let device = random.below(50) as usize;
        let level = 1e9 + (random.below(4_000_000) as f64) / 1e6;
        let at_ms = BEGIN_MS + row as i64 * 5 - behind;
        let (label, fields, tail) = &recorded[random.below(recorded.len() as u64) as usize];
        made[device % partitions].push(event(at_ms, &format!("device-{device:02}"), label, level, fields, tail));
    }
    made
}

/// One event for each partition, 10 minutes after the last of `rows` flows: all their windows close.
pub fn closers(rows: usize, partitions: usize) -> Partitions {
    let (_, fields, _) = &recorded()[0];
    let at_ms = BEGIN_MS + rows as i64 * 5 + 600_000;
    (0..partitions).map(|_| vec![event(at_ms, CLOSER, CLOSER, 1.0, fields, "")]).collect()
}

fn event(at_ms: i64, device: &str, label: &str, level: f64, fields: &Fields, tail: &str) -> Event {
    let mut line = format!(r#"{{"ts":{at_ms},"device":"{device}","level":{level:?}{tail}"#);
    if tail.is_empty() {
        line.push_str(&format!(r#","label":"{label}"}}"#));
    }
    let mut fields = fields.clone();
    fields.insert("level", level);
    Event { at_ms, device: device.to_owned(), label: label.to_owned(), fields, line }
}

/// The same flow once more: this much earlier, and with another reading.
pub fn again(event: &Event, behind_ms: i64, level: f64) -> Event {
    let tail = event.line.find(r#","Header_Length""#).unwrap();
    let fields = event.fields.iter().filter(|(name, _)| **name != "level").map(|(name, value)| (*name, *value));
    let fields: Fields = fields.collect();
    self::event(event.at_ms - behind_ms, &event.device, &event.label, level, &fields, &event.line[tail..])
}

type Fields = BTreeMap<&'static str, f64>;

/// The label, the fields and the text behind the device of each recorded flow.
fn recorded() -> Vec<(String, Fields, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/iomt-flows.ndjson");
    let text = std::fs::read_to_string(path).unwrap();
    let flow = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = FIELDS.map(|field| (field, value[field].as_f64().unwrap()));
        let tail = line.find(r#","Header_Length""#).unwrap();
        (value["label"].as_str().unwrap().to_owned(), fields.into(), line[tail..].to_owned())
    };
    text.lines().map(flow).collect()
}

/// The flows of each partition cut in `parts` of about the same length.
pub fn cut(partitions: &Partitions, parts: usize) -> Vec<Partitions> {
    let part = |part: usize| {
        let of = |events: &Vec<Event>| {
            let (from, to) = (events.len() * part / parts, events.len() * (part + 1) / parts);
            events[from..to].to_vec()
        };
        partitions.iter().map(of).collect()
    };
    (0..parts).map(part).collect()
}

/// One after the other.
pub fn joined(parts: &[Partitions]) -> Partitions {
    let partitions = parts[0].len();
    (0..partitions).map(|partition| parts.iter().flat_map(|part| part[partition].clone()).collect()).collect()
}

/// Writes a file for each partition, named in their order.
pub fn record(partitions: &Partitions, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (partition, events) in partitions.iter().enumerate() {
        let text: String = events.iter().map(|event| event.line.clone() + "\n").collect();
        std::fs::write(folder.join(format!("flows-{partition}.ndjson")), text).unwrap();
    }
}
