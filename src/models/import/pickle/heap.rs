//! What a pickle is made of, as plain values.
//!
//! Objects lie in one list and refer to each other by number: an instruction may change one that others hold already, may hold it a
//! million times or in a circle, and none of it costs memory or depth of calls. Promise: nothing is ever copied because it is referred to.

use std::borrow::Cow;

use super::array::{Array, ItemType};
use super::global::{Class, Global};

/// A value; what is larger than a number is an object of the heap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Global(Global),
    Object(ObjectId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectId(u32);

#[derive(Clone, Debug)]
pub(super) enum Object<'a> {
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// In the order of writing; of one key the last holds.
    Dict(Vec<(Value, Value)>),
    Instance(Instance),
    ItemType(ItemType),
    Array(Array<'a>),
}

/// An object with attributes, which are a dict once it is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub class: Class,
    pub attributes: Value,
}

/// All objects of one pickle. There are at most as many as instructions.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    objects: Vec<Object<'a>>,
    /// Bytes that calls may still make, so that one text is not made into bytes a million times.
    bytes_left: usize,
}

impl<'a> Heap<'a> {
    /// For a pickle of so many bytes.
    pub(super) fn new(bytes: usize) -> Heap<'a> {
        Heap { objects: Vec::new(), bytes_left: bytes }
    }

    /// Whether a call may make so many bytes of what stands in the file; each byte once.
    pub(super) fn may_make(&mut self, bytes: usize) -> Option<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes)?;
        Some(())
    }

    pub(super) fn add(&mut self, object: Object<'a>) -> Value {
        let id =
            u32::try_from(self.objects.len()).expect("instructions are limited to far fewer, and each adds one or two");
        self.objects.push(object);
        Value::Object(ObjectId(id))
    }

    pub(super) fn object(&self, value: Value) -> Option<&Object<'a>> {
        match value {
            Value::Object(ObjectId(id)) => self.objects.get(id as usize),
            _ => None,
        }
    }

    pub(super) fn object_mut(&mut self, value: Value) -> Option<&mut Object<'a>> {
        match value {
            Value::Object(ObjectId(id)) => self.objects.get_mut(id as usize),
            _ => None,
        }
    }

    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.object(value)? {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn bytes(&self, value: Value) -> Option<&[u8]> {
        match self.object(value)? {
            Object::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn list(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn instance(&self, value: Value) -> Option<Instance> {
        match self.object(value)? {
            Object::Instance(instance) => Some(*instance),
            _ => None,
        }
    }

    pub(super) fn item_type(&self, value: Value) -> Option<&ItemType> {
        match self.object(value)? {
            Object::ItemType(item) => Some(item),
            _ => None,
        }
    }

    pub(super) fn array(&self, value: Value) -> Option<&Array<'a>> {
        match self.object(value)? {
            Object::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The value under a key that is a text.
    pub(super) fn entry(&self, dict: Value, key: &str) -> Option<Value> {
        match self.object(dict)? {
            Object::Dict(entries) => {
                entries.iter().rev().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
            }
            _ => None,
        }
    }
}
