//! Against the oracle: the same records accepted, the same values to the last bit; whatever the backend, the batch and what came before.
//! `DECODE_ROUNDS` and `DECODE_SEED` in the environment make it a longer search.

use super::records::{Random, number, record};
use super::*;

fn wanted() -> Vec<FieldSpec> {
    [
        ("Rate", FieldKind::Float),
        ("x", FieldKind::Float),
        ("Header_Length_in_bytes", FieldKind::Float),
        ("n", FieldKind::Int),
        ("device", FieldKind::Text),
        ("a label of more than sixteen bytes", FieldKind::Text),
        ("ok", FieldKind::Bool),
        ("m/deep/x", FieldKind::Float),
        ("m/y", FieldKind::Text),
        ("kéy", FieldKind::Float),
    ]
    .into_iter()
    .map(|(name, kind)| field(name, kind))
    .collect()
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The records one by one, each in a buffer that ends with it.
fn decode_apart(decoder: &mut JsonDecoder, records: &[Vec<u8>]) -> Vec<String> {
    let one = |(index, record): (usize, &Vec<u8>)| {
        let mut raw = raw(std::slice::from_ref(record));
        raw.offsets = Offsets::Dense { first: Offset(100 + index as i64) };
        outcomes(&raw, &decoder.decode(&raw, "")).remove(0)
    };
    records.iter().enumerate().map(one).collect()
}

#[test]
fn the_decoder_agrees_with_serde_json() {
    let (rounds, seed) = (from_environment("DECODE_ROUNDS", 400), from_environment("DECODE_SEED", 1));
    let specs = wanted();
    let schema = schema(specs.clone());
    let backends = Backend::available();
    let mut decoders: Vec<JsonDecoder> =
        backends.iter().map(|backend| JsonDecoder::with_backend(&schema, *backend).unwrap()).collect();
    let mut accepted = 0;
    for round in 0..rounds {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let records: Vec<Vec<u8>> = (0..64).map(|_| record(&mut random)).collect();
        let batch = raw(&records);
        let mut found = Vec::new();
        for (decoder, backend) in decoders.iter_mut().zip(&backends) {
            let together = outcomes(&batch, &decoder.decode(&batch, ""));
            let apart = decode_apart(decoder, &records);
            for (known, what) in [(&together, "together"), (&apart, "apart")] {
                if found.is_empty() {
                    found = known.clone();
                }
                assert_eq!(known, &found, "seed {seed}, round {round}, {backend:?}, {what}");
            }
        }
        for ((index, record), outcome) in records.iter().enumerate().zip(&found) {
            let oracle =
                oracle::fields(record, &specs).map(|fields| format!("{}|\"\"|{}", 100 + index, fields.join("|")));
            let text = String::from_utf8_lossy(record);
            match oracle {
                Ok(event) => {
                    assert_eq!(outcome, &event, "seed {seed}, round {round}, record {index}: {text}");
                    accepted += 1;
                }
                Err(fault) => {
                    assert!(
                        !outcome.contains('|'),
                        "seed {seed}, round {round}, record {index}: {text}\n{fault}\n{outcome}"
                    )
                }
            }
        }
    }
    assert!(accepted as u64 > rounds * 64 / 5, "{accepted} records accepted");
}

#[test]
fn floats_are_the_nearest_doubles() {
    let mut random = Random(from_environment("DECODE_SEED", 7));
    for _ in 0..from_environment("DECODE_ROUNDS", 400) / 40 {
        let numbers: Vec<String> = (0..10_000).map(|_| number(&mut random)).collect();
        let records: Vec<String> = numbers.iter().map(|number| format!("{{\"x\":{number}}}")).collect();
        let outcomes = decode(&schema([field("x", FieldKind::Float)]), &raw(&records));
        for ((index, number), outcome) in numbers.iter().enumerate().zip(&outcomes) {
            let float: f64 = number.parse().unwrap();
            let wanted = if float.is_finite() {
                format!("{}|\"file.ndjson\"|{:?}", 100 + index, float + 0.0)
            } else {
                "out_of_range x".into()
            };
            assert_eq!(outcome, &wanted, "{number}");
        }
    }
}

/// Every construct across every edge of a 64-byte block, with a fault at every one of its bytes.
#[test]
fn no_construct_and_no_fault_is_lost_at_an_edge() {
    let specs = vec![field("x", FieldKind::Float), field("t", FieldKind::Text), field("ok", FieldKind::Bool)];
    let schema = schema(specs.clone());
    let constructs = [
        r#""x":-123.4500e-10,"t":"a\\\"b\u0041\ud83d\ude00é""#,
        r#""ok":true,"b":false,"c":null,"x":10"#,
        r#""m":{"x":[1,2,{"y":[]}]} , "x":"0.5""#,
    ];
    for construct in constructs {
        let mut records = Vec::new();
        for shift in 40..110 {
            let whole = format!("{{\"{}\":0,{construct}}}", "p".repeat(shift)).into_bytes();
            for at in whole.len() - construct.len() - 1..whole.len() {
                for byte in *b"\"\\,0.e-{ \x1f" {
                    let mut damaged = whole.clone();
                    damaged[at] = byte;
                    records.push(damaged);
                }
                records.push(whole[..at].to_vec());
            }
            records.push(whole);
        }
        let outcomes = decode(&schema, &raw(&records));
        for (index, (record, outcome)) in records.iter().zip(&outcomes).enumerate() {
            let oracle = oracle::fields(record, &specs).ok();
            let wanted = oracle.map(|fields| format!("{}|\"file.ndjson\"|{}", 100 + index, fields.join("|")));
            let event = outcome.contains('|').then(|| outcome.clone());
            assert_eq!(event, wanted, "{}", String::from_utf8_lossy(record));
        }
    }
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn cutting_batches_elsewhere_changes_nothing(seed in any::<u64>(), cuts in prop::collection::vec(1usize..20, 1..20)) {
            let mut random = Random(seed);
            let records: Vec<Vec<u8>> = (0..cuts.iter().sum()).map(|_| record(&mut random)).collect();
            let schema = schema(wanted());
            let whole = raw(&records);
            let wanted = outcomes(&whole, &JsonDecoder::new(&schema).unwrap().decode(&whole, ""));
            let mut decoder = JsonDecoder::new(&schema).unwrap();
            let (mut found, mut from) = (Vec::new(), 0);
            for cut in cuts {
                let mut part = raw(&records[from..from + cut]);
                part.offsets = Offsets::Sparse((from..from + cut).map(|index| 100 + index as i64).collect());
                found.extend(outcomes(&part, &decoder.decode(&part, "")));
                from += cut;
            }
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn no_bytes_bring_the_decoder_down(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let batch = raw(&[bytes]);
            let decoded = JsonDecoder::new(&schema(wanted())).unwrap().decode(&batch, "");
            prop_assert_eq!(outcomes(&batch, &decoded).len(), 1);
        }
    }
}
