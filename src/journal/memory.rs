//! No log but the windows: everything is as safe as it gets at once.

use crate::journal::{Entry, Journal, Progress};

/// Promises nothing beyond the life of the process.
#[derive(Debug, Default)]
pub struct Memory {
    last: u64,
    told: u64,
}

impl Memory {
    /// A log whose next event has the position behind `last`.
    #[must_use]
    pub fn new(last: u64) -> Memory {
        Memory { last, told: last }
    }
}

impl Journal for Memory {
    fn has_room(&self, _events: usize, _bytes: usize) -> bool {
        true
    }

    fn append(&mut self, entry: Entry) {
        self.last += 1;
        assert_eq!(self.last, entry.envelope.position, "the sequencer is the only writer of order");
    }

    fn commit(&mut self) {}

    fn poll(&mut self) -> Option<Progress> {
        let news = self.told < self.last;
        self.told = self.last;
        news.then_some(Progress::Committed(self.last))
    }
}
