//! The bytes of a pickle out of what joblib's `compress` makes of them.
//!
//! Promise: never more than the limit is inflated, whatever the compressed bytes say. A compression that is not known is refused by name.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};

use super::fault::PickleFault;

/// The plain bytes, of which there are at most `bytes_max`.
pub(super) fn plain(bytes: &[u8], bytes_max: u64) -> Result<Cow<'_, [u8]>, PickleFault> {
    match bytes {
        [0x1f, 0x8b, ..] => inflated(GzDecoder::new(bytes), bytes_max),
        // The two bytes of a zlib header, as a number, are a multiple of 31; no pickle begins with an `x`.
        [b'x', flags, ..] if (u16::from(b'x') << 8 | u16::from(*flags)) % 31 == 0 => {
            inflated(ZlibDecoder::new(bytes), bytes_max)
        }
        [b'B', b'Z', b'h', ..] => Err(PickleFault::Compression { by: "bzip2" }),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(PickleFault::Compression { by: "xz" }),
        [b']', 0, 0, ..] => Err(PickleFault::Compression { by: "lzma" }),
        [4, b'"', b'M', 0x18, ..] => Err(PickleFault::Compression { by: "lz4" }),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(PickleFault::Compression { by: "zstd" }),
        [b'Z', b'F', ..] => Err(PickleFault::Compression { by: "a joblib older than 0.10" }),
        _ if bytes.len() as u64 > bytes_max => Err(too_large(bytes_max)),
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

fn inflated(from: impl Read, bytes_max: u64) -> Result<Cow<'static, [u8]>, PickleFault> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| PickleFault::Inflate { source })?;
    if bytes.len() as u64 > bytes_max { Err(too_large(bytes_max)) } else { Ok(Cow::Owned(bytes)) }
}

fn too_large(max: u64) -> PickleFault {
    PickleFault::TooLarge { what: "its bytes", max }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_zlib_and_gzip_made_is_undone_at_any_level() {
        for level in [0, 1, 6, 9] {
            assert_eq!(*plain(&zlib(b"pickle", level), 6).unwrap(), *b"pickle");
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
            encoder.write_all(b"pickle").unwrap();
            assert_eq!(*plain(&encoder.finish().unwrap(), 6).unwrap(), *b"pickle");
        }
        assert_eq!(*plain(b"pickle", 6).unwrap(), *b"pickle");
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = zlib(&vec![0; 10_000_000], 9);
        assert!(bomb.len() < 20_000);
        assert!(matches!(plain(&bomb, 1000), Err(PickleFault::TooLarge { max: 1000, .. })));
        assert!(matches!(plain(b"pickle", 5), Err(PickleFault::TooLarge { max: 5, .. })));
    }

    #[test]
    fn damaged_and_unknown_compressions_are_told_apart() {
        let whole = zlib(b"pickle", 6);
        assert!(matches!(plain(&whole[..whole.len() - 1], 100), Err(PickleFault::Inflate { .. })));
        assert!(matches!(plain(b"BZh91AY", 100), Err(PickleFault::Compression { by: "bzip2" })));
    }
}
