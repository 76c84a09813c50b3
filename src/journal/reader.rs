//! The reader's thread: gives parts of the past to shards and to the control thread.
//!
//! It owns the index and blocks neither the writer nor a shard: both talk to it through channels and
//! go on. What it gives out is committed, since it looks at the frontier first, then takes the
//! writer's notes, and then reads: every position up to that frontier is where the notes say.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use crate::conn::config::Config;
use crate::journal::block;
use crate::journal::cache::Cache;
use crate::journal::counters::{Frontier, JournalCounters};
use crate::journal::disk::{Disk, Handle};
use crate::journal::history::{HistoryPage, HistoryQuery, Paging};
use crate::journal::index::{Index, Note, Spot};
use crate::journal::segment::name_of;
use crate::policy::Policy;
use crate::shard::archive::{Ask, Chunk};
use crate::shard::counters::Shared;
use crate::shard::mail::Order;
use crate::shard::mailbox::OrderLine;

/// Asks that may wait. A shard whose ask does not fit asks again in its next turn.
const ASKS_MAX: usize = 1_024;
/// Queries that may wait.
const QUERIES_MAX: usize = 1_024;
/// Bytes of log that one query reads at most; who wants more asks on.
const QUERY_READ_BYTES: u64 = 8 << 20;

/// From where a reader hears.
#[derive(Debug)]
pub struct Sources {
    /// The shards.
    pub asks: Receiver<Ask>,
    /// The control thread.
    pub queries: Receiver<HistoryQuery>,
    /// The writer.
    pub notes: Receiver<Note>,
}

/// The way of asks.
#[must_use]
pub fn ask_line() -> (Sender<Ask>, Receiver<Ask>) {
    bounded(ASKS_MAX)
}

/// The way of queries.
#[must_use]
pub fn query_line() -> (Sender<HistoryQuery>, Receiver<HistoryQuery>) {
    bounded(QUERIES_MAX)
}

/// The one who reads the log.
#[derive(Debug)]
pub struct Reader {
    disk: Arc<dyn Disk>,
    index: Index,
    frontier: Arc<Frontier>,
    sources: Sources,
    /// Told where the log is whole from, when something in it can't be read any more.
    shared: Arc<Shared>,
    counters: Arc<JournalCounters>,
    cache: Cache,
    /// The segment that was read last, held open.
    file: Option<(u64, Box<dyn Handle>)>,
    /// Trouble with the disk has been logged; once is enough for one run of it.
    complained: bool,
}

impl Reader {
    /// A reader of the log that `index` describes.
    #[must_use]
    pub fn new(
        disk: Arc<dyn Disk>,
        index: Index,
        frontier: Arc<Frontier>,
        sources: Sources,
        shared: Arc<Shared>,
        counters: Arc<JournalCounters>,
    ) -> Reader {
        let cache = Cache::default();
        Reader { disk, index, frontier, sources, shared, counters, cache, file: None, complained: false }
    }

    /// Answers until those who can ask are gone: shards by an order each, queries by `on_page`.
    ///
    /// # Errors
    /// None: what can't be read is answered so.
    pub fn run(
        mut self,
        config: Arc<Config>,
        shards: Vec<OrderLine>,
        on_page: Box<dyn Fn(HistoryPage) + Send>,
    ) -> io::Result<()> {
        let (mut asks, mut queries) = (self.sources.asks.clone(), self.sources.queries.clone());
        let mut notes = self.sources.notes.clone();
        let (mut has_asks, mut has_queries) = (true, true);
        while has_asks || has_queries {
            select! {
                recv(notes) -> note => match note {
                    Ok(note) => self.take_note(note),
                    Err(_) => notes = never(),
                },
                recv(asks) -> ask => match ask {
                    Ok(ask) => {
                        let chunk = self.part(ask.after, &config.policy);
                        if let Some(shard) = shards.get(ask.shard) {
                            shard.order(Order::Past { after: ask.after, chunk });
                        }
                    }
                    Err(_) => (asks, has_asks) = (never(), false),
                },
                recv(queries) -> query => match query {
                    Ok(query) => on_page(self.page(&query, &config.policy)),
                    Err(_) => (queries, has_queries) = (never(), false),
                },
            }
        }
        Ok(())
    }

    fn take_note(&mut self, note: Note) {
        if let Note::Removed(segment) = note {
            self.file.take_if(|(held, _)| *held == segment);
        }
        self.index.note(note);
    }

    /// Takes all the notes there are. Returns the position up to which they are enough.
    fn catch_up(&mut self) -> u64 {
        let committed = self.frontier.read();
        while let Ok(note) = self.sources.notes.try_recv() {
            self.take_note(note);
        }
        committed
    }

    /// The part of the log that holds the event behind `after`.
    pub(super) fn part(&mut self, after: u64, policy: &Policy) -> Option<Arc<Chunk>> {
        let committed = self.catch_up();
        let position = after.checked_add(1)?;
        let spot = self.index.find(position, committed).filter(|spot| spot.first <= position)?;
        if let Some(chunk) = self.cache.get(spot.first).filter(|chunk| chunk.covers(after)) {
            self.counters.cache_hits.add(1);
            return Some(chunk);
        }
        let bytes = self.read(&spot, committed)?;
        let records = block::records(&bytes, spot.first, spot.last);
        let records = self.check(records, &spot, committed)?;
        let chunk = Arc::new(Chunk { envelopes: block::envelopes(&records, policy) });
        self.cache.put(spot.first, chunk.clone());
        Some(chunk)
    }

    /// Answers a query.
    pub(super) fn page(&mut self, query: &HistoryQuery, policy: &Policy) -> HistoryPage {
        let committed = self.catch_up();
        let query = HistoryQuery { until: query.until.min(committed), ..query.clone() };
        let mut paging = Paging::new(&query);
        let mut read = 0;
        while paging.cursor() < query.until {
            let spot = self.index.find(paging.cursor() + 1, committed);
            let Some(spot) = spot.filter(|spot| spot.first <= query.until) else { break };
            if read >= QUERY_READ_BYTES {
                return paging.cut();
            }
            read += spot.end - spot.offset;
            if !self.page_of(&spot, &mut paging, &query, committed, policy) {
                return paging.cut();
            }
        }
        paging.ended()
    }

    /// Looks at the events of one spot. `false`: the page is full.
    fn page_of(
        &mut self,
        spot: &Spot,
        paging: &mut Paging<'_>,
        query: &HistoryQuery,
        committed: u64,
        policy: &Policy,
    ) -> bool {
        let last = spot.last.min(query.until);
        let bytes = self.read(spot, committed);
        let records = bytes.as_deref().map(|bytes| block::records(bytes, spot.first, last));
        if let Some(records) = records.and_then(|records| self.check(records, spot, committed)) {
            let since = paging.cursor();
            for record in records.iter().filter(|record| record.position > since) {
                let is_asked_for =
                    query.filter.is_everything() || query.filter.admits(&block::envelope(record, policy));
                if !paging.take(record.position, is_asked_for, record.payload.as_bytes()) {
                    return false;
                }
            }
        }
        paging.pass_over(last);
        true
    }

    fn read(&mut self, spot: &Spot, committed: u64) -> Option<Vec<u8>> {
        let held = self.file.as_ref().is_some_and(|(segment, _)| *segment == spot.segment);
        if !held {
            let file = self.disk.view(&name_of(spot.segment));
            self.file = Some((spot.segment, self.check(file, spot, committed)?));
        }
        let (_, file) = self.file.as_ref()?;
        let bytes = block::read(&**file, spot);
        let bytes = self.check(bytes, spot, committed)?;
        self.counters.reads.add(1);
        self.counters.read_bytes.add(bytes.len() as u64);
        Some(bytes)
    }

    /// What is there of `spot`, or a word about why it is not. What retention let go of meanwhile is
    /// none in silence: it says where the log begins before it removes anything.
    fn check<T>(&mut self, outcome: io::Result<T>, spot: &Spot, committed: u64) -> Option<T> {
        let error = match outcome {
            Ok(value) => {
                self.complained = false;
                return Some(value);
            }
            Err(error) => error,
        };
        // The next attempt shall find what has the name then.
        self.file = None;
        let is_gone = error.kind() == io::ErrorKind::NotFound;
        let is_over = spot.last < self.shared.archive_first.load(Ordering::Acquire);
        if is_gone && is_over {
            return None;
        }
        self.counters.read_errors.add(1);
        if is_passing(&error) {
            if !std::mem::replace(&mut self.complained, true) {
                tracing::error!(%error, "journal: a part of the past can't be read now");
            }
        } else if !is_over {
            self.lose(spot, is_gone, committed, &error);
        }
        None
    }

    /// Whoever would come upon what can't be read is told so from now on, before it begins: otherwise
    /// it would be given a part, thrown out, and come again, for ever.
    fn lose(&mut self, spot: &Spot, is_gone: bool, committed: u64, error: &io::Error) {
        let last =
            if is_gone { self.index.last_in(spot.segment, committed).max(spot.last) } else { spot.last };
        self.shared.archive_from(last + 1);
        tracing::error!(
            %error, file = name_of(spot.segment), first = spot.first, last,
            "journal: events can't be read; nobody resumes from before them any more"
        );
    }
}

/// Whether it is about the process, not about what it reads.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    passing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
