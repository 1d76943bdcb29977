//! What stands in an instance, asked for by name and by what it must be.
//!
//! Promise: what is missing, or is something else, is a fault that names class and attribute; and however often a pickle refers to one array,
//! what is read of it comes to no more than a few times the file.

use std::cell::Cell;

use super::array::{ItemOrder, Scalar};
use super::fault::PickleFault;
use super::global::Class;
use super::heap::{Heap, Value};

/// How often each byte of the file may be read into a list of numbers or texts. Once is usual.
const READINGS_MAX: usize = 4;

/// The values of a pickle, and how much may still be read of them.
#[derive(Debug)]
pub(super) struct Content<'h> {
    heap: &'h Heap<'h>,
    bytes_left: Cell<usize>,
}

/// The attributes of one instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'h> {
    content: &'h Content<'h>,
    class: Class,
    attributes: Value,
}

impl<'h> Content<'h> {
    /// Of a pickle of so many bytes.
    pub(super) fn new(heap: &'h Heap<'h>, bytes: usize) -> Content<'h> {
        Content { heap, bytes_left: Cell::new(bytes.saturating_mul(READINGS_MAX)) }
    }

    pub(super) fn heap(&self) -> &'h Heap<'h> {
        self.heap
    }

    /// The attributes of a value that is an instance, with its class.
    pub(super) fn instance(&'h self, value: Value) -> Option<(Class, Attributes<'h>)> {
        let instance = self.heap.instance(value)?;
        Some((instance.class, Attributes { content: self, class: instance.class, attributes: instance.attributes }))
    }

    fn read(&self, bytes: usize) -> Option<()> {
        self.bytes_left.set(self.bytes_left.get().checked_sub(bytes)?);
        Some(())
    }
}

impl<'h> Attributes<'h> {
    pub(super) fn fault(&self, attribute: &str, fault: &'static str) -> PickleFault {
        PickleFault::Attribute { class: self.class.name(), attribute: attribute.to_owned(), fault }
    }

    /// A value that is there; `None` of Python's is not.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.content.heap.entry(self.attributes, name).filter(|value| *value != Value::None)
    }

    pub(super) fn required(&self, name: &str) -> Result<Value, PickleFault> {
        self.value(name)
            .ok_or_else(|| self.fault(name, "is missing: it was not fitted, or by a version that is not known"))
    }

    /// A switch, which older versions may not have.
    pub(super) fn switch(&self, name: &str, otherwise: bool) -> Result<bool, PickleFault> {
        match self.value(name) {
            None => Ok(otherwise),
            Some(Value::Bool(value)) => Ok(value),
            Some(Value::Int(value @ 0..=1)) => Ok(value == 1),
            Some(_) => Err(self.fault(name, "is neither true nor false")),
        }
    }

    pub(super) fn float(&self, name: &str) -> Result<f64, PickleFault> {
        self.as_float(self.required(name)?).ok_or_else(|| self.fault(name, "is not a number"))
    }

    fn as_float(&self, value: Value) -> Option<f64> {
        match value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            // numpy's numbers may be arrays without a dimension.
            value => {
                let array = self.content.heap.array(value).filter(|array| array.shape.is_empty())?;
                array.numbers(self.content.heap)?.next().map(Scalar::as_float)
            }
        }
    }

    /// How many there are of something: at least one.
    pub(super) fn count(&self, name: &str) -> Result<usize, PickleFault> {
        match self.required(name)? {
            Value::Int(count @ 1..) => usize::try_from(count).map_err(|_| self.fault(name, "is too large")),
            _ => Err(self.fault(name, "is not a positive whole number")),
        }
    }

    /// How many features it was fitted on, where it says so.
    pub(super) fn features(&self) -> Result<Option<usize>, PickleFault> {
        self.value("n_features_in_").map(|_| self.count("n_features_in_")).transpose()
    }

    /// A list of numbers.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f64>, PickleFault> {
        let [numbers] = &mut self.rows(name, 1)?[..] else { return Err(self.fault(name, "is not one list")) };
        Ok(std::mem::take(numbers))
    }

    /// The rows of an array of so many dimensions; one dimension is one row.
    pub(super) fn rows(&self, name: &str, dimensions: usize) -> Result<Vec<Vec<f64>>, PickleFault> {
        let fault = || self.fault(name, "is not a whole array of numbers in the shape that is wanted");
        let array = self.content.heap.array(self.required(name)?).ok_or_else(fault)?;
        let (rows, columns) = match array.shape[..] {
            [columns] if dimensions == 1 => (1, columns),
            [rows, columns] if dimensions == 2 && columns > 0 => (rows, columns),
            _ => return Err(fault()),
        };
        let numbers = array.numbers(self.content.heap).ok_or_else(fault)?;
        self.content.read(numbers.len().saturating_mul(8)).ok_or_else(|| self.too_large())?;
        let all: Vec<f64> = numbers.map(Scalar::as_float).collect();
        let place = |row: usize, column: usize| match array.order {
            ItemOrder::C => row * columns + column,
            ItemOrder::Fortran => column * rows + row,
        };
        Ok((0..rows).map(|row| (0..columns).map(|column| all[place(row, column)]).collect()).collect())
    }

    /// Two numbers.
    pub(super) fn pair(&self, name: &str) -> Result<[f64; 2], PickleFault> {
        let value = self.required(name)?;
        let both = self.content.heap.tuple(value).or_else(|| self.content.heap.list(value));
        let pair = both.and_then(|both| match both {
            [low, high] => Some([self.as_float(*low)?, self.as_float(*high)?]),
            _ => None,
        });
        pair.ok_or_else(|| self.fault(name, "is not two numbers"))
    }

    /// The names of the features, where it was fitted on named columns.
    pub(super) fn feature_names(&self) -> Result<Option<Vec<String>>, PickleFault> {
        const NAME: &str = "feature_names_in_";
        let Some(value) = self.value(NAME) else { return Ok(None) };
        let fault = || self.fault(NAME, "is not a list of texts");
        let heap = self.content.heap;
        let names = heap.array(value).and_then(|array| array.objects(heap)).ok_or_else(fault)?;
        if self.features()?.is_some_and(|features| features != names.len()) {
            return Err(self.fault(NAME, "has not as many names as there are features"));
        }
        let name = |name: &Value| {
            let name = heap.text(*name).ok_or_else(fault)?;
            self.content.read(name.len() + size_of::<String>() / READINGS_MAX).ok_or_else(|| self.too_large())?;
            Ok(name.to_owned())
        };
        names.iter().map(name).collect::<Result<Vec<String>, PickleFault>>().map(Some)
    }

    /// The items of a list.
    pub(super) fn list(&self, name: &str) -> Result<&'h [Value], PickleFault> {
        self.content.heap.list(self.required(name)?).ok_or_else(|| self.fault(name, "is not a list"))
    }

    /// The whole numbers of one field of an array of records.
    pub(super) fn whole_field(&self, name: &str, field: &str) -> Result<Vec<i64>, PickleFault> {
        let whole = self.field(name, field)?.map(Scalar::as_int).collect::<Option<Vec<i64>>>();
        whole.ok_or_else(|| self.fault(name, "has a number that is not whole"))
    }

    pub(super) fn float_field(&self, name: &str, field: &str) -> Result<Vec<f64>, PickleFault> {
        Ok(self.field(name, field)?.map(Scalar::as_float).collect())
    }

    fn field(&self, name: &str, field: &str) -> Result<impl ExactSizeIterator<Item = Scalar> + use<'h>, PickleFault> {
        let array = self.content.heap.array(self.required(name)?);
        let numbers =
            array.filter(|array| array.shape.len() == 1).and_then(|array| array.field(self.content.heap, field));
        let numbers = numbers.ok_or_else(|| self.fault(name, "is not a whole array of a tree's nodes"))?;
        self.content.read(numbers.len().saturating_mul(8)).ok_or_else(|| self.too_large())?;
        Ok(numbers)
    }

    /// A list of whole numbers that is no attribute but an item of one.
    pub(super) fn whole_numbers(&self, name: &str, value: Value) -> Result<Vec<i64>, PickleFault> {
        let fault = || self.fault(name, "has an item that is not a list of whole numbers");
        let array = self.content.heap.array(value).filter(|array| array.shape.len() == 1).ok_or_else(fault)?;
        let numbers = array.numbers(self.content.heap).ok_or_else(fault)?;
        self.content.read(numbers.len().saturating_mul(8)).ok_or_else(|| self.too_large())?;
        numbers.map(Scalar::as_int).collect::<Option<Vec<i64>>>().ok_or_else(fault)
    }

    fn too_large(&self) -> PickleFault {
        PickleFault::TooLarge { what: "its arrays, one of which it names again and again,", max: READINGS_MAX as u64 }
    }
}
