//! The single writer of order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::base::window::Window;
use crate::conn::config::Config;
use crate::journal::history::{HistoryPage, HistoryQuery, Paging};
use crate::journal::{Entry, Journal, Progress};
use crate::policy::Draft;
use crate::publish::idempotency::Idempotency;
use crate::publish::line::{Client, Dropped, Line};
use crate::publish::presence::{Change, Presence};
use crate::shard::counters::{Counter, Shared};
use crate::shard::envelope::Envelope;
use crate::shard::mail::{Order, Overloaded, Report};
use crate::shard::mailbox::Mailbox;
use crate::wire::envelope::{encode_event, event_id};

/// Bytes of an encoded event beyond its data, at most: names, id, timestamp, header.
const ENVELOPE_OVERHEAD: usize = 512;
/// When a node that is overloaded has probably caught up; and how long the node's own events wait
/// after the journal refused one.
const RETRY_AFTER_MS: u64 = 1_000;
/// Recent events that one page of history looks at, on the thread that takes posts: well under a
/// millisecond.
const LOOKED_MAX: usize = 8_192;
/// The node's own events that wait for room at most.
const OWN_MAX: usize = 65_536;
/// Events after which the shards are woken, whatever else there is to do: what a post of NDJSON has.
/// With 64 such posts cost a twentieth more.
const UNRUNG_MAX: usize = 256;
/// Between two canaries.
const CANARY_INTERVAL_MS: u64 = 500;
/// For so long after a canary came back from every shard the node counts as ready.
const READY_FOR_MS: u64 = 3_000;

/// Nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// When to try again.
    pub retry_after_ms: u64,
}

/// Why nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Some shard, or the journal, has no room.
    Overloaded,
    /// The journal could not make it safe.
    Unsafe,
}

/// Published, or about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The ids, in the order of the drafts.
    pub ids: Vec<String>,
    /// Where the journal is not done: it will be told under this ticket what became of it. Until
    /// then nobody has seen the events, and nothing is promised.
    pub ticket: Option<u64>,
}

const OVERLOADED: Refused = Refused { why: Refusal::Overloaded, retry_after_ms: RETRY_AFTER_MS };
const UNSAFE: Refused = Refused { why: Refusal::Unsafe, retry_after_ms: RETRY_AFTER_MS };

/// What the sequencer counts, since start.
#[derive(Debug, Default)]
pub struct PublishCounters {
    /// Events that got a position.
    pub accepted: Counter,
    /// Events that had one already, by their idempotency key.
    pub duplicates: Counter,
    /// Events refused for want of room.
    pub refused: Counter,
    /// The node's own events that were given up: too many waited for the journal.
    pub own_dropped: Counter,
}

/// The one who gives events their position and passes them to every shard.
pub struct Sequencer {
    config: Arc<Config>,
    shared: Arc<Shared>,
    journal: Box<dyn Journal>,
    mailboxes: Vec<Mailbox>,
    /// Recent events, all of them safe; shared with the windows of the shards.
    recent: Window<Arc<Envelope>>,
    line: Line,
    idempotency: Idempotency,
    presence: Presence,
    /// The node's own events that found no room yet, oldest first.
    unpublished: VecDeque<Draft>,
    /// When they are tried again, after the journal refused one (monotonic ms).
    own_again_at: u64,
    canary: Canary,
    counters: PublishCounters,
    /// Events delivered since the shards were woken.
    unrung: usize,
}

#[derive(Debug, Default)]
struct Canary {
    stamp: u64,
    next_at: u64,
    /// The latest stamp that came back, by shard.
    back: Vec<u64>,
}

/// What a sequencer begins with.
pub struct Beginning {
    /// The log, empty or with a past.
    pub journal: Box<dyn Journal>,
    /// The log's latest events, as the windows of the shards have them too.
    pub recent: Window<Arc<Envelope>>,
    /// Keys of recent posts.
    pub idempotency: Idempotency,
}

impl Sequencer {
    /// A sequencer that goes on after the last event of its beginning.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        shared: Arc<Shared>,
        beginning: Beginning,
        mailboxes: Vec<Mailbox>,
        presence_grace_ms: u64,
    ) -> Sequencer {
        let canary = Canary { back: vec![0; mailboxes.len()], ..Canary::default() };
        let Beginning { journal, recent, idempotency } = beginning;
        Sequencer {
            config,
            shared,
            journal,
            mailboxes,
            line: Line::new(recent.last()),
            recent,
            idempotency,
            presence: Presence::new(presence_grace_ms),
            unpublished: VecDeque::new(),
            own_again_at: 0,
            canary,
            counters: PublishCounters::default(),
            unrung: 0,
        }
    }

    /// The node's settings.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The node's shared facts.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The shards' mailboxes.
    #[must_use]
    pub fn mailboxes(&self) -> &[Mailbox] {
        &self.mailboxes
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &PublishCounters {
        &self.counters
    }

    /// Keys of posts that are remembered, and keys that were forgotten early.
    #[must_use]
    pub fn idempotency(&self) -> (usize, u64) {
        (self.idempotency.len(), self.idempotency.evicted())
    }

    /// Events that wait for the journal.
    #[must_use]
    pub fn uncommitted(&self) -> usize {
        self.line.waiting()
    }

    /// The id of the last event; what one who saw everything has seen.
    #[must_use]
    pub fn last_event_id(&self) -> String {
        event_id(self.recent.last())
    }

    /// Publishes all of `drafts`, in order, or none. Returns their ids; a draft whose
    /// idempotency key is known keeps the id of its first event.
    ///
    /// # Errors
    /// [`Refused`] when there is no room for all of them, or the journal fails; nothing
    /// happened then.
    pub fn publish(&mut self, drafts: Vec<Draft>, now: Now) -> Result<Posted, Refused> {
        let positions = self.submit(drafts, now)?;
        let newest = positions.iter().copied().max().unwrap_or(0);
        if self.settle(now) {
            return Err(UNSAFE);
        }
        let ticket = (newest > self.recent.last()).then(|| self.line.wait_for_post());
        Ok(Posted { ids: positions.into_iter().map(event_id).collect(), ticket })
    }

    /// Gives the drafts their positions and the journal the events.
    fn submit(&mut self, drafts: Vec<Draft>, now: Now) -> Result<Vec<u64>, Refused> {
        self.settle(now);
        let bytes: usize = drafts.iter().map(|d| d.data.len() + ENVELOPE_OVERHEAD).sum();
        if !self.has_room(drafts.len(), bytes) {
            self.counters.refused.add(drafts.len() as u64);
            return Err(OVERLOADED);
        }
        self.idempotency.expire(now.mono);
        let positions = drafts.into_iter().map(|draft| self.place(draft, false, now)).collect();
        self.journal.commit();
        Ok(positions)
    }

    /// Whether every mailbox can take so much more, beside what is on its way to it.
    fn has_room(&self, events: usize, bytes: usize) -> bool {
        let (waiting, waiting_bytes) = (self.line.waiting(), self.line.waiting_bytes());
        self.journal.has_room(events, bytes)
            && self.mailboxes.iter().all(|m| m.has_room(waiting + events, waiting_bytes + bytes))
    }

    /// Gives a draft its position and passes it to the journal.
    fn place(&mut self, mut draft: Draft, own: bool, now: Now) -> u64 {
        let key = draft.idempotency_key.take();
        if let Some(position) = key.as_deref().and_then(|key| self.idempotency.find(key)) {
            self.counters.duplicates.add(1);
            return position;
        }
        let position = self.line.last() + 1;
        let policy = &self.config.policy;
        let frame = encode_event(
            policy.event_name(draft.event),
            policy.namespace_name(draft.audience.namespace),
            &draft.data,
            draft.timestamp.unwrap_or(now.wall),
            &event_id(position),
        );
        let again = own.then(|| draft.clone());
        let addressing = draft.addressing;
        let envelope = Arc::new(Envelope::new(position, draft.event, draft.audience, frame));
        self.line.push(envelope.clone(), again);
        self.journal.append(Entry { envelope, addressing, key: key.clone(), at: now.wall });
        if let Some(key) = key {
            self.idempotency.remember(key, position, now.mono);
        }
        position
    }

    /// Passes on what the journal has made safe, and takes back what it could not. `true`: it took
    /// something back.
    pub fn settle(&mut self, now: Now) -> bool {
        let mut refused = false;
        while let Some(progress) = self.journal.poll() {
            let (Progress::Committed(safe) | Progress::Refused { after: safe }) = progress;
            while let Some(envelope) = self.line.pop_safe(safe) {
                self.deliver(envelope);
            }
            self.line.settle_posts(safe);
            self.answer_clients(safe);
            if matches!(progress, Progress::Refused { .. }) {
                refused = true;
                self.take_back(safe, now);
            }
        }
        if self.unrung >= UNRUNG_MAX {
            self.ring();
        }
        refused
    }

    /// Wakes the shards for what was delivered since they were woken last. Whoever lets the sequencer
    /// publish calls this once it has done what there was to do, and before anybody is answered: a wake
    /// costs as much as a post.
    pub fn ring(&mut self) {
        if std::mem::take(&mut self.unrung) > 0 {
            self.mailboxes.iter().for_each(Mailbox::ring);
        }
    }

    fn deliver(&mut self, envelope: Arc<Envelope>) {
        self.shared.last_position.store(envelope.position, Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            mailbox.put(envelope.clone());
        }
        self.recent.push(envelope.clone(), envelope.frame.len());
        self.counters.accepted.add(1);
        self.unrung += 1;
    }

    fn answer_clients(&mut self, safe: u64) {
        while let Some(Client { shard, conn, request, position }) = self.line.pop_answered(safe) {
            let outcome = Ok(event_id(position).into_boxed_str());
            self.mailboxes[shard].order(Order::Published { conn, request, outcome });
        }
    }

    /// The journal has nothing behind `safe` and will not have it.
    fn take_back(&mut self, safe: u64, now: Now) {
        self.idempotency.take_back(safe);
        let Dropped { own, clients } = self.line.take_back();
        own.into_iter().rev().for_each(|draft| self.unpublished.push_front(draft));
        self.own_again_at = now.mono + RETRY_AFTER_MS;
        for Client { shard, conn, request, .. } in clients {
            self.mailboxes[shard].order(Order::Published { conn, request, outcome: Err(Overloaded) });
        }
    }

    /// What has become of posts that had to wait, in their order: their tickets, and whether the
    /// events are published.
    pub fn next_settled(&mut self) -> Option<(u64, bool)> {
        self.line.next_settled()
    }

    /// Does what a shard reports. Answers to questions of others are given back.
    pub fn handle_report(&mut self, report: Report, now: Now) -> Option<Report> {
        match report {
            Report::Joined { user } => {
                let change = self.presence.join(user, now.wall);
                self.announce(change, now);
            }
            Report::Left { user } => self.presence.leave(user, now.mono, now.wall),
            Report::Publish { shard, conn, request, draft } => {
                self.publish_for(shard, conn, request, *draft, now);
            }
            Report::Canary { shard, stamp } => self.hear_canary(shard, stamp, now),
            other => return Some(other),
        }
        None
    }

    fn publish_for(&mut self, shard: usize, conn: Id, request: Option<Box<str>>, draft: Draft, now: Now) {
        let outcome = match self.submit(vec![draft], now) {
            Err(Refused { .. }) => Err(Overloaded),
            Ok(positions) => {
                let position = positions.into_iter().next_back().unwrap_or(0);
                self.line.wait_for_client(Client { shard, conn, request, position });
                self.settle(now);
                return;
            }
        };
        self.mailboxes[shard].order(Order::Published { conn, request, outcome });
    }

    fn announce(&mut self, change: Option<Change>, now: Now) {
        self.shared.online.store(self.presence.online(), Ordering::Relaxed);
        let Some(change) = change else { return };
        let policy = &self.config.policy;
        self.unpublished.extend(policy.draft_presence(&change.user, change.online, change.last_seen));
        while self.unpublished.len() > OWN_MAX {
            self.unpublished.pop_front();
            self.counters.own_dropped.add(1);
        }
        self.publish_own(now);
    }

    /// Publishes the node's own events as far as there is room.
    fn publish_own(&mut self, now: Now) {
        self.settle(now);
        while self.own_again_at <= now.mono
            && let Some(draft) = self.unpublished.front()
            && self.has_room(1, draft.data.len() + ENVELOPE_OVERHEAD)
            && let Some(draft) = self.unpublished.pop_front()
        {
            self.place(draft, true, now);
            self.journal.commit();
            self.settle(now);
        }
    }

    /// Does what has fallen due.
    pub fn fire_deadlines(&mut self, now: Now) {
        while let Some(change) = self.presence.pop_gone(now.mono) {
            self.announce(Some(change), now);
        }
        self.publish_own(now);
        if self.canary.next_at <= now.mono {
            self.canary.next_at = now.mono + CANARY_INTERVAL_MS;
            self.canary.stamp += 1;
            for mailbox in &self.mailboxes {
                mailbox.put_canary(self.canary.stamp);
            }
        }
    }

    /// Milliseconds until something falls due.
    #[must_use]
    pub fn due_in(&self, now: Now) -> u64 {
        let presence = self.presence.next_due().unwrap_or(u64::MAX);
        presence.min(self.canary.next_at).saturating_sub(now.mono)
    }

    /// The node is ready while canaries come back from every shard.
    fn hear_canary(&mut self, shard: usize, stamp: u64, now: Now) {
        self.canary.back[shard] = stamp;
        if self.canary.back.iter().all(|&back| back == self.canary.stamp) {
            self.shared.ready_until.store(now.mono + READY_FOR_MS, Ordering::Relaxed);
        }
    }

    /// Sends everybody away, spread over the drain timeout. Readiness turns at once.
    pub fn drain(&mut self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            mailbox.order(Order::Drain);
        }
    }

    /// A page of the recent events; `None` where they do not reach back so far, and a log that does
    /// is to be asked.
    #[must_use]
    pub fn recent_page(&self, query: &HistoryQuery) -> Option<HistoryPage> {
        let has_log = self.shared.archive_first.load(Ordering::Relaxed) != 0;
        if query.since + 1 < self.recent.first() && has_log {
            return None;
        }
        Some(self.look(Paging::new(query), query.since))
    }

    /// Goes on with a page of the log that has all of what `query` asked of it, and room: what is asked
    /// for behind that is here, if it is still.
    #[must_use]
    pub fn go_on(&self, query: &HistoryQuery, page: HistoryPage) -> HistoryPage {
        let since = page.cursor;
        if !query.goes_on || since < query.until || since + 1 < self.recent.first() {
            return page;
        }
        let query = HistoryQuery { until: self.recent.last(), goes_on: false, ..query.clone() };
        self.look(Paging::behind(&query, page), since)
    }

    fn look(&self, mut paging: Paging<'_>, since: u64) -> HistoryPage {
        for (looked, (_, envelope)) in self.recent.after(since).enumerate() {
            if looked == LOOKED_MAX {
                return paging.cut();
            }
            if !paging.look(envelope) {
                break;
            }
        }
        paging.ended()
    }

    /// The position before the recent events.
    #[must_use]
    pub fn before_recent(&self) -> u64 {
        self.recent.first() - 1
    }

    /// Positions of the oldest event from which on all are held, and of the last one.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        let archived = self.shared.archive_first.load(Ordering::Relaxed);
        let recent = self.recent.first();
        let first = if archived == 0 { recent } else { archived.min(recent) };
        (first, self.recent.last())
    }
}

#[cfg(test)]
#[path = "sequencer_tests.rs"]
mod tests;
