//! Any JSON object, token by token: the grammar between the tokens, and where the wanted values start.
//!
//! Of two equal keys the last wins, and a repeated parent object clears what the earlier one gave. No recursion: a record's depth costs
//! neither stack nor memory.

use super::paths::{NONE, Paths};
use super::string::unescape;
use super::tokens::Tokens;
use crate::decode::events::Place;
use crate::domain::reject::RejectReason;

/// How deep objects and arrays may stand in each other, the record itself included; as serde_json has it.
pub(super) const DEPTH_MAX: usize = 127;

/// An object or an array that is not closed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    /// An object with nothing wanted in it.
    Skipped,
    /// An object at this node of the paths.
    Node(usize),
}

/// Which token may come next.
enum Expect {
    /// A key, or the end of an object just opened.
    FirstKey,
    Key,
    /// A value, or the end of an array just opened.
    FirstElement,
    /// A value for this place; if it is an object, the one at this node.
    Value {
        place: Option<Place>,
        node: Option<usize>,
    },
    /// A comma or a closing bracket.
    Separator,
}

/// A walk through one record.
pub(super) struct Walk<'a> {
    pub record: &'a [u8],
    pub tokens: Tokens<'a>,
    pub paths: &'a Paths,
    /// For each place where its value starts, or `NONE`.
    pub starts: &'a mut [u32],
    /// Keys may have escapes.
    pub has_escapes: bool,
    pub scratch: &'a mut Vec<u8>,
}

impl Walk<'_> {
    /// Fills `starts`, or says what is wrong.
    pub(super) fn run(mut self) -> Result<(), RejectReason> {
        self.starts.fill(NONE);
        let mut open = [Container::Skipped; DEPTH_MAX];
        let mut depth = 0;
        let mut expect = Expect::Value { place: None, node: Some(0) };
        let mut is_object = false;
        loop {
            let at = self.tokens.next().ok_or(RejectReason::Syntax)?;
            let byte = self.record[at];
            expect = match (expect, byte) {
                (Expect::FirstKey, b'}') | (Expect::FirstElement, b']') => {
                    depth -= 1;
                    Expect::Separator
                }
                (Expect::FirstKey | Expect::Key, b'"') => self.member(at, open[depth - 1])?,
                (Expect::FirstKey | Expect::Key, _) => return Err(RejectReason::Syntax),
                (Expect::Separator, b',') => match open[depth - 1] {
                    Container::Array => Expect::Value { place: None, node: None },
                    Container::Skipped | Container::Node(_) => Expect::Key,
                },
                (Expect::Separator, b'}' | b']') if (byte == b']') == (open[depth - 1] == Container::Array) => {
                    depth -= 1;
                    Expect::Separator
                }
                (Expect::Separator, _) => return Err(RejectReason::Syntax),
                (Expect::FirstElement, _) => Self::value(byte, None, &mut open, &mut depth)?,
                (Expect::Value { place, node }, _) => {
                    if let Some(place) = place {
                        self.starts[place] = at as u32;
                    }
                    is_object |= depth == 0 && byte == b'{';
                    Self::value(byte, node, &mut open, &mut depth)?
                }
            };
            if depth == 0 {
                break;
            }
        }
        if self.tokens.next().is_some() {
            return Err(RejectReason::Syntax);
        }
        if is_object { Ok(()) } else { Err(RejectReason::NotAnObject) }
    }

    /// A key that begins at `at`, and its colon.
    #[inline(always)]
    fn member(&mut self, at: usize, container: Container) -> Result<Expect, RejectReason> {
        let colon = self.tokens.next().filter(|colon| self.record[*colon] == b':').ok_or(RejectReason::Syntax)?;
        let Container::Node(node) = container else {
            return Ok(Expect::Value { place: None, node: None });
        };
        let text = &self.record[at..colon];
        let key = if self.has_escapes && memchr::memchr(b'\\', text).is_some() {
            unescape(text, self.scratch).map_err(|_| RejectReason::LoneSurrogate)?
        } else {
            let end = text.iter().rposition(|byte| *byte == b'"').unwrap_or(text.len());
            &text[1..end]
        };
        let Some(target) = self.paths.find(node, key) else {
            return Ok(Expect::Value { place: None, node: None });
        };
        if let Some(node) = target.node {
            for place in self.paths.below(node) {
                self.starts[*place] = NONE;
            }
        }
        Ok(Expect::Value { place: target.place, node: target.node })
    }

    /// A value that begins with `byte`; `node` is where it stands in the paths, should it be an object.
    #[inline(always)]
    fn value(
        byte: u8,
        node: Option<usize>,
        open: &mut [Container; DEPTH_MAX],
        depth: &mut usize,
    ) -> Result<Expect, RejectReason> {
        let (container, expect) = match byte {
            b'{' => (node.map_or(Container::Skipped, Container::Node), Expect::FirstKey),
            b'[' => (Container::Array, Expect::FirstElement),
            b'}' | b']' | b':' | b',' => return Err(RejectReason::Syntax),
            _ => return Ok(Expect::Separator),
        };
        *open.get_mut(*depth).ok_or(RejectReason::TooDeep)? = container;
        *depth += 1;
        Ok(expect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json::lexer::find_tokens;

    /// The wanted values' first bytes and what follows, cut to three characters.
    fn check(json: &str, wanted: Result<&[&str], RejectReason>) {
        let mut paths = Paths::new();
        for path in [&["a"][..], &["m", "x"], &["m", "deep", "y"]] {
            paths.add(&path.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        }
        let mut tokens = vec![0; json.len().div_ceil(64)];
        assert!(find_tokens(json.as_bytes(), &mut tokens));
        let mut starts = vec![7; paths.len()];
        let walk = Walk {
            record: json.as_bytes(),
            tokens: Tokens::new(&tokens),
            paths: &paths,
            starts: &mut starts,
            has_escapes: true,
            scratch: &mut Vec::new(),
        };
        let found = walk.run().map(|()| {
            let text = |start: &u32| json.get(*start as usize..).map_or("", |rest| &rest[..rest.len().min(3)]);
            starts.iter().map(text).collect::<Vec<_>>()
        });
        assert_eq!(found.as_deref().map_err(Clone::clone), wanted, "{json}");
    }

    #[test]
    fn wanted_values_are_found_at_any_depth() {
        check(r#"{"a":111,"m":{"x":222,"deep":{"y":333}}}"#, Ok(&["111", "222", "333"]));
        check(r#"{"m":{"deep":{"y":333},"a":1},"b":{"x":1}}"#, Ok(&["", "", "333"]));
        check(r#"{"m":[{"x":1}],"\u0061":111}"#, Ok(&["111", "", ""]));
        check(r#" { } "#, Ok(&["", "", ""]));
    }

    #[test]
    fn the_last_of_equal_keys_wins_with_all_below_it() {
        check(r#"{"a":111,"a":222}"#, Ok(&["222", "", ""]));
        check(r#"{"m":{"x":111,"deep":{"y":1}},"m":{"x":222}}"#, Ok(&["", "222", ""]));
        check(r#"{"m":{"x":111},"m":null}"#, Ok(&["", "", ""]));
    }

    #[test]
    fn broken_grammar_is_named() {
        for json in [
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1]",
            "[1,]",
            "[1}",
            "{\"a\":1}{",
            "[1 2]",
            "{1:1}",
            ",",
            "{\"a\":[}",
            "{\"a\":1,,\"b\":1}",
            "1 2",
            "[,1]",
            "{\"a\"::1}",
        ] {
            check(json, Err(RejectReason::Syntax));
        }
        for json in ["1", "[]", "\"a\"", "[{\"a\":1}]", "null"] {
            check(json, Err(RejectReason::NotAnObject));
        }
        check(r#"{"\ud800":1}"#, Err(RejectReason::LoneSurrogate));
        check(r#"{"b":{"\ud800":1}}"#, Ok(&["", "", ""]));
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{{\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX - 1), Ok(&["", "", ""]));
        check(&nested(DEPTH_MAX), Err(RejectReason::TooDeep));
        check(&"[".repeat(100_000), Err(RejectReason::TooDeep));
    }
}
