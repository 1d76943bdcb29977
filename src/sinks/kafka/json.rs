//! Anomalies as JSON: the row of the table, column by column, keyed by its key, with a key of its own in a header.
//!
//! Times are RFC 3339 in UTC with microseconds; floats are the shortest text that reads back the same; null is null. The
//! same row gives the same bytes and the same idempotency key in every run.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use chrono::{DateTime, SecondsFormat};

use crate::domain::ids::PartitionId;
use crate::sinks::kafka::{Refusal, Rows};

/// A batch that is not one of anomalies.
#[derive(Debug, thiserror::Error)]
pub enum MalformedAnomalies {
    #[error("a batch of anomalies has no column `{column}`")]
    Missing { column: &'static str },
    #[error("column `{column}` of a batch of anomalies is {found}, which has no JSON form here")]
    Type { column: String, found: DataType },
    #[error("column `{column}` of a batch of anomalies cannot be read as text")]
    Text { column: String, source: ArrowError },
}

/// One record for the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// What names this row and revision, and nothing else; the same whenever the row is made again.
    pub idempotency_key: &'a str,
}

/// The rows of a batch, encoded.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    text: String,
    /// The ends of key, idempotency key and value of each row, one after the other in `text`.
    ends: Vec<[usize; 3]>,
}

/// What makes a row the same row.
const IDENTITY: [&str; 9] =
    ["detector", "key", "time", "window_start", "window_end", "partition", "offset", "revision", "retracted"];

impl Messages {
    /// Encodes rows of `Table::Anomalies`, with whatever columns follow. A partition that is still an id gets the name that
    /// `name_of` gives.
    pub fn of(batch: &RecordBatch, name_of: &dyn Fn(PartitionId) -> String) -> Result<Messages, MalformedAnomalies> {
        let schema = batch.schema();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let column = match array.data_type() {
                DataType::UInt64 if field.name() == "partition" => named(array.as_primitive(), name_of),
                _ => Column::of(field.name(), array)?,
            };
            columns.push((field.name().as_str(), column));
        }
        let place = |wanted: &'static str| {
            let found = columns.iter().position(|(name, _)| *name == wanted);
            found.ok_or(MalformedAnomalies::Missing { column: wanted })
        };
        let identity = IDENTITY.iter().map(|name| place(name)).collect::<Result<Vec<_>, _>>()?;
        let Column::Text(keys) = &columns[place("key")?].1 else {
            return Err(MalformedAnomalies::Missing { column: "key" });
        };
        let mut messages = Messages::default();
        for row in 0..batch.num_rows() {
            let text = &mut messages.text;
            text.push_str(if keys.is_valid(row) { keys.value(row) } else { "" });
            let key = text.len();
            write_all(text, ['[', ']'], identity.iter().map(|place| (None, &columns[*place].1)), row);
            let idempotency_key = text.len();
            write_all(text, ['{', '}'], columns.iter().map(|(name, column)| (Some(*name), column)), row);
            messages.ends.push([key, idempotency_key, text.len()]);
        }
        Ok(messages)
    }

    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> + Clone {
        self.ends.iter().enumerate().map(|(row, [key, idempotency_key, value])| {
            let start = if row == 0 { 0 } else { self.ends[row - 1][2] };
            Message {
                key: &self.text.as_bytes()[start..*key],
                idempotency_key: &self.text[*key..*idempotency_key],
                value: &self.text.as_bytes()[*idempotency_key..*value],
            }
        })
    }
}

impl Rows for Messages {
    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn visit(&self, take: &mut dyn FnMut(Message<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.iter().try_for_each(take)
    }
}

/// A column that has a JSON form.
enum Column {
    Time(TimestampMicrosecondArray),
    Text(StringArray),
    Float(Float64Array),
    Int(Int64Array),
    Unsigned(UInt64Array),
    Flag(BooleanArray),
    /// A list of objects: for each row the range of its elements, none where it is null.
    Objects {
        ranges: Vec<Option<(usize, usize)>>,
        fields: Vec<(String, Column)>,
    },
}

impl Column {
    fn of(name: &str, array: &ArrayRef) -> Result<Column, MalformedAnomalies> {
        let to = |wanted: DataType| {
            cast(array, &wanted).map_err(|source| MalformedAnomalies::Text { column: name.into(), source })
        };
        Ok(match array.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => Column::Time(array.as_primitive().clone()),
            DataType::Utf8 => Column::Text(array.as_string().clone()),
            DataType::Dictionary(_, values) if **values == DataType::Utf8 => {
                Column::Text(to(DataType::Utf8)?.as_string().clone())
            }
            DataType::Float64 => Column::Float(array.as_primitive().clone()),
            DataType::Int64 | DataType::Int32 => Column::Int(to(DataType::Int64)?.as_primitive().clone()),
            DataType::UInt64 => Column::Unsigned(array.as_primitive().clone()),
            DataType::Boolean => Column::Flag(array.as_boolean().clone()),
            DataType::List(element) if matches!(element.data_type(), DataType::Struct(_)) => {
                let list = array.as_list::<i32>();
                let offsets = list.offsets();
                let range = |row: usize| list.is_valid(row).then(|| (offsets[row] as usize, offsets[row + 1] as usize));
                let objects = list.values().as_struct();
                let fields = objects.fields().iter().zip(objects.columns());
                let fields = fields.map(|(field, array)| Ok((field.name().clone(), Column::of(field.name(), array)?)));
                Column::Objects {
                    ranges: (0..list.len()).map(range).collect(),
                    fields: fields.collect::<Result<_, _>>()?,
                }
            }
            found => return Err(MalformedAnomalies::Type { column: name.into(), found: found.clone() }),
        })
    }

    fn write(&self, text: &mut String, row: usize) {
        match self {
            Column::Time(times) => write_json(text, &valid(times, row).and_then(|row| rfc3339(times.value(row)))),
            Column::Text(texts) => write_json(text, &valid(texts, row).map(|row| texts.value(row))),
            Column::Float(floats) => write_json(text, &valid(floats, row).map(|row| floats.value(row))),
            Column::Int(ints) => write_json(text, &valid(ints, row).map(|row| ints.value(row))),
            Column::Unsigned(ints) => write_json(text, &valid(ints, row).map(|row| ints.value(row))),
            Column::Flag(flags) => write_json(text, &valid(flags, row).map(|row| flags.value(row))),
            Column::Objects { ranges, fields } => {
                let Some((start, end)) = ranges[row] else { return text.push_str("null") };
                text.push('[');
                for element in start..end {
                    if element > start {
                        text.push(',');
                    }
                    let fields = fields.iter().map(|(name, column)| (Some(name.as_str()), column));
                    write_all(text, ['{', '}'], fields, element);
                }
                text.push(']');
            }
        }
    }
}

fn valid(array: &dyn Array, row: usize) -> Option<usize> {
    array.is_valid(row).then_some(row)
}

/// Partition ids as the names that readers know.
fn named(ids: &UInt64Array, name_of: &dyn Fn(PartitionId) -> String) -> Column {
    Column::Text(ids.iter().map(|id| id.map(|id| name_of(PartitionId(id)))).collect())
}

/// An object, or an array where there are no names.
fn write_all<'a>(
    text: &mut String,
    [open, close]: [char; 2],
    columns: impl Iterator<Item = (Option<&'a str>, &'a Column)>,
    row: usize,
) {
    text.push(open);
    for (index, (name, column)) in columns.enumerate() {
        if index > 0 {
            text.push(',');
        }
        if let Some(name) = name {
            write_json(text, &name);
            text.push(':');
        }
        column.write(text, row);
    }
    text.push(close);
}

/// A number that is not finite is null, as in the tables.
fn write_json(text: &mut String, value: &impl serde::Serialize) {
    text.push_str(&serde_json::to_string(value).expect("numbers, texts and flags always have a JSON form"));
}

/// None beyond the years that RFC 3339 can write.
fn rfc3339(micros: i64) -> Option<String> {
    Some(DateTime::from_timestamp_micros(micros)?.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Float64Builder, Int32Array, ListBuilder, StringBuilder, StructBuilder};
    use arrow::datatypes::{Field, Fields, Schema};

    use crate::domain::schema::time_type;

    fn why() -> ArrayRef {
        let float = |name| Field::new(name, DataType::Float64, true);
        let fields = Fields::from(vec![
            Field::new("feature", DataType::Utf8, true),
            float("value"),
            float("expected"),
            float("share"),
        ]);
        let mut list = ListBuilder::new(StructBuilder::from_fields(fields, 0));
        for (feature, value, share) in [("Rate", 0.1 + 0.2, 0.75), ("Tot \"sum\"", 1e300, 0.25)] {
            let object = list.values();
            object.field_builder::<StringBuilder>(0).unwrap().append_value(feature);
            object.field_builder::<Float64Builder>(1).unwrap().append_value(value);
            object.field_builder::<Float64Builder>(2).unwrap().append_null();
            object.field_builder::<Float64Builder>(3).unwrap().append_value(share);
            object.append(true);
        }
        list.append(true);
        list.append(true);
        Arc::new(list.finish())
    }

    fn anomalies() -> RecordBatch {
        let time = |values: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
        };
        let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        let dictionary = cast(&text(["low", "high"]), &crate::domain::schema::text_type()).unwrap();
        let why = why();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("time", time(vec![Some(1_700_000_000_000_001), None])),
            ("window_start", time(vec![None, Some(1_700_000_000_000_000)])),
            ("window_end", time(vec![None, Some(1_700_000_010_000_000)])),
            ("key", text(["pump-1", "Bënign"])),
            ("detector", text(["flow", "flow"])),
            ("model", text(["iomt/3", "iomt/3"])),
            ("score", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
            ("threshold", Arc::new(Float64Array::from(vec![0.05, 1.0]))),
            ("severity", dictionary),
            ("why", why),
            ("partition", Arc::new(UInt64Array::from(vec![Some(2), None]))),
            ("offset", Arc::new(Int64Array::from(vec![Some(42), None]))),
            ("revision", Arc::new(Int32Array::from(vec![0, 3]))),
            ("retracted", Arc::new(BooleanArray::from(vec![false, true]))),
        ];
        let fields: Vec<_> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        assert_eq!(fields[0].data_type(), &time_type());
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
            .unwrap()
    }

    #[test]
    fn a_row_becomes_the_same_row_as_json() {
        let messages = Messages::of(&anomalies(), &|id| format!("flows/{}", id.0)).unwrap();
        let rows: Vec<_> = messages.iter().collect();
        assert_eq!(rows[0].key, b"pump-1");
        assert_eq!(
            String::from_utf8_lossy(rows[0].value),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.000001Z","window_start":null,"window_end":null,"key":"pump-1","#,
                r#""detector":"flow","model":"iomt/3","score":0.1,"threshold":0.05,"severity":"low","#,
                r#""why":[{"feature":"Rate","value":0.30000000000000004,"expected":null,"share":0.75},"#,
                r#"{"feature":"Tot \"sum\"","value":1e+300,"expected":null,"share":0.25}],"#,
                r#""partition":"flows/2","offset":42,"revision":0,"retracted":false}"#,
            )
        );
        assert_eq!(rows[1].key, "Bënign".as_bytes());
        let second: serde_json::Value = serde_json::from_slice(rows[1].value).unwrap();
        assert_eq!((&second["score"], &second["why"]), (&serde_json::Value::Null, &serde_json::json!([])));
        assert_eq!(second["window_end"], "2023-11-14T22:13:30.000000Z");
    }

    #[test]
    fn the_idempotency_key_names_the_row_and_its_revision() {
        let messages = Messages::of(&anomalies(), &|id| format!("flows/{}", id.0)).unwrap();
        let keys: Vec<_> = messages.iter().map(|message| message.idempotency_key).collect();
        assert_eq!(
            keys,
            [
                r#"["flow","pump-1","2023-11-14T22:13:20.000001Z",null,null,"flows/2",42,0,false]"#,
                r#"["flow","Bënign",null,"2023-11-14T22:13:20.000000Z","2023-11-14T22:13:30.000000Z",null,null,3,true]"#,
            ]
        );
    }

    #[test]
    fn a_slice_gives_only_its_rows() {
        let all = Messages::of(&anomalies(), &|id| id.0.to_string()).unwrap();
        let slice = Messages::of(&anomalies().slice(1, 1), &|id| id.0.to_string()).unwrap();
        assert_eq!(slice.iter().collect::<Vec<_>>(), all.iter().skip(1).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_without_a_needed_column_is_refused_by_name() {
        let batch = anomalies().project(&[0, 3]).unwrap();
        let error = Messages::of(&batch, &|id| id.0.to_string()).unwrap_err().to_string();
        assert_eq!(error, "a batch of anomalies has no column `detector`");
    }
}
