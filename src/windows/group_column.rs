//! A column that events are grouped by: its values by row, as hashes and as parts of a key.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt32Type};

use crate::domain::schema::FieldKind;
use crate::windows::dictionary::PerValue;
use crate::windows::exact::number::Number;
use crate::windows::hash;

/// A column of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupColumn {
    pub name: String,
    pub kind: FieldKind,
}

/// The kind of field that a column of events of this type is, if it is one.
pub fn kind_of(data_type: &DataType) -> Option<FieldKind> {
    match data_type {
        DataType::Float64 => Some(FieldKind::Float),
        DataType::Int64 => Some(FieldKind::Int),
        DataType::Boolean => Some(FieldKind::Bool),
        DataType::Utf8 => Some(FieldKind::Text),
        DataType::Dictionary(keys, values) => {
            (**keys == DataType::UInt32 && **values == DataType::Utf8).then_some(FieldKind::Text)
        }
        _ => None,
    }
}

/// A batch's column of the group, typed.
pub enum GroupValues<'a> {
    Coded {
        codes: &'a [u32],
        column: &'a ArrayRef,
        values: &'a ArrayRef,
        texts: &'a StringArray,
    },
    Text(&'a StringArray),
    /// The bits of numbers; equal numbers have equal bits.
    Float(&'a arrow::array::Float64Array),
    Int(&'a arrow::array::Int64Array),
    Bool(&'a arrow::array::BooleanArray),
}

/// One value of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GroupValue<'a> {
    Null,
    Text(&'a str),
    Float(f64),
    Int(i64),
    Bool(bool),
}

impl GroupColumn {
    /// The column in a batch; nothing if it is not there or of another kind.
    pub fn values<'a>(&self, batch: &'a RecordBatch) -> Option<GroupValues<'a>> {
        let column = batch.column_by_name(&self.name)?;
        match (self.kind, column.data_type()) {
            (FieldKind::Float, _) => column.as_primitive_opt::<Float64Type>().map(GroupValues::Float),
            (FieldKind::Int, _) => column.as_primitive_opt::<Int64Type>().map(GroupValues::Int),
            (FieldKind::Bool, _) => column.as_boolean_opt().map(GroupValues::Bool),
            (FieldKind::Text, DataType::Utf8) => column.as_string_opt::<i32>().map(GroupValues::Text),
            (FieldKind::Text, _) => {
                let coded = column.as_dictionary_opt::<UInt32Type>()?;
                let texts = coded.values().as_string_opt::<i32>()?;
                Some(GroupValues::Coded { codes: coded.keys().values(), column, values: coded.values(), texts })
            }
        }
    }
}

impl<'a> GroupValues<'a> {
    pub fn at(&self, row: usize) -> GroupValue<'a> {
        match self {
            GroupValues::Coded { codes, column, texts, .. } if column.is_valid(row) => {
                text_at(texts, codes[row] as usize)
            }
            GroupValues::Text(texts) => text_at(texts, row),
            GroupValues::Float(values) if values.is_valid(row) => GroupValue::Float(values.value(row).plain()),
            GroupValues::Int(values) if values.is_valid(row) => GroupValue::Int(values.value(row)),
            GroupValues::Bool(values) if values.is_valid(row) => GroupValue::Bool(values.value(row)),
            _ => GroupValue::Null,
        }
    }

    /// Combines each row's hash with this column's. `known` keeps the hashes of a dictionary's values between calls.
    pub fn hash_into(&self, rows: &mut [u64], known: &mut PerValue<u64>) {
        match self {
            GroupValues::Coded { codes, column, values, texts } => {
                const UNKNOWN: u64 = 0;
                let known = known.entries(values, UNKNOWN);
                let nulls = column.nulls();
                for (row, (hash, code)) in rows.iter_mut().zip(*codes).enumerate() {
                    if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                        *hash = hash::combine(*hash, hash::NULL);
                        continue;
                    }
                    let entry = &mut known[*code as usize];
                    if *entry == UNKNOWN {
                        *entry = text_at(texts, *code as usize).hash();
                    }
                    *hash = hash::combine(*hash, *entry);
                }
            }
            _ => {
                for (row, hash) in rows.iter_mut().enumerate() {
                    *hash = hash::combine(*hash, self.at(row).hash());
                }
            }
        }
    }
}

fn text_at(texts: &StringArray, index: usize) -> GroupValue<'_> {
    if texts.is_valid(index) { GroupValue::Text(texts.value(index)) } else { GroupValue::Null }
}

const TAG_NULL: u8 = 0;
const TAG_VALUE: u8 = 1;

impl GroupValue<'_> {
    fn hash(self) -> u64 {
        match self {
            GroupValue::Null => hash::NULL,
            GroupValue::Text(text) => hash::of_bytes(text.as_bytes()),
            GroupValue::Float(value) => hash::of_bits(Number::to_bits(value)),
            GroupValue::Int(value) => hash::of_bits(value as u64),
            GroupValue::Bool(value) => hash::of_bits(u64::from(value)),
        }
    }

    /// Appends the value to a key. Keys compare as their values do, byte by byte: null first, then by size or alphabet.
    pub fn append_to(self, key: &mut Vec<u8>) {
        match self {
            GroupValue::Null => key.push(TAG_NULL),
            GroupValue::Text(text) => {
                key.push(TAG_VALUE);
                for byte in text.bytes() {
                    key.push(byte);
                    if byte == 0 {
                        key.push(0xff);
                    }
                }
                key.extend([0, 0]);
            }
            GroupValue::Float(value) => {
                let bits = Number::to_bits(value);
                let ordered = if bits >> 63 == 0 { bits ^ 1 << 63 } else { !bits };
                key.push(TAG_VALUE);
                key.extend(ordered.to_be_bytes());
            }
            GroupValue::Int(value) => {
                key.push(TAG_VALUE);
                key.extend((value as u64 ^ 1 << 63).to_be_bytes());
            }
            GroupValue::Bool(value) => key.extend([TAG_VALUE, u8::from(value)]),
        }
    }
}

/// Reads values back from a key that `append_to` wrote.
pub struct KeyReader<'a> {
    key: &'a [u8],
    text: Vec<u8>,
}

impl<'a> KeyReader<'a> {
    pub fn new(key: &'a [u8]) -> KeyReader<'a> {
        KeyReader { key, text: Vec::new() }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.key.split_first_chunk::<N>()?;
        self.key = rest;
        Some(*taken)
    }

    /// The next value; null where the key ends.
    pub fn next(&mut self, kind: FieldKind) -> GroupValue<'_> {
        if self.take::<1>() != Some([TAG_VALUE]) {
            return GroupValue::Null;
        }
        let value = match kind {
            FieldKind::Float => self.take().map(|bytes| {
                let ordered = u64::from_be_bytes(bytes);
                let bits = if ordered >> 63 == 1 { ordered ^ 1 << 63 } else { !ordered };
                GroupValue::Float(f64::from_bits(bits))
            }),
            FieldKind::Int => self.take().map(|bytes| GroupValue::Int((u64::from_be_bytes(bytes) ^ 1 << 63) as i64)),
            FieldKind::Bool => self.take().map(|[byte]| GroupValue::Bool(byte != 0)),
            FieldKind::Text => return self.next_text(),
        };
        value.unwrap_or(GroupValue::Null)
    }

    fn next_text(&mut self) -> GroupValue<'_> {
        self.text.clear();
        while let Some([byte]) = self.take::<1>() {
            // A zero of the text is followed by 255, the end by another zero.
            if byte == 0 && self.take::<1>() != Some([0xff]) {
                break;
            }
            self.text.push(byte);
        }
        std::str::from_utf8(&self.text).map_or(GroupValue::Null, GroupValue::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[GroupValue]) -> Vec<u8> {
        let mut key = Vec::new();
        values.iter().for_each(|value| value.append_to(&mut key));
        key
    }

    #[test]
    fn keys_compare_as_their_values_do() {
        use GroupValue::*;
        let ascending = [
            vec![Null, Int(7)],
            vec![Text(""), Int(1)],
            vec![Text("\0"), Int(1)],
            vec![Text("\0a"), Int(1)],
            vec![Text("a"), Int(i64::MIN)],
            vec![Text("a"), Int(-1)],
            vec![Text("a"), Int(0)],
            vec![Text("a\0"), Int(-9)],
            vec![Text("ab"), Null],
        ];
        assert!(ascending.iter().map(|values| key(values)).is_sorted());
        let floats = [-1e300, -1.0, -5e-324, 0.0, 5e-324, 2.0, 1e300].map(|value| key(&[Float(value)]));
        assert!(floats.is_sorted());
    }

    #[test]
    fn a_key_gives_its_values_back() {
        use FieldKind as Kind;
        use GroupValue::*;
        let values = [Text("a\0b\0\0ü"), Null, Float(-2.5), Int(i64::MIN), Bool(true), Text("")];
        let key = key(&values);
        let mut reader = KeyReader::new(&key);
        let kinds = [Kind::Text, Kind::Int, Kind::Float, Kind::Int, Kind::Bool, Kind::Text];
        for (kind, value) in kinds.into_iter().zip(values) {
            assert_eq!(reader.next(kind), value);
        }
    }
}
