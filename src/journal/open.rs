//! Opening a log: what a node takes up from the one before it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::base::window::Bounds;
use crate::journal::block;
use crate::journal::disk::{Directory, Disk, boot_id};
use crate::journal::files::Log;
use crate::journal::index::{Spot, Stretch};
use crate::journal::options::Options;
use crate::journal::record::Record;
use crate::journal::recover::{Circumstances, Recovered, recover};
use crate::journal::segment::{Block, EPOCH_BYTES_MAX, name_of};
use crate::policy::Policy;
use crate::shard::envelope::Envelope;

/// Keys that are taken up at most, the newest: as many as the node remembers.
const KEYS_MAX: usize = 1 << 20;
/// Bytes of keys that are taken up at most.
const KEYS_BYTES_MAX: usize = 128 << 20;

/// A log that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Name of the epoch that its next event belongs to.
    pub epoch: String,
    /// Position of its last event; 0 where there was none yet.
    pub last: u64,
    /// Its latest events: without a gap up to `last`, within the bounds asked for.
    pub tail: Vec<Arc<Envelope>>,
    /// The keys of its events since the time asked for, oldest first.
    pub keys: Vec<RecentKey>,
    /// Position from which on none is missing, for
    /// [`Shared::archive_first`](crate::shard::counters::Shared::archive_first).
    pub first: u64,
    /// What the operator should know, a sentence each.
    pub findings: Vec<String>,
    /// The log itself.
    pub log: Log,
}

/// An idempotency key and its event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecentKey {
    /// The key.
    pub key: Box<str>,
    /// Position of the event.
    pub position: u64,
    /// When it was accepted (wall ms).
    pub at: u64,
}

/// Why there can be no log in this directory; one sentence that names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError(String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    fn at(dir: &Path, why: impl fmt::Display) -> OpenError {
        OpenError(format!("WS_JOURNAL={}: {why}", dir.display()))
    }
}

/// Opens the log in the directory of `options`, makes it where it is not there, and takes it for this
/// node alone. `keys_since`: wall ms. `fresh_epoch`: the name of an epoch that never was, in case a new
/// one must begin.
///
/// # Errors
/// [`OpenError`], where no log can be kept there. What is damaged in it is no such case.
///
/// # Panics
/// When `fresh_epoch` is over 32 bytes.
pub fn open(
    options: &Options,
    policy: &Policy,
    window: Bounds,
    keys_since: u64,
    fresh_epoch: &str,
) -> Result<Opened, OpenError> {
    let disk = Directory::at(&options.dir).map_err(|e| OpenError::at(&options.dir, e))?;
    open_on(Arc::new(disk), &boot_id(), options, policy, window, keys_since, fresh_epoch)
}

/// As [`open`], on any disk, in this run of the machine.
pub(super) fn open_on(
    disk: Arc<dyn Disk>,
    boot: &str,
    options: &Options,
    policy: &Policy,
    window: Bounds,
    keys_since: u64,
    fresh_epoch: &str,
) -> Result<Opened, OpenError> {
    assert!((1..=EPOCH_BYTES_MAX).contains(&fresh_epoch.len()), "an epoch has a short name");
    let refuse = |why: String| OpenError::at(&options.dir, why);
    let lock = disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            refuse("another node has it; each needs a directory of its own".to_owned())
        }
        _ => refuse(format!("it can't be locked: {error}")),
    })?;
    let circumstances = Circumstances { boot, sync: options.sync.kind(), fresh_epoch };
    let mut keys = Keys { since: keys_since, ..Keys::default() };
    let Recovered { holdings, stretches, findings } =
        recover(&*disk, circumstances, &mut |record| keys.take(record)).map_err(refuse)?;
    keys.settle(holdings.last);
    let tail = latest(&*disk, &stretches, holdings.last, window, policy);
    Ok(Opened {
        epoch: holdings.meta.epoch.clone(),
        last: holdings.last,
        tail,
        keys: keys.recent.into(),
        first: holdings.whole_from,
        findings,
        log: Log { disk, options: options.clone(), holdings, stretches, lock },
    })
}

#[derive(Default)]
struct Keys {
    since: u64,
    /// Those of a post whose last event was not seen yet. The node that wrote it had all of them in
    /// memory.
    of_post: Vec<RecentKey>,
    recent: VecDeque<RecentKey>,
    bytes: usize,
}

impl Keys {
    fn take(&mut self, record: &Record<'_>) {
        if let Some(key) = record.key.filter(|_| record.at >= self.since) {
            self.of_post.push(RecentKey { key: key.into(), position: record.position, at: record.at });
        }
        if !record.goes_on {
            self.settle(record.position);
        }
    }

    /// The post is in the log up to position `last`; what is behind that is not.
    fn settle(&mut self, last: u64) {
        for recent in self.of_post.drain(..).filter(|recent| recent.position <= last) {
            self.bytes += recent.key.len();
            self.recent.push_back(recent);
        }
        while self.recent.len() > KEYS_MAX || self.bytes > KEYS_BYTES_MAX {
            self.bytes -= self.recent.pop_front().map_or(0, |old| old.key.len());
        }
    }
}

/// The latest events up to `last`, as far as they are there and fit.
fn latest(
    disk: &dyn Disk,
    stretches: &[Stretch],
    last: u64,
    window: Bounds,
    policy: &Policy,
) -> Vec<Arc<Envelope>> {
    let blocks = stretches.iter().flat_map(|s| s.blocks.iter().map(|block| (s.first, *block)));
    let (mut parts, mut next) = (Vec::new(), last + 1);
    let (mut items, mut bytes) = (0, 0);
    for (segment, block) in blocks.collect::<Vec<_>>().into_iter().rev() {
        let is_enough = items >= window.items || bytes >= window.bytes;
        if is_enough || block.last + 1 != next {
            break;
        }
        let Ok(part) = read_block(disk, segment, &block, policy) else { break };
        items += part.len();
        bytes += part.iter().map(|envelope| envelope.frame.len()).sum::<usize>();
        next = block.first;
        parts.push(part);
    }
    let all: Vec<_> = parts.into_iter().rev().flatten().collect();
    let mut from = all.len().saturating_sub(window.items);
    let mut over: usize = all[from..].iter().map(|envelope| envelope.frame.len()).sum();
    while over > window.bytes {
        over -= all[from].frame.len();
        from += 1;
    }
    all[from..].to_vec()
}

fn read_block(
    disk: &dyn Disk,
    segment: u64,
    block: &Block,
    policy: &Policy,
) -> io::Result<Vec<Arc<Envelope>>> {
    let &Block { first, last, offset, end } = block;
    let file = disk.view(&name_of(segment))?;
    let bytes = block::read(&*file, &Spot { segment, first, last, offset, end })?;
    Ok(block::envelopes(&block::records(&bytes, first, last)?, policy))
}
