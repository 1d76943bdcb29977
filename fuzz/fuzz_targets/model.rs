//! Any bytes as a model's folder: the first 4 say where `model.json` ends and the weights begin. The digest of the weights is put right
//! where there is one, or nothing behind it would ever be tried.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch::models::folder;
use tidewatch::storage::digest::Sha256;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let (json, weights) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
    let json = match serde_json::from_slice::<serde_json::Value>(json) {
        Ok(mut model) if model.get("weights_sha256").is_some() => {
            model["weights_sha256"] = serde_json::json!(Sha256::of(weights).to_string());
            model.to_string().into_bytes()
        }
        _ => json.to_vec(),
    };
    let place = std::env::temp_dir().join(format!("tidewatch-fuzz-model-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a folder for the model");
    std::fs::write(place.join("model.json"), json).expect("the file can be written");
    std::fs::write(place.join("weights.safetensors"), weights).expect("the file can be written");
    let _ = folder::read(&place);
});
