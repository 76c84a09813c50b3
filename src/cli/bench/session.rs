//! A run: who takes part, how a phase begins and ends, and what it cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::bench::client::{Counts, Goal};
use crate::cli::bench::crowd::{Crowd, Pace};
use crate::cli::bench::event::Maker;
use crate::cli::bench::fleet::{Fleet, Gathered, ranges};
use crate::cli::bench::options::Options;
use crate::cli::bench::orders::{Clock, Published, Run};
use crate::cli::bench::process::{Usage, own_thread};
use crate::cli::bench::progress::Bar;
use crate::cli::bench::publisher::Publisher;
use crate::cli::bench::report::{Connect, Deliveries, Generator, Latency, Phase, Report, Slow};
use crate::cli::bench::schedule::Slip;
use crate::cli::bench::target::Target;

/// How long a node may take to see that connections are gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(20);
/// Without any delivery for so long, those that were slow get no more.
const SLOW_PATIENCE: Duration = Duration::from_secs(3);

/// A run: clients, a publisher, and the server between them.
pub struct Bench<'a> {
    pub options: &'a Options,
    pub target: &'a Target,
    pub run: Run,
    pub fleet: Fleet,
    pub publisher: Publisher,
    /// What was published on the lanes of the posts phase; lane 0 is the publisher's.
    pub published: Published,
    pub bar: &'a Bar,
    pub report: Report,
    slow_closes: Option<u64>,
    received_slowly: u64,
    /// What was counted since the start, between the phases too.
    pub seen: Deliveries,
}

/// The beginning of a phase.
pub struct Mark {
    at: Instant,
    node: Option<Usage>,
    own: Usage,
    /// Deliveries before it.
    pub delivered: u64,
}

impl Mark {
    /// How long ago that was.
    pub fn seconds(&self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }
}

impl<'a> Bench<'a> {
    /// Clients in these threads, and a publisher. Nobody is connected.
    ///
    /// # Errors
    /// One sentence: something could not be had.
    pub fn new(
        options: &'a Options,
        target: &'a Target,
        crowd: &Arc<Crowd>,
        ranges: Vec<std::ops::Range<u32>>,
        bar: &'a Bar,
    ) -> Result<Bench<'a>, String> {
        let run = run(target, crowd);
        let maker = Maker::new(run.id, options.size);
        let publisher = target.publisher(maker, crowd.clone())?;
        let report = Report { threads: ranges.len() as u64, ..describe(target, crowd) };
        let lanes = usize::from(options.publishers) + 1;
        Ok(Bench {
            fleet: Fleet::start(&run, ranges)?,
            run,
            options,
            target,
            publisher,
            published: Published { ends: vec![0; lanes], refused: vec![Default::default(); lanes] },
            bar,
            report,
            slow_closes: target.slow_closes(),
            received_slowly: 0,
            seen: Deliveries::default(),
        })
    }

    /// Connects everybody, and reports what that cost.
    ///
    /// # Errors
    /// One sentence: some did not get in.
    pub fn connect(&mut self, name: &'static str, goal: Goal) -> Result<(), String> {
        let target = self.target;
        let memory = || target.process.as_ref().and_then(|process| process.rss());
        let clients = u64::from(self.run.crowd.len());
        let before = memory();
        let mark = self.begin(name, clients)?;
        let began_ns = self.run.clock.now_ns();
        let bar = self.bar;
        let arrived = self.fleet.connect(
            self.fleet.all(),
            goal,
            &self.published.ends,
            self.options.in_flight,
            |n| bar.at(n),
        )?;
        let cpu_us = self.cpu_us(&mark, arrived.ready);
        let seconds = arrived.at_ns.saturating_sub(began_ns) as f64 / 1e9;
        let rss = before.zip(memory()).map(|(before, after)| after.saturating_sub(before));
        let gathered = self.gather()?;
        if arrived.ready < clients {
            let causes: Vec<_> =
                gathered.failures.iter().map(|(why, count)| format!("{count} {why}")).collect();
            return Err(format!(
                "{} of {clients} clients did not get in: {}",
                clients - arrived.ready,
                causes.join("; ")
            ));
        }
        let generator = self.generator(&mark, &gathered, None);
        self.report.account(name, Deliveries::default(), &generator);
        self.report.connects.push(Connect {
            name,
            clients,
            seconds,
            per_second: clients as f64 / seconds.max(1e-9),
            cpu_us,
            rss_bytes: rss.map(|rss| rss as f64 / clients as f64),
            took_ms: Latency::of(&arrived.took),
            generator,
        });
        Ok(())
    }

    /// Cuts all connections, and waits until the node has seen it.
    ///
    /// # Errors
    /// One sentence: it does not.
    pub fn leave(&self) -> Result<(), String> {
        self.fleet.cut(self.fleet.all())?;
        let deadline = Instant::now() + GONE_TIMEOUT;
        while self.target.stat("totalConnections").and_then(|n| n.as_u64()).is_some_and(|n| n > 0) {
            if Instant::now() >= deadline {
                return Ok(()); // Others are connected too.
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for what is still to come of the publisher's lane since `first`, and reports the phase.
    ///
    /// # Errors
    /// One sentence: a thread is silent.
    pub fn finish(
        &mut self,
        name: String,
        mark: &Mark,
        first: u64,
        slip: Option<(&Slip, Duration)>,
    ) -> Result<(), String> {
        let phase = self.end(mark, &name, first, slip)?;
        self.report.account(&name, phase.deliveries, &phase.generator);
        self.report.phases.push(phase);
        Ok(())
    }

    /// Waits likewise, and says what came of it.
    ///
    /// # Errors
    /// One sentence: a thread is silent.
    pub fn end(
        &mut self,
        mark: &Mark,
        name: &str,
        first: u64,
        slip: Option<(&Slip, Duration)>,
    ) -> Result<Phase, String> {
        let events = first..self.publisher.next();
        let refused = self.publisher.refused();
        let refusals = events.clone().filter(|seq| refused.contains(seq)).count() as u64;
        let expected = self.run.crowd.deliveries(events.clone().filter(|seq| !refused.contains(seq)));
        self.fleet.wait(mark.delivered + expected);
        let seconds = mark.seconds();
        let cpu_us = self.cpu_us(mark, expected);
        let gathered = self.gather()?;
        let deliveries = deliveries(expected, &gathered.counts);
        Ok(Phase {
            name: name.to_owned(),
            events: events.end - events.start,
            refused: refusals,
            seconds,
            deliveries,
            per_second: deliveries.received as f64 / seconds,
            cpu_us,
            latency_ms: Latency::of(&gathered.counts.latency),
            generator: self.generator(mark, &gathered, slip),
            histogram: gathered.counts.latency,
        })
    }

    /// Lets the slow read on, and sees who did not get what it must.
    ///
    /// # Errors
    /// One sentence: a thread is silent.
    pub fn conclude(mut self) -> Result<Report, String> {
        self.published.ends[0] = self.publisher.next();
        self.published.refused[0] = self.publisher.refused().clone();
        let published = Arc::new(self.published.clone());
        let crowd = self.run.crowd.clone();
        let [slow, paused] = [Pace::Slow, Pace::Paused].map(|pace| u64::from(crowd.count(pace)));
        let mut audit = self.fleet.audit(&published)?;
        if slow + paused > 0 {
            self.bar.begin("the slow read on", slow + paused);
            self.fleet.release();
            let mut moved = Instant::now();
            while audit.incomplete > 0 && moved.elapsed() < SLOW_PATIENCE {
                std::thread::sleep(Duration::from_millis(100));
                let before = self.received_slowly;
                self.gather()?;
                audit = self.fleet.audit(&published)?;
                self.bar.at(slow + paused - audit.incomplete);
                if self.received_slowly != before {
                    moved = Instant::now();
                }
            }
            self.report.slow = Some(Slow {
                slow,
                paused,
                received: self.received_slowly,
                complete: audit.complete,
                incomplete: audit.incomplete,
                ended: audit.ended.clone(),
                node_closed_4103: self
                    .target
                    .slow_closes()
                    .zip(self.slow_closes)
                    .map(|(now, then)| now - then),
            });
        }
        self.gather()?;
        let expected = self.report.total.expected;
        self.report.total = Deliveries { expected, lost: audit.lost, ..self.seen };
        self.report.conclude();
        Ok(self.report)
    }

    /// A phase begins: nothing that was counted before counts for it.
    ///
    /// # Errors
    /// One sentence: a thread is silent.
    pub fn begin(&mut self, name: &str, total: u64) -> Result<Mark, String> {
        self.bar.begin(name, total);
        self.gather()?;
        let node = self.node_usage();
        Ok(Mark { at: Instant::now(), node, own: own_thread(), delivered: self.fleet.delivered() })
    }

    /// Collects what all threads counted.
    ///
    /// # Errors
    /// One sentence: a thread is silent.
    pub fn gather(&mut self) -> Result<Gathered, String> {
        let gathered = self.fleet.gather(self.fleet.all())?;
        self.note(&gathered);
        Ok(gathered)
    }

    /// Remembers what is not of a phase but of the run.
    pub fn note(&mut self, gathered: &Gathered) {
        let counts = &gathered.counts;
        self.received_slowly += counts.received_slowly;
        self.seen.received += counts.received;
        self.seen.out_of_order += counts.late;
        self.seen.twice += counts.twice;
        self.seen.foreign += counts.foreign;
        for (cause, count) in &gathered.failures {
            *self.report.failures.entry(cause.clone()).or_default() += count;
        }
    }

    /// CPU of the node since the mark, in us, for each of `count`.
    pub fn cpu_us(&self, mark: &Mark, count: u64) -> Option<f64> {
        let (before, after) = mark.node.zip(self.node_usage())?;
        (count > 0).then(|| after.since(before).ran_ns as f64 / 1000.0 / count as f64)
    }

    fn node_usage(&self) -> Option<Usage> {
        self.target.process.as_ref().and_then(|process| process.usage())
    }

    /// How the generator was doing since the mark.
    pub fn generator(&self, mark: &Mark, gathered: &Gathered, slip: Option<(&Slip, Duration)>) -> Generator {
        let wall_ns = mark.at.elapsed().as_nanos() as f64;
        let own = own_thread().since(mark.own);
        let share = |ns: u64| ns as f64 / wall_ns.max(1.0);
        let most = |part: fn(&Usage) -> u64| gathered.usage.iter().map(part).max().unwrap_or(0);
        Generator {
            busy: share(most(|usage| usage.ran_ns).max(own.ran_ns)),
            // Of those who read. Where the one who publishes came late, the slip says so.
            waited: share(most(|usage| usage.waited_ns)),
            slip_p99_ms: slip.map(|(slip, _)| slip.p99_ms()),
            kept_schedule: slip.is_none_or(|(slip, gap)| slip.is_kept(gap)),
        }
    }
}

/// What came of so many deliveries.
pub fn deliveries(expected: u64, counts: &Counts) -> Deliveries {
    Deliveries {
        expected,
        received: counts.received,
        lost: expected.saturating_sub(counts.received),
        out_of_order: counts.late,
        twice: counts.twice,
        foreign: counts.foreign,
    }
}

/// A run against a target.
fn run(target: &Target, crowd: &Arc<Crowd>) -> Run {
    use std::hash::{BuildHasher, RandomState};
    let id = RandomState::new().hash_one(std::process::id()) as u32;
    let entry = Arc::new(target.entry(id));
    Run { id, clock: Clock::start(), crowd: crowd.clone(), entry, address: target.address }
}

/// The head of a report.
fn describe(target: &Target, crowd: &Crowd) -> Report {
    let mut roles = std::collections::BTreeMap::new();
    for client in 0..crowd.len() {
        *roles.entry(crowd.role(client).to_owned()).or_default() += 1;
    }
    let shards = target.stat("shards").and_then(|shards| shards.as_u64());
    let mut line = target.url.clone();
    if let Some(pid) = target.pid {
        line.push_str(&format!(", process {pid}"));
    }
    if let Some(shards) = shards {
        line.push_str(&format!(", {shards} shard(s)"));
    }
    if target.is_spawned() {
        line.push_str(", started for this");
    }
    Report {
        target: line,
        url: target.url.clone(),
        pid: target.pid,
        shards,
        clients: crowd.len().into(),
        roles,
        namespaces: crowd.plan().namespaces.clone(),
        ..Report::default()
    }
}

/// Connections that are upgraded and say no word, on a node of their own where one can be started.
///
/// # Errors
/// One sentence: they did not get in.
pub fn upgrades(options: &Options, target: &Target, crowd: &Arc<Crowd>, bar: &Bar) -> Result<Report, String> {
    let mut bench = Bench::new(options, target, crowd, ranges(crowd.len(), options.threads), bar)?;
    bench.connect("upgrade only", Goal::Upgraded)?;
    bench.leave()?;
    Ok(bench.report)
}
