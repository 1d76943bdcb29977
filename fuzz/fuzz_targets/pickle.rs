//! Any bytes as a pickle: what they hold or a fault, never a panic, and no more memory than the limits of the reader allow.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch::models::import::pickle;

fuzz_target!(|bytes: &[u8]| {
    let _ = pickle::read(bytes);
});
