//! What the few functions that a pickle may name make of their arguments: each a value of ours, or nothing where the arguments are
//! not what the tools write.

use std::borrow::Cow;

use super::array::{self, Array, Data, ItemOrder, ItemType, Scalar};
use super::global::{Call, Class, Global};
use super::heap::{Heap, Instance, Object, Value};

/// What a call gives.
pub(super) fn made(heap: &mut Heap<'_>, callee: Call, arguments: Value) -> Option<Value> {
    let object = match (callee, heap.tuple(arguments)?) {
        (Call::Reconstructor, [Value::Global(Global::Class(class)), Value::Global(Global::Object), Value::None]) => {
            instance(*class)
        }
        (Call::Tree, [Value::Int(_), _, Value::Int(_)]) => instance(Class::Tree),
        (Call::BitGenerator | Call::RandomState, _) => instance(Class::RandomState),
        (Call::Bytes, []) => Object::Bytes(Cow::Borrowed(&[])),
        (Call::OrderedDict, []) => Object::Dict(Vec::new()),
        (Call::ItemType, [code, ..]) => Object::ItemType(ItemType::of_code(heap.text(*code)?)?),
        // Its shape and bytes come with its state.
        (Call::ReconstructArray, [Value::Global(Global::NdArray), _, _]) => Object::Array(Array {
            item: ItemType::Objects,
            shape: Vec::new(),
            order: ItemOrder::C,
            data: Data::Held(Value::None),
        }),
        (Call::FromBuffer, [bytes, item, shape, order]) => {
            let order = match heap.text(*order)? {
                "C" => ItemOrder::C,
                "F" => ItemOrder::Fortran,
                _ => return None,
            };
            Object::Array(array_of(heap, [*shape, *item, *bytes], order)?)
        }
        (Call::Encode, [text, encoding]) => {
            let (text, encoding) = (*text, *encoding);
            Object::Bytes(Cow::Owned(encoded(heap, text, encoding)?))
        }
        (Call::Scalar, [item, bytes]) => return scalar(heap, *item, *bytes),
        _ => return None,
    };
    Some(heap.add(object))
}

fn instance<'a>(class: Class) -> Object<'a> {
    Object::Instance(Instance { class, attributes: Value::None })
}

/// The bytes that older protocols write as a text of Latin-1.
fn encoded(heap: &mut Heap<'_>, text: Value, encoding: Value) -> Option<Vec<u8>> {
    if !matches!(heap.text(encoding)?, "latin1" | "latin-1") {
        return None;
    }
    let length = heap.text(text)?.len();
    heap.may_make(length)?;
    heap.text(text)?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// The array of `ndarray.__setstate__`'s version, shape, type, order and data.
pub(super) fn array_of_state<'a>(heap: &Heap<'a>, state: Value) -> Option<Array<'a>> {
    let [_version, shape, item, is_fortran, data] = *heap.tuple(state)? else { return None };
    let order = match is_fortran {
        Value::Bool(false) | Value::Int(0) => ItemOrder::C,
        Value::Bool(true) | Value::Int(1) => ItemOrder::Fortran,
        _ => return None,
    };
    array_of(heap, [shape, item, data], order)
}

fn array_of<'a>(heap: &Heap<'a>, [shape, item, data]: [Value; 3], order: ItemOrder) -> Option<Array<'a>> {
    let item = heap.item_type(item)?.clone();
    Some(Array { item, shape: array::shape(heap, shape)?, order, data: Data::Held(data) })
}

fn scalar(heap: &Heap<'_>, item: Value, bytes: Value) -> Option<Value> {
    let ItemType::Number(number) = heap.item_type(item)? else { return None };
    Some(match number.read(heap.bytes(bytes)?)? {
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Float(value) => Value::Float(value),
        whole => Value::Int(whole.as_int()?),
    })
}
