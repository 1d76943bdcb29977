//! Any bytes as a delimited file: it is read without a panic, and however it is cut into blocks it gives the same events and rejects.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch::decode::{Decode, Decoder};
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeSource};
use tidewatch::sources::files::{CellOptions, FileFormat, FileReader, FilesSpec, discover};
use tidewatch::sources::{Read, Reader};

fn schema() -> EventSchema {
    let field = |name: &str, kind| FieldSpec {
        name: name.into(),
        kind,
        path: vec![name.into()],
        default: None,
        required: false,
        missing_as: None,
    };
    EventSchema {
        time: TimeSource::Counted { from: 0, every: 1 },
        key: KeySource::Partition,
        fields: vec![field("x", FieldKind::Float), field("t", FieldKind::Text)],
        record_bytes_max: 200,
    }
}

/// Each event or reject, as text; why it is refused, where the file as a whole is.
fn read(path: &std::path::Path, block_bytes: usize, header: Option<Vec<String>>) -> Vec<String> {
    let schema = schema();
    let spec = FilesSpec {
        cells: CellOptions { header, ..CellOptions::default() },
        record_bytes_max: schema.record_bytes_max,
        block_bytes,
        open_files_max: 1,
        ..FilesSpec::new(vec![path.display().to_string()], FileFormat::Csv)
    };
    let mut reader = FileReader::new(&spec, discover(&spec).expect("the file is there"), &|_| None);
    let mut decoder = Decoder::new(&schema).expect("the schema is sound");
    let mut found = Vec::new();
    loop {
        let mut reads = Vec::new();
        if let Err(refused) = reader.read(16, &mut reads) {
            return vec![refused.to_string()];
        }
        for read in reads {
            match read {
                Read::Records(raw) => {
                    let decoded = decoder.decode(&raw, "a");
                    assert_eq!(decoded.events.len() + decoded.rejects.len(), raw.len());
                    found.extend(decoded.rejects.iter().map(|reject| format!("{reject:?}")));
                    let columns = decoded.events.columns();
                    found.extend((0..columns.num_rows()).map(|row| format!("{:?}", columns.slice(row, 1).columns())));
                }
                _ => return found,
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let folder = std::env::temp_dir().join(format!("tidewatch-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the file");
    let path = folder.join("a.csv");
    std::fs::write(&path, bytes).expect("the file can be written");
    let header = Some(vec!["x".to_owned(), "t".to_owned()]);
    for header in [None, header] {
        let whole: std::collections::BTreeSet<String> = read(&path, 1 << 20, header.clone()).into_iter().collect();
        let parts: std::collections::BTreeSet<String> = read(&path, 7, header).into_iter().collect();
        assert_eq!(whole, parts);
    }
});
