//! A journal in memory: a bounded window, gone with the process. It shares the events' bytes
//! with the windows of the shards.

use std::sync::Arc;

use crate::base::window::{Bounds, Window};
use crate::journal::Journal;
use crate::shard::envelope::Envelope;

/// Recent events, within bounds.
#[derive(Debug)]
pub struct Memory {
    window: Window<Arc<Envelope>>,
}

impl Memory {
    /// An empty log.
    #[must_use]
    pub fn new(bounds: Bounds) -> Memory {
        Memory { window: Window::new(bounds, 0) }
    }
}

impl Journal for Memory {
    fn append(&mut self, envelope: Arc<Envelope>) {
        let bytes = envelope.frame.len();
        let expected = envelope.position;
        let position = self.window.push(envelope, bytes);
        assert_eq!(position, expected, "the sequencer is the only writer of order");
    }

    fn last(&self) -> u64 {
        self.window.last()
    }

    fn first(&self) -> u64 {
        self.window.first()
    }

    fn read_after(&self, position: u64, visit: &mut dyn FnMut(&Envelope) -> bool) {
        for (_, envelope) in self.window.after(position) {
            if !visit(envelope) {
                return;
            }
        }
    }
}
