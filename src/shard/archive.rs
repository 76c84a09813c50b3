//! What is older than the window: asked for, part by part, from whoever keeps it.
//!
//! A shard never reads a disk. It asks, by [`Ask`], for the part of the log behind a position, and
//! goes on with its turn; the part comes back as [`crate::shard::mail::Order::Past`].

use std::sync::Arc;

use crate::shard::envelope::Envelope;

/// A question for a part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which shard asks.
    pub shard: usize,
    /// The position behind which it wants to read: the answer holds the event of the next one.
    pub after: u64,
}

/// Consecutive events out of the log. Never empty.
#[derive(Debug)]
pub struct Chunk {
    /// In the order of their positions, without a gap.
    pub envelopes: Vec<Arc<Envelope>>,
}

impl Chunk {
    /// Whether the event behind `position` is in it.
    #[must_use]
    pub fn covers(&self, position: u64) -> bool {
        let (Some(first), Some(last)) = (self.envelopes.first(), self.envelopes.last()) else { return false };
        first.position <= position + 1 && position < last.position
    }

    /// The events behind `position`, which it covers.
    #[must_use]
    pub fn after(&self, position: u64) -> &[Arc<Envelope>] {
        let first = self.envelopes.first().map_or(0, |envelope| envelope.position);
        let skip = usize::try_from((position + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.envelopes.get(skip..).unwrap_or_default()
    }
}
