//! What crosses between the sequencer and a shard, in both directions.

use std::sync::Arc;

use crate::base::slots::Id;
use crate::policy::Draft;
use crate::shard::archive::Chunk;
use crate::shard::census::{Census, Row};
use crate::shard::envelope::Envelope;
use crate::shard::tls::Acceptor;

/// What goes the way of events.
#[derive(Clone, Debug)]
pub enum Mail {
    /// The event of the next position.
    Event(Arc<Envelope>),
    /// Show that what goes in comes out. Answered by [`Report::Canary`].
    Canary {
        /// Comes back in the answer.
        stamp: u64,
    },
}

/// What the sequencer asks of a shard, apart from delivering events.
#[derive(Debug)]
pub enum Order {
    /// End the connections of a session or a user. Answered by [`Report::Kicked`].
    Kick {
        /// Comes back in the answer.
        ticket: u64,
        /// Whom.
        who: Who,
    },
    /// Count. Answered by [`Report::Counted`].
    Count {
        /// Comes back in the answer.
        ticket: u64,
    },
    /// List connections in slot order. Answered by [`Report::Listed`].
    List {
        /// Comes back in the answer.
        ticket: u64,
        /// Leave out slots below this.
        from_slot: u32,
        /// Rows at most.
        limit: usize,
    },
    /// What became of an event that a connection published.
    Published {
        /// Who published.
        conn: Id,
        /// What it called its command (raw JSON).
        request: Option<Box<str>>,
        /// The event's id, or that the node could not take it.
        outcome: Result<Box<str>, Overloaded>,
    },
    /// The statistics that a connection asked for over HTTP; `None`: not to be had.
    Stats {
        /// Who asked.
        conn: Id,
        /// The JSON body.
        body: Option<Box<str>>,
    },
    /// A part of the log that was asked for.
    Past {
        /// The position behind which it was asked for.
        after: u64,
        /// The part; `None`: it is not kept any more, or cannot be read.
        chunk: Option<Arc<Chunk>>,
    },
    /// Greet new connections with another certificate. Only where the node ends TLS already.
    Certify {
        /// Holds the certificate.
        acceptor: Acceptor,
    },
    /// Send everybody away, spread over the drain timeout.
    Drain,
    /// End the thread: at once, or as soon as the last connection is gone.
    Stop {
        /// Leave the connections where they are.
        at_once: bool,
    },
}

/// The node could not take an event now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

/// Whom a kick is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every connection of this `sessionId`.
    Session(Box<str>),
    /// Every connection of this `userId`.
    User(Box<str>),
}

/// What a shard tells the sequencer.
#[derive(Debug)]
pub enum Report {
    /// A connection of this user, whose presence is public, became live.
    Joined {
        /// `userId`.
        user: Box<str>,
    },
    /// One ended.
    Left {
        /// `userId`.
        user: Box<str>,
    },
    /// A connection publishes an event.
    Publish {
        /// Which shard.
        shard: usize,
        /// Who.
        conn: Id,
        /// What it called its command (raw JSON).
        request: Option<Box<str>>,
        /// The validated event.
        draft: Box<Draft>,
    },
    /// A connection asks for the node's statistics.
    AskedStats {
        /// Which shard.
        shard: usize,
        /// Who.
        conn: Id,
    },
    /// Answer to [`Order::Count`].
    Counted {
        /// From the order.
        ticket: u64,
        /// The shard's count.
        census: Box<Census>,
    },
    /// Answer to [`Order::Kick`].
    Kicked {
        /// From the order.
        ticket: u64,
        /// Connections ended.
        closed: usize,
    },
    /// Answer to [`Order::List`].
    Listed {
        /// Which shard.
        shard: usize,
        /// From the order.
        ticket: u64,
        /// In slot order.
        rows: Vec<Row>,
    },
    /// Answer to [`Mail::Canary`].
    Canary {
        /// Which shard.
        shard: usize,
        /// From the mail.
        stamp: u64,
    },
    /// The node stops: the sequencer's thread shall end. From the one who started it.
    Stop,
}
