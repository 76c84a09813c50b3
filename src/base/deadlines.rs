//! Who is due when. Two shapes, by how the delay is chosen.
//!
//! Neither shape can cancel: an entry whose owner has moved on is recognised by its
//! generation (or by the owner's own later due time) when it is popped. That makes
//! arming one push and cancelling free, and bounds the entries by arms per delay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::slots::Id;

/// Deadlines that all have the same delay: pushed in order, hence already sorted.
#[derive(Debug, Default)]
pub struct Fifo {
    queue: VecDeque<(u64, Id)>,
}

impl Fifo {
    /// Arms `id` for `due`. Times must not decrease from push to push; an earlier time
    /// is treated as equal to the last one, so a mistake fires late and never reorders.
    pub fn push(&mut self, due: u64, id: Id) {
        let due = self.queue.back().map_or(due, |&(last, _)| due.max(last));
        self.queue.push_back((due, id));
    }

    /// The next one that is due at `now`.
    pub fn pop_due(&mut self, now: u64) -> Option<Id> {
        let &(due, id) = self.queue.front()?;
        if due > now {
            return None;
        }
        self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new(); // A storm's capacity is not kept for ever.
        }
        Some(id)
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.queue.front().map(|&(due, _)| due)
    }
}

/// Deadlines at any time, in any order: a heap.
#[derive(Debug, Default)]
pub struct Heap {
    heap: BinaryHeap<Reverse<(u64, Id)>>,
}

impl Heap {
    /// Arms `id` for `due`.
    pub fn push(&mut self, due: u64, id: Id) {
        self.heap.push(Reverse((due, id)));
    }

    /// The next one that is due at `now`, with its time.
    pub fn pop_due(&mut self, now: u64) -> Option<(u64, Id)> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        if self.heap.is_empty() && self.heap.capacity() > 1024 {
            self.heap = BinaryHeap::new();
        }
        Some(entry)
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// How many are armed, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Drops every entry that `keep` does not want. For owners whose entries can go stale
    /// faster than they fall due (a session refreshed a thousand times).
    pub fn retain(&mut self, mut keep: impl FnMut(u64, Id) -> bool) {
        self.heap.retain(|Reverse((due, id))| keep(*due, *id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(slot: u32) -> Id {
        Id { slot, generation: 0 }
    }

    proptest! {
        /// Both shapes against a plain sorted list, with time moving in random steps.
        #[test]
        fn equal_a_sorted_list(ops in proptest::collection::vec((any::<bool>(), 0u64..100), 1..300)) {
            const DELAY: u64 = 50;
            let (mut fifo, mut heap) = (Fifo::default(), Heap::default());
            let mut fifo_list: Vec<(u64, u32)> = vec![];
            let mut heap_list: Vec<(u64, u32)> = vec![];
            let (mut now, mut n) = (0, 0);
            for (arm, step) in ops {
                if arm {
                    n += 1;
                    fifo.push(now + DELAY, id(n));
                    fifo_list.push((now + DELAY, n));
                    heap.push(now + step, id(n));
                    heap_list.push((now + step, n));
                    heap_list.sort();
                } else {
                    now += step;
                    let due = |list: &mut Vec<(u64, u32)>| {
                        let n = list.iter().take_while(|(due, _)| *due <= now).count();
                        list.drain(..n).map(|(_, slot)| slot).collect::<Vec<_>>()
                    };
                    let popped: Vec<u32> = std::iter::from_fn(|| fifo.pop_due(now)).map(|i| i.slot).collect();
                    prop_assert_eq!(popped, due(&mut fifo_list));
                    let popped: Vec<u32> = std::iter::from_fn(|| heap.pop_due(now)).map(|(_, i)| i.slot).collect();
                    prop_assert_eq!(popped, due(&mut heap_list));
                }
                prop_assert_eq!(fifo.next_due(), fifo_list.first().map(|e| e.0));
                prop_assert_eq!(heap.next_due(), heap_list.first().map(|e| e.0));
                prop_assert_eq!(heap.len(), heap_list.len());
            }
        }
    }
}
