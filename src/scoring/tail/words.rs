//! A series as whole numbers, for the state: floats by their bits.

use std::collections::VecDeque;

use crate::scoring::tail::past::{Past, SHAPES, Told};
use crate::scoring::tail::profile::{Profile, Slot};
use crate::scoring::tail::ranked::Ranked;
use crate::scoring::tail::series::{Said, Series};

/// Numbers that are being read back; nothing where they end too soon.
pub(super) struct Words<'a>(pub(super) &'a [i64]);

/// `series` has no journal.
pub(super) fn write(series: &Series, words: &mut Vec<i64>) {
    let Series { past, open, settled, .. } = series;
    write_option(words, settled.as_ref(), |words, settled| words.push(*settled));
    write_all(words, past.first.iter(), |words, (time, value)| words.extend([*time, bits(*value)]));
    write_option(words, past.floor.as_ref(), |words, floor| words.push(bits(*floor)));
    write_floats(words, &past.values);
    past.residuals.iter().for_each(|residuals| write_floats(words, residuals));
    past.profiles.iter().for_each(|profile| {
        write_all(words, profile.0.iter(), |words, (place, slot)| {
            words.extend([*place, slot.period, bits(slot.sum), i64::from(slot.count)]);
            write_floats(words, &slot.earlier);
        });
    });
    past.ranked.iter().for_each(|ranked| write_floats(words, ranked.values()));
    write_all(words, past.recent.iter(), |words, (time, nats)| words.extend([*time, bits(*nats)]));
    write_all(words, open.iter(), |words, (start, said)| {
        words.extend([*start, bits(said.value)]);
        write_option(words, said.told.as_ref(), |words, told| {
            words.extend(told.shapes.iter().chain(&told.residuals).map(|value| bits(*value)));
            words.extend([told.nats, told.score, told.usual].map(bits));
        });
    });
}

impl Words<'_> {
    pub(super) fn series(&mut self) -> Option<Series> {
        let mut series = Series::default();
        series.settled = self.option(Words::next)?;
        let past = &mut series.past;
        past.first = self.all(|words| Some((words.next()?, words.float()?)))?;
        past.floor = self.option(Words::float)?;
        past.values = self.floats()?;
        past.residuals = [self.floats()?, self.floats()?];
        past.profiles = [self.profile()?, self.profile()?];
        for ranked in &mut past.ranked {
            *ranked = Ranked::new(self.floats()?);
        }
        past.recent = self.all(|words| Some((words.next()?, words.float()?)))?;
        series.open = self.all(|words| Some((words.next()?, words.said()?)))?;
        is_whole(&series.past).then_some(series)
    }

    pub(super) fn next(&mut self) -> Option<i64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn float(&mut self) -> Option<f64> {
        self.next().map(|bits| f64::from_bits(bits as u64))
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.next()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// As many as the first number says; each takes one number at least, so that a damaged one reserves nothing.
    fn all<T, All: FromIterator<T>>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<All> {
        let count = usize::try_from(self.next()?).ok().filter(|count| *count <= self.0.len())?;
        (0..count).map(|_| read(self)).collect()
    }

    fn floats(&mut self) -> Option<VecDeque<f64>> {
        self.all(Words::float)
    }

    fn profile(&mut self) -> Option<Profile> {
        let slot = |words: &mut Self| {
            let (place, period, sum) = (words.next()?, words.next()?, words.float()?);
            let count = u32::try_from(words.next()?).ok().filter(|count| *count > 0)?;
            Some((place, Slot { period, sum, count, earlier: words.floats()? }))
        };
        self.all(slot).map(Profile)
    }

    fn said(&mut self) -> Option<Said> {
        let value = self.float()?;
        let told = self.option(|words| {
            let mut told = Told { shapes: [0.0; SHAPES], residuals: [0.0; 2], nats: 0.0, score: 0.0, usual: 0.0 };
            for value in told.shapes.iter_mut().chain(&mut told.residuals) {
                *value = words.float()?;
            }
            (told.nats, told.score, told.usual) = (words.float()?, words.float()?, words.float()?);
            Some(told)
        })?;
        Some(Said { value, told })
    }
}

/// Whether all shapes have as many values.
fn is_whole(past: &Past) -> bool {
    past.ranked.iter().all(|ranked| ranked.values().len() == past.ranked[0].values().len())
}

fn bits(value: f64) -> i64 {
    value.to_bits() as i64
}

fn write_option<T>(words: &mut Vec<i64>, value: Option<T>, write: impl FnOnce(&mut Vec<i64>, T)) {
    words.push(i64::from(value.is_some()));
    if let Some(value) = value {
        write(words, value);
    }
}

fn write_all<T>(words: &mut Vec<i64>, all: impl ExactSizeIterator<Item = T>, write: impl Fn(&mut Vec<i64>, T)) {
    words.push(all.len() as i64);
    all.for_each(|one| write(words, one));
}

fn write_floats(words: &mut Vec<i64>, values: &VecDeque<f64>) {
    write_all(words, values.iter(), |words, value| words.push(bits(*value)));
}
