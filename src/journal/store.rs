//! The writer's side of the log: one segment that grows, the others until they are too old.
//!
//! A group of posts is one write and at most one sync. It is in the log as a whole or not at all: a
//! write that fails is cut off again, and where that fails too, or a sync did, the segment is left
//! as it is, sealed, and the next attempt begins another. What a sealed segment holds behind its
//! last committed record counts for nothing, since the next segment begins with that position.
//! There is no state of failure: the next post simply tries again.

mod retention;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use crate::base::time::Now;
use crate::journal::complaints::Complaints;
use crate::journal::counters::{Frontier, JournalCounters};
use crate::journal::disk::{Disk, Handle, Hold};
use crate::journal::index::Note;
use crate::journal::meta::Meta;
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::segment::{Blocks, HEADER_BYTES, Header, NEW_NAME, name_of};
use crate::shard::counters::Shared;

/// How often retention looks, and a meta file that could not be written is tried again.
const CHECK_MS: u64 = 1_000;
/// After a sync in the background failed, the next one waits so long: each failure seals a segment.
const SYNC_RETRY_MS: u64 = 10_000;
/// A segment that is not written to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The position in its name.
    pub first: u64,
    /// Its bytes.
    pub bytes: u64,
    /// When its latest event was accepted (wall ms).
    pub newest_at: u64,
}

/// The segment that is written to.
#[derive(Debug)]
pub struct Active {
    /// Its file.
    pub file: Box<dyn Handle>,
    /// The position in its name.
    pub first: u64,
    /// Its bytes, as far as they are committed.
    pub len: u64,
    /// When it was begun (wall ms).
    pub begun_at: u64,
    /// When its latest event was accepted (wall ms).
    pub newest_at: u64,
}

/// What a log consists of.
#[derive(Debug)]
pub struct Holdings {
    /// The segments before the active one, oldest first.
    pub closed: VecDeque<Closed>,
    /// The one that is written to; none before the first event.
    pub active: Option<Active>,
    /// The last position.
    pub last: u64,
    /// The position from which on none is missing.
    pub whole_from: u64,
    /// As it was saved last.
    pub meta: Meta,
}

/// To whom the log tells how it comes on.
#[derive(Debug)]
pub struct Listeners {
    /// The reader.
    pub notes: Sender<Note>,
    /// The reader, and whoever asks it.
    pub frontier: Arc<Frontier>,
    /// The shards.
    pub shared: Arc<Shared>,
    /// The operator.
    pub counters: Arc<JournalCounters>,
}

/// One record of a group, as far as the log must know it.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Its position.
    pub position: u64,
    /// Where it ends in the group.
    pub end: usize,
    /// When it was accepted (wall ms).
    pub at: u64,
}

/// The log, open to be written.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    options: Options,
    files: Holdings,
    /// The records of the active segment since its last full block.
    blocks: Blocks,
    listeners: Listeners,
    /// When the first write was made that was not synced yet (monotonic ms).
    dirty_since: Option<u64>,
    /// No sync in the background before this (monotonic ms).
    sync_from: u64,
    /// When to look again what there is to do (monotonic ms).
    check_at: u64,
    /// Since when the oldest segment is of a time that is still to come (monotonic ms).
    ahead_since: Option<u64>,
    /// Something failed after which the disk may hold less than was committed, or more: the log can't
    /// be left as clean.
    in_doubt: bool,
    meta_is_stale: bool,
    complaints: Complaints,
    /// Held as long as the log is written to.
    lock: Box<dyn Hold>,
    /// The path of the directory is not that of what is held any more, when it was looked at last.
    is_displaced: bool,
}

/// Reads the clocks.
pub type ReadClock<'c> = &'c dyn Fn() -> Now;

impl Store {
    /// The log with these files.
    #[must_use]
    pub fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        files: Holdings,
        listeners: Listeners,
        lock: Box<dyn Hold>,
    ) -> Store {
        listeners.frontier.advance(files.last);
        listeners.shared.archive_first.store(files.whole_from, Ordering::Relaxed);
        let store = Store {
            disk,
            options,
            files,
            blocks: Blocks::default(),
            listeners,
            dirty_since: None,
            sync_from: 0,
            check_at: 0,
            ahead_since: None,
            in_doubt: false,
            meta_is_stale: false,
            complaints: Complaints::default(),
            lock,
            is_displaced: false,
        };
        store.measure();
        store
    }

    /// The last position in the log.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.files.last
    }

    /// What is counted.
    #[must_use]
    pub fn counters(&self) -> &JournalCounters {
        &self.listeners.counters
    }

    /// Complains of something that keeps events out of the log.
    pub fn complain(&mut self, what: &'static str, error: &io::Error, now: Now) {
        self.complaints.say(what, error, now.mono);
    }

    /// Writes a group of records and makes it as safe as the settings say. Never empty.
    ///
    /// # Errors
    /// The log is as before, then.
    pub fn append(&mut self, bytes: &[u8], placed: &[Placed], clock: ReadClock<'_>) -> io::Result<()> {
        let now = clock();
        let outcome = self.in_place().and_then(|()| self.make_room(bytes.len() as u64, now));
        let outcome = outcome.and_then(|()| self.write(bytes, now, clock));
        if let Err(error) = outcome {
            self.listeners.counters.write_errors.add(1);
            if !self.is_displaced {
                self.complain("an event could not be made safe and was refused", &error, now);
            } // That was said.
            return Err(error);
        }
        self.commit(bytes.len() as u64, placed);
        self.complaints.all_is_well(now.mono);
        Ok(())
    }

    /// Sees to it that there is a segment that can take so many bytes more.
    fn make_room(&mut self, bytes: u64, now: Now) -> io::Result<()> {
        match &self.files.active {
            None => self.begin_segment(now),
            Some(active) if self.holds_events(active) && active.len + bytes > self.options.segment_bytes => {
                self.rotate(now)
            }
            Some(_) => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8], now: Now, clock: ReadClock<'_>) -> io::Result<()> {
        let active = self.files.active.as_mut().expect("room was made");
        if let Err(error) = active.file.write_at(bytes, active.len) {
            match active.file.truncate(active.len) {
                // Until that is synced, what was cut off may come back.
                Ok(()) => {
                    self.dirty_since.get_or_insert(now.mono);
                }
                Err(_) => self.leave(now),
            }
            return Err(error);
        }
        self.listeners.counters.writes.add(1);
        match self.options.sync {
            SyncPolicy::Always => {
                if let Err(error) = self.sync_active(clock) {
                    if let Some(active) = self.files.active.as_mut() {
                        let _ = active.file.truncate(active.len); // It counts for nothing either way.
                    }
                    self.leave(now);
                    return Err(error);
                }
            }
            SyncPolicy::Interval { .. } | SyncPolicy::Never => {
                self.dirty_since.get_or_insert(now.mono);
            }
        }
        Ok(())
    }

    /// What was written is in the log.
    fn commit(&mut self, bytes: u64, placed: &[Placed]) {
        let active = self.files.active.as_mut().expect("it was written to");
        let mut offset = active.len;
        for record in placed {
            let end = active.len + record.end as u64;
            if let Some(block) = self.blocks.push(record.position, offset, end) {
                self.listeners.tell(Note::Filled(block));
            }
            offset = end;
            active.newest_at = active.newest_at.max(record.at);
            self.files.last = record.position;
        }
        active.len += bytes;
        self.listeners.counters.appended.add(placed.len() as u64);
        self.listeners.counters.appended_bytes.add(bytes);
        self.listeners.frontier.advance(self.files.last);
        self.measure();
    }

    /// Does what has fallen due. Returns how long there is nothing more to do (ms).
    pub fn tick(&mut self, clock: ReadClock<'_>) -> u64 {
        let now = clock();
        if self.sync_due().is_some_and(|due| due <= now.mono) {
            self.sync_in_background(now, clock);
        }
        if self.check_at <= now.mono {
            self.check_at = now.mono + CHECK_MS;
            // In a directory of somebody else there is nothing to do.
            if self.look_for_place().is_ok() {
                self.check(now);
            }
        }
        self.check_at.min(self.sync_due().unwrap_or(u64::MAX)).saturating_sub(now.mono)
    }

    fn check(&mut self, now: Now) {
        if self.is_old(now) {
            // Where there is no room for a new one, the old one does.
            if let Err(error) = self.rotate(now) {
                self.complain("no new segment", &error, now);
            }
        }
        self.let_go(now);
        if self.meta_is_stale {
            self.save_meta(false, now);
        }
    }

    /// Looks whether the directory is still what the path leads to.
    ///
    /// # Errors
    /// When it is not. Said in the log when that changes, not each time.
    fn look_for_place(&mut self) -> io::Result<()> {
        let was_displaced = std::mem::replace(&mut self.is_displaced, !self.lock.is_in_place());
        let outcome = self.in_place();
        match &outcome {
            Err(error) if !was_displaced => tracing::error!(%error, "journal: events are refused"),
            Ok(()) if was_displaced => tracing::info!("journal: the directory is in its place again"),
            _ => {}
        }
        outcome
    }

    fn in_place(&self) -> io::Result<()> {
        match self.is_displaced {
            true => Err(io::Error::other("the journal's directory was removed or replaced")),
            false => Ok(()),
        }
    }

    /// Writes down that everything is on the disk, if it is.
    pub fn close(mut self, clock: ReadClock<'_>) {
        let now = clock();
        if self.dirty_since.is_some() {
            self.sync_in_background(now, clock);
        }
        if self.look_for_place().is_ok() && !self.in_doubt {
            self.save_meta(true, now);
        } else {
            tracing::warn!(
                last_event_id = self.files.last,
                "journal: it ends without everything being known to be on the disk"
            );
        }
    }

    fn sync_due(&self) -> Option<u64> {
        let SyncPolicy::Interval { ms } = self.options.sync else { return None };
        self.dirty_since.map(|since| since.saturating_add(ms).max(self.sync_from))
    }

    /// Syncs what is committed already. Where that fails there is no telling what of it the disk
    /// has, now or after another sync: this segment takes no more.
    fn sync_in_background(&mut self, now: Now, clock: ReadClock<'_>) {
        if let Err(error) = self.sync_active(clock) {
            self.complain("a sync failed: what was published may not outlive the machine", &error, now);
            self.sync_from = now.mono + SYNC_RETRY_MS;
            self.leave(now);
        }
    }

    fn sync_active(&mut self, clock: ReadClock<'_>) -> io::Result<()> {
        self.dirty_since = None;
        let Some(active) = &mut self.files.active else { return Ok(()) };
        let started = clock();
        let outcome = active.file.sync();
        let counters = &self.listeners.counters;
        match outcome {
            Ok(()) => {
                counters.syncs.add(1);
                counters.sync_ms.add(clock().mono - started.mono);
            }
            Err(_) => counters.sync_errors.add(1),
        }
        outcome
    }

    fn holds_events(&self, active: &Active) -> bool {
        active.first <= self.files.last
    }

    /// Ends the active segment, with everything on the disk, and begins the next.
    fn rotate(&mut self, now: Now) -> io::Result<()> {
        if self.dirty_since.is_some() {
            // The clock stands still here: rotations are rare.
            self.sync_in_background(now, &|| now);
        }
        self.begin_segment(now)
    }

    /// Begins the segment of the next position. It gets its name when its header is whole, so that a
    /// name always stands for a segment; an earlier one of that name has no event, and is replaced.
    fn begin_segment(&mut self, now: Now) -> io::Result<()> {
        self.look_for_place()?;
        let first = self.files.last + 1;
        let header = Header { epoch: self.files.meta.epoch.clone(), first, at: now.wall }.encode();
        let mut file = self.disk.create(NEW_NAME)?;
        file.write_at(&header, 0)?;
        let is_safe = file.sync();
        let is_safe = self.trust(is_safe, now)?;
        // Once the name may be there, nothing must be added to the segment before: it would not count.
        self.seal(now);
        self.disk.rename(NEW_NAME, &name_of(first))?;
        let is_named = self.disk.sync_names();
        let is_named = self.trust(is_named, now)?;
        self.in_doubt |= !is_safe || !is_named;
        self.listeners.tell(Note::Began(first));
        let len = HEADER_BYTES as u64;
        self.files.active = Some(Active { file, first, len, begun_at: now.wall, newest_at: now.wall });
        self.save_meta(false, now);
        self.let_go(now);
        Ok(())
    }

    /// Whether a sync succeeded; one that did not is an error only where nothing goes on without it.
    fn trust(&mut self, synced: io::Result<()>, now: Now) -> io::Result<bool> {
        let Err(error) = synced else { return Ok(true) };
        self.listeners.counters.sync_errors.add(1);
        if self.options.sync == SyncPolicy::Always {
            return Err(error);
        }
        self.complain("a sync failed: what is published may not outlive the machine", &error, now);
        Ok(false)
    }

    /// Seals the active segment though nobody knows what of it the disk has.
    fn leave(&mut self, now: Now) {
        self.in_doubt = true;
        self.seal(now);
    }

    /// The active segment takes no more. What is committed in it is given its last chance.
    fn seal(&mut self, now: Now) {
        if self.dirty_since.is_some() && self.sync_active(&|| now).is_err() {
            self.in_doubt = true;
        }
        let Some(active) = self.files.active.take() else { return };
        if let Some(block) = self.blocks.close() {
            self.listeners.tell(Note::Filled(block));
        }
        if self.holds_events(&active) {
            let Active { first, len: bytes, newest_at, .. } = active;
            self.files.closed.push_back(Closed { first, bytes, newest_at });
        } // Otherwise its successor has its name, and replaces it.
    }

    /// A meta file that is behind costs nothing but one of the checks at the next start: it is
    /// written again later.
    fn save_meta(&mut self, clean: bool, now: Now) {
        let newest = self.files.active.as_ref().map(|active| active.first);
        let newest = newest.or(self.files.closed.back().map(|closed| closed.first));
        let meta = self.files.meta.with(clean, newest, self.files.last);
        self.meta_is_stale = match meta.save(&*self.disk) {
            Ok(()) => false,
            Err(error) => {
                self.complain("the meta file can't be written", &error, now);
                true
            }
        };
        self.files.meta = meta;
    }
}

impl Listeners {
    fn tell(&self, note: Note) {
        let _ = self.notes.send(note); // A reader that has ended wants to know nothing.
    }
}
