//! Questions that only the shards together can answer: how many, who, and kicks.
//!
//! A question goes to every shard under one ticket; when all have spoken, or too much time has
//! passed, whoever asked gets the sum.

use std::collections::{HashMap, VecDeque};

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::policy::Policy;
use crate::shard::census::{Census, Row};
use crate::shard::mail::{Order, Report, Who};
use crate::shard::mailbox::Mailbox;

/// A shard that has not spoken by then is stuck; the rest is answered without it.
pub const PATIENCE_MS: u64 = 2_000;
/// Questions open at once. Each holds a control connection or a client that asks for
/// statistics; more than that is a flood.
pub const OPEN_MAX: usize = 4_096;

/// Who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A control connection.
    Control(Id),
    /// A client of a shard, which asked for the statistics.
    Client {
        /// Which shard.
        shard: usize,
        /// Who.
        conn: Id,
    },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The statistics.
    Stats,
    /// The metrics.
    Metrics,
    /// A page of connections, after this place (shard, slot).
    List {
        /// The first place that may be in the page.
        from: (usize, u32),
        /// Rows at most.
        limit: usize,
    },
    /// End connections.
    Kick(Who),
}

/// A question to which the answers are in.
#[derive(Debug)]
pub struct Settled {
    /// Who asked.
    pub asker: Asker,
    /// What.
    pub question: Question,
    /// Shards that have spoken.
    pub spoken: usize,
    /// The counts of those, added up.
    pub census: Census,
    /// Connections ended.
    pub closed: usize,
    /// Rows by shard.
    pub rows: Vec<(usize, Vec<Row>)>,
}

impl Settled {
    /// Whether every one of `shards` has spoken.
    #[must_use]
    pub fn is_whole(&self, shards: usize) -> bool {
        self.spoken == shards
    }
}

#[derive(Debug)]
struct Open {
    waiting: usize,
    so_far: Settled,
}

/// The questions that are open.
#[derive(Debug, Default)]
pub struct Questions {
    next_ticket: u64,
    open: HashMap<u64, Open>,
    due: VecDeque<(u64, u64)>,
}

impl Questions {
    /// Puts a question to all shards. `false`: too many are open; nobody was asked.
    pub fn ask(
        &mut self,
        asker: Asker,
        question: Question,
        policy: &Policy,
        mailboxes: &[Mailbox],
        now: Now,
    ) -> bool {
        if self.open.len() >= OPEN_MAX {
            return false;
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        for (shard, mailbox) in mailboxes.iter().enumerate() {
            mailbox.order(match &question {
                Question::Stats | Question::Metrics => Order::Count { ticket },
                Question::Kick(who) => Order::Kick { ticket, who: who.clone() },
                &Question::List { from, limit } => {
                    // Shards before the place have nothing to say, but are asked as well, so
                    // that every question is over when all have spoken.
                    let limit = if shard < from.0 { 0 } else { limit };
                    let from_slot = if shard == from.0 { from.1 } else { 0 };
                    Order::List { ticket, from_slot, limit }
                }
            });
        }
        let census = Census::empty(policy);
        let so_far = Settled { asker, question, spoken: 0, census, closed: 0, rows: Vec::new() };
        self.open.insert(ticket, Open { waiting: mailboxes.len(), so_far });
        self.due.push_back((now.mono + PATIENCE_MS, ticket));
        true
    }

    /// A shard's answer. Returns the question that it settled, if it did.
    pub fn handle_report(&mut self, report: Report) -> Option<Settled> {
        let (Report::Counted { ticket, .. } | Report::Kicked { ticket, .. } | Report::Listed { ticket, .. }) =
            report
        else {
            return None;
        };
        let open = self.open.get_mut(&ticket)?;
        open.waiting -= 1;
        open.so_far.spoken += 1;
        match report {
            Report::Counted { census, .. } => open.so_far.census.add(&census),
            Report::Kicked { closed, .. } => open.so_far.closed += closed,
            Report::Listed { shard, rows, .. } => open.so_far.rows.push((shard, rows)),
            _ => {}
        }
        if open.waiting > 0 {
            return None;
        }
        self.open.remove(&ticket).map(|open| open.so_far)
    }

    /// The next question whose time is up.
    pub fn pop_overdue(&mut self, now: Now) -> Option<Settled> {
        while self.due.front().is_some_and(|&(due, _)| due <= now.mono) {
            let (_, ticket) = self.due.pop_front()?;
            if let Some(open) = self.open.remove(&ticket) {
                return Some(open.so_far);
            }
        }
        None
    }

    /// When the next question's time is up (monotonic ms), unless it was settled before.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.due.front().map(|&(due, _)| due)
    }
}
