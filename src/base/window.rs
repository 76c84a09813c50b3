//! A bounded ring of recent items, addressed by their consecutive positions.

use std::collections::VecDeque;

/// How much a window keeps; whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Items at most.
    pub items: usize,
    /// Bytes at most, as counted by the caller of [`Window::push`].
    pub bytes: usize,
}

/// Recent items. The item at position `p` is followed by that at `p + 1`.
#[derive(Debug)]
pub struct Window<T> {
    bounds: Bounds,
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Position of the last item ever pushed, or the position before the first.
    last: u64,
}

impl<T> Window<T> {
    /// An empty window whose first item will have the position `last + 1`.
    #[must_use]
    pub fn new(bounds: Bounds, last: u64) -> Self {
        Window { bounds, items: VecDeque::new(), bytes: 0, last }
    }

    /// Appends the item of the next position and lets go of the oldest ones over the bounds.
    /// Returns the item's position.
    pub fn push(&mut self, item: T, bytes: usize) -> u64 {
        self.last += 1;
        self.bytes += bytes;
        self.items.push_back((item, bytes));
        while self.items.len() > self.bounds.items || self.bytes > self.bounds.bytes {
            let Some((_, freed)) = self.items.pop_front() else { break };
            self.bytes -= freed;
        }
        self.last
    }

    /// Position of the last item ever pushed.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Position of the oldest item still held; `last + 1` when none is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.last + 1 - self.items.len() as u64
    }

    /// Whether everything after `position` is still held, so that one who saw `position`
    /// misses nothing by reading [`Window::after`].
    #[must_use]
    pub fn covers(&self, position: u64) -> bool {
        position <= self.last && position + 1 >= self.first()
    }

    /// The held items after `position`, oldest first, with their positions.
    pub fn after(&self, position: u64) -> impl Iterator<Item = (u64, &T)> {
        let from = (position + 1).max(self.first());
        let skip = from - self.first();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let start = self.first();
        self.items.iter().enumerate().skip(skip).map(move |(i, (item, _))| (start + i as u64, item))
    }

    /// How many items are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of the held items.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list that is never trimmed.
        #[test]
        fn is_the_tail_of_everything(
            items in 0usize..20, bytes in 0usize..200,
            sizes in proptest::collection::vec(0usize..60, 0..60), ask in 0u64..80,
        ) {
            let mut window = Window::new(Bounds { items, bytes }, 7);
            let mut all = Vec::new();
            for (i, size) in sizes.into_iter().enumerate() {
                let position = window.push(i, size);
                all.push((position, i, size));
                prop_assert_eq!(position, 8 + i as u64);
                prop_assert!(window.len() <= items && window.bytes() <= bytes);
                let held: Vec<_> = all[all.len() - window.len()..].to_vec();
                prop_assert_eq!(window.bytes(), held.iter().map(|e| e.2).sum::<usize>());
                // It holds as much as the bounds allow.
                if window.len() < all.len() {
                    let next = all[all.len() - window.len() - 1].2;
                    prop_assert!(window.len() == items || window.bytes() + next > bytes);
                }
                let expected: Vec<_> = held.iter().filter(|e| e.0 > ask).map(|e| (e.0, e.1)).collect();
                let got: Vec<_> = window.after(ask).map(|(p, v)| (p, *v)).collect();
                prop_assert_eq!(got, expected);
                let whole = all.iter().filter(|e| e.0 > ask).count() == window.after(ask).count();
                prop_assert_eq!(window.covers(ask), whole && ask <= window.last() && ask + 1 >= window.first());
            }
        }
    }
}
