//! How fast do JSON records become event batches, on each set of instructions? Bytes a second on seeded network flows of 41 fields, about
//! 700 bytes each: 4 floats, a label and a time wanted of them (`six`); 31 floats, a device and a time (`many`); and `six` with the keys
//! in a new order in each record (`shuffled`).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidewatch::decode::json::{Backend, JsonDecoder};
use tidewatch::domain::ids::{Offset, PartitionId};
use tidewatch::domain::raw::{Form, Offsets, RawBatch};
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeFormat, TimeSource};

const ROWS: usize = 16 * 4096;
const BATCH_ROWS: usize = 4096;

/// Measures, with many digits or with few, and flags.
const MEASURES: [&str; 8] = ["Rate", "Srate", "AVG", "Std", "Variance", "IAT", "Header_Length", "Tot size"];
const SIZES: [&str; 7] = ["Tot sum", "Protocol Type", "Duration", "Drate", "Min", "Max", "Number"];
const FLAGS: [&str; 24] = [
    "fin_flag_number",
    "syn_flag_number",
    "rst_flag_number",
    "psh_flag_number",
    "ack_flag_number",
    "ece_flag_number",
    "cwr_flag_number",
    "ack_count",
    "syn_count",
    "fin_count",
    "rst_count",
    "HTTP",
    "HTTPS",
    "DNS",
    "Telnet",
    "SMTP",
    "SSH",
    "IRC",
    "TCP",
    "UDP",
    "DHCP",
    "ARP",
    "ICMP",
    "IGMP",
];
const LABELS: [&str; 4] = ["Benign", "DDoS-ICMP_Flood", "MQTT-DoS-Connect_Flood", "Recon-PortScan"];

/// Splitmix64: the same flows on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn flow(random: &mut Random, index: usize, is_shuffled: bool) -> String {
    let mut members: Vec<String> = Vec::with_capacity(42);
    members.extend(MEASURES.iter().map(|name| format!("\"{name}\":{:?}", random.unit() * 1000.0)));
    members.extend(SIZES.iter().map(|name| format!("\"{name}\":{:.1}", random.unit() * 500.0)));
    members.extend(FLAGS.iter().map(|name| format!("\"{name}\":{:.1}", f64::from(random.below(8) == 0))));
    members.push(format!("\"label\":\"{}\"", LABELS[random.below(LABELS.len())]));
    members.push(format!("\"device\":\"dev-{:04}\"", random.below(100)));
    members.push(format!("\"ts\":{}", 1_700_000_000_000 + index));
    if is_shuffled {
        for last in (1..members.len()).rev() {
            members.swap(last, random.below(last + 1));
        }
    }
    format!("{{{}}}\n", members.join(","))
}

fn batches(is_shuffled: bool) -> Vec<RawBatch> {
    let mut random = Random(1);
    let batch = |number: usize| {
        let rows = number * BATCH_ROWS..(number + 1) * BATCH_ROWS;
        let (mut bytes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows.clone() {
            starts.push(bytes.len() as u32);
            bytes.extend_from_slice(flow(&mut random, row, is_shuffled).as_bytes());
            ends.push(bytes.len() as u32 - 1);
        }
        RawBatch {
            partition: PartitionId(0),
            form: Form::Objects,
            bytes,
            starts,
            ends,
            offsets: Offsets::Dense { first: Offset(rows.start as i64) },
            received: None,
            keys: None,
            tombstones: Vec::new(),
        }
    };
    (0..ROWS / BATCH_ROWS).map(batch).collect()
}

fn schema(floats: &[&str], key: &str) -> EventSchema {
    let field = |name: &&str| FieldSpec {
        name: (*name).to_owned(),
        kind: FieldKind::Float,
        path: vec![(*name).to_owned()],
        default: None,
        required: false,
        missing_as: None,
    };
    EventSchema {
        time: TimeSource::Fields { paths: vec![vec!["ts".into()]], format: TimeFormat::UnixMillis },
        key: KeySource::Field(vec![key.into()]),
        fields: floats.iter().map(field).collect(),
        record_bytes_max: 1 << 20,
    }
}

fn decode(criterion: &mut Criterion) {
    let six = schema(&["Rate", "Header_Length", "Tot sum", "Variance"], "label");
    let many: Vec<&str> = MEASURES.iter().chain(&SIZES).chain(&FLAGS[..16]).copied().collect();
    let many = schema(&many, "device");
    let (in_order, shuffled) = (batches(false), batches(true));
    for (name, schema, batches) in [("six", &six, &in_order), ("many", &many, &in_order), ("shuffled", &six, &shuffled)]
    {
        let mut group = criterion.benchmark_group(format!("decode/{name}"));
        group.throughput(Throughput::Bytes(batches.iter().map(|batch| batch.bytes.len() as u64).sum()));
        group.sample_size(20);
        for backend in Backend::available() {
            let mut decoder = JsonDecoder::with_backend(schema, backend).expect("the backend is available");
            group.bench_function(BenchmarkId::from_parameter(format!("{backend:?}")), |bencher| {
                bencher.iter(|| {
                    for batch in batches {
                        let decoded = decoder.decode(batch, "flows.ndjson");
                        assert_eq!(decoded.events.len(), batch.len());
                        black_box(decoded);
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
