//! Posts that were made before: a key answers with its first event's id for a while.

use std::collections::{HashMap, VecDeque};

/// Keys remembered at most. Past it the oldest are forgotten early, which is counted.
pub const KEYS_MAX: usize = 1 << 20;
/// Memory of the remembered keys at most, both copies counted; else as with [`KEYS_MAX`].
pub const BYTES_MAX: usize = 256 << 20;

/// What a key takes: its text twice, and its place in a map and a queue.
fn cost(key: &str) -> usize {
    const PLACES: usize = 128;
    2 * key.len() + PLACES
}

/// Keys of recent posts.
#[derive(Debug)]
pub struct Idempotency {
    window_ms: u64,
    positions: HashMap<Box<str>, u64>,
    /// Due times (monotonic ms) in order, since the window is constant.
    order: VecDeque<(u64, Box<str>)>,
    bytes: usize,
    evicted: u64,
}

impl Idempotency {
    /// Remembers keys for `window_ms`.
    #[must_use]
    pub fn new(window_ms: u64) -> Idempotency {
        Idempotency { window_ms, positions: HashMap::new(), order: VecDeque::new(), bytes: 0, evicted: 0 }
    }

    /// The position of the event that was posted with `key`, if that is remembered.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<u64> {
        self.positions.get(key).copied()
    }

    /// Remembers that the event of `key`, which is not known yet, got `position`.
    pub fn remember(&mut self, key: Box<str>, position: u64, now_mono: u64) {
        self.bytes += cost(&key);
        while !self.order.is_empty() && (self.order.len() >= KEYS_MAX || self.bytes > BYTES_MAX) {
            self.forget_oldest();
            self.evicted += 1;
        }
        self.positions.insert(key.clone(), position);
        self.order.push_back((now_mono + self.window_ms, key));
    }

    /// Takes back the newest keys: those of events behind `position`, which are none after all.
    pub fn take_back(&mut self, position: u64) {
        while let Some((_, key)) = self.order.back()
            && self.positions.get(key).is_some_and(|&of| of > position)
        {
            if let Some((_, key)) = self.order.pop_back() {
                self.positions.remove(&key);
                self.bytes -= cost(&key);
            }
        }
    }

    /// Forgets what is older than the window.
    pub fn expire(&mut self, now_mono: u64) {
        while self.order.front().is_some_and(|(due, _)| *due <= now_mono) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.positions.remove(&key);
            self.bytes -= cost(&key);
        }
    }

    /// Keys remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Keys forgotten before their time.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_for_the_window_and_not_longer() {
        let mut keys = Idempotency::new(1000);
        keys.remember("a".into(), 7, 0);
        keys.remember("b".into(), 8, 500);
        keys.expire(999);
        assert_eq!((keys.find("a"), keys.find("b")), (Some(7), Some(8)));
        keys.expire(1000);
        assert_eq!((keys.find("a"), keys.find("b")), (None, Some(8)));
        keys.remember("a".into(), 9, 1001);
        keys.expire(1500);
        assert_eq!((keys.find("a"), keys.len()), (Some(9), 1));
    }

    #[test]
    fn keys_of_what_was_not_published_are_taken_back() {
        let mut keys = Idempotency::new(1000);
        for n in 1..=4u64 {
            keys.remember(n.to_string().into(), n, 0);
        }
        keys.take_back(2);
        assert_eq!((keys.find("2"), keys.find("3"), keys.len()), (Some(2), None, 2));
        keys.remember("3".into(), 3, 5);
        keys.expire(1000);
        assert_eq!((keys.len(), keys.find("3")), (1, Some(3)));
    }

    #[test]
    fn the_memory_of_keys_is_bounded() {
        let mut keys = Idempotency::new(u64::MAX / 2);
        let long = "k".repeat(1 << 20);
        for n in 0..200u64 {
            keys.remember(format!("{n}{long}").into(), n, 0);
        }
        let fit = BYTES_MAX / cost(&format!("100{long}"));
        assert_eq!((keys.len(), keys.evicted()), (fit, 200 - fit as u64));
        keys.expire(u64::MAX);
        assert_eq!((keys.len(), keys.bytes), (0, 0));
    }

    #[test]
    fn keys_are_bounded() {
        let mut keys = Idempotency::new(u64::MAX / 2);
        for n in 0..KEYS_MAX as u64 + 3 {
            keys.remember(n.to_string().into(), n, 0);
        }
        assert_eq!((keys.len(), keys.evicted()), (KEYS_MAX, 3));
        assert_eq!((keys.find("2"), keys.find("3")), (None, Some(3)));
    }
}
