//! Events between their position and the journal's word, and who waits for that word.
//!
//! Positions are given in order and become safe in order. What the journal cannot make safe is
//! taken back from the end, and its positions are given again: nobody has seen them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::slots::Id;
use crate::policy::Draft;
use crate::shard::envelope::Envelope;

/// A connection that published, and waits to hear of it.
#[derive(Debug)]
pub struct Client {
    /// Which shard.
    pub shard: usize,
    /// Who.
    pub conn: Id,
    /// What it called its command (raw JSON).
    pub request: Option<Box<str>>,
    /// The event's position.
    pub position: u64,
}

#[derive(Debug)]
struct Waiting {
    envelope: Arc<Envelope>,
    /// One of the node's own events, to be published again should the journal refuse it.
    again: Option<Draft>,
}

/// What was taken back.
#[derive(Debug, Default)]
pub struct Dropped {
    /// The node's own events among it, oldest first.
    pub own: Vec<Draft>,
    /// Connections whose events are among it.
    pub clients: Vec<Client>,
}

/// The line before the journal.
#[derive(Debug)]
pub struct Line {
    /// The last position that was given.
    last: u64,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Posts that wait, by the last position given when they came.
    posts: VecDeque<(u64, u64)>,
    /// Connections that wait, likewise.
    clients: VecDeque<(u64, Client)>,
    next_ticket: u64,
    /// Posts about which there is word.
    settled: VecDeque<(u64, bool)>,
}

impl Line {
    /// A line in which the next position is the one behind `last`.
    #[must_use]
    pub fn new(last: u64) -> Line {
        Line {
            last,
            waiting: VecDeque::new(),
            bytes: 0,
            posts: VecDeque::new(),
            clients: VecDeque::new(),
            next_ticket: 0,
            settled: VecDeque::new(),
        }
    }

    /// The last position that was given.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Events that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Their bytes.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    /// The event of the next position joins. `again`: what it was, where it must not be lost.
    pub fn push(&mut self, envelope: Arc<Envelope>, again: Option<Draft>) {
        self.last += 1;
        debug_assert_eq!(self.last, envelope.position);
        self.bytes += envelope.frame.len();
        self.waiting.push_back(Waiting { envelope, again });
    }

    /// A post waits until everything in the line is settled; this is its ticket.
    pub fn wait_for_post(&mut self) -> u64 {
        self.next_ticket += 1;
        self.posts.push_back((self.last, self.next_ticket));
        self.next_ticket
    }

    /// A connection waits likewise.
    pub fn wait_for_client(&mut self, client: Client) {
        self.clients.push_back((self.last, client));
    }

    /// The next event at or before `safe`.
    pub fn pop_safe(&mut self, safe: u64) -> Option<Arc<Envelope>> {
        if self.waiting.front()?.envelope.position > safe {
            return None;
        }
        let Waiting { envelope, .. } = self.waiting.pop_front()?;
        self.bytes -= envelope.frame.len();
        Some(envelope)
    }

    /// The next connection that waits for nothing behind `safe`.
    pub fn pop_answered(&mut self, safe: u64) -> Option<Client> {
        pop_due(&mut self.clients, safe)
    }

    /// Posts that wait for nothing behind `safe` are settled.
    pub fn settle_posts(&mut self, safe: u64) {
        while let Some(ticket) = pop_due(&mut self.posts, safe) {
            self.settled.push_back((ticket, true));
        }
    }

    /// Takes back everything that waits.
    pub fn take_back(&mut self) -> Dropped {
        self.last -= self.waiting.len() as u64;
        self.bytes = 0;
        self.settled.extend(self.posts.drain(..).map(|(_, ticket)| (ticket, false)));
        Dropped {
            own: self.waiting.drain(..).filter_map(|waiting| waiting.again).collect(),
            clients: self.clients.drain(..).map(|(_, client)| client).collect(),
        }
    }

    /// The next post about which there is word: its ticket, and whether its events are published.
    pub fn next_settled(&mut self) -> Option<(u64, bool)> {
        self.settled.pop_front()
    }
}

/// The next of those who wait for nothing behind `safe`.
fn pop_due<T>(line: &mut VecDeque<(u64, T)>, safe: u64) -> Option<T> {
    let is_due = line.front().is_some_and(|(until, _)| *until <= safe);
    if is_due { line.pop_front().map(|(_, who)| who) } else { None }
}
