//! Time values. Only reactors read a clock; everything below gets a [`Now`].

/// One reading of both clocks, taken once per turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the node started, on a clock that never jumps.
    pub mono: u64,
    /// Milliseconds since the Unix epoch. May jump, forwards and backwards.
    pub wall: u64,
}

impl Now {
    /// The same instant, `ms` later on both clocks.
    #[must_use]
    pub fn plus(self, ms: u64) -> Now {
        Now { mono: self.mono.saturating_add(ms), wall: self.wall.saturating_add(ms) }
    }
}
