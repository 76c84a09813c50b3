//! The events so far, and which of them can still be replayed.

use omnicast::base::window::Bounds;

use crate::oracle::Fact;

pub struct Log {
    /// Position before the first.
    pub base: u64,
    facts: Vec<Fact>,
    bounds: Bounds,
    /// Position of the oldest event that is kept beyond the window; 0: none is.
    pub archive_first: u64,
    /// Positions behind which there was nothing to be had of late.
    pub lost: Vec<u64>,
    /// Position of the oldest event in the window, and the bytes from there on.
    first: u64,
    bytes: usize,
}

impl Log {
    pub fn new(base: u64, bounds: Bounds) -> Log {
        let (facts, lost) = (Vec::new(), Vec::new());
        Log { base, facts, bounds, archive_first: 0, lost, first: base + 1, bytes: 0 }
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

    /// Position of the oldest event in the window; `last + 1` when there is none.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Position of the oldest event that can be replayed, from the window or from what is kept.
    pub fn oldest(&self) -> u64 {
        if self.archive_first == 0 { self.first } else { self.first.min(self.archive_first) }
    }

    /// Whether one whose cursor stands at `position` or later may find that it cannot go on.
    pub fn may_lose(&self, position: u64) -> bool {
        let beyond_window = position + 1 < self.first;
        let is_kept = self.archive_first > 0 && position + 1 >= self.archive_first;
        beyond_window && (!is_kept || self.lost.iter().any(|lost| *lost >= position))
    }

    pub fn at(&self, position: u64) -> &Fact {
        &self.facts[(position - self.base - 1) as usize]
    }

    /// What becomes of a client that asks for everything after `id`, an id of this epoch.
    pub fn recovery(&self, id: &str) -> Result<u64, &'static str> {
        let position: u64 = id.parse().map_err(|_| "bad_position")?;
        if position.to_string() != id || position > self.last() {
            Err("bad_position")
        } else if position + 1 < self.oldest() {
            Err("window_exceeded")
        } else {
            Ok(position)
        }
    }
}
