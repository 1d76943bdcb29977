//! Keeps the house in order: the ladder of modules, who may hold which crate, how long files and functions may be.
//!
//! Each rule has its reason in `ARCHITECTURE.md` or `CONTRIBUTING.md`. A finding names file and line. The rules read the
//! code without its comments and texts; what a macro makes of it they cannot see.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::path::{Path, PathBuf};

/// From the top. A module imports only from rungs below its own.
const LADDER: [&[&str]; 10] = [
    &["cli"],
    &["settings"],
    &["pipeline", "training", "audit", "serve"],
    &["sources", "decode", "windows", "scoring", "alerts", "views", "sinks"],
    &["stage"],
    &["models"],
    &["checkpoint"],
    &["storage", "broker"],
    &["observe"],
    &["domain"],
];

/// A crate, and the modules that may hold it.
const HOLDERS: [(&str, &[&str]); 14] = [
    ("object_store", &["storage"]),
    ("rdkafka", &["broker", "sources", "sinks"]),
    ("rdkafka_sys", &["broker", "sources", "sinks"]),
    ("timely", &["pipeline", "views"]),
    ("differential_dataflow", &["pipeline", "views"]),
    ("candle_core", &["scoring", "training"]),
    ("candle_nn", &["scoring", "training"]),
    ("axum", &["serve"]),
    ("prometheus_client", &["observe"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("anyhow", &["cli"]),
    ("indicatif", &["cli"]),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;
const NAMES_NOT_UNDERSTOOD: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "manager", "processor"];

/// Spelled in halves, so that this file does not find itself.
const UNFINISHED: [(&str, &str); 3] = [("todo", "!("), ("unimplemented", "!("), ("#[ign", "ore")];

/// A file of the project.
struct Source {
    /// Relative to the project, with slashes.
    path: String,
    text: String,
    /// The text with comments, texts and characters blanked; lines and columns stay.
    code: String,
    /// Where the tests at its end begin, else its length.
    tests_at: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let code = blanked(text);
        let tests_at = match path.ends_with("tests.rs") || path.starts_with("tests/") || path.contains("/tests/") {
            true => 0,
            false => code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len()),
        };
        Source { path: path.to_owned(), text: text.to_owned(), code, tests_at }
    }

    /// The module at the top: `windows` for `src/windows/spec.rs` and for `src/windows.rs`.
    fn module(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "main").then_some(name)
    }

    fn finding(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.code[..at].matches('\n').count() + 1)
    }
}

/// Blanks what is no code, byte for byte.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = end_of_no_code(bytes, at);
        if end > at {
            code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end.max(at + 1);
    }
    // Only whole characters inside of comments and texts are blanked, so nothing else can have been torn.
    String::from_utf8(code).unwrap()
}

/// The end of the comment, text or character that begins here; `at` itself where none does.
fn end_of_no_code(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let until = |mark: &[u8], from: usize| {
        rest[from..]
            .windows(mark.len())
            .position(|window| window == mark)
            .map_or(bytes.len(), |found| at + from + found)
    };
    let follows_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => until(b"\n", 2),
        [b'/', b'*', ..] => (until(b"*/", 2) + 2).min(bytes.len()),
        [b'r', b'"' | b'#', ..] | [b'b', b'r', b'"' | b'#', ..] if !follows_name => {
            let begin = rest.iter().position(|byte| *byte == b'r').unwrap() + 1;
            let hashes = rest[begin..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(begin + hashes) != Some(&b'"') {
                return at;
            }
            let mark: Vec<u8> = [b'"'].into_iter().chain(std::iter::repeat_n(b'#', hashes)).collect();
            (until(&mark, begin + hashes + 1) + mark.len()).min(bytes.len())
        }
        [b'"', ..] => at + closing(rest, b'"'),
        // A lifetime has no closing quote after one character.
        [b'\'', b'\\', ..] => at + closing(rest, b'\''),
        [b'\'', first, ..] => {
            let width = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

/// The length of a quoted thing that begins with its quote and may hold escapes.
fn closing(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"] {
        collect(&project().join(folder), &mut found);
    }
    found.sort();
    let read = |path: &PathBuf| {
        let shown = path.strip_prefix(project()).unwrap().to_str().unwrap().replace('\\', "/");
        Source::new(&shown, &std::fs::read_to_string(path).unwrap())
    };
    found.iter().map(read).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Applies a rule to every file.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the project's files were not found");
    let findings: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn rung(module: &str) -> Option<usize> {
    LADDER.iter().position(|rung| rung.contains(&module))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a whole word stands.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(at + word.len()).copied();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// The modules that are named behind `crate::`, each with its place; `crate::{a, b::c}` names two.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        let Some(behind) = code[at + 5..].trim_start().strip_prefix("::") else { continue };
        let behind = behind.trim_start();
        match behind.strip_prefix('{') {
            Some(group) => found.extend(first_names(group).into_iter().map(|name| (at, name))),
            None => found.push((at, behind.bytes().take_while(|byte| is_name(*byte)).map(char::from).collect())),
        }
    }
    found
}

/// The first name of each item of a group, up to the brace that closes it.
fn first_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut is_first) = (vec![String::new()], 0, true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(String::new());
                is_first = true;
            }
            c if depth == 0 && is_first && (c.is_alphanumeric() || c == '_') => names.last_mut().unwrap().push(c),
            c if !c.is_whitespace() => is_first = false,
            _ => {}
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

fn off_the_ladder(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own) = rung(module) else {
        return vec![format!("{}:1: the module `{module}` stands on no rung of the ladder", source.path)];
    };
    let judge = |(at, other): (usize, String)| {
        let is_below = rung(&other).is_some_and(|rung| rung > own);
        let what = format!("`{module}` imports `{other}`, which is not on a rung below its own");
        (other != module && !is_below).then(|| source.finding(at, &what))
    };
    imports(&source.code).into_iter().filter_map(judge).collect()
}

fn held_without_right(source: &Source) -> Vec<String> {
    // Tests talk to a broker and a store as strangers do.
    let Some(module) = source.module() else { return Vec::new() };
    let code = &source.code[..source.tests_at];
    let foreign = HOLDERS.iter().filter(|(_, holders)| !holders.contains(&module));
    let uses = foreign.flat_map(|(name, holders)| {
        let path = |at: &usize| {
            let behind = source.code[at + name.len()..].trim_start();
            let before = source.code[..*at].trim_end();
            let is_import = before.ends_with("use") || before.ends_with("extern crate");
            (behind.starts_with("::") && !before.ends_with("::")) || is_import
        };
        words(code, name)
            .filter(path)
            .map(|at| source.finding(at, &format!("`{name}` is held by {} alone", holders.join(" and "))))
            .collect::<Vec<_>>()
    });
    uses.collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let mut findings = Vec::new();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{}:1: {lines} lines; a file has at most {FILE_LINES_MAX}", source.path));
    }
    for at in words(&source.code[..source.tests_at], "fn") {
        let Some(lines) = lines_of_function(&source.code[at..]) else { continue };
        if lines > FUNCTION_LINES_MAX {
            let what = format!("a function of {lines} lines; it has at most {FUNCTION_LINES_MAX}");
            findings.push(source.finding(at, &what));
        }
    }
    findings
}

/// From the signature to the brace that closes the body; `None` for a type or a declaration without a body.
fn lines_of_function(code: &str) -> Option<usize> {
    let name = code[2..].trim_start();
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let (mut depth, mut is_inside, mut brackets) = (0usize, false, 0usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if !is_inside && brackets == 0 => return None,
            '{' => (depth, is_inside) = (depth + 1, true),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && is_inside {
                    return Some(code[..at].matches('\n').count() + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn unfinished(source: &Source) -> Vec<String> {
    let spelled = UNFINISHED.map(|(front, back)| format!("{front}{back}"));
    let found = spelled.iter().flat_map(|word| source.code.match_indices(word.as_str()));
    found.map(|(at, word)| source.finding(at, &format!("`{word}` has no place in finished work"))).collect()
}

fn badly_opened(source: &Source) -> Vec<String> {
    let is_opened = source.text.starts_with("//!");
    let finding = format!("{}:1: a file opens with `//!` and says what it is for", source.path);
    (!is_opened).then_some(finding).into_iter().collect()
}

fn badly_named(source: &Source) -> Vec<String> {
    let parts = source.path.split('/').map(|part| part.trim_end_matches(".rs"));
    let bad = parts.filter(|part| NAMES_NOT_UNDERSTOOD.contains(part));
    bad.map(|part| format!("{}:1: `{part}` names no idea", source.path)).collect()
}

#[test]
fn a_module_imports_only_from_rungs_below_its_own() {
    check(off_the_ladder);
}

#[test]
fn a_crate_that_is_held_by_few_is_held_by_no_others() {
    check(held_without_right);
}

#[test]
fn files_and_functions_stay_short() {
    check(too_long);
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    check(unfinished);
}

#[test]
fn every_file_says_what_it_is_for() {
    check(badly_opened);
}

#[test]
fn every_file_is_named_after_an_idea() {
    check(badly_named);
}

#[test]
fn the_rules_find_what_they_forbid() {
    let source = |text: &str| Source::new("src/windows/a.rs", text);
    let sideways =
        source("//! A.\nuse crate::{domain::ids, sources::{Read, Partition}};\nfn a() -> crate::cli::B { }\n");
    assert_eq!(
        off_the_ladder(&sideways),
        [
            "src/windows/a.rs:2: `windows` imports `sources`, which is not on a rung below its own",
            "src/windows/a.rs:3: `windows` imports `cli`, which is not on a rung below its own",
        ]
    );
    let foreign = source("use object_store::path::Path;\nfn f() { timely::execute() }\nuse anyhow;\nmod timely;\n");
    assert_eq!(held_without_right(&foreign).len(), 3);
    let quoted =
        source("// use crate::cli;\nconst A: &str = \"use crate::cli; \\\" timely::x\";\nconst B: char = '\"';\n");
    assert_eq!(off_the_ladder(&quoted).len() + held_without_right(&quoted).len(), 0);
    let long = source(&format!("fn long<'a>() {{\n{}}}\n", "    one();\n".repeat(59)));
    assert_eq!(too_long(&long), ["src/windows/a.rs:1: a function of 61 lines; it has at most 60"]);
    let raw = source(&format!("const T: &str = r#\"{} \"x\" fn\"#;\nfn short() {{}}\n", "{".repeat(3)));
    assert!(too_long(&raw).is_empty());
    assert_eq!(unfinished(&source(&format!("fn a() {{ {}{}) }}", UNFINISHED[0].0, UNFINISHED[0].1))).len(), 1);
    assert_eq!(badly_opened(&source("use std;\n")).len(), 1);
    assert_eq!(badly_named(&Source::new("src/windows/utils.rs", "")).len(), 1);
}
