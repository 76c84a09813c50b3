//! The single writer of order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::conn::config::Config;
use crate::journal::Journal;
use crate::policy::{Draft, Namespace};
use crate::publish::idempotency::Idempotency;
use crate::publish::presence::{Change, Presence};
use crate::shard::counters::{Counter, Shared};
use crate::shard::envelope::Envelope;
use crate::shard::mail::{Order, Overloaded, Report};
use crate::shard::mailbox::Mailbox;
use crate::wire::envelope::{encode_event, event_id, payload_of};

/// Bytes of an encoded event beyond its data, at most: names, id, timestamp, header.
const ENVELOPE_OVERHEAD: usize = 512;
/// When a node that is overloaded has probably caught up.
const RETRY_AFTER_MS: u64 = 1_000;
/// Between two canaries.
const CANARY_INTERVAL_MS: u64 = 500;
/// For so long after a canary came back from every shard the node counts as ready.
const READY_FOR_MS: u64 = 3_000;

/// Nothing was published: some shard has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When to try again.
    pub retry_after_ms: u64,
}

/// What the sequencer counts, since start.
#[derive(Debug, Default)]
pub struct PublishCounters {
    /// Events that got a position.
    pub accepted: Counter,
    /// Events that had one already, by their idempotency key.
    pub duplicates: Counter,
    /// Events refused for want of room.
    pub refused: Counter,
}

/// The one who gives events their position and passes them to every shard.
pub struct Sequencer {
    config: Arc<Config>,
    shared: Arc<Shared>,
    journal: Box<dyn Journal>,
    mailboxes: Vec<Mailbox>,
    idempotency: Idempotency,
    presence: Presence,
    /// The node's own events that found no room yet, oldest first.
    unpublished: VecDeque<Draft>,
    canary: Canary,
    counters: PublishCounters,
}

#[derive(Debug, Default)]
struct Canary {
    stamp: u64,
    next_at: u64,
    /// The latest stamp that came back, by shard.
    back: Vec<u64>,
}

impl Sequencer {
    /// A sequencer that goes on after the last event of `journal`.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        shared: Arc<Shared>,
        journal: Box<dyn Journal>,
        mailboxes: Vec<Mailbox>,
        idempotency_window_ms: u64,
        presence_grace_ms: u64,
    ) -> Sequencer {
        let canary = Canary { back: vec![0; mailboxes.len()], ..Canary::default() };
        Sequencer {
            config,
            shared,
            journal,
            mailboxes,
            idempotency: Idempotency::new(idempotency_window_ms),
            presence: Presence::new(presence_grace_ms),
            unpublished: VecDeque::new(),
            canary,
            counters: PublishCounters::default(),
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

    /// The id of the last event; what one who saw everything has seen.
    #[must_use]
    pub fn last_event_id(&self) -> String {
        event_id(self.journal.last())
    }

    /// Publishes all of `drafts`, in order, or none. Returns their ids; a draft whose
    /// idempotency key is known keeps the id of its first event.
    ///
    /// # Errors
    /// [`Refused`] when a shard has no room for all of them; nothing happened then.
    pub fn publish(&mut self, drafts: Vec<Draft>, now: Now) -> Result<Vec<String>, Refused> {
        let bytes: usize = drafts.iter().map(|d| d.data.len() + ENVELOPE_OVERHEAD).sum();
        if !self.mailboxes.iter().all(|m| m.has_room(drafts.len(), bytes)) {
            self.counters.refused.add(drafts.len() as u64);
            return Err(Refused { retry_after_ms: RETRY_AFTER_MS });
        }
        self.idempotency.expire(now.mono);
        let ids = drafts.into_iter().map(|draft| event_id(self.place(draft, now))).collect();
        self.mailboxes.iter().for_each(Mailbox::ring);
        Ok(ids)
    }

    /// Gives a draft its position and passes it on.
    fn place(&mut self, mut draft: Draft, now: Now) -> u64 {
        let key = draft.idempotency_key.take();
        if let Some(position) = key.as_deref().and_then(|key| self.idempotency.find(key)) {
            self.counters.duplicates.add(1);
            return position;
        }
        let position = self.journal.last() + 1;
        let policy = &self.config.policy;
        let frame = encode_event(
            policy.event_name(draft.event),
            policy.namespace_name(draft.audience.namespace),
            &draft.data,
            draft.timestamp.unwrap_or(now.wall),
            &event_id(position),
        );
        let envelope = Arc::new(Envelope { position, event: draft.event, audience: draft.audience, frame });
        self.journal.append(envelope.clone());
        self.shared.last_position.store(position, Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            mailbox.put(envelope.clone());
        }
        if let Some(key) = key {
            self.idempotency.remember(key, position, now.mono);
        }
        self.counters.accepted.add(1);
        position
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
        let outcome = match self.publish(vec![draft], now) {
            Ok(ids) => ids.into_iter().next().map(String::into_boxed_str).ok_or(Overloaded),
            Err(Refused { .. }) => Err(Overloaded),
        };
        self.mailboxes[shard].order(Order::Published { conn, request, outcome });
    }

    fn announce(&mut self, change: Option<Change>, now: Now) {
        self.shared.online.store(self.presence.online(), Ordering::Relaxed);
        let Some(change) = change else { return };
        let policy = &self.config.policy;
        self.unpublished.extend(policy.draft_presence(&change.user, change.online, change.last_seen));
        self.publish_own(now);
    }

    /// Publishes the node's own events as far as there is room.
    fn publish_own(&mut self, now: Now) {
        while let Some(draft) = self.unpublished.pop_front() {
            let bytes = draft.data.len() + ENVELOPE_OVERHEAD;
            if !self.mailboxes.iter().all(|m| m.has_room(1, bytes)) {
                self.unpublished.push_front(draft);
                return;
            }
            self.place(draft, now);
            self.mailboxes.iter().for_each(Mailbox::ring);
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

    /// The JSON texts of events after `since`, oldest first: at most `limit`, and none more once
    /// there are `bytes_max` bytes. The flag tells whether it stopped before the end.
    #[must_use]
    pub fn history(
        &self,
        since: u64,
        namespaces: Option<&[Namespace]>,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let (mut left, mut stopped) = (limit, false);
        self.journal.read_after(since, &mut |envelope| {
            if namespaces.is_none_or(|list| list.contains(&envelope.audience.namespace)) {
                stopped = left == 0 || out.len() >= bytes_max;
                if !stopped {
                    out.extend_from_slice(payload_of(&envelope.frame));
                    out.push(b'\n');
                    left -= 1;
                }
            }
            !stopped
        });
        (out, stopped)
    }

    /// Positions of the oldest event that is held and of the last one.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        (self.journal.first(), self.journal.last())
    }
}

#[cfg(test)]
#[path = "sequencer_tests.rs"]
mod tests;
