//! `GET /metrics`: the Prometheus text format.

use std::fmt::{Display, Write};
use std::sync::Arc;

use crate::conn::reason::Ending;
use crate::control::questions::Settled;
use crate::journal::counters::JournalCounters;
use crate::publish::sequencer::Sequencer;
use crate::shard::admission::Admission;
use crate::shard::counters::{Counter, Counters};

/// What the metrics are read off, apart from the sequencer.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Admission.
    pub admission: Arc<Admission>,
    /// The shards' counters.
    pub shards: Vec<Arc<Counters>>,
    /// The journal's, where it is on disk.
    pub journal: Option<Arc<JournalCounters>>,
}

/// A text under way.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP omnicast_{name} {help}\n# TYPE omnicast_{name} {kind}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to memory does not fail");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.put(format_args!("omnicast_{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.put(format_args!("omnicast_{name} {value}\n"));
    }

    fn by_label<V: Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        rows: impl Iterator<Item = (impl Display, V)>,
    ) {
        self.head(name, kind, help);
        for (key, value) in rows {
            self.put(format_args!("omnicast_{name}{{{label}=\"{key}\"}} {value}\n"));
        }
    }
}

/// The whole page.
#[must_use]
pub fn page(settled: &Settled, sequencer: &Sequencer, sources: &Sources, now_mono: u64) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    connections(&mut page, settled, sequencer, sources);
    events(&mut page, sequencer, sources);
    shards(&mut page, sequencer, sources);
    if let Some(counters) = &sources.journal {
        journal(&mut page, counters, sequencer, sources);
    }
    let shared = sequencer.shared();
    page.gauge(
        "ready",
        "1 while a canary event comes back from every shard.",
        u8::from(shared.is_ready(now_mono)),
    );
    page.gauge("draining", "1 while the node sends everybody away.", u8::from(shared.is_draining()));
    page.head("build_info", "gauge", "Always 1; the version is in the label.");
    page.put(format_args!("omnicast_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION")));
    page.0
}

fn sum(sources: &Sources, counter: impl Fn(&Counters) -> &Counter) -> u64 {
    sources.shards.iter().map(|shard| counter(shard).read()).sum()
}

fn connections(page: &mut Page, settled: &Settled, sequencer: &Sequencer, sources: &Sources) {
    let policy = &sequencer.config().policy;
    let census = &settled.census;
    let (_, sockets, addresses) = sources.admission.counts();
    page.gauge("connections", "WebSocket connections that are not ending.", census.total);
    page.gauge("connections_authenticated", "Those with an accepted credential.", census.authenticated);
    let roles = policy.roles().zip(&census.by_role).map(|(r, n)| (policy.role_name(r), n));
    page.by_label(("connections_by_role", "gauge", "Authenticated connections."), "role", roles);
    let namespaces =
        policy.namespaces().zip(&census.by_namespace).map(|(n, c)| (policy.namespace_name(n), c));
    page.by_label(
        ("connections_by_namespace", "gauge", "Connections that subscribed."),
        "namespace",
        namespaces,
    );
    page.gauge("sockets", "Open client sockets, those of plain HTTP included.", sockets);
    page.gauge("addresses", "Client addresses remembered for the limits.", addresses);
    page.gauge("backlog_bytes", "Bytes that connections have not taken yet.", census.backlog_bytes);
    let online = sequencer.shared().online.load(std::sync::atomic::Ordering::Relaxed);
    page.gauge("customers_online", "Customers online, those within the grace included.", online);
    page.counter("accepts_total", "Sockets accepted.", sum(sources, |c| &c.accepted));
    page.counter(
        "turned_away_total",
        "Sockets closed at once: too many are open.",
        sum(sources, |c| &c.turned_away),
    );
    page.counter(
        "accept_pauses_total",
        "Pauses for want of descriptors.",
        sum(sources, |c| &c.accept_pauses),
    );
    page.counter("upgrades_total", "Requests upgraded to WebSockets.", sum(sources, |c| &c.upgrades));
    page.counter("auths_total", "First credentials accepted.", sum(sources, |c| &c.auths));
    page.counter("pings_total", "Heartbeats sent.", sum(sources, |c| &c.pings));
    page.counter(
        "tls_handshakes_total",
        "TLS handshakes that ended well.",
        sum(sources, |c| &c.tls_handshakes),
    );
    page.counter(
        "tls_handshake_failures_total",
        "TLS handshakes begun by clients that ended before they were over.",
        sum(sources, |c| &c.tls_failures),
    );
    let endings = Ending::ALL.iter().map(|e| (e.word(), sum(sources, |c| c.ending(*e))));
    page.by_label(("closes_total", "counter", "Connections ended, by reason."), "reason", endings);
}

fn events(page: &mut Page, sequencer: &Sequencer, sources: &Sources) {
    let counters = sequencer.counters();
    page.counter("events_accepted_total", "Events that got a place in the order.", counters.accepted.read());
    page.counter(
        "events_duplicate_total",
        "Events answered by their idempotency key.",
        counters.duplicates.read(),
    );
    page.counter("events_refused_total", "Events refused: a shard had no room.", counters.refused.read());
    page.counter("deliveries_total", "Events given to connections.", sum(sources, |c| &c.deliveries));
    let (first, last) = sequencer.held();
    page.gauge("history_events", "Events that the history holds.", last + 1 - first);
    let (keys, evicted) = sequencer.idempotency();
    page.gauge("idempotency_keys", "Idempotency keys remembered.", keys);
    page.counter(
        "events_own_dropped_total",
        "The node's own events given up: too many waited.",
        counters.own_dropped.read(),
    );
    page.counter("idempotency_evicted_total", "Keys forgotten before their time.", evicted);
}

fn shards(page: &mut Page, sequencer: &Sequencer, sources: &Sources) {
    page.counter("bytes_in_total", "Bytes read from clients.", sum(sources, |c| &c.bytes_in));
    page.counter("bytes_out_total", "Bytes written to clients.", sum(sources, |c| &c.bytes_out));
    page.counter("writes_total", "Writes to client sockets.", sum(sources, |c| &c.writes));
    page.counter("short_writes_total", "Writes that fell short.", sum(sources, |c| &c.short_writes));
    deflate(page, sources);
    let waiting: Vec<_> = sequencer.mailboxes().iter().map(|m| m.waiting()).collect();
    let events = waiting.iter().enumerate().map(|(shard, w)| (shard, w.0));
    page.by_label(("mailbox_events", "gauge", "Events that wait for a shard."), "shard", events);
    let bytes = waiting.iter().enumerate().map(|(shard, w)| (shard, w.1));
    page.by_label(("mailbox_bytes", "gauge", "Bytes of those events."), "shard", bytes);
    let turns = sources.shards.iter().enumerate().map(|(shard, c)| (shard, c.turns.read()));
    page.by_label(("turns_total", "counter", "Turns of a shard's loop."), "shard", turns);
}

fn deflate(page: &mut Page, sources: &Sources) {
    page.counter(
        "deflate_upgrades_total",
        "Upgrades that agreed to compress.",
        sum(sources, |c| &c.deflate_upgrades),
    );
    page.counter("deflated_events_total", "Events compressed.", sum(sources, |c| &c.deflated_events));
    page.counter("deflated_bytes_in_total", "Bytes of those before.", sum(sources, |c| &c.deflated_bytes_in));
    page.counter("deflated_bytes_out_total", "And after.", sum(sources, |c| &c.deflated_bytes_out));
}

/// The log on disk.
fn journal(page: &mut Page, counters: &JournalCounters, sequencer: &Sequencer, sources: &Sources) {
    let (first, _) = sequencer.held();
    page.gauge("journal_first_event", "Number of the oldest event from which on all are held.", first);
    page.gauge("journal_bytes", "Bytes of the log on disk.", counters.bytes.read());
    page.gauge("journal_segments", "Files of the log.", counters.segments.read());
    page.gauge("journal_waiting_events", "Events that wait to be written.", sequencer.uncommitted());
    page.counter("journal_events_total", "Events written to the log.", counters.appended.read());
    page.counter("journal_bytes_total", "Bytes written to the log.", counters.appended_bytes.read());
    page.counter("journal_writes_total", "Writes to the log.", counters.writes.read());
    page.counter("journal_syncs_total", "Times that it was forced to the disk.", counters.syncs.read());
    page.counter("journal_sync_ms_total", "Milliseconds that this took.", counters.sync_ms.read());
    page.counter("journal_write_errors_total", "Writes that failed.", counters.write_errors.read());
    page.counter("journal_sync_errors_total", "Syncs that failed.", counters.sync_errors.read());
    page.counter(
        "journal_refused_total",
        "Events refused: they could not be made safe.",
        counters.refused.read(),
    );
    page.counter("journal_asks_total", "Questions of shards for older history.", sum(sources, |c| &c.asks));
    page.counter("journal_reads_total", "Blocks read from the disk.", counters.reads.read());
    page.counter("journal_read_bytes_total", "Their bytes.", counters.read_bytes.read());
    page.counter(
        "journal_cache_hits_total",
        "Questions answered without reading.",
        counters.cache_hits.read(),
    );
    page.counter("journal_read_errors_total", "Blocks that could not be read.", counters.read_errors.read());
}
