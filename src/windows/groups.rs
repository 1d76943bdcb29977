//! Dense numbers for the groups that have events in some pane.
//!
//! A number is found once for each value of a dictionary and batch, or once for each dictionary that batches share. A group without a pane is forgotten
//! and its number given to another: memory goes with the groups that live, not with all that ever were. Numbers depend on the
//! order of arrival and must not be seen outside; what is seen goes by `key`, which does not.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};

use crate::windows::dictionary::PerValue;
use crate::windows::group_column::{GroupColumn, GroupValue, GroupValues};

const UNKNOWN: u32 = u32::MAX;

#[derive(Debug, Default)]
pub struct Groups {
    by: Vec<GroupColumn>,
    numbers: HashMap<Arc<[u8]>, u32>,
    /// By number; empty for numbers that are free.
    keys: Vec<Arc<[u8]>>,
    /// How many panes hold the group, by number.
    panes: Vec<u32>,
    free: Vec<u32>,
    /// The places of live groups in the order of their keys, by number; of use until a group comes or goes.
    ranks: Vec<u32>,
    is_ranked: bool,
    /// The numbers of a dictionary's values, where a single text column is the group.
    coded: PerValue<u32>,
    key: Vec<u8>,
}

impl Groups {
    pub fn new(by: Vec<GroupColumn>) -> Groups {
        Groups { by, ..Groups::default() }
    }

    /// One above the highest number.
    pub fn numbers(&self) -> usize {
        self.keys.len()
    }

    pub fn live(&self) -> usize {
        self.numbers.len()
    }

    /// The group's values as bytes that compare as they do.
    pub fn key(&self, group: u32) -> &[u8] {
        &self.keys[group as usize]
    }

    /// The number of each row's group. Nothing if the batch lacks a column of the group.
    pub fn resolve(&mut self, batch: &RecordBatch, rows: &mut Vec<u32>) -> Option<()> {
        rows.clear();
        let by = std::mem::take(&mut self.by);
        let columns: Option<Vec<GroupValues>> = by.iter().map(|column| column.values(batch)).collect();
        self.by = by;
        match columns?.as_slice() {
            [] => {
                let all = self.number(&[]);
                rows.resize(batch.num_rows(), all);
            }
            [GroupValues::Coded { codes, column, values, texts }] => {
                let mut coded = std::mem::take(&mut self.coded);
                let known = coded.entries(values, UNKNOWN);
                let nulls = column.nulls();
                rows.extend(codes.iter().enumerate().map(|(row, code)| {
                    if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                        return self.number(&[GroupValue::Null]);
                    }
                    let entry = &mut known[*code as usize];
                    if *entry == UNKNOWN {
                        let index = *code as usize;
                        let is_text = texts.is_valid(index);
                        *entry = self.number(&[if is_text {
                            GroupValue::Text(texts.value(index))
                        } else {
                            GroupValue::Null
                        }]);
                    }
                    *entry
                }));
                self.coded = coded;
            }
            columns => {
                rows.extend((0..batch.num_rows()).map(|row| {
                    let mut key = std::mem::take(&mut self.key);
                    key.clear();
                    columns.iter().for_each(|column| column.at(row).append_to(&mut key));
                    let number = self.number_of_key(&key);
                    self.key = key;
                    number
                }));
            }
        }
        Some(())
    }

    fn number(&mut self, values: &[GroupValue]) -> u32 {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        values.iter().for_each(|value| value.append_to(&mut key));
        let number = self.number_of_key(&key);
        self.key = key;
        number
    }

    /// The number of the group with this key, a new one if need be.
    fn number_of_key(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        self.is_ranked = false;
        let key: Arc<[u8]> = key.into();
        let number = match self.free.pop() {
            Some(number) => {
                self.keys[number as usize] = Arc::clone(&key);
                number
            }
            None => {
                self.keys.push(Arc::clone(&key));
                self.panes.push(0);
                (self.keys.len() - 1) as u32
            }
        };
        self.numbers.insert(key, number);
        number
    }

    /// Sorts groups by their keys. Many of them are sorted by their ranks, which serve until a group comes or goes: keys lie far apart.
    pub fn sort(&mut self, groups: &mut [u32]) {
        if !self.is_ranked && groups.len() < self.live() / 4 {
            return groups.sort_unstable_by(|a, b| self.keys[*a as usize].cmp(&self.keys[*b as usize]));
        }
        if !self.is_ranked {
            let mut live: Vec<u32> = self.numbers.values().copied().collect();
            live.sort_unstable_by(|a, b| self.keys[*a as usize].cmp(&self.keys[*b as usize]));
            self.ranks.clear();
            self.ranks.resize(self.keys.len(), UNKNOWN);
            (0..).zip(live).for_each(|(rank, group)| self.ranks[group as usize] = rank);
            self.is_ranked = true;
        }
        groups.sort_unstable_by_key(|group| self.ranks[*group as usize]);
    }

    /// A pane holds the group from here on.
    pub fn hold(&mut self, group: u32) {
        self.panes[group as usize] += 1;
    }

    /// Panes that held these groups (one entry a pane) are dropped.
    pub fn release(&mut self, groups: &[u32]) {
        let mut is_forgotten = false;
        for group in groups {
            let panes = &mut self.panes[*group as usize];
            *panes -= 1;
            if *panes == 0 {
                let key = std::mem::replace(&mut self.keys[*group as usize], Arc::from([]));
                self.numbers.remove(&key);
                self.free.push(*group);
                is_forgotten = true;
            }
        }
        if is_forgotten {
            self.is_ranked = false;
            self.coded.forget();
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| key.len() + 16).sum();
        keys + self.keys.capacity() * 20 + self.numbers.capacity() * 25 + self.ranks.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_sorted_by_their_keys_whether_by_rank_or_one_by_one_and_after_some_came_and_went() {
        let mut groups = Groups::default();
        let number = |groups: &mut Groups, text: &str| {
            let number = groups.number(&[GroupValue::Text(text)]);
            groups.hold(number);
            number
        };
        let sorted = |groups: &mut Groups, mut some: Vec<u32>| {
            groups.sort(&mut some);
            assert!(some.is_sorted_by(|a, b| groups.key(*a) <= groups.key(*b)), "{some:?}");
            some
        };
        let first: Vec<u32> = (0..100).map(|key| number(&mut groups, &format!("key-{}", key * 37 % 100))).collect();
        assert_eq!(
            sorted(&mut groups, vec![first[1], first[0], first[1]]),
            [0, 1, 1],
            "few, one by one: key-0, key-37"
        );
        assert_eq!(sorted(&mut groups, first.clone())[..2], [0, 73], "all: key-0, key-1");
        groups.release(&first[..50]);
        let later: Vec<u32> = (0..50).map(|key| number(&mut groups, &format!("key-{}", key * 11))).collect();
        assert_eq!(sorted(&mut groups, later.clone())[..2], [later[0], later[1]], "numbers of others: key-0, key-11");
        sorted(&mut groups, later.into_iter().chain(first[50..].iter().copied()).collect());
    }
}
