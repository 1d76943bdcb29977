//! What a file is, by its name: `flows.csv.gz` is rows of cells, compressed.
//!
//! An ending that says what a file is decides, so that a folder of several formats is read in one go. Any other ending says nothing: such a
//! file is of the configured format if it was named itself, and passed over where a folder or a pattern brought it up. `.txt`, `.data`,
//! `.dat` and `.tab` say "delimited" where that is the configured format, and nothing elsewhere.

use std::path::Path;

/// How a file is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One object a line.
    Ndjson,
    /// Rows of cells below a header.
    Csv,
    /// Columns.
    Parquet,
}

/// What is around the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

const ENDINGS: [(&str, FileFormat); 9] = [
    ("ndjson", FileFormat::Ndjson),
    ("jsonl", FileFormat::Ndjson),
    ("json", FileFormat::Ndjson),
    ("csv", FileFormat::Csv),
    ("tsv", FileFormat::Csv),
    ("parquet", FileFormat::Parquet),
    ("parq", FileFormat::Parquet),
    ("pq", FileFormat::Parquet),
    ("psv", FileFormat::Csv),
];
const PERHAPS_CELLS: [&str; 4] = ["txt", "data", "dat", "tab"];
const COMPRESSED: [(&str, Compression); 4] =
    [("gz", Compression::Gzip), ("gzip", Compression::Gzip), ("zst", Compression::Zstd), ("zstd", Compression::Zstd)];

/// What a file's name says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) format: Option<FileFormat>,
    pub(super) compression: Compression,
}

impl Told {
    /// `configured` is the format that the user named.
    pub(super) fn by(name: &str, configured: FileFormat) -> Told {
        let ending = |name: &str| Path::new(name).extension()?.to_str().map(str::to_ascii_lowercase);
        let outer = ending(name).unwrap_or_default();
        let compression = COMPRESSED.iter().find(|(known, _)| *known == outer).map(|(_, compression)| *compression);
        let inner = match compression {
            Some(_) => ending(&name[..name.len() - outer.len() - 1]).unwrap_or_default(),
            None => outer,
        };
        let format = ENDINGS.iter().find(|(known, _)| *known == inner).map(|(_, format)| *format);
        let perhaps = (configured == FileFormat::Csv && PERHAPS_CELLS.contains(&inner.as_str())).then_some(configured);
        Told { format: format.or(perhaps), compression: compression.unwrap_or(Compression::None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_format_and_compression() {
        let told = |name| Told::by(name, FileFormat::Ndjson);
        for (name, format, compression) in [
            ("a.ndjson", Some(FileFormat::Ndjson), Compression::None),
            ("a.b/c.CSV", Some(FileFormat::Csv), Compression::None),
            ("a.csv.gz", Some(FileFormat::Csv), Compression::Gzip),
            ("a.jsonl.ZST", Some(FileFormat::Ndjson), Compression::Zstd),
            ("a.parquet", Some(FileFormat::Parquet), Compression::None),
            ("a.gz", None, Compression::Gzip),
            ("a.txt", None, Compression::None),
            ("a", None, Compression::None),
            (".gz", None, Compression::None),
        ] {
            assert_eq!(told(name), Told { format, compression }, "{name}");
        }
    }

    #[test]
    fn endings_that_say_little_mean_cells_where_cells_are_configured() {
        for name in ["a.txt", "a.data", "a.txt.gz"] {
            assert_eq!(Told::by(name, FileFormat::Csv).format, Some(FileFormat::Csv), "{name}");
            assert_eq!(Told::by(name, FileFormat::Parquet).format, None, "{name}");
        }
        assert_eq!(Told::by("README.md", FileFormat::Csv).format, None);
    }
}
