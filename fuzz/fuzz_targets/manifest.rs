//! Any bytes as a manifest: read or refused, never a panic; and what is read comes back as it was when it is written again. Bytes
//! without a seal get one, or nothing but the seal would ever be tried.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch::checkpoint::manifest::{Manifest, Sequence};
use tidewatch::checkpoint::seal::seal;

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::from_bytes(bytes, Sequence(1));
    if bytes.len() > 2 && bytes.ends_with(b"}") {
        if let Ok(manifest) = Manifest::from_bytes(&seal(bytes.to_vec()), Sequence(1)) {
            let again = Manifest::from_bytes(&manifest.to_bytes(), Sequence(1)).expect("what was written is read");
            assert_eq!(manifest, again);
        }
    }
});
