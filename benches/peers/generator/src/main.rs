//! Drives one server over real connections, and prints what it measured: one JSON object for each phase, one a line.
//! The node, its peers and the floor are all driven by this program and differ only in their adapter.

mod client;
mod crowd;
mod event;
mod floor;
mod frames;
mod options;
mod posts;
mod process;
mod publisher;
mod tongue;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use mio::{Poll, Waker};
use serde_json::{Value, json};

use crowd::Crowd;
use options::{Options, Order, Phase};
use publisher::{Publisher, REACHED, Schedule};

fn main() -> ExitCode {
    let outcome = options::read().and_then(|order| match order {
        Order::Floor { port, gather } => floor::run(port, gather),
        Order::Drive(options) => run(&options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// After it a server that has nothing to do does nothing.
const CALM: Duration = Duration::from_millis(200);

fn run(options: &Options) -> Result<(), String> {
    let say = |e: std::io::Error| e.to_string();
    let clock = Instant::now();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?;
    let poll = Poll::new().map_err(say)?;
    let reached = Waker::new(poll.registry(), REACHED).map_err(say)?;
    let entry = options.entry(wall.as_millis() as u64);
    let mut publisher = Publisher::connect(options.way(&entry), poll, clock, wall.as_secs())?;
    let crowd = Crowd::start(options.address, options.connections, entry, clock, reached).map_err(say)?;
    storm(options, &crowd)?;
    for phase in &options.phases {
        measure(options, phase, &crowd, &mut publisher)?;
    }
    Ok(())
}

/// Everybody connects.
fn storm(options: &Options, crowd: &Crowd) -> Result<(), String> {
    std::thread::sleep(CALM);
    let n = options.connections as f64;
    let (cpu_ns, rss) = (process::cpu_ns(options.pid), process::rss_bytes(options.pid));
    let took = crowd.connect()?;
    std::thread::sleep(CALM);
    let cpu_ns = process::cpu_ns(options.pid) - cpu_ns;
    std::thread::sleep(2 * CALM);
    let rss_after = process::rss_bytes(options.pid);
    print(json!({
        "phase": if options.upgrade_only { "upgrade" } else { "storm" },
        "connections": options.connections,
        "seconds": round(took.as_secs_f64()),
        "connections_per_s": round(n / took.as_secs_f64()),
        "cpu_us_per_connection": round(cpu_ns as f64 / 1000.0 / n),
        "rss_bytes_per_connection": round((rss_after as f64 - rss as f64) / n),
        "rss_bytes": rss_after,
    }));
    Ok(())
}

fn measure(options: &Options, phase: &Phase, crowd: &Crowd, publisher: &mut Publisher) -> Result<(), String> {
    let n = options.connections as u64;
    std::thread::sleep(CALM);
    let before = crowd.report(publisher.next_seq)?;
    let cpu_ns = process::cpu_ns(options.pid);
    let published = publisher.publish(phase.count, phase.schedule, n, &crowd.progress)?;
    std::thread::sleep(Duration::from_millis(20));
    let cpu_ns = process::cpu_ns(options.pid).saturating_sub(cpu_ns);
    let report = crowd.report(publisher.next_seq)?;
    if !process::lives(options.pid) {
        return Err(format!("the server is gone after {}", phase.name));
    }
    let tally = &report.tally;
    let seconds = published.took.as_secs_f64();
    let delivered = tally.delivered.max(1) as f64;
    let ms = |quantile| round(tally.latency_us.value_at_quantile(quantile) as f64 / 1000.0);
    if phase.name == "warm" {
        return Ok(());
    }
    print(json!({
        "phase": phase.name,
        "connections": n,
        "events": phase.count,
        "expected": phase.count * n,
        "delivered": tally.delivered,
        "lost": (phase.count * n) as i64 - tally.delivered as i64,
        // Publishers on several connections overtake each other: then there is no order to keep.
        "disordered": (options.links == 1).then_some(tally.disordered),
        "stale": tally.stale,
        "refused": published.refused,
        "ended": report.ended,
        "reason": report.reason,
        "seconds": round(seconds),
        "deliveries_per_s": round(delivered / seconds),
        "cpu_us_per_delivery": round(cpu_ns as f64 / 1000.0 / delivered),
        "bytes_per_delivery": round(tally.bytes as f64 / delivered),
        "p50_ms": ms(0.5),
        "p99_ms": ms(0.99),
        "max_ms": ms(1.0),
        "open_loop": matches!(phase.schedule, Schedule::Open(_)),
        "slip_ms": round(published.slip.as_secs_f64() * 1000.0),
        "generator_busy": round((report.cpu_ns - before.cpu_ns) as f64 / 1e9 / seconds),
        "rss_bytes": process::rss_bytes(options.pid),
    }));
    Ok(())
}

/// Five significant digits: more would be a pretence.
fn round(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

fn print(line: Value) {
    println!("{line}");
}
