//! All clients of a run, seen from the one that drives it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::{Poll, Waker};

use crate::cli::bench::client::{Counts, Goal};
use crate::cli::bench::orders::{Arrived, Audit, Lines, Order, Progress, Published, Reply, Report, Run};
use crate::cli::bench::process::Usage;
use crate::cli::bench::worker::{WAKER, Worker};

/// Without a single delivery for so long, what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nothing that a thread is ordered to do takes longer, but for what a server is slow with.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// Time between two looks at what is under way.
const TICK: Duration = Duration::from_millis(100);

/// One thread.
struct Crew {
    orders: Sender<Order>,
    replies: Receiver<Reply>,
    waker: Waker,
    usage: Usage,
}

/// The clients.
pub struct Fleet {
    crews: Vec<Crew>,
    progress: Arc<Progress>,
    reached: Receiver<()>,
}

/// What all threads counted since they were asked before.
pub struct Gathered {
    /// Deliveries.
    pub counts: Counts,
    /// Ends and failures of prompt clients, by cause.
    pub failures: BTreeMap<String, u64>,
    /// What each thread has used.
    pub usage: Vec<Usage>,
}

impl Fleet {
    /// Starts a thread for each range of clients. Nobody connects yet.
    ///
    /// # Errors
    /// One sentence: a thread or its poll could not be had.
    pub fn start(run: &Run, ranges: Vec<Range<u32>>) -> Result<Fleet, String> {
        let progress = Arc::new(Progress::default());
        let (reached_in, reached) = bounded(1);
        let mut crews = Vec::new();
        for range in ranges {
            let failed = |e: std::io::Error| format!("can't start a thread for clients: {e}");
            let poll = Poll::new().map_err(failed)?;
            let waker = Waker::new(poll.registry(), WAKER).map_err(failed)?;
            let (orders, orders_out) = unbounded();
            let (replies_in, replies) = unbounded();
            let lines = Lines { orders: orders_out, replies: replies_in, reached: reached_in.clone() };
            let worker = Worker::new(run.clone(), range, poll, lines, progress.clone());
            std::thread::Builder::new()
                .name("clients".into())
                .spawn(move || worker.work())
                .map_err(failed)?;
            crews.push(Crew { orders, replies, waker, usage: Usage::default() });
        }
        Ok(Fleet { crews, progress, reached })
    }

    /// All threads.
    pub fn all(&self) -> Range<usize> {
        0..self.crews.len()
    }

    fn order(&self, crews: Range<usize>, order: impl Fn() -> Order) {
        for crew in &self.crews[crews] {
            // A thread that is gone is noticed by its silence.
            let _ = crew.orders.send(order());
            let _ = crew.waker.wake();
        }
    }

    fn reply(&self, crew: usize) -> Result<Reply, String> {
        self.crews[crew].replies.recv_timeout(REPLY_TIMEOUT).map_err(|_| silent())
    }

    /// Connects the clients of some threads, and waits until all are where they go or failed.
    ///
    /// # Errors
    /// One sentence where that never ends.
    pub fn connect(
        &self,
        crews: Range<usize>,
        goal: Goal,
        lanes: &[u64],
        in_flight: usize,
        tick: impl Fn(u64),
    ) -> Result<Arrived, String> {
        self.progress.arrived.store(0, Ordering::Relaxed);
        let in_flight = in_flight.div_ceil(crews.len().max(1));
        self.order(crews.clone(), || Order::Connect { goal, lanes: lanes.to_vec(), in_flight });
        let mut all: Option<Arrived> = None;
        for crew in crews {
            let deadline = Instant::now() + REPLY_TIMEOUT;
            let reply = loop {
                tick(self.progress.arrived.load(Ordering::Relaxed));
                match self.crews[crew].replies.recv_timeout(TICK) {
                    Ok(reply) => break reply,
                    Err(_) if Instant::now() < deadline => {}
                    Err(_) => return Err(silent()),
                }
            };
            let Reply::Connected(arrived) = reply else { return Err(out_of_step()) };
            match &mut all {
                None => all = Some(arrived),
                Some(sum) => {
                    sum.ready += arrived.ready;
                    sum.at_ns = sum.at_ns.max(arrived.at_ns);
                    sum.took.add(&arrived.took).expect("both have the same bounds");
                }
            }
        }
        all.ok_or_else(|| "there are no clients".into())
    }

    /// Cuts the connections of some threads.
    ///
    /// # Errors
    /// One sentence where a thread is silent.
    pub fn cut(&self, crews: Range<usize>) -> Result<(), String> {
        self.order(crews.clone(), || Order::Cut);
        for crew in crews {
            let Reply::Cut = self.reply(crew)? else { return Err(out_of_step()) };
        }
        Ok(())
    }

    /// What some threads counted since the last time, and what they used.
    ///
    /// # Errors
    /// One sentence where a thread is silent.
    pub fn gather(&mut self, crews: Range<usize>) -> Result<Gathered, String> {
        self.order(crews.clone(), || Order::Report);
        let mut gathered = Gathered { counts: Counts::new(), failures: BTreeMap::new(), usage: Vec::new() };
        for crew in crews {
            let Reply::Report(report) = self.reply(crew)? else { return Err(out_of_step()) };
            let Report { counts, failures, usage } = *report;
            gathered.counts.add(&counts);
            for (cause, count) in failures {
                *gathered.failures.entry(cause).or_default() += count;
            }
            gathered.usage.push(usage.since(self.crews[crew].usage));
            self.crews[crew].usage = usage;
        }
        Ok(gathered)
    }

    /// Lets the slow and the paused read.
    pub fn release(&self) {
        self.order(self.all(), || Order::Release);
    }

    /// Who got what it must.
    ///
    /// # Errors
    /// One sentence where a thread is silent.
    pub fn audit(&self, published: &Arc<Published>) -> Result<Audit, String> {
        self.order(self.all(), || Order::Audit(published.clone()));
        let mut sum = Audit::default();
        for crew in self.all() {
            let Reply::Audit(audit) = self.reply(crew)? else { return Err(out_of_step()) };
            sum.lost += audit.lost;
            sum.complete += audit.complete;
            sum.incomplete += audit.incomplete;
            for (cause, count) in audit.ended {
                *sum.ended.entry(cause).or_default() += count;
            }
        }
        Ok(sum)
    }

    /// Deliveries to prompt clients since the start.
    pub fn delivered(&self) -> u64 {
        self.progress.delivered.load(Ordering::SeqCst)
    }

    /// Announces how many deliveries are going to be waited for. To be called before they can happen.
    pub fn aim(&self, target: u64) {
        self.progress.target.store(target, Ordering::SeqCst);
    }

    /// Waits until so many deliveries have happened; false when nothing comes any more.
    pub fn wait(&self, target: u64) -> bool {
        self.aim(target);
        let mut before = self.delivered();
        let mut moved = Instant::now();
        while before < target {
            let _ = self.reached.recv_timeout(TICK);
            let now = self.delivered();
            if now != before {
                (before, moved) = (now, Instant::now());
            } else if moved.elapsed() >= PATIENCE {
                return false;
            }
        }
        true
    }
}

fn silent() -> String {
    "a thread of clients does not answer; the server is too slow, or it failed".into()
}

fn out_of_step() -> String {
    "a thread of clients answers something else".into()
}

/// `clients` in `threads` ranges of nearly the same size.
pub fn ranges(clients: u32, threads: u32) -> Vec<Range<u32>> {
    let threads = threads.clamp(1, clients.max(1));
    let at =
        |i: u32| u32::try_from(u64::from(clients) * u64::from(i) / u64::from(threads)).unwrap_or(clients);
    (0..threads).map(|i| at(i)..at(i + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_one_thread() {
        for (clients, threads) in [(1, 1), (10, 3), (3, 10), (19_000, 2)] {
            let ranges = ranges(clients, threads);
            assert_eq!(
                ranges.iter().cloned().flatten().collect::<Vec<_>>(),
                (0..clients).collect::<Vec<_>>()
            );
            let sizes = || ranges.iter().map(ExactSizeIterator::len);
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1, "{ranges:?}");
        }
    }
}
