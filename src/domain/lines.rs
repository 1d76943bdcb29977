//! Lines as records: where each begins and ends in a chunk of a file.
//!
//! A line ends with `\n`, or with `\r\n`; neither belongs to its record. A blank line is a record of its own: it has an offset like any other
//! and is quarantined as `empty`. What follows the last newline is a record only if there is something, so a file's last newline does
//! not begin one.

/// What comes after a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEnd {
    /// More of the file: an unfinished line is left for the next chunk.
    MoreFollows,
    /// Nothing: an unfinished line is the last one.
    EndOfFile,
}

/// Appends where the records of `bytes[from..]` start and end, as positions in `bytes` (which has less than 4 GiB). Gives the first byte
/// that belongs to none of them: the start of an unfinished line, or the end.
pub fn split_lines(bytes: &[u8], from: usize, end: ChunkEnd, starts: &mut Vec<u32>, ends: &mut Vec<u32>) -> usize {
    assert!(u32::try_from(bytes.len()).is_ok(), "a chunk has less than 4 GiB");
    let mut push = |start: usize, end: usize| {
        let is_crlf = end > start && bytes[end - 1] == b'\r';
        starts.push(start as u32);
        ends.push((end - usize::from(is_crlf)) as u32);
    };
    let mut start = from;
    for newline in memchr::memchr_iter(b'\n', &bytes[from..]) {
        push(start, from + newline);
        start = from + newline + 1;
    }
    if end == ChunkEnd::EndOfFile && start < bytes.len() {
        push(start, bytes.len());
        start = bytes.len();
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, end: ChunkEnd, wanted: &[&str], rest: &str) {
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        let next = split_lines(text.as_bytes(), 0, end, &mut starts, &mut ends);
        let records: Vec<&str> =
            starts.iter().zip(&ends).map(|(start, end)| &text[*start as usize..*end as usize]).collect();
        assert_eq!((records.as_slice(), &text[next..]), (wanted, rest), "{text:?}");
    }

    #[test]
    fn each_line_is_a_record_without_its_newline() {
        check("{}\n{\"a\":1}\r\n", ChunkEnd::EndOfFile, &["{}", "{\"a\":1}"], "");
        check("a\r\r\nb", ChunkEnd::EndOfFile, &["a\r", "b"], "");
        check("", ChunkEnd::EndOfFile, &[], "");
    }

    #[test]
    fn a_blank_line_is_a_record_but_the_end_of_the_file_is_not() {
        check("a\n\n\r\nb\n", ChunkEnd::EndOfFile, &["a", "", "", "b"], "");
        check("\n", ChunkEnd::EndOfFile, &[""], "");
    }

    #[test]
    fn an_unfinished_line_waits_for_the_rest_of_the_file() {
        check("a\nb", ChunkEnd::MoreFollows, &["a"], "b");
        check("a\nb\r", ChunkEnd::MoreFollows, &["a"], "b\r");
        check("a\nb\n", ChunkEnd::MoreFollows, &["a", "b"], "");
        check("a\nb", ChunkEnd::EndOfFile, &["a", "b"], "");
    }

    #[test]
    fn chunks_cut_anywhere_give_the_same_records() {
        let text = "one\n\ntwo\r\nthree\nfour";
        for cut in 0..=text.len() {
            let (mut starts, mut ends) = (Vec::new(), Vec::new());
            let next = split_lines(&text.as_bytes()[..cut], 0, ChunkEnd::MoreFollows, &mut starts, &mut ends);
            split_lines(text.as_bytes(), next, ChunkEnd::EndOfFile, &mut starts, &mut ends);
            let records: Vec<&str> =
                starts.iter().zip(&ends).map(|(start, end)| &text[*start as usize..*end as usize]).collect();
            assert_eq!(records, ["one", "", "two", "three", "four"], "cut at {cut}");
        }
    }
}
