//! One segment read from end to end, every checksum verified, however damaged it is.
//!
//! A record whose bytes are wrong is stepped over by looking for the next one that is right and
//! stands behind it in the order; what follows the last good record is the tail, and its kind says
//! whether a write that was cut short explains it. A post of which the newest segment does not hold
//! the last record belongs to the tail from its first record on: it is in the log as a whole or not at all.

use std::io;
use std::ops::Range;

use crate::journal::disk::{Handle, read_full};
use crate::journal::record::{self, Found, MAGIC, PREFIX_BYTES, Record};
use crate::journal::segment::{Block, Blocks, HEADER_BYTES, Header, HeaderFault};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
/// Bytes behind a magic that show which position the record claims.
const CLAIM_BYTES: usize = PREFIX_BYTES + 8;

/// What stands behind the last good record.
#[derive(Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// The beginning of a record, of a post, or of the header: a write was cut short.
    Torn,
    /// As `Torn`, but the file was long enough and zeros are where the rest should be: only a
    /// machine that stopped leaves that behind.
    Zeros,
    /// Records of positions that belong to the next segment: they were refused.
    Superseded,
    /// Bytes that are no beginning of a record.
    Garbage,
    /// The disk does not give them.
    Unreadable(String),
}

/// What a segment holds.
#[derive(Debug)]
pub struct Scanned {
    /// What it says of itself.
    pub header: Result<Header, HeaderFault>,
    /// Its good records, in the order of their positions. Where a record is missing, a block ends.
    pub blocks: Vec<Block>,
    /// Bytes that are no records, with good records behind them.
    pub damage: Vec<Range<u64>>,
    /// Where the last good record ends that counts, or the header.
    pub end: u64,
    /// Its length.
    pub len: u64,
    /// What stands behind `end`.
    pub tail: Tail,
    /// The latest time at which one of its events was accepted (wall ms).
    pub newest_at: u64,
    /// Its last good record does not end its post.
    unfinished: Option<Mark>,
}

impl Scanned {
    /// Nothing, of a file with so many bytes, for now.
    fn nothing(len: u64, tail: Tail) -> Scanned {
        Scanned {
            header: Err(HeaderFault::Bad),
            blocks: Vec::new(),
            damage: Vec::new(),
            end: 0,
            len,
            tail,
            newest_at: 0,
            unfinished: None,
        }
    }

    /// A file of which the disk gives nothing.
    #[must_use]
    pub fn unreadable(error: &io::Error) -> Scanned {
        Scanned::nothing(0, Tail::Unreadable(error.to_string()))
    }

    /// Position of its last good record.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.blocks.last().map(|block| block.last)
    }

    /// Counts a post that does not end here as tail, in what is the newest segment: it was never
    /// committed. Elsewhere it can only be damaged, since the next segment begins with the first
    /// position of what was refused.
    pub fn take_back_unfinished(&mut self) {
        let Some(mut mark) = self.unfinished.take() else { return };
        if self.tail == Tail::Clean {
            self.tail = Tail::Torn;
        }
        if self.damage.len() > mark.damage && !matches!(self.tail, Tail::Unreadable(_)) {
            self.tail = Tail::Garbage;
        }
        self.blocks.truncate(mark.blocks);
        self.blocks.extend(mark.open.close());
        self.damage.truncate(mark.damage);
        (self.end, self.newest_at) = (mark.end, mark.newest_at);
    }
}

/// Reads a segment whose positions are `range`; `each` gets its good records in their order, also those
/// of a post that turns out not to end there.
///
/// # Errors
/// Only where not even its length is to be had.
pub fn scan(file: &dyn Handle, range: Range<u64>, each: &mut dyn FnMut(&Record<'_>)) -> io::Result<Scanned> {
    let mut pass = Pass::new(file, file.len()?, range);
    let tail = match pass.run(each) {
        Ok(tail) => tail,
        Err(error) => Tail::Unreadable(error.to_string()),
    };
    pass.done.tail = tail;
    pass.done.unfinished = pass.mark;
    pass.done.blocks.extend(pass.open.close());
    Ok(pass.done)
}

/// What was there before a post that has not ended.
#[derive(Debug)]
struct Mark {
    end: u64,
    blocks: usize,
    open: Blocks,
    damage: usize,
    newest_at: u64,
}

/// A pass over the file.
struct Pass<'f> {
    view: View<'f>,
    /// Positions that may still come.
    range: Range<u64>,
    open: Blocks,
    done: Scanned,
    /// Set from the first record of a post until its last. Bytes that are no records may hide either,
    /// so they count as the beginning of one.
    mark: Option<Mark>,
}

impl<'f> Pass<'f> {
    fn new(file: &'f dyn Handle, len: u64, range: Range<u64>) -> Pass<'f> {
        let done = Scanned::nothing(len, Tail::Clean);
        let view = View { file, len, start: 0, bytes: Vec::new() };
        Pass { view, range, open: Blocks::default(), done, mark: None }
    }

    fn run(&mut self, each: &mut dyn FnMut(&Record<'_>)) -> io::Result<Tail> {
        self.done.header = Header::decode(self.view.at(0, HEADER_BYTES)?);
        match &self.done.header {
            Ok(header) => {
                self.done.end = HEADER_BYTES as u64;
                self.done.newest_at = header.at;
            }
            Err(HeaderFault::Version(_)) => return Ok(Tail::Garbage),
            Err(HeaderFault::Bad) => {}
        }
        loop {
            if self.done.end == self.done.len {
                return Ok(Tail::Clean);
            }
            let headless = self.done.header.is_err() && self.done.end == 0;
            if !headless && self.take_record(self.done.end, each)? {
                continue;
            }
            if !headless && self.is_superseded(self.done.end)? {
                return Ok(Tail::Superseded);
            }
            let Some(next) = self.find_record(self.done.end + 1)? else { return self.judge_tail() };
            self.mark();
            self.done.damage.push(self.done.end..next);
            self.done.blocks.extend(self.open.close());
            self.done.end = next;
        }
    }

    /// Takes the record at `offset` if there is a good one that may be there.
    fn take_record(&mut self, offset: u64, each: &mut dyn FnMut(&Record<'_>)) -> io::Result<bool> {
        let Some((record, bytes)) = self.view.record_at(offset)? else { return Ok(false) };
        let (position, goes_on, at) = (record.position, record.goes_on, record.at);
        if !self.range.contains(&position) {
            return Ok(false);
        }
        each(&record);
        self.mark();
        self.done.newest_at = self.done.newest_at.max(at);
        let previous = self.done.blocks.last().map(|block| block.last);
        let previous = self.open.last().or(previous);
        if previous.is_some_and(|previous| previous + 1 != position) {
            self.done.blocks.extend(self.open.close());
        }
        self.done.end = offset + bytes;
        self.done.blocks.extend(self.open.push(position, offset, self.done.end));
        self.range.start = position + 1;
        if !goes_on {
            self.mark = None;
        }
        Ok(true)
    }

    /// Remembers how things stand, unless a post is under way.
    fn mark(&mut self) {
        let Scanned { end, blocks, damage, newest_at, .. } = &self.done;
        self.mark.get_or_insert(Mark {
            end: *end,
            blocks: blocks.len(),
            open: self.open,
            damage: damage.len(),
            newest_at: *newest_at,
        });
    }

    fn is_superseded(&mut self, offset: u64) -> io::Result<bool> {
        let end = self.range.end;
        Ok(self.view.record_at(offset)?.is_some_and(|(record, _)| record.position >= end))
    }

    /// Where the next good record is, at `from` or behind it.
    fn find_record(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        while let Some(at) = self.view.find_magic(from)? {
            let claimed = record::claimed_position(self.view.at(at, CLAIM_BYTES)?);
            // The cheap question first: garbage must not make us checksum megabytes at every step.
            if claimed.is_some_and(|position| self.range.contains(&position))
                && self.view.record_at(at)?.is_some()
            {
                return Ok(Some(at));
            }
            from = at + 1;
        }
        Ok(None)
    }

    /// There is no good record any more, and bytes are left.
    fn judge_tail(&mut self) -> io::Result<Tail> {
        let left = self.done.len - self.done.end;
        let longest = (PREFIX_BYTES + record::BODY_BYTES_MAX) as u64;
        if left > longest {
            return Ok(Tail::Garbage);
        }
        let headless = self.done.end == 0;
        let bytes = self.view.at(self.done.end, left as usize)?;
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let is_beginning = |bytes: &[u8]| match record::decode(bytes) {
            _ if headless => bytes.len() < HEADER_BYTES,
            Found::Short => !record::is_whole_but_for_its_length(bytes),
            _ => bytes.is_empty(),
        };
        Ok(if is_beginning(bytes) {
            Tail::Torn
        } else if is_beginning(&bytes[..written]) {
            Tail::Zeros
        } else {
            Tail::Garbage
        })
    }
}

/// A stretch of the file in memory, moved along it.
struct View<'f> {
    file: &'f dyn Handle,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl View<'_> {
    /// At least `want` bytes at `offset`; fewer only where the file ends.
    fn at(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let want = want.min(usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX));
        let held = self.start..self.start + self.bytes.len() as u64;
        if !held.contains(&offset) || held.end - offset < want as u64 {
            let kept = if held.contains(&offset) { (held.end - offset) as usize } else { 0 };
            let skip = self.bytes.len() - kept;
            self.bytes.drain(..skip);
            self.start = offset;
            let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.bytes.resize(want.max(READ_BYTES).min(left), 0);
            let read = read_full(self.file, &mut self.bytes[kept..], offset + kept as u64)?;
            self.bytes.truncate(kept + read);
            if self.bytes.len() < want {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.bytes[(offset - self.start) as usize..])
    }

    /// The good record at `offset` and its bytes.
    fn record_at(&mut self, offset: u64) -> io::Result<Option<(Record<'_>, u64)>> {
        let len = self.len;
        let size = record::claimed_len(self.at(offset, PREFIX_BYTES)?);
        let Some(size) = size.filter(|size| offset + *size as u64 <= len) else { return Ok(None) };
        Ok(match record::decode(self.at(offset, size)?) {
            Found::Whole(record, bytes) => Some((record, bytes as u64)),
            _ => None,
        })
    }

    /// Where the next magic is, at `from` or behind it.
    fn find_magic(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        while from + MAGIC.len() as u64 <= self.len {
            let bytes = self.at(from, MAGIC.len())?;
            if let Some(at) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) {
                return Ok(Some(from + at as u64));
            }
            from += (bytes.len() - MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
}
