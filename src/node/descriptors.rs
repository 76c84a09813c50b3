//! File descriptors: how many a node needs, and getting as many as it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside those of client sockets: listeners, polls, wakers, logs, libraries.
const OVERHEAD: u64 = 64;

/// Raises the soft limit as far as `wanted` needs and the hard limit lets it. Returns the
/// limit that holds then; `None`: there is none.
pub fn raise(wanted: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let goal = limit.maximum.map_or(wanted, |hard| hard.min(wanted));
    match limit.current {
        Some(soft) if soft < goal => {
            let raised = Rlimit { current: Some(goal), maximum: limit.maximum };
            match setrlimit(Resource::Nofile, raised) {
                Ok(()) => Some(goal),
                Err(_) => Some(soft),
            }
        }
        soft => soft,
    }
}

/// Client sockets that may be open where `limit` is less than what is needed: the listeners and
/// a share for the control listener are kept free.
#[must_use]
pub fn left_for_clients(limit: u64, control: usize, shards: usize) -> usize {
    /// Listeners, polls and wakers of the shards, and what a small process has open besides.
    const SMALL_OVERHEAD: usize = 24;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let control = (limit / 8).clamp(8, control);
    limit.saturating_sub(control + 4 * shards + SMALL_OVERHEAD).max(1)
}

/// What a node with so many client sockets, control connections and shards needs.
#[must_use]
pub fn needed(sockets: usize, control: usize, shards: usize) -> u64 {
    (sockets + control + 4 * shards) as u64 + OVERHEAD
}
