//! What a log is, from what is found in its directory.
//!
//! Every checksum is verified. What is damaged is survived and told: bytes behind the last good record
//! are cut off; anywhere else nothing is touched, the positions that are missing are a gap, and the
//! log counts as whole from behind the last gap on.
//!
//! An id must never mean two events. So the numbers go on in the same epoch only where nothing that
//! anybody may have seen can be missing at the end: the machine has not stopped since the log
//! was opened last, or it was closed in good order, or synced before anything was seen; and the end
//! looks as a write that was cut short leaves it, or better. Otherwise a new epoch begins.

use std::collections::VecDeque;
use std::ops::Range;

use crate::journal::disk::{Disk, Handle};
use crate::journal::index::Stretch;
use crate::journal::meta::{self, Found, Meta, Sync};
use crate::journal::record::Record;
use crate::journal::scan::{Scanned, Tail, scan};
use crate::journal::segment::{self, EPOCH_BYTES_MAX, Header, HeaderFault, first_of, name_of};
use crate::journal::store::{Active, Closed, Holdings};

/// Where a segment without a single good record is put away, under another name.
const PUT_AWAY_SUFFIX: &str = ".bad";
/// Foreign files that are named at most.
const FOREIGN_NAMED_MAX: usize = 5;

/// What recovery must know beside the directory.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// This run of the machine; empty where unknown.
    pub boot: &'a str,
    /// How the log will be synced.
    pub sync: Sync,
    /// The name of a new epoch, if there must be one.
    pub fresh_epoch: &'a str,
}

/// A log, as it was found and mended.
#[derive(Debug)]
pub struct Recovered {
    /// What there is to write to.
    pub holdings: Holdings,
    /// What there is to read.
    pub stretches: Vec<Stretch>,
    /// What the operator should know, a sentence each.
    pub findings: Vec<String>,
}

/// A segment and what is in it.
struct Piece {
    first: u64,
    scanned: Scanned,
}

impl Piece {
    /// The header, where it is right for this name.
    fn header(&self) -> Option<&Header> {
        self.scanned.header.as_ref().ok().filter(|header| header.first == self.first)
    }
}

/// Reads and mends the log on `disk`. `each` gets every good record in the order of positions, and
/// those of the post behind the last position that was cut short, if there is one.
///
/// # Errors
/// A clause that tells why there can be no log here.
pub fn recover(
    disk: &dyn Disk,
    circumstances: Circumstances<'_>,
    each: &mut dyn FnMut(&Record<'_>),
) -> Result<Recovered, String> {
    let found = Meta::load(disk).map_err(|e| format!("{} can't be read: {e}", meta::NAME))?;
    if let Found::Format(format) = found {
        return Err(format!("it is laid out in format {format}, which this program does not know"));
    }
    let mut recovery =
        Recovery { disk, circumstances, pieces: Vec::new(), junk: Vec::new(), findings: Vec::new() };
    recovery.read_segments(each)?;
    recovery.set_junk_aside();
    let whole_from = recovery.find_gaps();
    let last = recovery.last();
    let reasons = recovery.doubts(&found, last);
    let (epoch, is_fresh) = match found {
        Found::Whole(meta) if reasons.is_empty() => (meta.epoch, false),
        _ => (circumstances.fresh_epoch.to_owned(), true),
    };
    debug_assert!(epoch.len() <= EPOCH_BYTES_MAX);
    for reason in reasons {
        recovery.findings.push(format!("{reason}: a new epoch begins behind position {last}"));
    }
    let named = recovery.pieces.last().map(|piece| piece.first);
    let meta = Meta::opened(epoch, circumstances.boot.to_owned(), circumstances.sync, named, last);
    // First what the log has come to, since meta says so; then that this is a new epoch, if it is; then
    // the cut, which could not be explained later without it.
    let newest = recovery.sync_newest()?;
    // The same epoch must be recorded too, since it is not clean any more; but a disk that is full must
    // not keep a log from being read.
    let saved = if is_fresh { meta.save(disk) } else { meta.save_without_room(disk) };
    saved.map_err(|e| format!("{} can't be written: {e}", meta::NAME))?;
    recovery.put_junk_away()?;
    let active = newest.map(|file| recovery.mend_tail(file, is_fresh, &meta.epoch)).transpose()?.flatten();
    let whole_from = whole_from.unwrap_or(last + 1);
    Ok(recovery.into_parts(active, meta, last, whole_from))
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    circumstances: Circumstances<'a>,
    /// Oldest first.
    pieces: Vec<Piece>,
    /// Segments behind those that hold nothing, newest first.
    junk: Vec<u64>,
    findings: Vec<String>,
}

impl Recovery<'_> {
    /// Reads all segments.
    fn read_segments(&mut self, each: &mut dyn FnMut(&Record<'_>)) -> Result<(), String> {
        let names = self.disk.names().map_err(|e| format!("it can't be listed: {e}"))?;
        let (mut firsts, mut foreign) = (Vec::new(), Vec::new());
        for name in names {
            match first_of(&name) {
                Some(first) => firsts.push(first),
                None if [meta::NAME, meta::NEW_NAME, segment::NEW_NAME].contains(&&*name) => {}
                None => foreign.push(name),
            }
        }
        firsts.sort_unstable();
        self.tell_of_foreign(foreign);
        for (i, &first) in firsts.iter().enumerate() {
            let end = firsts.get(i + 1).copied().unwrap_or(u64::MAX);
            let scanned = self.read_segment(first..end, each);
            if let Err(HeaderFault::Version(version)) = scanned.header {
                let name = name_of(first);
                return Err(format!("{name} has version {version}, which this program does not know"));
            }
            self.pieces.push(Piece { first, scanned });
        }
        Ok(())
    }

    /// The newest segments, where neither a header nor a record of them can be read, say nothing;
    /// and their names must not stand in the way of the positions that come next.
    fn set_junk_aside(&mut self) {
        while let Some(piece) = self.pieces.pop_if(|piece| {
            // A post that it does not end counts for nothing either: this is the newest that counts.
            piece.scanned.take_back_unfinished();
            let Scanned { header, blocks, .. } = &piece.scanned;
            header.is_err() && blocks.is_empty()
        }) {
            self.junk.push(piece.first);
        }
    }

    fn read_segment(&self, range: Range<u64>, each: &mut dyn FnMut(&Record<'_>)) -> Scanned {
        let name = name_of(range.start);
        let scanned = self.disk.view(&name).and_then(|file| scan(&*file, range, each));
        scanned.unwrap_or_else(|error| Scanned::unreadable(&error))
    }

    fn tell_of_foreign(&mut self, mut foreign: Vec<String>) {
        if foreign.is_empty() {
            return;
        }
        foreign.sort_unstable();
        let named: Vec<String> =
            foreign.iter().take(FOREIGN_NAMED_MAX).map(|name| format!("{name:?}")).collect();
        let rest = match foreign.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.findings.push(format!("not of the journal and left alone: {}{rest}", named.join(", ")));
    }

    /// Tells of everything that is missing or damaged before the tail. Returns the position from
    /// which on nothing is missing; none without an event.
    fn find_gaps(&mut self) -> Option<u64> {
        let mut whole_from = self.pieces.first()?.first;
        let mut expected = whole_from;
        for (i, piece) in self.pieces.iter().enumerate() {
            let name = name_of(piece.first);
            let Scanned { header, blocks, damage, tail, end, len, .. } = &piece.scanned;
            if header.is_ok() && piece.header().is_none() {
                self.findings.push(format!("{name} does not begin with the position in its name"));
            }
            for bytes in damage {
                let text = format!("{name} is damaged from byte {} to {}", bytes.start, bytes.end);
                self.findings.push(text);
            }
            let is_last = i + 1 == self.pieces.len();
            match tail {
                Tail::Clean | Tail::Superseded => {}
                Tail::Unreadable(error) => {
                    self.findings.push(format!("{name} can't be read from byte {end} on: {error}"));
                }
                _ if is_last => {} // It is cut, and told of then.
                _ => self.findings.push(format!("{name} is damaged from byte {end} to its end at {len}")),
            }
            let starts = blocks.iter().map(|block| (block.first, block.last + 1));
            // An empty segment stands for the position it would begin with.
            let empty = piece.header().filter(|_| is_last && blocks.is_empty()).map(|h| (h.first, h.first));
            for (from, next) in starts.chain(empty) {
                if from > expected {
                    self.findings.push(format!("the events {expected} to {} are missing", from - 1));
                    whole_from = from;
                }
                expected = next;
            }
        }
        let holds_any = self.pieces.iter().any(|piece| !piece.scanned.blocks.is_empty());
        holds_any.then_some(whole_from)
    }

    /// The last position.
    fn last(&self) -> u64 {
        let written = self.pieces.iter().rev().find_map(|piece| piece.scanned.last());
        let begun = self.pieces.last().and_then(Piece::header).map(|header| header.first.saturating_sub(1));
        written.max(begun).unwrap_or(0)
    }

    /// Why an event that somebody saw may be missing at the end.
    fn doubts(&self, found: &Found, last: u64) -> Vec<String> {
        let meta = match found {
            Found::Whole(meta) => meta,
            Found::Nothing if self.pieces.is_empty() => return Vec::new(),
            Found::Nothing | Found::Format(_) => return vec![format!("there is no file {}", meta::NAME)],
            Found::Bad => return vec![format!("the file {} can't be understood", meta::NAME)],
        };
        let mut doubts = Vec::new();
        let same_boot = !meta.boot.is_empty() && meta.boot == self.circumstances.boot;
        if !same_boot && !meta.clean && meta.sync != Sync::Always {
            doubts.push(
                "the machine stopped while the journal was open, and what was not synced may be lost"
                    .to_owned(),
            );
        }
        let newest = self.junk.first().copied().or(self.pieces.last().map(|piece| piece.first));
        if newest < meta.newest {
            let name = meta.newest.map(name_of).unwrap_or_default();
            doubts.push(format!("the newest segment, {name}, is missing"));
        } else if last < meta.last {
            doubts.push(format!("the journal had come to position {} and ends before", meta.last));
        }
        if let Some(first) = self.junk.first() {
            // No name is given before there is a header.
            doubts.push(format!("nothing in {} can be read", name_of(*first)));
        } else if let Some(Piece { first, scanned }) = self.pieces.last() {
            let is_explained = match scanned.tail {
                Tail::Clean | Tail::Superseded => true,
                Tail::Torn => !meta.clean,
                Tail::Zeros => !meta.clean && !same_boot,
                Tail::Garbage | Tail::Unreadable(_) => false,
            };
            if !is_explained {
                doubts.push(format!("the end of {} is damaged", name_of(*first)));
            }
        }
        doubts
    }

    /// Makes safe whatever an earlier run left unsynced in the newest segment; from here on it counts
    /// as that.
    fn sync_newest(&self) -> Result<Option<Box<dyn Handle>>, String> {
        let Some(piece) = self.pieces.last() else { return Ok(None) };
        if matches!(piece.scanned.tail, Tail::Unreadable(_)) {
            return Ok(None);
        }
        let name = name_of(piece.first);
        let mut file = self.disk.open(&name).map_err(|e| format!("{name} can't be written to: {e}"))?;
        file.sync().map_err(|e| format!("{name} can't be synced: {e}"))?;
        Ok(Some(file))
    }

    fn put_junk_away(&mut self) -> Result<(), String> {
        for first in std::mem::take(&mut self.junk) {
            let name = name_of(first);
            let away = format!("{name}{PUT_AWAY_SUFFIX}");
            let renamed = self.disk.rename(&name, &away).and_then(|()| self.disk.sync_names());
            renamed.map_err(|e| format!("{name} can't be renamed: {e}"))?;
            self.findings.push(format!("{name} holds nothing that can be read; it is now {away}"));
        }
        Ok(())
    }

    /// Cuts off what stands behind the last good record of the newest segment, which is this file.
    /// Gives it back where it can be written on.
    fn mend_tail(
        &mut self,
        mut file: Box<dyn Handle>,
        is_fresh: bool,
        epoch: &str,
    ) -> Result<Option<Active>, String> {
        let Some(piece) = self.pieces.last_mut() else { return Ok(None) };
        let Scanned { end, len, newest_at, .. } = piece.scanned;
        if end < len {
            let name = name_of(piece.first);
            let cut = file.truncate(end).and_then(|()| file.sync());
            cut.map_err(|e| format!("the end of {name} can't be cut: {e}"))?;
            piece.scanned.len = end;
            let cut = len - end;
            self.findings.push(format!("{name} was cut by {cut} bytes, at the end of its last good record"));
        }
        let header = piece.header().filter(|header| !is_fresh && header.epoch == epoch);
        let active = header.map(|header| (header.first, header.at));
        Ok(active.map(|(first, begun_at)| Active { file, first, len: end, begun_at, newest_at }))
    }

    fn into_parts(self, active: Option<Active>, meta: Meta, last: u64, whole_from: u64) -> Recovered {
        let written_to = active.as_ref().map(|active| active.first);
        // One without an event gives its name to the next that is begun.
        let is_closed = |piece: &&Piece| Some(piece.first) != written_to && piece.first <= last;
        let mut closed: VecDeque<Closed> = VecDeque::new();
        for piece in self.pieces.iter().rev().filter(is_closed) {
            let Scanned { len: bytes, newest_at, .. } = piece.scanned;
            // One that does not say how old it is, is no older than the next.
            let next_at = closed.front().map_or(u64::MAX, |next| next.newest_at);
            let newest_at = if newest_at == 0 { next_at } else { newest_at };
            closed.push_front(Closed { first: piece.first, bytes, newest_at });
        }
        let stretches = self
            .pieces
            .into_iter()
            .map(|piece| Stretch { first: piece.first, blocks: piece.scanned.blocks })
            .collect();
        let holdings = Holdings { closed, active, last, whole_from, meta };
        Recovered { holdings, stretches, findings: self.findings }
    }
}
