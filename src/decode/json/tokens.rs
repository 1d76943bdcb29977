//! The tokens of a record, by the bits that stage 1 set.

/// The places of the bits, ascending.
pub(super) struct Tokens<'a> {
    masks: &'a [u64],
    block: usize,
    mask: u64,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(masks: &'a [u64]) -> Tokens<'a> {
        Tokens { masks, block: 0, mask: masks.first().copied().unwrap_or(0) }
    }
}

impl Iterator for Tokens<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.block += 1;
            self.mask = *self.masks.get(self.block)?;
        }
        let place = self.block * 64 + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(place)
    }
}
