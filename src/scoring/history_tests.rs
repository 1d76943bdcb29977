//! What is remembered, and for how long.

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field};
use proptest::prelude::*;

use super::*;
use crate::domain::schema::time_type;

const TIMING: WindowTiming = WindowTiming { size: 30, slide: 10, lateness: 20 };

/// Rows of one group, whose windows begin at these times.
fn rows(starts: &[i64]) -> RecordBatch {
    let time = |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) };
    let count = starts.len();
    let columns: Vec<ArrayRef> = vec![
        time(starts.to_vec()),
        time(starts.iter().map(|start| start + TIMING.size).collect()),
        Arc::new(StringArray::from(vec!["pump"; count])),
        Arc::new(Int64Array::from(vec![1; count])),
        Arc::new(Int32Array::from(vec![0; count])),
    ];
    let names = ["window_start", "window_end", "key", "count", "revision"];
    let types = [time_type(), time_type(), DataType::Utf8, DataType::Int64, DataType::Int32];
    let fields: Vec<Field> = names.iter().zip(types).map(|(name, kind)| Field::new(*name, kind, false)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// When the windows begin that one at `start` is compared with, by a history that knows `starts` and has forgotten what it may.
fn compared(starts: &[i64], start: i64, (windows, every): (u32, u32), forgets: bool) -> (Vec<i64>, usize) {
    let all = rows(starts);
    let mut history = History::new(TIMING, &[Reach::Final { windows, every }], &all.schema()).unwrap();
    history.take(all);
    if forgets {
        history.forget(start);
    }
    let groups = history.groups(&rows(&[start]));
    let past = history.past(&groups, 0, start);
    let found = past.up_to(TIMING.last_final(start), windows, every).map(|(start, ..)| start).collect();
    (found, history.rows())
}

#[test]
fn one_window_in_so_many_is_compared_with_by_its_time_and_no_more_than_may_be_needed_is_remembered() {
    let starts: Vec<i64> = (0..1000).map(|window| window * 10).collect();
    let (found, remembered) = compared(&starts, 9000, (4, 7), true);
    // Those that begin at multiples of 70, and were final at 9000: before 8950.
    assert_eq!(found, [8890, 8820, 8750, 8680]);
    // Four, one for those that are not final themselves, and those that are not: from 8960 on.
    assert!((4 + 104..=6 + 104).contains(&remembered), "{remembered}");
}

proptest! {
    #[test]
    fn forgetting_changes_nothing_that_is_looked_back_on(
        gaps in prop::collection::vec(1i64..4, 1..200), windows in 2u32..20, every in 1u32..9, at in 0usize..200, after in 0i64..9
    ) {
        let starts: Vec<i64> = gaps.iter().scan(0, |start, gap| { *start += gap * 10; Some(*start) }).collect();
        let start = starts[at % starts.len()] + after * 10;
        let [whole, kept] = [false, true].map(|forgets| compared(&starts, start, (windows, every), forgets).0);
        prop_assert!(whole.len() <= windows as usize);
        prop_assert_eq!(whole, kept);
    }
}
