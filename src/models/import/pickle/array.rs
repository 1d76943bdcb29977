//! numpy's arrays: what an item is, how items lie, and their bytes where they stand in the file.
//!
//! Invariant: an array's bytes are as many as its shape and item type take, so that reading it allocates no more than a fixed multiple of
//! what the file holds. A number is converted when it is asked for.

use std::rc::Rc;

use super::heap::{Heap, Value};

/// More dimensions than any array of these models has, and more fields than a tree's node.
const DIMENSIONS_MAX: usize = 8;
const FIELDS_MAX: usize = 64;

/// What the items of an array are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ItemType {
    Number(Number),
    /// Python's own values.
    Objects,
    /// Several named numbers.
    Record(Rc<Record>),
}

/// How a number lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    kind: NumberKind,
    order: ByteOrder,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum NumberKind {
    Bool,
    Signed(Width),
    Unsigned(Width),
    Float4,
    Float8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Width {
    One,
    Two,
    Four,
    Eight,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ByteOrder {
    Little,
    Big,
}

#[derive(Debug, PartialEq)]
pub(super) struct Record {
    width: usize,
    fields: Vec<Field>,
}

#[derive(Debug, PartialEq)]
struct Field {
    name: String,
    offset: usize,
    number: Number,
}

/// An array with its bytes, or its objects.
#[derive(Clone, Debug)]
pub(super) struct Array<'a> {
    pub item: ItemType,
    pub shape: Vec<usize>,
    pub order: ItemOrder,
    pub data: Data<'a>,
}

/// Which index moves fastest: the last (C) or the first (Fortran).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemOrder {
    C,
    Fortran,
}

#[derive(Clone, Debug)]
pub(super) enum Data<'a> {
    /// In the file itself.
    Inline(&'a [u8]),
    /// Bytes, or a list, of the heap.
    Held(Value),
}

/// A number as it is: whole numbers are not bent through a float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl ItemType {
    /// numpy's code for a type, without its byte order: `f8`, `i4`, `b1`, `O8`, `V64`.
    pub(super) fn of_code(code: &str) -> Option<ItemType> {
        let number = |kind| Some(ItemType::Number(Number { kind, order: ByteOrder::Little }));
        let width = |digits: &str| match digits {
            "1" => Some(Width::One),
            "2" => Some(Width::Two),
            "4" => Some(Width::Four),
            "8" => Some(Width::Eight),
            _ => None,
        };
        match (code.get(..1)?, code.get(1..)?) {
            ("b", "1") => number(NumberKind::Bool),
            ("i", digits) => number(NumberKind::Signed(width(digits)?)),
            ("u", digits) => number(NumberKind::Unsigned(width(digits)?)),
            ("f", "4") => number(NumberKind::Float4),
            ("f", "8") => number(NumberKind::Float8),
            ("O", "" | "4" | "8") => Some(ItemType::Objects),
            ("V", digits) => {
                let width = digits.parse().ok().filter(|width| *width > 0)?;
                Some(ItemType::Record(Rc::new(Record { width, fields: Vec::new() })))
            }
            _ => None,
        }
    }

    /// The same with what a dtype's state adds: the byte order of a number, the fields of a record.
    pub(super) fn built(&self, heap: &Heap<'_>, state: Value) -> Option<ItemType> {
        let [_version, order, subarray, names, fields, ..] = *heap.tuple(state)? else { return None };
        if subarray != Value::None {
            return None;
        }
        match self {
            ItemType::Number(Number { kind, .. }) => {
                let order = match heap.text(order)? {
                    "<" | "|" | "=" => ByteOrder::Little,
                    ">" => ByteOrder::Big,
                    _ => return None,
                };
                Some(ItemType::Number(Number { kind: *kind, order }))
            }
            ItemType::Objects => Some(ItemType::Objects),
            ItemType::Record(record) => {
                let names = heap.tuple(names).filter(|names| names.len() <= FIELDS_MAX)?;
                let read = |name: &Value| field(heap, fields, heap.text(*name)?, record.width);
                let fields = names.iter().map(read).collect::<Option<Vec<Field>>>()?;
                Some(ItemType::Record(Rc::new(Record { width: record.width, fields })))
            }
        }
    }

    /// The bytes of an item; none where items are objects.
    pub(super) fn width(&self) -> Option<usize> {
        match self {
            ItemType::Number(number) => Some(number.width()),
            ItemType::Objects => None,
            ItemType::Record(record) => Some(record.width),
        }
    }
}

/// A field of a record, which lies within it.
fn field(heap: &Heap<'_>, fields: Value, name: &str, width: usize) -> Option<Field> {
    let [item, Value::Int(offset), ..] = *heap.tuple(heap.entry(fields, name)?)? else { return None };
    let ItemType::Number(number) = *heap.item_type(item)? else { return None };
    let offset = usize::try_from(offset).ok()?;
    let is_inside = offset.checked_add(number.width()).is_some_and(|end| end <= width);
    is_inside.then(|| Field { name: name.to_owned(), offset, number })
}

impl Number {
    fn width(self) -> usize {
        match self.kind {
            NumberKind::Bool | NumberKind::Signed(Width::One) | NumberKind::Unsigned(Width::One) => 1,
            NumberKind::Signed(Width::Two) | NumberKind::Unsigned(Width::Two) => 2,
            NumberKind::Signed(Width::Four) | NumberKind::Unsigned(Width::Four) | NumberKind::Float4 => 4,
            NumberKind::Signed(Width::Eight) | NumberKind::Unsigned(Width::Eight) | NumberKind::Float8 => 8,
        }
    }

    /// The number whose bytes these are; none where they are not as many as it has.
    pub(super) fn read(self, bytes: &[u8]) -> Option<Scalar> {
        let width = self.width();
        if bytes.len() != width {
            return None;
        }
        let mut whole = [0; 8];
        match self.order {
            ByteOrder::Little => whole[..width].copy_from_slice(bytes),
            ByteOrder::Big => whole[..width].iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from),
        }
        let bits = u64::from_le_bytes(whole);
        Some(match self.kind {
            NumberKind::Bool => Scalar::Bool(bits != 0),
            NumberKind::Unsigned(_) => Scalar::Unsigned(bits),
            NumberKind::Signed(_) => {
                let unused = 64 - 8 * width as u32;
                Scalar::Signed((bits << unused).cast_signed() >> unused)
            }
            NumberKind::Float4 => Scalar::Float(f64::from(f32::from_bits(bits as u32))),
            NumberKind::Float8 => Scalar::Float(f64::from_bits(bits)),
        })
    }
}

impl Scalar {
    /// As numpy would convert it.
    pub(super) fn as_float(self) -> f64 {
        match self {
            Scalar::Bool(value) => f64::from(u8::from(value)),
            Scalar::Signed(value) => value as f64,
            Scalar::Unsigned(value) => value as f64,
            Scalar::Float(value) => value,
        }
    }

    /// Where it is whole and fits.
    pub(super) fn as_int(self) -> Option<i64> {
        match self {
            Scalar::Bool(value) => Some(i64::from(value)),
            Scalar::Signed(value) => Some(value),
            Scalar::Unsigned(value) => i64::try_from(value).ok(),
            Scalar::Float(_) => None,
        }
    }
}

impl Array<'_> {
    /// How many items a shape has, where their bytes can be counted.
    pub(super) fn items(shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(1usize, |items, length| items.checked_mul(*length))
    }

    /// The bytes of all items, in the order in which they lie: as many as shape and type take.
    fn bytes<'h>(&'h self, heap: &'h Heap<'_>) -> Option<(&'h [u8], usize)> {
        let bytes = match &self.data {
            Data::Inline(bytes) => bytes,
            Data::Held(value) => heap.bytes(*value)?,
        };
        let width = self.item.width()?;
        let wanted = Array::items(&self.shape)?.checked_mul(width)?;
        (bytes.len() == wanted).then_some((bytes, width))
    }

    /// The numbers, in the order in which they lie.
    pub(super) fn numbers<'h>(&'h self, heap: &'h Heap<'_>) -> Option<impl ExactSizeIterator<Item = Scalar> + use<'h>> {
        let ItemType::Number(number) = self.item else { return None };
        let (bytes, width) = self.bytes(heap)?;
        let read = move |item| number.read(item).expect("a chunk is as wide as the number");
        Some(bytes.chunks_exact(width).map(read))
    }

    /// One field of all records.
    pub(super) fn field<'h>(
        &'h self,
        heap: &'h Heap<'_>,
        name: &str,
    ) -> Option<impl ExactSizeIterator<Item = Scalar> + use<'h>> {
        let ItemType::Record(record) = &self.item else { return None };
        let Field { offset, number, .. } = record.fields.iter().find(|field| field.name == name)?;
        let (bytes, width) = self.bytes(heap)?;
        let place = *offset..offset + number.width();
        let read = move |item: &'h [u8]| number.read(&item[place.clone()]).expect("a field lies within its record");
        Some(bytes.chunks_exact(width).map(read))
    }

    /// The objects of an array of objects.
    pub(super) fn objects<'h>(&'h self, heap: &'h Heap<'_>) -> Option<&'h [Value]> {
        let (ItemType::Objects, Data::Held(list)) = (&self.item, &self.data) else { return None };
        heap.list(*list).filter(|items| Some(items.len()) == Array::items(&self.shape))
    }
}

/// A tuple of lengths.
pub(super) fn shape(heap: &Heap<'_>, value: Value) -> Option<Vec<usize>> {
    let lengths = heap.tuple(value).filter(|lengths| lengths.len() <= DIMENSIONS_MAX)?;
    let length = |value: &Value| match value {
        Value::Int(length) => usize::try_from(*length).ok(),
        _ => None,
    };
    lengths.iter().map(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, order: ByteOrder, bytes: &[u8]) -> Scalar {
        let Some(ItemType::Number(Number { kind, .. })) = ItemType::of_code(code) else { panic!("{code}") };
        Number { kind, order }.read(bytes).unwrap()
    }

    #[test]
    fn numbers_are_read_in_every_width_and_order() {
        use ByteOrder::{Big, Little};
        assert_eq!(check("b1", Little, &[1]), Scalar::Bool(true));
        assert_eq!(check("i1", Little, &[0xfe]), Scalar::Signed(-2));
        assert_eq!(check("i2", Big, &[0xff, 0x00]), Scalar::Signed(-256));
        assert_eq!(check("u2", Big, &[0xff, 0x00]), Scalar::Unsigned(0xff00));
        assert_eq!(check("i4", Little, &[0, 0, 0, 0x80]), Scalar::Signed(i64::from(i32::MIN)));
        assert_eq!(check("i8", Little, &(-5i64).to_le_bytes()), Scalar::Signed(-5));
        assert_eq!(check("u8", Big, &u64::MAX.to_be_bytes()), Scalar::Unsigned(u64::MAX));
        assert_eq!(check("f4", Big, &0.1f32.to_be_bytes()), Scalar::Float(f64::from(0.1f32)));
        assert_eq!(check("f8", Little, &0.1f64.to_le_bytes()), Scalar::Float(0.1));
    }

    #[test]
    fn types_that_are_no_numbers_are_not_known() {
        for code in ["", "f", "f2", "f16", "c16", "M8", "U5", "S3", "V0", "V-1", "\u{e9}8"] {
            assert_eq!(ItemType::of_code(code), None, "{code}");
        }
    }

    fn numbers(shape: &[usize], bytes: &[u8]) -> Option<usize> {
        let item = ItemType::of_code("f8").unwrap();
        let array = Array { item, shape: shape.to_vec(), order: ItemOrder::C, data: Data::Inline(bytes) };
        array.numbers(&Heap::default()).map(|numbers| numbers.len())
    }

    #[test]
    fn an_array_has_the_bytes_that_its_shape_takes_or_is_none() {
        assert_eq!(numbers(&[2], &[0; 16]), Some(2));
        assert_eq!(numbers(&[], &[0; 8]), Some(1));
        assert_eq!(numbers(&[0, 1 << 60], &[]), Some(0));
        assert_eq!(numbers(&[3], &[0; 16]), None);
        assert_eq!(numbers(&[1 << 61, 1 << 61], &[0; 16]), None);
    }
}
