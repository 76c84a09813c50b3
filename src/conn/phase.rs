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
    /// Upgraded at the path of the echo: gets back every message that it sends.
    #[cfg(feature = "conformance")]
    Echoing,
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
        (Phase::Greeting..Phase::Closing).contains(&self)
    }

    /// Whether its client hears of its end in a message too, and not in a close frame alone.
    #[must_use]
    pub fn hears_closing(self) -> bool {
        #[cfg(feature = "conformance")]
        if self == Phase::Echoing {
            return false;
        }
        true
    }

    /// Whether what arrives is frames, and is looked at.
    #[must_use]
    pub fn reads_frames(self) -> bool {
        (Phase::Greeting..Phase::Draining).contains(&self)
    }
}
