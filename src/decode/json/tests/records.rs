//! Random records, from a seed: valid objects in several layouts, and the same with bytes changed.

/// A small generator of random numbers (splitmix64): the same seed gives the same records everywhere.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

/// The keys that the decoder under test wants are among these.
const KEYS: [&str; 20] = [
    "Rate",
    "x",
    "Header_Length_in_bytes",
    "n",
    "device",
    "a label of more than sixteen bytes",
    "ok",
    "m",
    "y",
    "deep",
    "kéy",
    "k\\u00e9y",
    "",
    "an other label of more than sixteen bytes",
    "\\u0052ate",
    "quote\\\"Rate",
    "Header_Length",
    "b",
    "z1",
    "c\\\\",
];

const NUMBERS: [&str; 32] = [
    "0",
    "-0",
    "-0.0",
    "0.0",
    "1.0",
    "1e5",
    "1E-5",
    "-2e+3",
    "0e0",
    "5e-324",
    "2.2250738585072011e-308",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "9007199254740993",
    "9007199254740992.5",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1e1",
    "1e22",
    "1e23",
    "0.000000000000000000000000000001",
    "1.00000000000000011102230246251565404236316680908203125",
    "1.00000000000000011102230246251565404236316680908203124",
    "3.0",
    "1e400",
    "-1e-400",
    "100000000000000000000000000000000000000000e-41",
    "1700000000123.75",
];

/// A number of any form that JSON has.
pub(super) fn number(random: &mut Random) -> String {
    let between = |random: &mut Random, from: u64, count: usize| {
        let exponent = from + random.below(count) as u64;
        f64::from_bits(random.next() & !(0x7ff << 52) | exponent << 52)
    };
    match random.below(12) {
        0 => random.below(1000).to_string(),
        1 => (random.next() as i64).to_string(),
        2 => format!("{:?}", between(random, 0, 0x7ff)),
        3 => format!("{}", between(random, 1003, 40)),
        4 => random.pick(&NUMBERS).into(),
        5 => {
            let sign = random.pick(&["", "", "", "-"]);
            let (first, whole, fraction) = (1 + random.below(9), random.below(25), 1 + random.below(25));
            let mut text = format!("{sign}{first}{}", random.digits(whole));
            if random.below(2) == 0 {
                text += &format!(".{}", random.digits(fraction));
            }
            if random.below(4) == 0 {
                text += &format!("e{}", random.below(640) as i32 - 320);
            }
            text
        }
        6 => format!("0.{}{}", "0".repeat(random.below(12)), random.next() >> random.below(60)),
        7 => format!("{:.2}", random.below(100_000) as f64 / 100.0),
        8 => format!("{:e}", between(random, 900, 200)),
        9 => format!("-{}.{}", random.below(300), random.below(300)),
        10 => (1_700_000_000_000 + random.below(100_000)).to_string(),
        _ => format!("{}", between(random, 1000, 60)),
    }
}

fn string(random: &mut Random) -> String {
    const PARTS: [&str; 24] = [
        "a",
        "dev-0001",
        "é",
        "日本",
        "😀",
        "\\n",
        "\\\\",
        "\\\"",
        "\\u0041",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\/",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        " ",
        "true",
        "12.5",
        "\\u00e9",
        "\u{7f}",
        "'",
    ];
    let many = if random.below(8) == 0 { random.below(40) } else { 0 };
    let count = random.below(3) + many;
    let text: String = (0..count).map(|_| random.pick(&PARTS)).collect();
    format!("\"{text}\"")
}

fn value(random: &mut Random, depth: usize) -> String {
    match random.below(if depth > 3 { 8 } else { 11 }) {
        0..4 => number(random),
        4 => string(random),
        5 => random.pick(&["true", "false", "null"]).into(),
        6 => format!("\"{}\"", number(random)),
        7 => random.pick(&["\"x\"", "1", "0", "\"true\"", "\"1\"", "\" 1\""]).into(),
        8 => {
            let blank = random.pick(&["", "", " "]);
            let elements: Vec<String> = (0..random.below(4)).map(|_| value(random, depth + 1)).collect();
            format!("[{blank}{}]", elements.join(&format!(",{blank}")))
        }
        _ => {
            let keys: Vec<&str> = (0..random.below(6)).map(|_| random.pick(&KEYS)).collect();
            object(random, depth + 1, &keys, false)
        }
    }
}

/// An object with these keys; `typed`: mostly with values that they are wanted with.
fn object(random: &mut Random, depth: usize, keys: &[&str], typed: bool) -> String {
    let compact = (",", ":", "{", "}");
    let layouts = [compact, (", ", ": ", "{", "}"), (",\n  ", " : ", "{\n  ", "\n}"), compact];
    let (comma, colon, open, close) = random.pick(&layouts);
    let mut member = |key: &str| {
        let text = match key {
            _ if !typed || random.below(6) == 0 => value(random, depth),
            "device" | "y" => string(random),
            "ok" => "true".into(),
            "n" => (random.next() as i32).to_string(),
            "m" => object(random, 1, &["deep", "y"], true),
            "deep" => object(random, 2, &["x"], true),
            _ => number(random),
        };
        format!("\"{key}\"{colon}{text}")
    };
    let members: Vec<String> = keys.iter().map(|key| member(key)).collect();
    format!("{open}{}{close}", members.join(comma))
}

/// A record; every second one has been damaged.
pub(super) fn record(random: &mut Random) -> Vec<u8> {
    let forms: [&[&str]; 5] = [
        &["Rate", "x", "b", "n", "device", "ok", "Header_Length_in_bytes"],
        &["device", "b", "Rate", "a label of more than sixteen bytes", "x"],
        &["m", "Rate"],
        &["Rate", "b", "Rate"],
        &["Rate"],
    ];
    let form = random.pick(&forms);
    let text = match random.below(10) {
        0 => value(random, 0),
        1 => {
            let keys: Vec<&str> = (0..random.below(6)).map(|_| random.pick(&KEYS)).collect();
            object(random, 0, &keys, false)
        }
        _ => object(random, 0, form, true),
    };
    let mut record = text.into_bytes();
    if random.below(2) == 0 {
        for _ in 0..1 + random.below(3) {
            damage(random, &mut record);
        }
    }
    record
}

/// Changes, inserts, removes, cuts or copies bytes.
fn damage(random: &mut Random, record: &mut Vec<u8>) {
    const BYTES: &[u8] = b"\"\\,:{}[] \n019-+.eEtn\x01\x0c\x1a\x80\xffu/x";
    let length = record.len();
    if length == 0 {
        return;
    }
    let (at, byte) = (random.below(length), random.pick(BYTES));
    match random.below(7) {
        0 => record[at] = byte,
        1 => record.insert(at, byte),
        2 => drop(record.remove(at)),
        3 => record.truncate(at),
        4 => {
            let part = record[at..(at + random.below(20)).min(length)].to_vec();
            let to = random.below(length);
            record.splice(to..to, part);
        }
        5 => record[at] = random.next() as u8,
        _ => drop(record.drain(at..(at + random.below(4)).min(length))),
    }
}
