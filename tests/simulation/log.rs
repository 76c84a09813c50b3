//! The events so far, and which of them can still be replayed.

use omnicast::base::window::Bounds;

use crate::oracle::Fact;

pub struct Log {
    /// Position before the first.
    pub base: u64,
    facts: Vec<Fact>,
    bounds: Bounds,
    /// Position of the oldest event in the window, and the bytes from there on.
    first: u64,
    bytes: usize,
}

impl Log {
    pub fn new(base: u64, bounds: Bounds) -> Log {
        Log { base, facts: Vec::new(), bounds, first: base + 1, bytes: 0 }
    }

    pub fn push(&mut self, fact: Fact) {
        self.bytes += fact.frame_bytes;
        self.facts.push(fact);
        while self.last() + 1 - self.first > self.bounds.items as u64 || self.bytes > self.bounds.bytes {
            self.bytes -= self.at(self.first).frame_bytes;
            self.first += 1;
        }
    }

    pub fn last(&self) -> u64 {
        self.base + self.facts.len() as u64
    }

    /// Position of the oldest event that can be replayed; `last + 1` when none can.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn at(&self, position: u64) -> &Fact {
        &self.facts[(position - self.base - 1) as usize]
    }

    /// What becomes of a client that asks for everything after `id`, an id of this epoch.
    pub fn recovery(&self, id: &str) -> Result<u64, &'static str> {
        let position: u64 = id.parse().map_err(|_| "bad_position")?;
        if position.to_string() != id || position > self.last() {
            Err("bad_position")
        } else if position + 1 < self.first {
            Err("window_exceeded")
        } else {
            Ok(position)
        }
    }
}
