//! Where a connection is in its life.

/// Where a connection is in its life. Moves only downwards in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepted; its request head is not complete.
    Opening,
    /// Asked for the statistics; the answer is being gathered.
    Asking,
    /// Upgraded; has not presented an accepted credential.
    Greeting,
    /// Authenticated. The only phase in which events are delivered.
    Live,
    /// A close frame is queued or sent; waiting for the peer's.
    Closing,
    /// Everything is said: once it is flushed the write side is shut down, and what still
    /// arrives is thrown away until the peer has closed too.
    Draining,
}

impl Phase {
    /// Whether the connection is a WebSocket that is not ending: the ones that statistics count.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Phase::Greeting | Phase::Live)
    }
}
