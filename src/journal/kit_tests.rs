//! A log on the disk in memory, driven by hand: a test says when the writer writes.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use crate::base::time::Now;
use crate::base::window::Bounds;
use crate::journal::files::{Files, Parts};
use crate::journal::open::{OpenError, Opened, open_on};
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::ram_tests::Ram;
use crate::journal::reader::Reader;
use crate::journal::writer::Writer;
use crate::journal::{Entry, Journal, Progress};
use crate::policy::{Policy, Rules};
use crate::shard::counters::Shared;
use crate::shard::envelope::Envelope;
use crate::shard::mailbox::WakeGate;
use crate::wire::envelope::{encode_event, event_id, payload_of};

/// The epoch that the nth opening of a test brings along.
pub fn epoch(n: u64) -> String {
    format!("epoch-{n}")
}

/// The policy, compiled once.
pub fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(Policy::builtin)
}

pub const BOOT: &str = "boot";
pub const WINDOW: Bounds = Bounds { items: 1 << 20, bytes: 1 << 30 };

pub fn options(sync: SyncPolicy) -> Options {
    Options { dir: "/log".into(), sync, max_bytes: 1 << 40, max_age_ms: 0, segment_bytes: 1 << 30 }
}

/// An event of which `filler` bytes are nothing but length.
pub fn entry(position: u64, filler: usize, key: Option<&str>, at: u64) -> Entry {
    let posted = [
        r#"{"type":"product:deleted","data":{"productId":"p"},"roles":["admin"]}"#,
        r#"{"type":"order:deleted","data":{"orderId":"o","customerId":"ann"},"key":"o"}"#,
        r#"{"type":"product:deleted","data":{"productId":"q"}}"#,
    ][position as usize % 3];
    let (policy, rules) = (policy(), Rules { validate: false, max_event_bytes: 1 << 24 });
    let draft = policy.draft_posted(posted, &rules).unwrap();
    let data = format!("{},\"filler\":\"{}\"}}", draft.data.strip_suffix('}').unwrap(), "x".repeat(filler));
    let (event, audience) = (draft.event, draft.audience);
    let namespace = policy.namespace_name(audience.namespace);
    let frame = encode_event(policy.event_name(event), namespace, &data, at, &event_id(position));
    let envelope = Arc::new(Envelope::new(position, event, audience, frame));
    Entry { envelope, addressing: draft.addressing, key: key.map(Into::into), at }
}

/// A log that is open.
pub struct Rig {
    pub disk: Ram,
    pub epoch: String,
    pub findings: Vec<String>,
    pub tail: Vec<Arc<Envelope>>,
    pub first: u64,
    pub journal: Files,
    pub writer: Writer,
    pub reader: Reader,
    pub shared: Arc<Shared>,
    pub now: Cell<Now>,
    /// The last position that was given.
    pub last: u64,
    /// The last position that was committed.
    pub safe: u64,
}

pub fn open_at(disk: &Ram, options: &Options, boot: &str, fresh: &str) -> Result<Opened, OpenError> {
    open_with(disk, options, boot, fresh, WINDOW)
}

pub fn open_with(
    disk: &Ram,
    options: &Options,
    boot: &str,
    fresh: &str,
    window: Bounds,
) -> Result<Opened, OpenError> {
    open_on(disk.shared(), boot, options, policy(), window, 0, fresh)
}

impl Rig {
    pub fn open(disk: &Ram, options: &Options, boot: &str, fresh: &str) -> Rig {
        Rig::take(disk, open_at(disk, options, boot, fresh).unwrap())
    }

    pub fn take(disk: &Ram, opened: Opened) -> Rig {
        let Opened { epoch, last, tail, first, findings, log, .. } = opened;
        let shared = Arc::new(Shared::default());
        let Parts { journal, writer, reader, .. } = log.start(shared.clone(), WakeGate::new(|| {}));
        let now = Cell::new(Now { mono: 1_000_000, wall: 1_000_000 });
        Rig {
            disk: disk.clone(),
            epoch,
            findings,
            tail,
            first,
            journal,
            writer,
            reader,
            shared,
            now,
            last,
            safe: last,
        }
    }

    pub fn new(sync: SyncPolicy) -> Rig {
        Rig::open(&Ram::default(), &options(sync), BOOT, &epoch(0))
    }

    pub fn later(&self, ms: u64) {
        self.now.set(self.now.get().plus(ms));
    }

    /// Appends a post of so many events, and commits it.
    pub fn post(&mut self, events: usize, filler: usize) {
        for _ in 0..events {
            self.last += 1;
            let key = self.last.is_multiple_of(2).then(|| format!("key-{}", self.last));
            let at = self.now.get().wall;
            self.journal.append(entry(self.last, filler, key.as_deref(), at));
        }
        self.journal.commit();
    }

    /// Lets the writer write all that waits, in one go.
    pub fn write(&mut self) {
        let now = self.now.get();
        while let Ok(batch) = self.writer.batches.try_recv() {
            self.writer.write_group(batch, &|| now);
        }
    }

    pub fn tick(&mut self) -> u64 {
        let now = self.now.get();
        self.writer.store.tick(&|| now)
    }

    /// What the sequencer hears. The log of the disk has it too.
    pub fn hear(&mut self) -> Vec<Progress> {
        let mut heard = Vec::new();
        while let Some(progress) = self.journal.poll() {
            match progress {
                Progress::Committed(position) => {
                    self.safe = position;
                    self.disk.told(position);
                }
                Progress::Refused { after } => {
                    assert_eq!(after, self.safe);
                    self.last = after;
                }
            }
            heard.push(progress);
        }
        heard
    }

    /// Posts, writes, hears.
    pub fn publish(&mut self, events: usize, filler: usize) -> Vec<Progress> {
        self.post(events, filler);
        self.write();
        self.hear()
    }

    /// Ends it in good order.
    pub fn close(self) -> Ram {
        let now = self.now.get();
        self.writer.store.close(&|| now);
        self.disk
    }

    /// Every event that the reader gives out, by asking its way through.
    pub fn read_all(&mut self) -> Vec<Arc<Envelope>> {
        let (mut all, mut after) = (Vec::new(), self.shared_first() - 1);
        while let Some(chunk) = self.reader.part(after, policy()) {
            assert!(chunk.covers(after));
            all.extend_from_slice(chunk.after(after));
            after = all.last().unwrap().position;
        }
        all
    }

    pub fn shared_first(&self) -> u64 {
        self.shared.archive_first.load(std::sync::atomic::Ordering::Relaxed)
    }
}

pub fn positions(envelopes: &[Arc<Envelope>]) -> Vec<u64> {
    envelopes.iter().map(|envelope| envelope.position).collect()
}

/// What of an event must come back as it went in.
pub fn essence(envelope: &Envelope) -> (u64, Vec<u8>, String) {
    let whom = format!("{:?} {:?}", envelope.event, envelope.audience);
    (envelope.position, payload_of(&envelope.frame).to_vec(), whom)
}

/// Numbers from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }
}

/// Every commit is on the disk.
pub const ALWAYS: SyncPolicy = SyncPolicy::Always;
/// It is in a tenth of a second.
pub const INTERVAL: SyncPolicy = SyncPolicy::Interval { ms: 100 };

/// What counts of events.
pub fn essences(envelopes: &[Arc<Envelope>]) -> Vec<(u64, Vec<u8>, String)> {
    envelopes.iter().map(|envelope| essence(envelope)).collect()
}

/// A log with segments of about a thousand bytes: three events each.
pub fn short_segments(sync: SyncPolicy) -> Options {
    Options { segment_bytes: 1_250, ..options(sync) }
}

/// Such a log with `events` events, closed.
pub fn filled(sync: SyncPolicy, events: usize) -> Ram {
    let mut rig = Rig::open(&Ram::default(), &short_segments(sync), BOOT, &epoch(0));
    for _ in 0..events {
        rig.publish(1, 150);
    }
    assert_eq!((rig.last, rig.disk.segments().len()), (events as u64, events.div_ceil(3)));
    rig.close()
}

/// The node after it.
pub fn reopen(disk: &Ram) -> Rig {
    Rig::open(disk, &short_segments(ALWAYS), BOOT, &epoch(1))
}

/// Whether something of that kind was found.
pub fn has(findings: &[String], words: &str) -> bool {
    findings.iter().any(|finding| finding.contains(words))
}
