//! Delimited text: where its rows end, and what stands above the first of them.
//!
//! A quote begins a quoted cell only where a cell begins; there it may hold separators, line breaks and doubled quotes. Blank lines are no
//! records. Before the header, lines that begin with the mark of comments are passed over, and `sep=;`, which spreadsheets write, is obeyed.

use std::io::{self, Read};
use std::sync::Arc;

use memchr::{memchr, memchr2};

use crate::domain::raw::CellLayout;
use crate::sources::files::cutter::{Cutter, Ends};

/// How delimited files are written, where they do not say it themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellOptions {
    /// None: the most frequent one of the header's `,`, `;`, tab and `|`.
    pub separator: Option<u8>,
    /// What lines before the header begin with that are to be passed over.
    pub comment: Option<u8>,
    /// The columns' names, where the files have no header.
    pub header: Option<Vec<String>>,
    /// Numbers have a comma where others have a dot.
    pub decimal_comma: bool,
}

impl Default for CellOptions {
    fn default() -> CellOptions {
        CellOptions { separator: None, comment: Some(b'#'), header: None, decimal_comma: false }
    }
}

const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Finds where rows end.
#[derive(Clone, Debug)]
pub(super) struct CellEnds {
    separator: u8,
    in_quotes: bool,
}

impl CellEnds {
    pub(super) fn new(separator: u8) -> CellEnds {
        CellEnds { separator, in_quotes: false }
    }

    /// As [`Ends::find`].
    #[inline]
    pub(super) fn find(&mut self, buffer: &[u8], start: usize, from: usize, at_end: bool) -> Result<usize, usize> {
        let mut at = from;
        loop {
            if self.in_quotes {
                let Some(quote) = memchr(b'"', &buffer[at..]).map(|found| at + found) else { return Err(buffer.len()) };
                match buffer.get(quote + 1) {
                    Some(b'"') => at = quote + 2,
                    // The next block tells whether it is a doubled one.
                    None if !at_end => return Err(quote),
                    _ => {
                        self.in_quotes = false;
                        at = quote + 1;
                    }
                }
                continue;
            }
            match memchr2(b'\n', b'"', &buffer[at..]).map(|found| at + found) {
                None => return Err(buffer.len()),
                Some(newline) if buffer[newline] == b'\n' => return Ok(newline),
                Some(quote) => {
                    self.in_quotes = self.begins_a_cell(&buffer[start..quote]);
                    at = quote + 1;
                }
            }
        }
    }

    pub(super) fn begin_anew(&mut self) {
        self.in_quotes = false;
    }

    pub(super) fn is_blank(&self, row: &[u8]) -> bool {
        row.iter().all(|byte| *byte != self.separator && byte.is_ascii_whitespace())
    }

    /// Whether what follows `before` in a row begins a cell.
    fn begins_a_cell(&self, before: &[u8]) -> bool {
        let last = before.iter().rfind(|byte| **byte == self.separator || !matches!(byte, b' ' | b'\t'));
        last.is_none_or(|last| *last == self.separator)
    }
}

/// Reads what stands above the first row; from there on the cutter cuts rows. A header that leaves open which column is meant by one of the `wanted`
/// paths is an error.
pub(super) fn begin<R: Read>(
    cutter: &mut Cutter<R>,
    options: &CellOptions,
    wanted: &[Vec<String>],
) -> io::Result<Arc<CellLayout>> {
    let mut told = options.separator;
    let first = loop {
        let Some((line, is_whole)) = cutter.peek_line()? else { break Vec::new() };
        let line = line.trim_ascii();
        let is_comment = line.first().is_some_and(|byte| Some(*byte) == options.comment);
        if let [b's', b'e', b'p', b'=', separator] = line
            && SEPARATORS.contains(separator)
        {
            told = told.or(Some(*separator));
        } else if !(is_comment || is_whole && line.is_empty()) {
            break line.to_vec();
        }
        cutter.drop_line();
    };
    let separator = told.unwrap_or_else(|| most_frequent(&first));
    cutter.set_ends(Ends::Cells(CellEnds::new(separator)));
    let names = match &options.header {
        Some(names) => names.clone(),
        None => names(&cutter.take_uncounted()?.unwrap_or_default(), separator),
    };
    check(&names, wanted)?;
    Ok(Arc::new(CellLayout { separator, decimal_comma: options.decimal_comma, names }))
}

fn check(names: &[String], wanted: &[Vec<String>]) -> io::Result<()> {
    let fault = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    if names.iter().any(|name| name.contains('\r')) {
        return fault("its lines end in carriage returns alone: `tr '\\r' '\\n'` makes lines of them".to_owned());
    }
    let is_twice = |wanted: &String| names.iter().filter(|name| *name == wanted).count() > 1;
    match wanted.iter().map(|path| path.join(".")).find(is_twice) {
        Some(name) => fault(format!("two of its columns are named `{name}`, and which is meant cannot be told")),
        None => Ok(()),
    }
}

/// Of the separators outside of quotes; the first of those that are equally frequent.
fn most_frequent(header: &[u8]) -> u8 {
    let mut counts = [0; SEPARATORS.len()];
    let mut in_quotes = false;
    for byte in header {
        in_quotes ^= *byte == b'"';
        if let Some(index) = SEPARATORS.iter().position(|separator| separator == byte).filter(|_| !in_quotes) {
            counts[index] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    SEPARATORS[counts.iter().position(|count| *count == most).unwrap_or(0)]
}

/// The cells of a header.
fn names(header: &[u8], separator: u8) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = header;
    loop {
        let end = CellEnd::of(rest, separator);
        let cell = rest[..end.0].trim_ascii();
        let name = match cell {
            [b'"', quoted @ .., b'"'] => String::from_utf8_lossy(quoted).replace("\"\"", "\""),
            plain => String::from_utf8_lossy(plain).into_owned(),
        };
        names.push(name.trim().to_owned());
        match rest.get(end.0 + 1..) {
            Some(more) => rest = more,
            None => return names,
        }
    }
}

/// How long the first cell of a row is.
struct CellEnd(usize);

impl CellEnd {
    fn of(row: &[u8], separator: u8) -> CellEnd {
        let mut in_quotes = row.trim_ascii_start().starts_with(b"\"");
        let mut at = if in_quotes { row.len() - row.trim_ascii_start().len() + 1 } else { 0 };
        while let Some(byte) = row.get(at) {
            match byte {
                b'"' if in_quotes && row.get(at + 1) == Some(&b'"') => at += 1,
                b'"' => in_quotes = false,
                byte if *byte == separator && !in_quotes => break,
                _ => {}
            }
            at += 1;
        }
        CellEnd(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::{Offset, PartitionId};
    use crate::domain::raw::Form;
    use crate::sources::files::cutter::{Limits, Place};

    type Rows = Vec<(i64, String)>;

    fn read(text: &[u8], options: &CellOptions, limits: Limits, from: i64) -> (CellLayout, Rows) {
        let mut cutter = Cutter::at(Place::default(), text, limits, Ends::Lines).unwrap();
        let layout = begin(&mut cutter, options, &[]).unwrap();
        cutter.skip_to(Offset(from)).unwrap().unwrap();
        let form = Form::Cells(Arc::clone(&layout));
        let mut rows = Vec::new();
        while let Some(batch) = cutter.next(PartitionId(0), &form, 3).unwrap() {
            let row = |index: usize| String::from_utf8_lossy(batch.payload(index)).into_owned();
            rows.extend((0..batch.len()).map(|index| (batch.offset(index).0, row(index))));
        }
        assert_eq!(cutter.place().byte, text.len() as u64);
        ((*layout).clone(), rows)
    }

    /// The layout as `separator names`, then the rows; whatever the blocks.
    fn check(text: &str, wanted_layout: &str, wanted: &[&str]) {
        for block_bytes in 1..text.len() + 2 {
            let limits = Limits { record_bytes_max: 40, block_bytes };
            let (layout, rows) = read(text.as_bytes(), &CellOptions::default(), limits, 0);
            assert_eq!(format!("{} {}", layout.separator as char, layout.names.join("|")), wanted_layout);
            assert_eq!(rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), wanted, "blocks of {block_bytes}");
        }
    }

    #[test]
    fn the_header_tells_the_separator_and_the_names() {
        check("a,b\n1,2\n", ", a|b", &["1,2"]);
        check("a;b c;\"d,e\"\n1;2;3", "; a|b c|d,e", &["1;2;3"]);
        check("a\t b\r\n1\t2\r\n", "\t a|b", &["1\t2"]);
        check("value\n1\n2\n", ", value", &["1", "2"]);
        check("a, \"b \"\"x\"\" \n y\" ,c\n1,2,3", ", a|b \"x\" \n y|c", &["1,2,3"]);
    }

    #[test]
    fn a_header_may_follow_a_mark_comments_and_blank_lines() {
        check("\u{feff}# made by\n#\n\n  \nsep=;\na;b,c\n1;2\n", "; a|b,c", &["1;2"]);
        check("", ", ", &[]);
        check("# nothing", ", ", &[]);
        check("a,b", ", a|b", &[]);
    }

    #[test]
    fn rows_end_with_lines_outside_of_quotes_and_blank_lines_are_none() {
        check("a,b\n1,\"x\ny\"\n\n \r\n2,\"\"\"\n\"\"\"\r\n3,z", ", a|b", &["1,\"x\ny\"", "2,\"\"\"\n\"\"\"", "3,z"]);
        check("a,b\n# 1,2\n", ", a|b", &["# 1,2"]);
        check("a\tb\n\t\n", "\t a|b", &["\t"]);
    }

    #[test]
    fn a_quote_inside_of_a_cell_is_a_quote() {
        check("a,b\n5\" pipe,x\n3,it\"s\n", ", a|b", &["5\" pipe,x", "3,it\"s"]);
        check("a,b\n1, \"x\n\" ,2\n3", ", a|b", &["1, \"x\n\" ,2", "3"]);
    }

    #[test]
    fn a_quote_that_nothing_closes_costs_one_line() {
        check("a,b\n1,\"x\n2,y\n3,z", ", a|b", &["1,\"x", "2,y", "3,z"]);
        let far = "y\n".repeat(30);
        let text = format!("a,b\n1,\"x\n{far}\"\n2,z");
        let lines: Vec<&str> = text.lines().skip(1).filter(|line| *line != "\"").collect();
        let limits = Limits { record_bytes_max: 40, block_bytes: 7 };
        let (_, rows) = read(text.as_bytes(), &CellOptions::default(), limits, 0);
        let rows: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
        assert_eq!(rows[..31], lines[..31], "its own line and those behind it are records of their own");
    }

    #[test]
    fn a_header_that_leaves_open_what_is_meant_is_refused() {
        let limits = Limits { record_bytes_max: 100, block_bytes: 7 };
        let refused = |text: &str| {
            let mut cutter = Cutter::at(Place::default(), text.as_bytes(), limits, Ends::Lines).unwrap();
            let wanted = [vec!["b".to_owned()]];
            begin(&mut cutter, &CellOptions::default(), &wanted).err().map(|error| error.to_string())
        };
        assert!(refused("a,b,b\n1,2,3\n").unwrap().contains("named `b`"));
        assert!(refused("a,b\r1,2\r").unwrap().contains("carriage returns"));
        assert_eq!(refused("a,a,b\r\n1,2,3\r\n"), None, "of the others it does not matter");
    }

    #[test]
    fn a_file_without_a_header_is_given_one() {
        let options = CellOptions { header: Some(vec!["x".into(), "y".into()]), ..CellOptions::default() };
        let limits = Limits { record_bytes_max: 40, block_bytes: 3 };
        let (layout, rows) = read(b"1;2\n3;4\n", &options, limits, 1);
        assert_eq!((layout.separator, layout.names), (b';', vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(rows, [(1, "3;4".to_owned())]);
    }

    #[test]
    fn blanks_beyond_the_longest_record_are_a_record_too_long() {
        for block_bytes in 1..40 {
            let limits = Limits { record_bytes_max: 4, block_bytes };
            let (_, rows) = read(b"a\n     \n1\n         2\n   \n", &CellOptions::default(), limits, 0);
            let rows: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
            assert_eq!(rows, ["1", "     "], "{block_bytes}");
        }
    }

    proptest! {
        #[test]
        fn any_blocks_and_any_start_give_the_same_rows(
            text in "[\"\"\",,a \n\n\r]{0,60}", block_bytes in 1usize..20, record_bytes_max in 1usize..30,
        ) {
            let options = CellOptions { header: Some(vec!["x".into()]), separator: Some(b','), ..CellOptions::default() };
            let (_, all) = read(text.as_bytes(), &options, Limits { record_bytes_max, block_bytes: 1000 }, 0);
            for from in 0..=all.len() {
                let (_, rows) = read(text.as_bytes(), &options, Limits { record_bytes_max, block_bytes }, from as i64);
                prop_assert_eq!(&rows[..], &all[from..]);
            }
        }
    }
}
