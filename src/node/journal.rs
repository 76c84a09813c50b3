//! The log that a node keeps: in memory only, or on disk with two threads of its own.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Sender, unbounded};

use crate::base::time::Now;
use crate::base::window::{Bounds, Window};
use crate::conn::config::Config;
use crate::control::past::Past;
use crate::journal::counters::JournalCounters;
use crate::journal::files::Log;
use crate::journal::memory::Memory;
use crate::journal::open::{OpenError, RecentKey, open};
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::reader::Reader;
use crate::journal::writer::Writer;
use crate::node::settings::Settings;
use crate::policy::Policy;
use crate::publish::idempotency::Idempotency;
use crate::publish::sequencer::Beginning;
use crate::shard::archive::Ask;
use crate::shard::clock::Clock;
use crate::shard::counters::Shared;
use crate::shard::envelope::Envelope;
use crate::shard::mailbox::{OrderLine, WakeGate};

/// What the nodes before this one left, and where this one goes on.
pub struct Legacy {
    /// Name of the epoch.
    pub epoch: String,
    /// Position of the last event.
    pub last: u64,
    /// The latest events up to there, as many as a window holds.
    pub recent: Vec<Arc<Envelope>>,
    keys: Vec<RecentKey>,
    first: u64,
    log: Option<Log>,
}

/// The threads of a log on disk.
pub struct Threads {
    /// Ends when the sequencer is dropped, and all is written.
    pub writer: Writer,
    /// Ends when nobody is left to ask it.
    pub reader: Reading,
}

/// The reader with those whom it answers.
pub struct Reading {
    reader: Reader,
    config: Arc<Config>,
    on_page: Box<dyn Fn(crate::journal::history::HistoryPage) + Send>,
}

/// What others need of a log.
pub struct Ends {
    /// For the sequencer.
    pub beginning: Beginning,
    /// For the shards.
    pub asks: Option<Sender<Ask>>,
    /// For the control thread.
    pub past: Option<Past>,
    /// For the metrics.
    pub counters: Option<Arc<JournalCounters>>,
    /// To be started.
    pub threads: Option<Threads>,
}

impl Legacy {
    /// Opens the log that the settings name, if they do.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        settings: &Settings,
        policy: &Policy,
        window: Bounds,
        fresh_epoch: String,
        now: Now,
    ) -> Result<Legacy, OpenError> {
        let Some(dir) = &settings.journal else {
            if !matches!(settings.journal_sync, SyncPolicy::Interval { .. }) {
                tracing::warn!(
                    "WS_JOURNAL_SYNC is set and WS_JOURNAL is not: events are held in memory only"
                );
            }
            let (recent, keys) = (Vec::new(), Vec::new());
            return Ok(Legacy { epoch: fresh_epoch, last: 0, recent, keys, first: 0, log: None });
        };
        let options = options(settings, dir);
        let keys_since = now.wall.saturating_sub(settings.idempotency_window_ms);
        let opened = open(&options, policy, window, keys_since, &fresh_epoch)?;
        for finding in &opened.findings {
            tracing::warn!("journal: {finding}");
        }
        let held = if opened.first > opened.last { 0 } else { opened.last + 1 - opened.first };
        tracing::info!(
            path = %dir.display(), sync = ?settings.journal_sync, epoch = opened.epoch, last_event_id = opened.last, events = held,
            "journal open"
        );
        Ok(Legacy {
            epoch: opened.epoch,
            last: opened.last,
            recent: opened.tail,
            keys: opened.keys,
            first: opened.first,
            log: Some(opened.log),
        })
    }

    /// Takes it apart for those who go on with it. `gate` wakes the control thread.
    pub fn pass_on(
        self,
        settings: &Settings,
        config: &Arc<Config>,
        shared: &Arc<Shared>,
        gate: &Arc<WakeGate>,
        now: Now,
    ) -> Ends {
        let bounds = Bounds { items: settings.history_events, bytes: settings.history_bytes };
        let mut recent = Window::new(bounds, self.last - self.recent.len() as u64);
        for envelope in self.recent {
            let bytes = envelope.frame.len();
            recent.push(envelope, bytes);
        }
        shared.last_position.store(self.last, Ordering::Relaxed);
        let idempotency = remembered(self.keys, settings.idempotency_window_ms, now);
        let Some(log) = self.log else {
            let journal = Box::new(Memory::new(self.last));
            let beginning = Beginning { journal, recent, idempotency };
            return Ends { beginning, asks: None, past: None, counters: None, threads: None };
        };
        shared.archive_first.store(self.first, Ordering::Relaxed);
        let parts = log.start(shared.clone(), gate.clone());
        // Each control connection has one question at a time, so their number bounds the pages.
        let (pages_in, pages) = unbounded();
        let gate = gate.clone();
        let on_page = Box::new(move |page| {
            let _ = pages_in.send(page); // Nobody is there to read it when the node stops.
            gate.open();
        });
        let reader = Reading { reader: parts.reader, config: config.clone(), on_page };
        Ends {
            beginning: Beginning { journal: Box::new(parts.journal), recent, idempotency },
            asks: Some(parts.asks),
            past: Some(Past::new(parts.queries, pages)),
            counters: Some(parts.counters),
            threads: Some(Threads { writer: parts.writer, reader }),
        }
    }
}

impl Threads {
    /// The bodies of the two threads.
    pub fn bodies(
        self,
        shards: Vec<OrderLine>,
        clock: Clock,
    ) -> (impl FnOnce() -> io::Result<()> + Send, impl FnOnce() -> io::Result<()> + Send) {
        let Reading { reader, config, on_page } = self.reader;
        (move || self.writer.run(clock), move || reader.run(config, shards, on_page))
    }
}

fn options(settings: &Settings, dir: &Path) -> Options {
    Options {
        dir: dir.to_path_buf(),
        sync: settings.journal_sync,
        max_bytes: settings.journal_max_bytes,
        max_age_ms: settings.journal_max_age_ms,
        segment_bytes: settings.journal_segment_that_holds(),
    }
}

/// The keys of the posts of nodes before this one, for what is left of their time.
fn remembered(keys: Vec<RecentKey>, window_ms: u64, now: Now) -> Idempotency {
    let mut idempotency = Idempotency::new(window_ms);
    let mut youngest = 0;
    for RecentKey { key, position, at } in keys {
        // In order, whatever the clock did meanwhile.
        let posted = now.mono.saturating_sub(now.wall.saturating_sub(at)).max(youngest);
        youngest = posted;
        if idempotency.find(&key).is_none() {
            idempotency.remember(key, position, posted);
        }
    }
    idempotency
}
