//! Counters that one thread writes and another reads, and the few facts that all threads share.
//!
//! With [`crate::shard::admission`] and the gate and byte count of
//! [`crate::shard::mailbox`] this is the whole list of shared cells: everything else has one
//! owner and travels by message.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::conn::reason::Ending;

/// A count that only ever one thread adds to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Two plain moves: there is one writer.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Reads, from any thread.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one shard counts, since start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sockets accepted.
    pub accepted: Counter,
    /// Sockets turned away before they had a slot: the node holds too many already.
    pub turned_away: Counter,
    /// Times that accepting paused for want of descriptors.
    pub accept_pauses: Counter,
    /// Requests upgraded.
    pub upgrades: Counter,
    /// Credentials accepted.
    pub auths: Counter,
    /// Bytes read from sockets.
    pub bytes_in: Counter,
    /// Bytes written to sockets.
    pub bytes_out: Counter,
    /// Writes to sockets.
    pub writes: Counter,
    /// Writes that a socket took only in part or not at all.
    pub short_writes: Counter,
    /// Events given to connections: written, or queued behind what they had not taken yet.
    pub deliveries: Counter,
    /// Upgrades with which compression was agreed on.
    pub deflate_upgrades: Counter,
    /// Events compressed: once for all connections of the node.
    pub deflated_events: Counter,
    /// Their bytes before.
    pub deflated_bytes_in: Counter,
    /// Their bytes after; as before for those that were not made shorter.
    pub deflated_bytes_out: Counter,
    /// Parts of the log asked for, to bring what the window does not hold any more.
    pub asks: Counter,
    /// TLS handshakes that ended well.
    pub tls_handshakes: Counter,
    /// Connections that ended before their handshake did, though something had come.
    pub tls_failures: Counter,
    /// Pings sent.
    pub pings: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Connections ended, by [`Ending`].
    pub endings: [Counter; Ending::ALL.len()],
}

impl Counters {
    /// The counter of one way to end.
    #[must_use]
    pub fn ending(&self, ending: Ending) -> &Counter {
        &self.endings[ending as usize]
    }
}

/// Facts of the node that every thread may read. Each has one writer, but for one that only rises.
#[derive(Debug, Default)]
pub struct Shared {
    /// Everything is up. Written once, by the one who starts the node.
    pub started: AtomicBool,
    /// The node drains. Written by the sequencer, or by a signal.
    pub draining: AtomicBool,
    /// Monotonic ms until which the node counts as proven to deliver. Written by the sequencer
    /// when a canary has come back from every shard.
    pub ready_until: AtomicU64,
    /// Customers online. Written by the sequencer.
    pub online: AtomicUsize,
    /// Position of the last event that was published. Written by the sequencer before anybody
    /// can have seen that event; a shard may not have come so far.
    pub last_position: AtomicU64,
    /// Position of the oldest event from which on the log on disk is whole; 0 where there is no
    /// such log. Written by the one who writes the log and the one who reads it, each by
    /// [`Shared::archive_from`].
    pub archive_first: AtomicU64,
}

impl Shared {
    /// Whether health checks are answered with yes.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.started.load(Ordering::Relaxed) && !self.is_draining()
    }

    /// The log on disk is whole from `position` on at the earliest: what is said of it only rises, so
    /// that two may say it.
    pub fn archive_from(&self, position: u64) {
        self.archive_first.fetch_max(position, Ordering::AcqRel);
    }

    /// Whether new upgrades are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether a canary came through not long before `now_mono`.
    #[must_use]
    pub fn is_ready(&self, now_mono: u64) -> bool {
        self.is_alive() && now_mono < self.ready_until.load(Ordering::Relaxed)
    }
}
