//! Follows the instructions of a pickle and builds plain values.
//!
//! Promise: nothing is executed. A name is looked up in the closed list, a call makes a value of ours or is refused, and whatever the bytes are, the
//! end is a value or a fault, in memory that is a bounded multiple of the file.

use std::collections::BTreeMap;

use super::array::{self, Array, Data, ItemOrder, ItemType};
use super::call;
use super::fault::PickleFault;
use super::global::{Call, Class, Global};
use super::heap::{Heap, Instance, Object, Value};
use super::opcode::{Cursor, Opcode};

/// More than any of the classes has attributes.
const DICT_ENTRIES_MAX: usize = 1 << 10;

/// Whether arrays may stand between the instructions, as joblib writes them; not in an array of objects that stands there itself.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    File,
    ArrayOfObjects,
}

/// One pickle being read.
#[derive(Debug)]
struct Machine<'m, 'a> {
    level: Level,
    cursor: &'m mut Cursor<'a>,
    heap: &'m mut Heap<'a>,
    stack: Vec<Value>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value>,
}

/// The objects of a pickle, and the one that it is.
pub(super) fn read(bytes: &[u8]) -> Result<(Heap<'_>, Value), PickleFault> {
    let (mut heap, mut cursor) = (Heap::new(bytes.len()), Cursor::new(bytes));
    let value = Machine::new(Level::File, &mut cursor, &mut heap).run()?;
    if !cursor.is_at_end() {
        return Err(PickleFault::Trailing { at: cursor.at() });
    }
    Ok((heap, value))
}

impl<'m, 'a> Machine<'m, 'a> {
    fn new(level: Level, cursor: &'m mut Cursor<'a>, heap: &'m mut Heap<'a>) -> Machine<'m, 'a> {
        Machine { level, cursor, heap, stack: Vec::new(), marks: Vec::new(), memo: BTreeMap::new() }
    }

    fn run(mut self) -> Result<Value, PickleFault> {
        loop {
            match self.cursor.next()? {
                Opcode::Stop => return self.pop(),
                opcode => self.step(opcode)?,
            }
        }
    }

    fn step(&mut self, opcode: Opcode<'a>) -> Result<(), PickleFault> {
        let value = match opcode {
            Opcode::Ignored | Opcode::Stop => return Ok(()),
            Opcode::Mark => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            Opcode::Pop => return self.pop().map(drop),
            Opcode::PopMark => return self.since_mark().map(drop),
            Opcode::Append => {
                let item = self.pop()?;
                return self.extend(vec![item]);
            }
            Opcode::AppendSinceMark => {
                let items = self.since_mark()?;
                return self.extend(items);
            }
            Opcode::SetItem => {
                let (value, key) = (self.pop()?, self.pop()?);
                return self.set(&[key, value]);
            }
            Opcode::SetItemsSinceMark => {
                let items = self.since_mark()?;
                return self.set(&items);
            }
            Opcode::Put(number) => return self.put(number),
            Opcode::Memoize => return self.put(self.memo.len() as u32),
            Opcode::Build => return self.build(),
            made => self.made(made)?,
        };
        self.stack.push(value);
        Ok(())
    }

    /// The value of an instruction that adds one.
    fn made(&mut self, opcode: Opcode<'a>) -> Result<Value, PickleFault> {
        Ok(match opcode {
            Opcode::Duplicate => self.top()?,
            Opcode::Bool(value) => Value::Bool(value),
            Opcode::Int(value) => Value::Int(value),
            Opcode::Float(value) => Value::Float(value),
            Opcode::Text(text) => self.heap.add(Object::Text(text)),
            Opcode::Bytes(bytes) => self.heap.add(Object::Bytes(bytes.into())),
            Opcode::TupleOf(count) => {
                let items = self.popped(count)?;
                self.heap.add(Object::Tuple(items))
            }
            Opcode::TupleSinceMark => {
                let items = self.since_mark()?;
                self.heap.add(Object::Tuple(items))
            }
            Opcode::EmptyList => self.heap.add(Object::List(Vec::new())),
            Opcode::ListSinceMark => {
                let items = self.since_mark()?;
                self.heap.add(Object::List(items))
            }
            Opcode::EmptyDict => self.heap.add(Object::Dict(Vec::new())),
            Opcode::DictSinceMark => {
                let items = self.since_mark()?;
                let dict = self.heap.add(Object::Dict(Vec::new()));
                self.stack.push(dict);
                self.set(&items)?;
                self.pop()?
            }
            Opcode::Get(number) => {
                let held = self.memo.get(&number).copied();
                held.ok_or_else(|| self.cursor.damaged("it refers to a value that was not kept"))?
            }
            Opcode::Global { module, name } => Value::Global(Global::of(module, name)?),
            Opcode::GlobalOfStack => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.heap.text(module), self.heap.text(name)) {
                    (Some(module), Some(name)) => Value::Global(Global::of(module, name)?),
                    _ => return Err(self.cursor.damaged("a name is not a text")),
                }
            }
            Opcode::NewObject => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.new_instance(class, arguments)?
            }
            Opcode::Reduce => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(callee, arguments)?
            }
            // What `step` has done already adds nothing.
            _ => Value::None,
        })
    }

    /// Only what was put above the last mark is within reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value, PickleFault> {
        let top = self.stack[self.floor()..].last();
        top.copied().ok_or_else(|| self.cursor.damaged("it takes a value that is not there"))
    }

    fn pop(&mut self) -> Result<Value, PickleFault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn popped(&mut self, count: usize) -> Result<Vec<Value>, PickleFault> {
        let from = self.stack.len().checked_sub(count).filter(|from| *from >= self.floor());
        let from = from.ok_or_else(|| self.cursor.damaged("it takes a value that is not there"))?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, PickleFault> {
        let mark = self.marks.pop().ok_or_else(|| self.cursor.damaged("it goes back to a mark that is not there"))?;
        Ok(self.stack.split_off(mark))
    }

    fn put(&mut self, number: u32) -> Result<(), PickleFault> {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn extend(&mut self, items: Vec<Value>) -> Result<(), PickleFault> {
        let top = self.top()?;
        match self.heap.object_mut(top) {
            Some(Object::List(list)) => list.extend(items),
            _ => return Err(self.cursor.damaged("it appends to what is not a list")),
        }
        Ok(())
    }

    /// Keys and values in turn.
    fn set(&mut self, items: &[Value]) -> Result<(), PickleFault> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(self.cursor.damaged("a key has no value"));
        };
        let top = self.top()?;
        let Some(Object::Dict(entries)) = self.heap.object_mut(top) else {
            return Err(self.cursor.damaged("it sets an item of what is not a dict"));
        };
        entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        if entries.len() > DICT_ENTRIES_MAX {
            return Err(PickleFault::TooLarge { what: "the entries of a dict", max: DICT_ENTRIES_MAX as u64 });
        }
        Ok(())
    }

    fn new_instance(&mut self, class: Value, arguments: Value) -> Result<Value, PickleFault> {
        match class {
            Value::Global(Global::Class(class)) if self.heap.tuple(arguments) == Some(&[]) => {
                Ok(self.heap.add(Object::Instance(Instance { class, attributes: Value::None })))
            }
            _ => Err(self.cursor.damaged("it makes an instance of what has none")),
        }
    }

    fn call(&mut self, callee: Value, arguments: Value) -> Result<Value, PickleFault> {
        let Value::Global(Global::Call(callee)) = callee else {
            return Err(self.cursor.damaged("it calls what cannot be called"));
        };
        let made = match callee {
            Call::NewObject => match self.heap.tuple(arguments) {
                Some([class]) => {
                    let (class, none) = (*class, self.heap.add(Object::Tuple(Vec::new())));
                    return self.new_instance(class, none);
                }
                _ => None,
            },
            callee => call::made(self.heap, callee, arguments),
        };
        made.ok_or_else(|| self.cursor.damaged("it calls a function with what it does not take"))
    }

    /// Gives an object its state; the object stays on the stack.
    fn build(&mut self) -> Result<(), PickleFault> {
        let (state, built) = (self.pop()?, self.top()?);
        let damaged = self.cursor.damaged("the state of an object is not what it should be");
        let next = match self.heap.object(built) {
            Some(Object::Instance(Instance { class: Class::ArrayWrapper, .. })) => {
                let array = self.inline_array(state)?;
                self.stack.pop();
                self.stack.push(array);
                return Ok(());
            }
            Some(Object::Instance(instance)) => Some(Object::Instance(Instance { attributes: state, ..*instance })),
            Some(Object::ItemType(item)) => item.built(self.heap, state).map(Object::ItemType),
            Some(Object::Array(_)) => call::array_of_state(self.heap, state).map(Object::Array),
            _ => None,
        };
        let next = next.ok_or(damaged)?;
        *self.heap.object_mut(built).expect("it was found above") = next;
        Ok(())
    }

    /// An array whose bytes, or whose own pickle, stand here in the file.
    fn inline_array(&mut self, wrapper: Value) -> Result<Value, PickleFault> {
        let damaged = self.cursor.damaged("an array of joblib's is not described as it should be");
        let of = |key| self.heap.entry(wrapper, key);
        let item = of("dtype").and_then(|item| self.heap.item_type(item)).cloned();
        let shape = of("shape").and_then(|shape| array::shape(self.heap, shape));
        let order = match of("order").and_then(|order| self.heap.text(order)) {
            Some("C") => ItemOrder::C,
            Some("F") => ItemOrder::Fortran,
            _ => return Err(damaged),
        };
        let (Level::File, Some(Value::Global(Global::NdArray)), Some(item), Some(shape)) =
            (self.level, of("subclass"), item, shape)
        else {
            return Err(damaged);
        };
        if item == ItemType::Objects {
            let inner = Machine::new(Level::ArrayOfObjects, self.cursor, self.heap).run()?;
            return self.heap.array(inner).map(|_| inner).ok_or(damaged);
        }
        if matches!(of("numpy_array_alignment_bytes"), Some(Value::Int(_))) {
            let padding = self.cursor.take(1)?[0];
            self.cursor.take(usize::from(padding))?;
        }
        let bytes = Array::items(&shape).zip(item.width()).and_then(|(items, width)| items.checked_mul(width));
        let data = Data::Inline(self.cursor.take(bytes.ok_or(damaged)?)?);
        Ok(self.heap.add(Object::Array(Array { item, shape, order, data })))
    }
}
