//! What the sequencer asks of a shard, done.

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::conn::machine::Conn;
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::shard::census::{Census, Row};
use crate::shard::core::{Core, Name};
use crate::shard::mail::{Mail, Order, Overloaded, Report, Who};
use crate::wire::reply::{self, ErrorCode};

/// Whether the reactor goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// As before.
    Go,
    /// Leave once everybody has gone.
    StopWhenEmpty,
    /// Leave at once.
    Stop,
}

impl Core {
    /// Does what the sequencer asks.
    pub fn handle_order(&mut self, order: Order, now: Now) -> Onward {
        match order {
            Order::Kick { ticket, who } => {
                let closed = self.kick(&who, now);
                self.reports.push_back(Report::Kicked { ticket, closed });
            }
            Order::Count { ticket } => {
                let census = Box::new(self.count());
                self.reports.push_back(Report::Counted { ticket, census });
            }
            Order::List { ticket, from_slot, limit } => {
                let rows = self.list(from_slot, limit);
                self.reports.push_back(Report::Listed { shard: self.place.shard, ticket, rows });
            }
            Order::Published { conn, request, outcome } => self.answer_publish(conn, request, outcome, now),
            Order::Stats { conn, body } => {
                self.act(conn, now, |conn, cx, changes| conn.handle_stats(body.as_deref(), cx, changes));
            }
            Order::Past { after, chunk } => self.handle_part(after, chunk),
            Order::Certify { .. } => {} // The reactor's: it holds the sockets.
            Order::Drain => self.begin_drain(now),
            Order::Stop { at_once: true } => return Onward::Stop,
            Order::Stop { at_once: false } => {
                self.begin_drain(now);
                return Onward::StopWhenEmpty;
            }
        }
        Onward::Go
    }

    /// Takes the next thing that came the way of events.
    pub fn handle_mail(&mut self, mail: Mail, now: Now) {
        match mail {
            Mail::Event(envelope) => self.handle_event(envelope, now),
            Mail::Canary { stamp } => {
                self.reports.push_back(Report::Canary { shard: self.place.shard, stamp });
            }
        }
    }

    /// Ends every connection of `who`. When this returns, no event can reach them any more.
    fn kick(&mut self, who: &Who, now: Now) -> usize {
        let mut found = std::mem::take(&mut self.found);
        match who {
            Who::Session(name) => self.sessions.find(&self.conns, name, &mut found),
            Who::User(name) => self.users.find(&self.conns, name, &mut found),
        }
        let closed = found.len();
        for slot in found.drain(..) {
            if let Some(id) = self.conns.id_at(slot) {
                self.close(id, Ending::Kicked, 0, now);
            }
        }
        self.found = found;
        self.silence_ending(who);
        closed
    }

    /// Connections of `who` that are ending for another reason are in no index any more, but
    /// may have events queued: those do not go out either.
    fn silence_ending(&mut self, who: &Who) {
        let is_meant = |conn: &Conn| match (&conn.identity, who) {
            (Some(identity), Who::Session(name)) => identity.session == *name,
            (Some(identity), Who::User(name)) => identity.user == *name,
            (None, _) => false,
        };
        let ending = |conn: &Conn| {
            conn.phase >= Phase::Closing && conn.out.is_some() && conn.ending != Some(Ending::Kicked)
        };
        let ids: Vec<Id> =
            self.conns.iter().filter(|(_, conn)| ending(conn) && is_meant(conn)).map(|(id, _)| id).collect();
        for id in ids {
            self.cut_off(id);
        }
        // Of the others the wires may have taken events and not brought them yet.
        let quiet = |conn: &Conn| conn.phase >= Phase::Closing && conn.out.is_none() && is_meant(conn);
        self.silenced.extend(self.conns.iter().filter(|(_, conn)| quiet(conn)).map(|(id, _)| id));
    }

    /// Counts the connections as they are now.
    #[must_use]
    pub fn count(&self) -> Census {
        let mut census = Census::empty(&self.config.policy);
        for (_, conn) in self.conns.iter() {
            census.total += usize::from(conn.phase.is_open());
            census.authenticated += usize::from(conn.phase == Phase::Live);
            census.backlog_bytes += backlog(conn);
        }
        for (class, members) in self.columns.classes() {
            census.by_role[usize::from(class.role.0)] += members as usize;
            for namespace in (class.subscribed | class.keyed).iter() {
                census.by_namespace[usize::from(namespace)] += members as usize;
            }
        }
        census.users = self.users.len();
        census
    }

    fn list(&self, from_slot: u32, limit: usize) -> Vec<Row> {
        let open = self.conns.iter().skip_while(|(id, _)| id.slot < from_slot);
        open.filter(|(_, conn)| conn.phase.is_open())
            .take(limit)
            .map(|(id, conn)| self.row(id, conn))
            .collect()
    }

    fn row(&self, id: Id, conn: &Conn) -> Row {
        let policy = &self.config.policy;
        let identity = conn.identity.as_ref();
        let any = conn.interest.any();
        let namespaces = policy.namespaces().filter(|n| any.has(n.0));
        Row {
            id: Name { shard: self.place.shard, id }.to_string(),
            slot: id.slot,
            phase: if conn.phase == Phase::Live { "live" } else { "greeting" },
            user_id: identity.map(|i| i.user.clone()),
            session_id: identity.map(|i| i.session.clone()),
            role: identity.map(|i| policy.role_name(i.role).to_owned()),
            namespaces: namespaces.map(|n| policy.namespace_name(n).to_owned()).collect(),
            keys: conn.interest.keys().len(),
            address: conn.origin.address,
            connected_at: conn.since,
            expires_at: identity.map(|i| i.expires_at),
            backlog_bytes: backlog(conn),
        }
    }

    fn answer_publish(
        &mut self,
        conn: Id,
        request: Option<Box<str>>,
        outcome: Result<Box<str>, Overloaded>,
        now: Now,
    ) {
        let request = request.as_deref();
        let text = match outcome {
            Ok(event_id) => reply::published(request, &event_id),
            Err(Overloaded) => {
                let message = "the node is overloaded; try again";
                reply::error(request, ErrorCode::Internal, message, &[("retryAfterMs", "1000")])
            }
        };
        // The event itself is in the mailbox already: what was published before stays before.
        self.catch_up_if_sweeping(conn, now);
        self.act(conn, now, |conn, cx, _| {
            if conn.phase == Phase::Live {
                conn.reply(&text, cx.now);
            }
        });
    }

    pub(super) fn catch_up_if_sweeping(&mut self, id: Id, now: Now) {
        if !self.sweep.is_empty() && self.conns.get(id).is_some() {
            self.catch_up(id.slot, now);
        }
    }
}

fn backlog(conn: &Conn) -> usize {
    conn.out.as_ref().map_or(0, |out| out.bytes())
}
