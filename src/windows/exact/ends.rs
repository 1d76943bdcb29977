//! The first and the last value by event time, then partition, then offset.

/// Where an event stands in the order that decides between first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub time: i64,
    pub partition: u64,
    pub offset: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ends<T> {
    pub first: Option<(Place, T)>,
    pub last: Option<(Place, T)>,
}

impl<T> Default for Ends<T> {
    fn default() -> Self {
        Ends { first: None, last: None }
    }
}

impl<T: Clone> Ends<T> {
    /// Offers a value; it is made only if it is the first or the last so far.
    pub fn offer(&mut self, place: Place, value: impl Fn() -> T) {
        if self.first.as_ref().is_none_or(|(first, _)| place < *first) {
            self.first = Some((place, value()));
        }
        if self.last.as_ref().is_none_or(|(last, _)| place > *last) {
            self.last = Some((place, value()));
        }
    }

    pub fn merge(&mut self, other: &Ends<T>) {
        for (place, value) in other.first.iter().chain(&other.last) {
            self.offer(*place, || value.clone());
        }
    }
}
