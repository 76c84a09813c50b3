//! Very many come back at once for what they missed, while others get events all the time.
//!
//! ```text
//!            everybody    everybody   returning   those that      all return at once,      all get
//!            connects     is there    are cut     stay, alone     each with its last id    events
//! events  ─────┬────────────┬───────────┬───────────┬───────────────┬────────────────────────┬───────▶ at one rate
//! ```
//!
//! Those that stay are measured three times. While everybody is there an event has more sockets to reach before it
//! reaches the last of them; so the fair comparison for the return is with everybody there, and the strict one with
//! nobody else there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::bench::client::Goal;
use crate::cli::bench::crowd::{Crowd, Plan};
use crate::cli::bench::event::Maker;
use crate::cli::bench::fleet::Gathered;
use crate::cli::bench::options::Options;
use crate::cli::bench::orders::Clock;
use crate::cli::bench::phases::publish_due;
use crate::cli::bench::progress::Bar;
use crate::cli::bench::publisher::Publisher;
use crate::cli::bench::report::{Comeback, Deliveries, Latency, Report};
use crate::cli::bench::schedule::{Schedule, Slip};
use crate::cli::bench::session::Bench;
use crate::cli::bench::target::Target;

/// Events a second: everybody together can be served at that rate, or it would be overload that is measured.
const RATE: f64 = 10.0;
/// Length of each stretch before the return.
const SECONDS: f64 = 5.0;
/// Between two steps: what the one stirred up has settled when the other begins.
const PAUSE: Duration = Duration::from_secs(1);
/// The flow ends by being stopped.
const FLOW_SECONDS: f64 = 86_400.0;

/// Everybody of a comeback: those that stay come first.
pub fn everybody(options: &Options) -> Plan {
    Plan { clients: options.most_connections(), ..options.plan.clone() }
}

/// How the flow of events is steered.
#[derive(Default)]
struct Valve {
    stop: AtomicBool,
    /// Events that are to go out at once, beside the rate.
    extra: AtomicU64,
    posted: AtomicU64,
}

/// Measures it.
///
/// # Errors
/// One sentence: somebody did not get in, or the node is gone.
pub fn run(options: &Options, target: &Target, crowd: &Arc<Crowd>, bar: &Bar) -> Result<Report, String> {
    let stay = options.plan.clients;
    let mut bench = Bench::new(options, target, crowd, vec![0..stay, stay..crowd.len()], bar)?;
    bench.connect("auth and subscribe", Goal::Fresh)?;
    let valve = Valve::default();
    let rate = options.rate.unwrap_or(RATE);
    let clock = bench.run.clock;
    let mut publisher = target.publisher(Maker::new(bench.run.id, options.size), crowd.clone())?;
    let (row, slip) = std::thread::scope(|scope| {
        let flow = scope.spawn(|| flow(&mut publisher, rate, clock, &valve));
        let row = steps(&mut bench, &valve, rate);
        valve.stop.store(true, Ordering::SeqCst);
        let slip = flow.join().map_err(|_| "the publisher failed".to_string())??;
        Ok::<_, String>((row?, slip))
    })?;
    bench.publisher = publisher;
    finish(bench, row, &slip, Duration::from_secs_f64(1.0 / rate))
}

/// Publishes at a rate until it is stopped.
fn flow(publisher: &mut Publisher, rate: f64, clock: Clock, valve: &Valve) -> Result<Slip, String> {
    let schedule = Schedule::new(clock.now_ns(), rate, FLOW_SECONDS);
    let mut slip = Slip::new();
    let mut sent = 0;
    while !valve.stop.load(Ordering::SeqCst) {
        let extra = valve.extra.swap(0, Ordering::SeqCst);
        let now_ns = clock.now_ns();
        publisher.publish((0..extra).map(|_| now_ns))?;
        sent = publish_due(publisher, &schedule, sent, clock, &mut slip)?;
        valve.posted.store(publisher.next(), Ordering::SeqCst);
    }
    publisher.settle()?;
    Ok(slip)
}

/// The story, while events flow.
fn steps(bench: &mut Bench<'_>, valve: &Valve, rate: f64) -> Result<Comeback, String> {
    let options = bench.options;
    let seconds = options.seconds.unwrap_or(SECONDS);
    let (staying, returning) = (0..1, 1..2);
    std::thread::sleep(PAUSE);
    let everybody = stretch(bench, "everybody", seconds)?;
    bench.bar.begin("cut off", 0);
    let cut_at = valve.posted.load(Ordering::SeqCst);
    bench.fleet.cut(returning.clone())?;
    // What the rate will not bring until they return is sent now, at once.
    let coming = (rate * (seconds + 2.0 * PAUSE.as_secs_f64())) as u64;
    valve.extra.store(options.behind.saturating_sub(coming), Ordering::SeqCst);
    std::thread::sleep(2 * PAUSE);
    let quiet = stretch(bench, "those that stay", seconds)?;

    let bar = bench.bar;
    let mark = bench.begin("coming back", options.returning.into())?;
    let behind = valve.posted.load(Ordering::SeqCst) - cut_at;
    let began_ns = bench.run.clock.now_ns();
    let arrived =
        bench.fleet.connect(returning.clone(), Goal::Back, &[], options.in_flight, |n| bar.at(n))?;
    let cpu_seconds = bench.cpu_us(&mark, 1).map(|us| us / 1e6);
    let meanwhile = bench.fleet.gather(staying.clone())?;
    let back = bench.fleet.gather(returning)?;
    bench.note(&meanwhile);
    bench.note(&back);
    let busiest = [&meanwhile.usage[..], &back.usage[..]].concat();
    let replayed = back.counts.received;
    let both = Gathered { usage: busiest, ..back };
    let generator = bench.generator(&mark, &both, None);
    let seconds = arrived.at_ns.saturating_sub(began_ns) as f64 / 1e9;
    std::thread::sleep(PAUSE);
    let histograms = [everybody, quiet, meanwhile.counts.latency];
    let [everybody_ms, quiet_ms, meanwhile_ms] = histograms.each_ref().map(Latency::of);
    Ok(Comeback {
        live: options.plan.clients.into(),
        returning: arrived.ready,
        behind,
        rate,
        seconds,
        caught_up_ms: Latency::of(&arrived.took),
        replayed_per_second: replayed as f64 / seconds.max(1e-9),
        cpu_seconds,
        everybody_ms,
        quiet_ms,
        meanwhile_ms,
        p99_to_everybody: meanwhile_ms.p99 / everybody_ms.p99.max(1e-3),
        p99_to_quiet: meanwhile_ms.p99 / quiet_ms.p99.max(1e-3),
        deliveries: Deliveries::default(),
        generator,
        histograms,
    })
}

/// What those that stay see while nothing else happens.
fn stretch(bench: &mut Bench<'_>, name: &str, seconds: f64) -> Result<Histogram<u64>, String> {
    bench.bar.begin(name, 0);
    bench.gather()?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let gathered = bench.fleet.gather(0..1)?;
    bench.note(&gathered);
    Ok(gathered.counts.latency)
}

/// Waits for the last events, and counts what everybody got of all of them.
fn finish(mut bench: Bench<'_>, mut row: Comeback, slip: &Slip, gap: Duration) -> Result<Report, String> {
    let refused = bench.publisher.refused();
    let accepted = (0..bench.publisher.next()).filter(|seq| !refused.contains(seq));
    let expected = bench.run.crowd.deliveries(accepted);
    bench.fleet.wait(expected);
    bench.gather()?;
    row.deliveries =
        Deliveries { expected, lost: expected.saturating_sub(bench.seen.received), ..bench.seen };
    row.generator.slip_p99_ms = Some(slip.p99_ms());
    row.generator.kept_schedule = slip.is_kept(gap);
    bench.report.account("comeback", row.deliveries, &row.generator);
    bench.report.comeback = Some(row);
    bench.conclude()
}
