//! A set of up to 32 small indexes as one machine word: namespaces, roles.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

/// A set of indexes in `0..32`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Mask(u32);

impl Mask {
    /// How many different indexes a mask can hold.
    pub const CAPACITY: usize = 32;
    /// The set that holds nothing.
    pub const EMPTY: Mask = Mask(0);
    /// The set that holds every index.
    pub const ALL: Mask = Mask(u32::MAX);

    /// The set that holds `index` alone.
    ///
    /// # Panics
    /// In debug builds, when `index` is 32 or more.
    #[must_use]
    pub fn only(index: u8) -> Mask {
        debug_assert!(usize::from(index) < Mask::CAPACITY);
        Mask(1 << (index & 31))
    }

    /// The set of the first `n` indexes.
    #[must_use]
    pub fn first(n: usize) -> Mask {
        debug_assert!(n <= Mask::CAPACITY);
        if n >= Mask::CAPACITY { Mask::ALL } else { Mask((1 << n) - 1) }
    }

    /// Whether `index` is in the set.
    #[must_use]
    pub fn has(self, index: u8) -> bool {
        !(self & Mask::only(index)).is_empty()
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many indexes are in the set.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The set without what `other` holds.
    #[must_use]
    pub fn without(self, other: Mask) -> Mask {
        self & !other
    }

    /// The indexes in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let index = left.trailing_zeros() as u8;
                left &= left - 1;
                index
            })
        })
    }
}

impl BitAnd for Mask {
    type Output = Mask;
    fn bitand(self, other: Mask) -> Mask {
        Mask(self.0 & other.0)
    }
}

impl BitOr for Mask {
    type Output = Mask;
    fn bitor(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }
}

impl Not for Mask {
    type Output = Mask;
    fn not(self) -> Mask {
        Mask(!self.0)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set() {
        let m = Mask::only(0) | Mask::only(5) | Mask::only(31);
        assert_eq!(m.iter().collect::<Vec<_>>(), [0, 5, 31]);
        assert_eq!(m.len(), 3);
        assert!(m.has(5) && !m.has(6));
        assert_eq!(m.without(Mask::only(5)), Mask::only(0) | Mask::only(31));
        assert!((m & Mask::only(7)).is_empty());
        assert_eq!(Mask::first(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Mask::first(32), Mask::ALL);
        assert_eq!(format!("{m:?}"), "{0, 5, 31}");
    }
}
