//! Another way to the same answers: serde_json says what is valid, a small recursive parser finds the spelling of values, and the standard
//! library reads numbers. Slow and plain.

use std::collections::HashMap;

use serde::de::IgnoredAny;

use crate::domain::schema::{FieldKind, FieldSpec};

/// The fields of a record as [`super::show`] writes them, or any error.
pub(super) fn fields(record: &[u8], specs: &[FieldSpec]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(record).map_err(|error| error.to_string())?;
    specs.iter().map(|spec| field(text, spec)).collect()
}

fn field(record: &str, spec: &FieldSpec) -> Result<String, String> {
    let mut value = Some(record.trim_matches([' ', '\n', '\r', '\t']).to_owned());
    for (depth, name) in spec.path.iter().enumerate() {
        value = match value {
            Some(text) if depth == 0 || text.starts_with('{') => members(&text)?.remove(name),
            _ => None,
        };
    }
    match value.as_deref() {
        None | Some("null") => Ok("null".into()),
        Some(value) => scalar(value, spec.kind).ok_or_else(|| format!("{value} is no {:?}", spec.kind)),
    }
}

/// The members of an object, the last of equal keys, as they are written.
fn members(object: &str) -> Result<HashMap<String, String>, String> {
    // All that is valid, and nothing else: keys as text, values by syntax alone.
    serde_json::from_str::<HashMap<String, IgnoredAny>>(object).map_err(|error| error.to_string())?;
    let mut parser = Parser { text: object, at: 1 };
    let mut members = HashMap::new();
    loop {
        parser.skip(&[' ', '\n', '\r', '\t', ',', ':']);
        if parser.rest().starts_with('}') {
            return Ok(members);
        }
        let key = parser.value();
        parser.skip(&[' ', '\n', '\r', '\t', ',', ':']);
        let key: String = serde_json::from_str(key).map_err(|error| error.to_string())?;
        members.insert(key, parser.value().to_owned());
    }
}

/// A place in valid JSON.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self, skipped: &[char]) {
        self.at = self.text.len() - self.rest().trim_start_matches(skipped).len();
    }

    /// The spelling of the value here.
    fn value(&mut self) -> &'a str {
        let (from, mut depth) = (self.at, 0);
        loop {
            match self.rest().chars().next() {
                Some('"') => {
                    self.at += 1;
                    while !self.rest().starts_with('"') {
                        self.at += if self.rest().starts_with('\\') {
                            2
                        } else {
                            self.rest().chars().next().map_or(1, char::len_utf8)
                        };
                    }
                    self.at += 1;
                }
                Some('{' | '[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some('}' | ']') => {
                    depth -= 1;
                    self.at += 1;
                }
                _ if depth > 0 => self.at += 1,
                _ => {
                    self.at =
                        self.text.len() - self.rest().trim_start_matches(|c: char| !" \n\r\t,:}]".contains(c)).len()
                }
            }
            if depth == 0 {
                return &self.text[from..self.at];
            }
        }
    }
}

/// A value that is not null as [`super::show`] writes it; `None` if it is not of the kind.
fn scalar(value: &str, kind: FieldKind) -> Option<String> {
    if value.starts_with('"') {
        return quoted(&serde_json::from_str::<String>(value).ok()?, kind);
    }
    match kind {
        FieldKind::Text if value.starts_with(['{', '[']) => None,
        FieldKind::Text => Some(format!("{value:?}")),
        FieldKind::Bool => match value {
            "true" | "1" => Some("true".into()),
            "false" | "0" => Some("false".into()),
            _ => None,
        },
        _ if !is_number(value) => None,
        FieldKind::Float => float(value),
        FieldKind::Int => integer(value).map(|integer| integer.to_string()),
    }
}

/// The same for the text of a string.
fn quoted(text: &str, kind: FieldKind) -> Option<String> {
    if kind == FieldKind::Text {
        return Some(format!("{text:?}"));
    }
    let word = text.trim_matches([' ', '\t', '\n', '\r', '\x0c']).to_ascii_lowercase();
    if matches!(word.as_str(), "" | "nan" | "na" | "n/a" | "null" | "none") {
        return Some("null".into());
    }
    let is_number = word.chars().all(|c| "0123456789.e+-".contains(c)) && word.parse::<f64>().is_ok();
    match kind {
        FieldKind::Bool => match word.as_str() {
            "true" | "1" => Some("true".into()),
            "false" | "0" => Some("false".into()),
            _ => None,
        },
        _ if !is_number => None,
        FieldKind::Float => float(&word),
        _ => integer(word.strip_prefix('+').unwrap_or(&word)).map(|integer| integer.to_string()),
    }
}

fn float(number: &str) -> Option<String> {
    let float: f64 = number.parse().ok()?;
    float.is_finite().then(|| format!("{:?}", float + 0.0))
}

fn is_number(text: &str) -> bool {
    !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace)
        && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// By exact decimal arithmetic on the digits.
fn integer(number: &str) -> Option<i64> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let zeros = exponent.parse::<i64>().ok()? - fraction.len() as i64 + trailing as i64;
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros < 40)?;
    format!("{sign}{significant}{}", "0".repeat(zeros)).parse().ok()
}
