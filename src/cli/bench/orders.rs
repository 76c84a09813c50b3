//! What the one who drives a run and its threads of clients tell each other.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use hdrhistogram::Histogram;

use crate::cli::bench::client::{Counts, Goal};
use crate::cli::bench::crowd::Crowd;
use crate::cli::bench::process::Usage;
use crate::cli::bench::talk::Entry;

/// The one clock of a run.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What all threads of a run know.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number.
    pub id: u32,
    /// Its clock.
    pub clock: Clock,
    /// Who is who.
    pub crowd: Arc<Crowd>,
    /// How to come in.
    pub entry: Arc<Entry>,
    /// Where to.
    pub address: SocketAddr,
}

/// Deliveries to prompt clients so far, the number that somebody waits for, and arrivals.
#[derive(Debug, Default)]
pub struct Progress {
    /// So far.
    pub delivered: AtomicU64,
    /// Waited for.
    pub target: AtomicU64,
    /// Clients that got where they were to go.
    pub arrived: AtomicU64,
}

/// What was published, lane by lane.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The next number.
    pub ends: Vec<u64>,
    /// Numbers that the node refused: nobody gets them.
    pub refused: Vec<HashSet<u64>>,
}

/// What a thread is told to do.
#[derive(Debug)]
pub enum Order {
    /// Connect all that are away, at most `in_flight` at once.
    Connect { goal: Goal, lanes: Vec<u64>, in_flight: usize },
    /// Drop all connections at once, without a word.
    Cut,
    /// Hand in the counts and begin anew.
    Report,
    /// Let the slow and the paused read on.
    Release,
    /// See who did not get what it must.
    Audit(Arc<Published>),
}

/// What it answers.
#[derive(Debug)]
pub enum Reply {
    /// Everybody is where it was to go, or failed.
    Connected(Arrived),
    /// Nobody is connected.
    Cut,
    /// The counts.
    Report(Box<Report>),
    /// Who got what.
    Audit(Audit),
}

/// The end of a connect.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// How many are there.
    pub ready: u64,
    /// When the last one came, in ns since the start of the run.
    pub at_ns: u64,
    /// From the first step to the last, in us.
    pub took: Histogram<u64>,
}

/// What a thread counted since the last report.
#[derive(Debug, Clone)]
pub struct Report {
    /// Deliveries.
    pub counts: Counts,
    /// Ends of connections of prompt clients, and failures to connect, by cause.
    pub failures: BTreeMap<String, u64>,
    /// What the thread has used so far.
    pub usage: Usage,
}

/// Who got what it must.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Deliveries that prompt clients miss.
    pub lost: u64,
    /// Slow and paused clients that have everything.
    pub complete: u64,
    /// Slow and paused clients that the node ended, by cause.
    pub ended: BTreeMap<String, u64>,
    /// Slow and paused clients that live and miss something.
    pub incomplete: u64,
}

/// The ends of a thread's channels.
pub struct Lines {
    /// Orders come here.
    pub orders: Receiver<Order>,
    /// Answers go there.
    pub replies: Sender<Reply>,
    /// Told when the target of the progress is reached.
    pub reached: Sender<()>,
}
