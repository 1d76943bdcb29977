//! How single values are read: a text, a number, a duration, a size, one of several words.
//!
//! Each reader says what is wrong with a value and what would be right; key and place are added by the section's reader.

use std::time::Duration;

use chrono::DateTime;

use super::fault::Wrong;
use super::tree::{Node, Value};

/// What a reader of values gives.
pub(super) type Read<T> = Result<T, Wrong>;

/// A text that is not empty.
pub(super) fn text(node: &Node) -> Read<String> {
    let text = match (&node.value, &node.raw) {
        (Value::Text(text), _) => text.as_str(),
        (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Time(_), Some(raw)) => raw.as_str(),
        _ => return Err(unfit(node, "a text", "write it in quotes")),
    };
    match text.trim() {
        "" => Err(Wrong::new("the text is empty", "write a text, or leave the key out")),
        _ => Ok(text.to_owned()),
    }
}

pub(super) fn boolean(node: &Node) -> Read<bool> {
    match node.value {
        Value::Boolean(value) => Ok(value),
        _ => Err(unfit(node, "true or false", "write true or false, without quotes")),
    }
}

/// A whole number in a range, both ends included.
pub(super) fn integer_in(from: i64, to: i64) -> impl Fn(&Node) -> Read<i64> {
    move |node| match node.value {
        Value::Integer(value) if (from..=to).contains(&value) => Ok(value),
        Value::Integer(value) => {
            Err(Wrong::new(format!("{value} is out of range"), format!("write a number from {from} to {to}")))
        }
        _ => Err(unfit(node, "a whole number", &format!("write a number from {from} to {to}, without quotes"))),
    }
}

/// A span as people write it; whole microseconds.
pub(super) fn duration(node: &Node) -> Read<Duration> {
    const CURE: &str = "write a number and a unit in quotes, such as \"250ms\", \"10s\", \"1m\" or \"1h 30m\"";
    let Value::Text(text) = &node.value else { return Err(unfit(node, "a duration", CURE)) };
    let span = humantime::parse_duration(text.trim())
        .map_err(|_| Wrong::new(format!("{} is not a duration", shown(text)), CURE))?;
    if span.subsec_nanos() % 1000 != 0 {
        return Err(Wrong::new("event time is counted in whole microseconds", "write a whole number of \"us\""));
    }
    if span > SPAN_MAX {
        return Err(Wrong::new(format!("{} is too long", shown(text)), "write at most \"10years\""));
    }
    Ok(span)
}

/// Sums of a few spans and any event time stay within 64-bit microseconds.
const SPAN_MAX: Duration = Duration::from_secs(10 * 31_557_600);

/// A span that is not zero.
pub(super) fn positive_duration(node: &Node) -> Read<Duration> {
    match duration(node)? {
        Duration::ZERO => Err(Wrong::new("this duration may not be zero", "write a duration above zero")),
        span => Ok(span),
    }
}

/// A number of bytes as people write it; never zero.
pub(super) fn size(node: &Node) -> Read<u64> {
    const CURE: &str = "write a number of bytes with its unit in quotes, such as \"64KiB\" or \"128MiB\"";
    let bytes = match &node.value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        Value::Text(text) => text.trim().parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()),
        _ => return Err(unfit(node, "a size", CURE)),
    };
    match bytes {
        Some(bytes) if (1..=1 << 50).contains(&bytes) => Ok(bytes),
        Some(_) => Err(Wrong::new("this size is out of range", "write a size from \"1B\" to \"1PiB\"")),
        None => Err(unfit(node, "a size", CURE)),
    }
}

/// An instant, RFC 3339; microseconds since 1970.
pub(super) fn instant(node: &Node) -> Read<i64> {
    const CURE: &str = "write it as RFC 3339 has it, such as \"2026-01-31T12:00:00Z\"";
    match &node.value {
        Value::Text(text) | Value::Time(text) => DateTime::parse_from_rfc3339(text.trim())
            .map(|time| time.timestamp_micros())
            .map_err(|_| Wrong::new(format!("{} is not a time with its zone", shown(text)), CURE)),
        _ => Err(unfit(node, "a time", CURE)),
    }
}

/// One of a closed set of words.
pub(super) fn one_of<T: Clone>(words: &[(&'static str, T)]) -> impl Fn(&Node) -> Read<T> {
    let words = words.to_vec();
    move |node| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Value::Text(text) = &node.value else {
            return Err(unfit(node, "one of the known words", &format!("write {}", listed(&all, "or"))));
        };
        match words.iter().find(|(word, _)| word == text) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(Wrong::new(format!("{} is not known here", shown(text)), nearest_or_all(text, &all))),
        }
    }
}

/// A list of texts; a single text is a list of one.
pub(super) fn texts(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::List(items) => items.iter().map(text).collect(),
        Value::Text(_) => Ok(vec![text(node)?]),
        _ => Err(unfit(node, "a list of texts", "write it as [\"one\", \"two\"]")),
    }
}

/// A list of texts that names something at least, and nothing twice.
pub(super) fn distinct_texts(node: &Node) -> Read<Vec<String>> {
    let list = texts(node)?;
    if list.is_empty() {
        return Err(Wrong::new("the list is empty", "name at least one"));
    }
    match list.iter().enumerate().find(|(index, item)| list[..*index].contains(item)) {
        Some((_, twice)) => Err(Wrong::new(format!("{} stands here twice", shown(twice)), "name it once")),
        None => Ok(list),
    }
}

/// A name that is safe as a folder in any store, as a file name, and in a URL.
pub(super) fn folder_name(node: &Node) -> Read<String> {
    let name = text(node)?;
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.chars().all(is_safe) && !name.ends_with('.') && name.len() <= 100 {
        return Ok(name);
    }
    Err(Wrong::new(
        format!("{} cannot be the name of a folder in every store", shown(&name)),
        "use letters, digits, `_`, `-` and `.`, a letter or digit first, at most 100",
    ))
}

/// A name that begins the names of columns.
pub(super) fn column_prefix(node: &Node) -> Read<String> {
    let name = text(node)?;
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= 100 {
        return Ok(name);
    }
    Err(Wrong::new(
        format!("{} cannot begin the name of a column", shown(&name)),
        "use letters, digits and `_`, a letter first, at most 100",
    ))
}

/// The wrong kind of value.
pub(super) fn unfit(node: &Node, wanted: &str, cure: &str) -> Wrong {
    let found = match &node.value {
        Value::Text(text) => shown(text),
        Value::Integer(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::Boolean(value) => format!("{value}"),
        Value::Time(time) => format!("the time {time}"),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::Secret(_) => "a secret".to_owned(),
    };
    Wrong::new(format!("{found} is not {wanted}"), cure)
}

/// A value as faults quote it: short, on one line, and without an account that a URL may hold.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let text = match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &text[..scheme + 3], &text[at..]),
        _ => text.to_owned(),
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// `a, b or c`.
pub(super) fn listed(words: &[&str], and: &str) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} {and} {last}", first.join(", ")),
    }
}

/// What to do about a word that is not known: the nearest one, or all where none is near.
pub(super) fn nearest_or_all(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "take it out".to_owned(),
        None => format!("known here: {}", listed(known, "and")),
    }
}

/// The nearest known word, if one is near enough to be meant.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let folded = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let plain = folded(word);
    // Every part of the word in the candidate: `lateness` means `allowed_lateness`.
    let holds = |candidate: &str| plain.len() > 2 && plain.split('_').all(|part| folded(candidate).contains(part));
    let likeness = |candidate: &str| {
        let same_capitals = strsim::jaro_winkler(word, candidate) / 1000.0;
        strsim::jaro_winkler(&plain, &folded(candidate)) + same_capitals + if holds(candidate) { 1.0 } else { 0.0 }
    };
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    let edits = strsim::damerau_levenshtein(&plain, &folded(best));
    let is_near = edits <= 2.max(plain.chars().count() / 3) || likeness(best) > 0.92;
    is_near.then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_in_a_url_is_never_quoted() {
        assert_eq!(shown("s3://me:hunter2@bucket/x"), "\"s3://***@bucket/x\"");
        assert_eq!(shown("plain"), "\"plain\"");
    }

    #[test]
    fn a_slip_of_the_pen_finds_the_right_word_and_nonsense_finds_none() {
        let known = ["checkpoint_every", "name", "epoch", "workers"];
        assert_eq!(nearest("checkpont_every", &known), Some("checkpoint_every"));
        assert_eq!(nearest("checkpoint-every", &known), Some("checkpoint_every"));
        assert_eq!(nearest("every", &known), Some("checkpoint_every"));
        assert_eq!(nearest("rat", &["rate", "Rate"]), Some("rate"));
        assert_eq!(nearest("Rat", &["rate", "Rate"]), Some("Rate"));
        assert_eq!(nearest("zzz", &known), None);
    }
}
