//! Pickles of scikit-learn (`.pkl`, `.pickle`, `.joblib`): what a scaler, an isolation forest or k-means has learnt, read without Python.
//!
//! A pickle is a program, and Python runs it when it loads one. Here it is not run: a machine follows the instructions that build values, on a
//! closed list of names, each of which is code of ours. Promise: any bytes give what they hold, sound, or a fault; a name that is not on the list
//! is refused and told; memory is a bounded multiple of the file, and the inflated size of a compressed one is limited.
//!
//! ```text
//! bytes ─► inflate ─► opcode ─► machine (global, call, array) ─► heap ─► attributes ─► scaler, forest, centers
//! ```

mod array;
mod attributes;
mod call;
mod centers;
mod fault;
mod forest;
mod global;
mod heap;
mod inflate;
mod machine;
mod opcode;
mod scaler;

use self::attributes::{Attributes, Content};
use self::global::Class;
use self::heap::Value;
use crate::models::import::sidecar::ScalerFile;

pub use self::centers::PickledCenters;
pub use self::fault::PickleFault;
pub use self::forest::{PickledForest, PickledNode, PickledSplit, PickledTree};

/// How large a pickle may be, plain or inflated: a forest of 1,000 trees has 10 MB.
pub const PICKLE_BYTES_MAX: u64 = 256 << 20;

/// What a pickle holds: a scaler, a model, or a pipeline of the two.
#[derive(Debug, Default, PartialEq)]
pub struct Pickled {
    pub scaler: Option<ScalerFile>,
    pub model: Option<PickledModel>,
}

/// A model that is no network.
#[derive(Clone, Debug, PartialEq)]
pub enum PickledModel {
    Forest(PickledForest),
    Centers(PickledCenters),
}

impl PickledModel {
    /// By scikit-learn's word.
    pub fn kind(&self) -> &'static str {
        match self {
            PickledModel::Forest(_) => "IsolationForest",
            PickledModel::Centers(_) => "KMeans",
        }
    }
}

/// Understands the bytes of a pickle.
pub fn read(bytes: &[u8]) -> Result<Pickled, PickleFault> {
    let bytes = inflate::plain(bytes, PICKLE_BYTES_MAX)?;
    let (heap, value) = machine::read(&bytes)?;
    let content = Content::new(&heap, bytes.len());
    let Some((class, attributes)) = content.instance(value) else {
        return Err(PickleFault::Kind { found: "no object of scikit-learn's".to_owned() });
    };
    let mut pickled = Pickled::default();
    if class == Class::Pipeline {
        for step in attributes.list("steps")? {
            take_step(&content, &attributes, *step, &mut pickled)?;
        }
    } else {
        take(&content, (class, attributes), &mut pickled)?;
    }
    match pickled {
        Pickled { scaler: None, model: None } => {
            Err(PickleFault::Kind { found: "a pipeline without a step".to_owned() })
        }
        pickled => Ok(pickled),
    }
}

/// A step of a pipeline: its name and what it is, in that order.
fn take_step(
    content: &Content<'_>,
    pipeline: &Attributes<'_>,
    step: Value,
    pickled: &mut Pickled,
) -> Result<(), PickleFault> {
    let heap = content.heap();
    let Some([name, step]) = heap.tuple(step) else {
        return Err(pipeline.fault("steps", "is not a list of named steps"));
    };
    if *step == Value::None || heap.text(*step) == Some("passthrough") {
        return Ok(());
    }
    let Some((class, attributes)) = content.instance(*step) else {
        return Err(pipeline.fault("steps", "has a step that is no object of scikit-learn's"));
    };
    let what = match (&pickled.scaler, &pickled.model, class) {
        (_, Some(_), _) => Some("step behind the model"),
        (Some(_), None, Class::StandardScaler | Class::MinMaxScaler | Class::MaxAbsScaler | Class::RobustScaler) => {
            Some("scaler")
        }
        _ => None,
    };
    if let Some(what) = what {
        let step = heap.text(*name).unwrap_or("").chars().take(100).flat_map(char::escape_debug).collect();
        return Err(PickleFault::Step { class: Class::Pipeline.name(), step, what });
    }
    take(content, (class, attributes), pickled)
}

fn take<'h>(
    content: &'h Content<'h>,
    (class, attributes): (Class, Attributes<'h>),
    pickled: &mut Pickled,
) -> Result<(), PickleFault> {
    match class {
        Class::IsolationForest => pickled.model = Some(PickledModel::Forest(forest::read(content, &attributes)?)),
        Class::KMeans => pickled.model = Some(PickledModel::Centers(centers::read(&attributes)?)),
        class => match scaler::read(class, &attributes)? {
            Some(scaler) => pickled.scaler = Some(scaler),
            None => return Err(PickleFault::Kind { found: format!("a {}", class.name()) }),
        },
    }
    Ok(())
}
