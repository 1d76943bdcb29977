//! What has been published of each window and group: which revision, and whether events came since.

use std::collections::BTreeMap;

/// The published rows of one window, by group number.
#[derive(Debug, Default)]
struct Published {
    rows: Vec<Standing>,
    /// The groups whose events came after their row, in no order.
    touched: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// The revision that the next row gets: 0 where none was published.
    next: i32,
    is_touched: bool,
}

/// Windows that are published and not final, by number.
#[derive(Debug, Default)]
pub struct Standings(BTreeMap<i64, Published>);

impl Standings {
    /// Events came for a group of a published window. One correction follows, however many they are.
    pub fn touch(&mut self, window: i64, group: u32) {
        let published = self.0.entry(window).or_default();
        let standing = published.standing(group);
        if !standing.is_touched {
            standing.is_touched = true;
            published.touched.push(group);
        }
    }

    /// The revision of the row that is being published.
    pub fn publish(&mut self, window: i64, group: u32) -> i32 {
        let standing = self.0.entry(window).or_default().standing(group);
        standing.is_touched = false;
        let revision = standing.next;
        standing.next = revision.saturating_add(1);
        revision
    }

    /// Takes the groups with corrections due, in windows up to `last`: (window, group), windows ascending.
    pub fn take_touched(&mut self, last: i64) -> Vec<(i64, u32)> {
        let windows = self.0.range_mut(..=last);
        let touched = |(window, published): (&i64, &mut Published)| {
            let window = *window;
            std::mem::take(&mut published.touched).into_iter().map(move |group| (window, group))
        };
        windows.flat_map(touched).collect()
    }

    /// Whether corrections are due.
    pub fn has_touched(&self) -> bool {
        self.0.values().any(|published| !published.touched.is_empty())
    }

    /// Forgets windows up to `last`.
    pub fn drop_through(&mut self, last: i64) {
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() <= last) {
            entry.remove();
        }
    }

    /// Published rows: window, group, revision; windows ascending.
    pub fn rows(&self) -> impl Iterator<Item = (i64, u32, i32)> {
        let of_window = |(window, published): (&i64, &'_ Published)| {
            let window = *window;
            let rows = published.rows.clone();
            let rows = (0..).zip(rows).filter(|(_, standing)| standing.next > 0);
            rows.map(move |(group, standing)| (window, group, standing.next - 1))
        };
        self.0.iter().flat_map(of_window)
    }

    /// Whether the group's row of the window was published.
    pub fn is_published(&self, window: i64, group: u32) -> bool {
        let standing = self.0.get(&window).and_then(|published| published.rows.get(group as usize));
        standing.is_some_and(|standing| standing.next > 0)
    }

    /// The row was published with this revision before the state was saved. No, if it is known already.
    pub fn restore(&mut self, window: i64, group: u32, revision: i32) -> bool {
        let standing = self.0.entry(window).or_default().standing(group);
        let is_new = standing.next == 0;
        standing.next = revision.saturating_add(1);
        is_new
    }

    pub fn heap_bytes(&self) -> usize {
        let of_window = |published: &Published| {
            published.rows.capacity() * size_of::<Standing>() + 4 * published.touched.capacity() + 64
        };
        self.0.values().map(of_window).sum()
    }
}

impl Published {
    fn standing(&mut self, group: u32) -> &mut Standing {
        let index = group as usize;
        self.rows.resize(self.rows.len().max(index + 1), Standing::default());
        &mut self.rows[index]
    }
}
