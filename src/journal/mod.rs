//! The log of events, behind one trait: what was published, in order, to be read again.

pub mod memory;

use std::sync::Arc;

use crate::shard::envelope::Envelope;

/// A log of envelopes in the order of their positions.
pub trait Journal: Send {
    /// Appends the event of the next position.
    fn append(&mut self, envelope: Arc<Envelope>);

    /// Position of the last event ever appended; 0 before the first.
    fn last(&self) -> u64;

    /// Position of the oldest event still held; `last() + 1` when none is.
    fn first(&self) -> u64;

    /// Hands out the held events after `position`, oldest first, until `visit` says stop.
    fn read_after(&self, position: u64, visit: &mut dyn FnMut(&Envelope) -> bool);
}
