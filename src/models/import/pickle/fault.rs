//! Why a pickle is not taken.
//!
//! Promise: what is refused for not being on the closed list is named, so that a person can see what the file would have done.

use std::io;

use crate::models::features::ScalerFault;

/// Why bytes are no pickle of something that is known.
#[derive(Debug, thiserror::Error)]
pub enum PickleFault {
    #[error(
        "it asks for `{name}`, which is on no list of what a scaler, a forest or centres are made of; nothing of it was executed"
    )]
    Global { name: String },
    #[error("it has the instruction {opcode:#04x} at byte {at}, which Python 3 does not write for numbers and arrays")]
    Opcode { opcode: u8, at: usize },
    #[error("it ends in the middle, at byte {at}")]
    Cut { at: usize },
    #[error("it is damaged at byte {at}: {what}")]
    Damaged { at: usize, what: &'static str },
    #[error("bytes follow behind its end at byte {at}: a file holds one object")]
    Trailing { at: usize },
    #[error("it is larger than what is read of a pickle: {what} are limited to {max}")]
    TooLarge { what: &'static str, max: u64 },
    #[error(
        "it is compressed by {by}, which is not supported; write it with `joblib.dump(…, compress=('zlib', 3))` or without `compress`"
    )]
    Compression { by: &'static str },
    #[error("its compressed bytes are damaged")]
    Inflate { source: io::Error },
    #[error("it holds {found}, and not a scaler, an isolation forest, k-means centres, or a pipeline of these")]
    Kind { found: String },
    #[error("its {class} has the step `{step}`, and a second {what} cannot be applied")]
    Step { class: &'static str, step: String, what: &'static str },
    #[error("the `{attribute}` of its {class} {fault}")]
    Attribute { class: &'static str, attribute: String, fault: &'static str },
    #[error("its {class} cannot be used")]
    Scaler { class: &'static str, source: ScalerFault },
    #[error("tree {tree} of its {class} is no tree: {fault}")]
    Tree { class: &'static str, tree: usize, fault: &'static str },
}
