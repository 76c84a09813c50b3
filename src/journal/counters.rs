//! What the log counts, and how far it has come: cells that one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::shard::counters::Counter;

/// A number that goes up and down, written by one thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Writes it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Reads it, from any thread.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far the log has come. Written by the writer, after it told the reader where everything
/// up to there is: who reads this first and its news then knows all that it needs.
#[derive(Debug, Default)]
pub struct Frontier(AtomicU64);

impl Frontier {
    /// Everything up to `position` is committed.
    pub fn advance(&self, position: u64) {
        self.0.store(position, Ordering::Release);
    }

    /// The last position that is committed.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What the log counts, since start.
#[derive(Debug, Default)]
pub struct JournalCounters {
    /// Events written and committed. By the writer, as all up to `bytes`.
    pub appended: Counter,
    /// Their bytes in the log.
    pub appended_bytes: Counter,
    /// Events whose append was refused, or that stood behind such a one.
    pub refused: Counter,
    /// Writes that succeeded: one for each group of posts.
    pub writes: Counter,
    /// Syncs of segments that succeeded.
    pub syncs: Counter,
    /// Milliseconds that these took in all.
    pub sync_ms: Counter,
    /// Groups that could not be written or made safe, and so were refused.
    pub write_errors: Counter,
    /// Syncs that failed.
    pub sync_errors: Counter,
    /// Segments on disk.
    pub segments: Gauge,
    /// Bytes on disk.
    pub bytes: Gauge,
    /// Blocks read from disk. By the reader, as all below.
    pub reads: Counter,
    /// Their bytes.
    pub read_bytes: Counter,
    /// Questions answered without reading.
    pub cache_hits: Counter,
    /// Blocks that could not be read, or were not what was written.
    pub read_errors: Counter,
}
