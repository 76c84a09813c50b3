//! What the operator says of the log on disk.

use std::path::PathBuf;

use crate::journal::meta;

/// When what was written is made to outlive the machine. It outlives the process either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPolicy {
    /// Before an event counts as committed, and so before anybody sees it.
    Always,
    /// So long after it was written at the latest.
    Interval {
        /// Milliseconds.
        ms: u64,
    },
    /// When the system does it.
    Never,
}

impl SyncPolicy {
    /// As the meta file has it.
    #[must_use]
    pub fn kind(self) -> meta::Sync {
        match self {
            SyncPolicy::Always => meta::Sync::Always,
            SyncPolicy::Interval { .. } => meta::Sync::Interval,
            SyncPolicy::Never => meta::Sync::Never,
        }
    }
}

/// Where and how the log is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The directory, `WS_JOURNAL`.
    pub dir: PathBuf,
    /// When it is synced.
    pub sync: SyncPolicy,
    /// Bytes of segments above which the oldest goes. What is on disk may be more by one segment,
    /// and by one group of posts.
    pub max_bytes: u64,
    /// Age at which an event goes, as soon as its whole segment has it; 0: none.
    pub max_age_ms: u64,
    /// Bytes of a segment. One may be longer, by what a single group of posts needs.
    pub segment_bytes: u64,
}
