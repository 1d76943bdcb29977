//! Writes seeded IoMT network flows as NDJSON: one file a partition, devices spread over partitions, a little disorder.
//!
//! ```sh
//! cargo run --release --example flows -- --rows 2000000 --partitions 8 --devices 200 --seed 7 --to flows/
//! ```
//! The same arguments give the same bytes. `--rows 1000 --partitions 1 --to -` writes to standard output,
//! `--to kafka://localhost:9092/iomt-flows` to the partitions of a topic that exists.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// The numeric fields of a flow, in the order in which CICIoT2023 has them, with the size of a typical value.
const FIELDS: [(&str, f64); 39] = [
    ("Header_Length", 30.0),
    ("Protocol Type", 17.0),
    ("Time_To_Live", 64.0),
    ("Rate", 20_000.0),
    ("fin_flag_number", 1.0),
    ("syn_flag_number", 1.0),
    ("rst_flag_number", 1.0),
    ("psh_flag_number", 1.0),
    ("ack_flag_number", 1.0),
    ("ece_flag_number", 1.0),
    ("cwr_flag_number", 1.0),
    ("ack_count", 10.0),
    ("syn_count", 10.0),
    ("fin_count", 10.0),
    ("rst_count", 10.0),
    ("HTTP", 1.0),
    ("HTTPS", 1.0),
    ("DNS", 1.0),
    ("Telnet", 1.0),
    ("SMTP", 1.0),
    ("SSH", 1.0),
    ("IRC", 1.0),
    ("TCP", 1.0),
    ("UDP", 1.0),
    ("DHCP", 1.0),
    ("ARP", 1.0),
    ("ICMP", 1.0),
    ("IGMP", 1.0),
    ("IPv", 1.0),
    ("LLC", 1.0),
    ("Tot sum", 5_000.0),
    ("Min", 60.0),
    ("Max", 500.0),
    ("AVG", 120.0),
    ("Std", 80.0),
    ("Tot size", 120.0),
    ("IAT", 0.01),
    ("Number", 10.0),
    ("Variance", 9_000.0),
];
const LABELS: [&str; 6] = ["Benign", "DDoS", "DoS", "Mirai", "Recon", "Spoofing"];
/// 2026-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

struct Arguments {
    rows: u64,
    partitions: u64,
    devices: u64,
    seed: u64,
    rows_per_second: f64,
    to: String,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        rows: 100_000,
        partitions: 1,
        devices: 100,
        seed: 1,
        rows_per_second: 10_000.0,
        to: "-".to_owned(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|fault| format!("{word} {value}: {fault}"));
        match word.as_str() {
            "--rows" => parsed.rows = number()?,
            "--partitions" => parsed.partitions = number()?.max(1),
            "--devices" => parsed.devices = number()?.max(1),
            "--seed" => parsed.seed = number()?,
            "--rate" => parsed.rows_per_second = number()? as f64,
            "--to" => parsed.to = value,
            _ => return Err(format!("{word} is not one of --rows --partitions --devices --seed --rate --to")),
        }
    }
    Ok(parsed)
}

/// One flow. Benign ones are small and even; attacks are fast and long.
fn flow(random: &mut Random, at_ms: i64, device: u64, out: &mut impl Write) -> io::Result<()> {
    let label = if random.below(10) < 6 { 0 } else { 1 + random.below(LABELS.len() as u64 - 1) as usize };
    write!(out, "{{\"ts\":{at_ms},\"device\":\"device-{device:04}\"")?;
    for (name, size) in FIELDS {
        let value = if size <= 1.0 && name != "IAT" {
            random.below(11) as f64 / 10.0
        } else {
            size * (0.5 + random.unit()) * if label == 0 { 1.0 } else { 2.0 + label as f64 }
        };
        let value = (value * 1e4).round() / 1e4;
        write!(out, ",\"{name}\":{value:?}")?;
    }
    writeln!(out, ",\"label\":\"{}\"}}", LABELS[label])
}

/// A line is a record of one partition.
struct ToPartition {
    producer: BaseProducer,
    topic: String,
    partition: i32,
    line: Vec<u8>,
}

impl ToPartition {
    fn new(place: &str, partition: u64) -> Result<ToPartition, Box<dyn std::error::Error>> {
        let (brokers, topic) = place.split_once('/').ok_or("--to kafka:// wants brokers/topic")?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "20").set("enable.idempotence", "true");
        let (producer, partition) = (config.create()?, i32::try_from(partition)?);
        Ok(ToPartition { producer, topic: topic.to_owned(), partition, line: Vec::new() })
    }
}

impl Write for ToPartition {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while self.line.ends_with(b"\n") {
            let payload = &self.line[..self.line.len() - 1];
            let record = BaseRecord::<(), [u8]>::to(&self.topic).partition(self.partition).payload(payload);
            match self.producer.send(record) {
                Ok(()) => self.line.clear(),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(io::Error::other(error)),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.producer.flush(Duration::from_secs(60)).map_err(io::Error::other)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { rows, partitions, devices, seed, rows_per_second, to } = arguments()?;
    let mut random = Random(seed);
    let mut outputs: Vec<Box<dyn Write>> = Vec::new();
    for partition in 0..partitions {
        outputs.push(if to == "-" {
            Box::new(BufWriter::new(io::stdout()))
        } else if let Some(place) = to.strip_prefix("kafka://") {
            Box::new(ToPartition::new(place, partition)?)
        } else {
            std::fs::create_dir_all(&to)?;
            let path = Path::new(&to).join(format!("flows-{partition}.ndjson"));
            Box::new(BufWriter::with_capacity(1 << 20, File::create(path)?))
        });
    }
    for row in 0..rows {
        let disorder = random.below(1000) as i64;
        let at_ms = BEGIN_MS + (row as f64 * 1000.0 / rows_per_second) as i64 - disorder;
        let device = random.below(devices);
        flow(&mut random, at_ms, device, &mut outputs[(device % partitions) as usize])?;
    }
    for mut output in outputs {
        output.flush()?;
    }
    Ok(())
}
