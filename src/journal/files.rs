//! The sequencer's end of the log on disk: it hands over, and hears later.
//!
//! ```text
//! sequencer ── Files ── batches ──▶ Writer ── Store ──▶ segments ◀── Reader ◀── asks, queries
//!               ▲                     │                                 ▲
//!               └───── progress ──────┴──────────── notes ──────────────┘
//! ```
//! A batch is what was appended between two commits: it is written as a whole or refused as a whole.
//! When the writer refuses one, it discards whatever else is on its way, until a batch of a later
//! generation comes; that begins when the sequencer has heard of the refusal.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::journal::counters::{Frontier, JournalCounters};
use crate::journal::disk::{Disk, Hold};
use crate::journal::history::HistoryQuery;
use crate::journal::index::{Index, Stretch};
use crate::journal::options::Options;
use crate::journal::reader::{self, Reader};
use crate::journal::store::{Holdings, Listeners, Store};
use crate::journal::writer::Writer;
use crate::journal::{Entry, Journal, Progress};
use crate::shard::archive::Ask;
use crate::shard::counters::Shared;
use crate::shard::mailbox::WakeGate;

/// Events that may be on their way into the log: as many as may wait for a shard.
const EVENTS_MAX: usize = 65_536;
/// Bytes of events that may be on their way; a single post may have more, alone.
const BYTES_MAX: usize = 64 << 20;

/// Events that are safe together or not at all.
#[derive(Debug)]
pub struct Batch {
    /// Batches of the same generation as a refused one, and behind it, are refused with it.
    pub generation: u64,
    /// The events, in the order of their positions. Never empty.
    pub entries: Vec<Entry>,
    /// Bytes of their frames.
    pub bytes: usize,
}

/// The log on disk, as the sequencer has it. When it is dropped, the writer ends.
#[derive(Debug)]
pub struct Files {
    batches: Sender<Batch>,
    progress: Receiver<Progress>,
    generation: u64,
    /// The last position that was appended.
    last: u64,
    /// What was appended since the last commit.
    gathered: Vec<Entry>,
    gathered_bytes: usize,
    /// Batches on their way: last position, events, bytes.
    waiting: VecDeque<(u64, usize, usize)>,
    waiting_events: usize,
    waiting_bytes: usize,
}

/// The two ends of the way from the sequencer to the writer; the log ends at `last`.
#[must_use]
pub fn line(last: u64) -> (Files, Receiver<Batch>, Sender<Progress>) {
    // Both are bounded by `has_room`: a batch holds an event at least, and is answered at most once.
    let (batches, batches_out) = unbounded();
    let (progress_in, progress) = unbounded();
    let files = Files {
        batches,
        progress,
        generation: 1,
        last,
        gathered: Vec::new(),
        gathered_bytes: 0,
        waiting: VecDeque::new(),
        waiting_events: 0,
        waiting_bytes: 0,
    };
    (files, batches_out, progress_in)
}

impl Journal for Files {
    fn has_room(&self, events: usize, bytes: usize) -> bool {
        let is_idle = self.waiting_events == 0;
        is_idle || self.waiting_events + events <= EVENTS_MAX && self.waiting_bytes + bytes <= BYTES_MAX
    }

    fn append(&mut self, entry: Entry) {
        self.last += 1;
        assert_eq!(self.last, entry.envelope.position, "the sequencer is the only writer of order");
        self.gathered_bytes += entry.envelope.frame.len();
        self.gathered.push(entry);
    }

    fn commit(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.gathered);
        let bytes = std::mem::take(&mut self.gathered_bytes);
        self.waiting.push_back((self.last, entries.len(), bytes));
        self.waiting_events += entries.len();
        self.waiting_bytes += bytes;
        // A writer that is gone took the process with it, or is about to.
        let _ = self.batches.send(Batch { generation: self.generation, entries, bytes });
    }

    fn poll(&mut self) -> Option<Progress> {
        let progress = self.progress.try_recv().ok()?;
        match progress {
            Progress::Committed(safe) => {
                while let Some(&(last, events, bytes)) = self.waiting.front()
                    && last <= safe
                {
                    self.waiting.pop_front();
                    self.waiting_events -= events;
                    self.waiting_bytes -= bytes;
                }
            }
            Progress::Refused { after } => {
                self.generation += 1;
                self.last = after;
                self.gathered.clear();
                self.waiting.clear();
                (self.gathered_bytes, self.waiting_events, self.waiting_bytes) = (0, 0, 0);
            }
        }
        Some(progress)
    }
}

/// A log that was opened, before its threads run.
#[derive(Debug)]
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    pub(super) holdings: Holdings,
    pub(super) stretches: Vec<Stretch>,
    pub(super) lock: Box<dyn Hold>,
}

/// A log in its parts, each for another thread.
#[derive(Debug)]
pub struct Parts {
    /// For the sequencer. Dropping it ends the writer, in good order.
    pub journal: Files,
    /// For a thread of its own.
    pub writer: Writer,
    /// For a thread of its own. It ends when `asks` and `queries` are gone, and all copies of them.
    pub reader: Reader,
    /// For the shards: what they ask the reader.
    pub asks: Sender<Ask>,
    /// For the control thread: what it asks the reader.
    pub queries: Sender<HistoryQuery>,
    /// For the operator.
    pub counters: Arc<JournalCounters>,
}

impl Log {
    /// Takes it apart. `gate` wakes the one who polls the journal.
    #[must_use]
    pub fn start(self, shared: Arc<Shared>, gate: Arc<WakeGate>) -> Parts {
        let (journal, batches, progress) = line(self.holdings.last);
        let (asks, asks_out) = reader::ask_line();
        let (queries, queries_out) = reader::query_line();
        let (notes, notes_out) = unbounded(); // See `Note` for what bounds it.
        let counters = Arc::new(JournalCounters::default());
        let frontier = Arc::new(Frontier::default());
        let (news, counted) = (frontier.clone(), counters.clone());
        let listeners = Listeners { notes, frontier: news, shared: shared.clone(), counters: counted };
        let store = Store::new(self.disk.clone(), self.options, self.holdings, listeners, self.lock);
        let writer = Writer::new(store, batches, progress, gate);
        let sources = reader::Sources { asks: asks_out, queries: queries_out, notes: notes_out };
        let index = Index::new(self.stretches);
        let reader = Reader::new(self.disk, index, frontier, sources, shared, counters.clone());
        Parts { journal, writer, reader, asks, queries, counters }
    }
}
