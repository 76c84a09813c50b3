//! The log of events, behind one trait: what is in it is as safe as the node promises.
//!
//! The sequencer alone appends, in the order of positions, and learns later how far the log has
//! come; only then does anybody see the events. So whatever a client has seen is in the log.

pub mod block;
pub mod cache;
pub mod complaints;
pub mod counters;
pub mod disk;
#[cfg(test)]
pub(crate) mod faulty;
pub mod files;
pub mod history;
pub mod index;
pub mod memory;
pub mod meta;
pub mod open;
pub mod options;
pub mod reader;
pub mod record;
pub mod recover;
pub mod scan;
pub mod segment;
pub mod store;
pub mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod directory_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod kit_tests;
#[cfg(test)]
mod ram_tests;

use std::sync::Arc;

use crate::shard::envelope::Envelope;

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event.
    pub envelope: Arc<Envelope>,
    /// Whom its publisher named, as [`crate::policy::Draft::addressing`] has it.
    pub addressing: Option<Box<str>>,
    /// Its idempotency key.
    pub key: Option<Box<str>>,
    /// When it was accepted (wall ms).
    pub at: u64,
}

/// How the log has come on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to this position is safe.
    Committed(u64),
    /// What was appended behind this position is not in the log and will not be: it could not be
    /// made safe. The next event that is appended has the next position.
    Refused {
        /// The last position that is safe.
        after: u64,
    },
}

/// A log of events in the order of their positions.
pub trait Journal: Send {
    /// Whether so many more events, of so many bytes in all, can be on their way now.
    fn has_room(&self, events: usize, bytes: usize) -> bool;

    /// Takes the event of the next position. Never waits.
    fn append(&mut self, entry: Entry);

    /// Begins to make safe what was appended. Never waits.
    fn commit(&mut self);

    /// What has become of it since the last call; whoever waits is woken when there is something.
    fn poll(&mut self) -> Option<Progress>;
}
