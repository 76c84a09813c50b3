//! A slab whose keys carry a generation, so that a stale key finds nothing.

use slab::Slab;

/// The key of one life in one slot. Never reused within 2^32 lives of that slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Id {
    /// Index of the slot; small and dense, reused.
    pub slot: u32,
    /// Which life of the slot this is.
    pub generation: u32,
}

impl Id {
    /// Both halves in one word, the generation in the upper half.
    #[must_use]
    pub fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The reverse of [`Id::pack`].
    #[must_use]
    pub fn unpack(word: u64) -> Id {
        Id { slot: word as u32, generation: (word >> 32) as u32 }
    }
}

/// Slots of `T`, addressed by [`Id`] or, where liveness is known, by slot.
#[derive(Debug)]
pub struct Slots<T> {
    slab: Slab<T>,
    generations: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slab: Slab::new(), generations: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts `value` into a free slot.
    pub fn insert(&mut self, value: T) -> Id {
        let slot = self.slab.insert(value);
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        Id {
            slot: u32::try_from(slot).expect("a shard holds fewer than 2^32 connections"),
            generation: self.generations[slot],
        }
    }

    /// Ends the life `id`, if it is still going on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        let slot = id.slot as usize;
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        Some(self.slab.remove(slot))
    }

    /// The value of the life `id`, or nothing if that life is over.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&T> {
        let slot = id.slot as usize;
        (self.generations.get(slot) == Some(&id.generation)).then(|| self.slab.get(slot))?
    }

    /// As [`Slots::get`], to change it.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = id.slot as usize;
        (self.generations.get(slot) == Some(&id.generation)).then(|| self.slab.get_mut(slot))?
    }

    /// Whatever lives in `slot` now.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<&T> {
        self.slab.get(slot as usize)
    }

    /// As [`Slots::at`], to change it.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slab.get_mut(slot as usize)
    }

    /// The key of whatever lives in `slot` now.
    #[must_use]
    pub fn id_at(&self, slot: u32) -> Option<Id> {
        let generation = *self.generations.get(slot as usize)?;
        self.slab.contains(slot as usize).then_some(Id { slot, generation })
    }

    /// Every life, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slab.iter().map(|(slot, value)| {
            let generation = self.generations[slot];
            let slot = slot as u32;
            (Id { slot, generation }, value)
        })
    }

    /// How many lives there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether nothing lives here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// One more than the largest slot ever used.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.generations.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::default();
        let a = slots.insert("a");
        assert_eq!(slots.remove(a), Some("a"));
        assert_eq!(slots.remove(a), None);
        let b = slots.insert("b");
        assert_eq!(a.slot, b.slot);
        assert_eq!(slots.get(a), None);
        assert_eq!(slots.get_mut(b).copied(), Some("b"));
        assert_eq!(slots.id_at(b.slot), Some(b));
        assert_eq!(Id::unpack(b.pack()), b);
        assert_eq!(slots.width(), 1);
    }
}
