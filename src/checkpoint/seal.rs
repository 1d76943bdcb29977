//! A checksum at the end of a JSON object, over every byte before it.
//!
//! Promise: an object that was sealed and has changed by as much as a blank is found out. It stays JSON that any reader reads.

use crate::storage::digest::Sha256;

const MARK: &[u8] = b",\"checksum\":\"";
const DIGITS: usize = 64;
const TAIL: &[u8] = b"\"}";

/// Why bytes are not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    #[error("it has no checksum at its end: it was cut short or rewritten")]
    Missing,
    #[error("its checksum is of other bytes: it was edited or is damaged")]
    Broken,
}

/// Adds the checksum to an object that has at least one field.
pub fn seal(mut object: Vec<u8>) -> Vec<u8> {
    debug_assert!(object.len() > 2 && object.ends_with(b"}"), "an object with a field");
    let checksum = Sha256::of(&object).to_string();
    object.pop();
    object.extend_from_slice(MARK);
    object.extend_from_slice(checksum.as_bytes());
    object.extend_from_slice(TAIL);
    object
}

/// The object as it was before it was sealed.
pub fn unseal(bytes: &[u8]) -> Result<Vec<u8>, SealFault> {
    let rest = bytes.strip_suffix(TAIL).ok_or(SealFault::Missing)?;
    let (rest, digits) = rest.len().checked_sub(DIGITS).map(|at| rest.split_at(at)).ok_or(SealFault::Missing)?;
    let mut object = rest.strip_suffix(MARK).ok_or(SealFault::Missing)?.to_vec();
    object.push(b'}');
    match Sha256::of(&object).to_string().as_bytes() == digits {
        true => Ok(object),
        false => Err(SealFault::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_that_changes_any_cut_and_any_addition_break_the_seal() {
        let object = br#"{"a":1,"b":[true,"x"]}"#.to_vec();
        let sealed = seal(object.clone());
        assert_eq!(unseal(&sealed), Ok(object));
        assert!(serde_json::from_slice::<serde_json::Value>(&sealed).is_ok());
        for at in 0..sealed.len() {
            for damage in [1u8, 0x20, 0x80] {
                let mut bytes = sealed.clone();
                bytes[at] ^= damage;
                assert!(unseal(&bytes).is_err(), "byte {at}");
            }
            assert!(unseal(&sealed[..at]).is_err(), "cut at {at}");
            assert!(unseal(&[&sealed[..at], b" ", &sealed[at..]].concat()).is_err(), "a blank at {at}");
        }
        assert!(unseal(&[&sealed[..], b"\n"].concat()).is_err());
    }
}
