//! The journal on a real disk, beside the least that could do the same: a loop of `write`, and
//! `fdatasync` where the policy asks for it, of the same bytes. Both take turns in one run.
//!
//! ```text
//! cargo bench --bench journal
//! ```
//!
//! What a disk can do differs a hundredfold between machines: quote the ratios.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use omnicast::base::window::Bounds;
use omnicast::journal::files::{Files, Parts};
use omnicast::journal::history::{HistoryFilter, HistoryQuery};
use omnicast::journal::open::open;
use omnicast::journal::options::{Options, SyncPolicy};
use omnicast::journal::{Entry, Journal, Progress};
use omnicast::node::assemble::config;
use omnicast::node::settings::Settings;
use omnicast::policy::{Policy, Rules};
use omnicast::shard::clock::Clock;
use omnicast::shard::counters::Shared;
use omnicast::shard::envelope::Envelope;
use omnicast::shard::mailbox::WakeGate;
use omnicast::wire::envelope::{encode_event, event_id};

const ROUNDS: usize = 5;
/// What a record has besides the payload: see `journal::record`.
const RECORD_OVERHEAD: usize = 36;
const POSTED: &str = r#"{"type":"inventory:updated","data":{"productId":"prod_0123456789","productName":"Espresso cups, 6","sku":"ESP-6","oldStock":41,"newStock":40,"difference":-1}}"#;

/// A log under measurement.
struct Log {
    journal: Option<Files>,
    wake: Receiver<()>,
    gate: Arc<WakeGate>,
    last: u64,
    policy: Policy,
    writer: Option<thread::JoinHandle<()>>,
}

fn options(dir: &Path, sync: SyncPolicy) -> Options {
    Options { dir: dir.to_owned(), sync, max_bytes: 16 << 30, max_age_ms: 0, segment_bytes: 64 << 20 }
}

const WINDOW: Bounds = Bounds { items: 1, bytes: 1 };

impl Log {
    fn open(dir: &Path, sync: SyncPolicy) -> (Log, Far) {
        let policy = Policy::builtin();
        let opened = open(&options(dir, sync), &policy, WINDOW, 0, "bench").unwrap();
        let (wake_in, wake) = unbounded();
        let last = opened.last;
        let gate = WakeGate::new(move || {
            let _ = wake_in.send(());
        });
        let Parts { journal, writer, reader, asks, queries, .. } =
            opened.log.start(Arc::<Shared>::default(), gate.clone());
        let writer = thread::spawn(move || writer.run(Clock::start()).unwrap());
        let log = Log { journal: Some(journal), wake, gate, last, policy, writer: Some(writer) };
        (log, Far { reader, queries, _asks: asks })
    }

    fn entry(&mut self) -> Entry {
        self.last += 1;
        let rules = Rules { validate: true, max_event_bytes: 4096 };
        let draft = self.policy.draft_posted(POSTED, &rules).unwrap();
        let id = event_id(self.last);
        let frame = encode_event("inventory:updated", "inventory", &draft.data, 1_760_000_000_000, &id);
        let (position, event, audience) = (self.last, draft.event, draft.audience);
        let envelope = Arc::new(Envelope::new(position, event, audience, frame));
        Entry { envelope, addressing: None, key: None, at: 1_760_000_000_000 }
    }

    /// Makes `posts` posts of `batch` events safe, all of them under way at once.
    fn append(&mut self, posts: Vec<Vec<Entry>>) {
        let last = self.last;
        let journal = self.journal.as_mut().unwrap();
        for post in posts {
            post.into_iter().for_each(|entry| journal.append(entry));
            journal.commit();
        }
        loop {
            self.gate.close(); // Awake: what comes later wakes again.
            while let Some(progress) = journal.poll() {
                match progress {
                    Progress::Committed(safe) if safe == last => return,
                    Progress::Committed(_) => {}
                    Progress::Refused { .. } => panic!("the disk refused"),
                }
            }
            self.wake.recv().unwrap();
        }
    }
}

/// The log's far side: its reader, and those who ask it.
struct Far {
    reader: omnicast::journal::reader::Reader,
    queries: crossbeam_channel::Sender<HistoryQuery>,
    _asks: crossbeam_channel::Sender<omnicast::shard::archive::Ask>,
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.journal.take());
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn per_event(start: Instant, events: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / events as f64
}

/// One row: posts of `batch` events, `under_way` of them at a time, `times` over.
fn row(name: &str, sync: SyncPolicy, batch: usize, under_way: usize, times: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (mut log, _reader) = Log::open(&dir.path().join("log"), sync);
    let mut plain = File::create(dir.path().join("plain")).unwrap();
    let record = vec![b'x'; log.entry().envelope.frame.len() + RECORD_OVERHEAD];
    log.last -= 1;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let events = times * batch * under_way;
    for _ in 0..ROUNDS {
        let mut spent = Duration::ZERO;
        for _ in 0..times {
            let posts = (0..under_way).map(|_| (0..batch).map(|_| log.entry()).collect()).collect();
            let start = Instant::now();
            log.append(posts);
            spent += start.elapsed();
        }
        ours.push(spent.as_secs_f64() * 1e6 / events as f64);
        let bytes = record.repeat(batch);
        let start = Instant::now();
        for _ in 0..times * under_way {
            plain.write_all(&bytes).unwrap();
            if sync == SyncPolicy::Always {
                plain.sync_data().unwrap();
            }
        }
        bare.push(per_event(start, events));
    }
    let (ours, bare) = (median(ours), median(bare));
    println!(
        "{name:9} {batch:5} events a post, {under_way:4} posts at a time: {ours:9.2} us an event, plain loop {bare:9.2} us = {:.2}",
        ours / bare
    );
}

/// How fast a log is read: at the start of a node, and as history.
fn replay(events: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("log");
    {
        let (mut log, _reader) = Log::open(&path, SyncPolicy::Never);
        let mut left = events;
        while left > 0 {
            let n = left.min(4096);
            let post = (0..n).map(|_| log.entry()).collect();
            log.append(vec![post]);
            left -= n;
        }
    }
    let files = || std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
    let (mut plain, mut scanned, mut paged, mut bytes) = (vec![], vec![], vec![], 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        bytes = files().map(|file| std::fs::read(file).unwrap().len()).sum::<usize>();
        plain.push(per_event(start, events));
        let start = Instant::now();
        let (log, Far { reader, queries, _asks }) = Log::open(&path, SyncPolicy::Never);
        scanned.push(per_event(start, events));
        let (pages_in, pages) = unbounded();
        let settings = Settings::load(&[], |_| None).unwrap();
        let config = Arc::new(config(&settings, "bench").unwrap());
        let thread = thread::spawn(move || {
            let on_page = Box::new(move |page| drop(pages_in.send(page)));
            reader.run(config, vec![], on_page).unwrap();
        });
        let start = Instant::now();
        let (mut since, mut seen) = (0, 0);
        loop {
            let filter = HistoryFilter::default();
            let until = events as u64;
            let query = HistoryQuery {
                ticket: 0,
                since,
                until,
                goes_on: false,
                filter,
                limit: 65_536,
                bytes_max: 1 << 20,
            };
            queries.send(query).unwrap();
            let page = pages.recv().unwrap();
            seen += page.body.iter().filter(|byte| **byte == b'\n').count();
            since = page.cursor;
            if !page.more {
                break;
            }
        }
        paged.push(per_event(start, events));
        assert_eq!(seen, events);
        drop((queries, _asks, log));
        thread.join().unwrap();
    }
    let megabytes = bytes as f64 / 1e6;
    for (name, times) in [("plain read", plain), ("start of a node", scanned), ("history by pages", paged)] {
        let us = median(times);
        let seconds = us * events as f64 / 1e6;
        println!(
            "{name:16}: {events} events, {megabytes:.0} MB: {us:.3} us an event, {:.0} MB/s",
            megabytes / seconds
        );
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let (times, replayed) = if quick { (1, 5_000) } else { (100, 500_000) };
    let interval = SyncPolicy::Interval { ms: 200 };
    for (name, sync) in [("never", SyncPolicy::Never), ("interval", interval), ("always", SyncPolicy::Always)]
    {
        for (batch, under_way) in [(1, 1), (1, 64), (50, 1), (1_000, 1)] {
            row(name, sync, batch, under_way, times);
        }
    }
    replay(replayed);
}
