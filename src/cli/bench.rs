//! `omnicast bench`: very many clients, and what a node does for them. The proof for every figure in the documents.
//!
//! ```text
//!            options ── crowd: who is who, and what each of them must get (pure)
//!               │
//!   target ── phases, posting, comeback ── report, plot
//!   (spawn)     │                │
//!            publisher, load   fleet ── worker: a thread with very many sockets
//!            (posts)             │         └─ client: one of them (pure): frames, event, stream
//!               └──────▶ node ───┘
//! ```
//!
//! Every event carries a stamp with its number and the time when it was due, so each client knows what it misses, and
//! latency counts from when an event was due. Nothing here runs in a node.

mod answers;
mod client;
mod comeback;
mod crowd;
mod dial;
mod event;
mod fleet;
mod frames;
mod load;
mod options;
mod orders;
mod phases;
mod plot;
mod posting;
mod process;
mod progress;
mod publisher;
mod report;
mod schedule;
mod session;
mod spawn;
mod stream;
mod tables;
mod talk;
mod target;
mod worker;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ArgMatches;

use crate::cli::{output, token};
use crate::node::descriptors;

use crowd::Crowd;
use fleet::ranges;
use options::{Options, Scenario};
use progress::Bar;
use report::Report;
use session::Bench;
use target::Target;

pub use options::command;

/// Descriptors beside those of the clients: polls, wakers, publishers, files.
const SPARE_DESCRIPTORS: u64 = 64;

/// Measures, and prints what came out. 1 where a client did not get what it must.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let ready = Options::read(matches).and_then(|options| {
        let comes_back = options.scenarios.contains(&Scenario::Comeback);
        let plan = if comes_back { comeback::everybody(&options) } else { options.plan.clone() };
        let crowd = Crowd::new(plan)?;
        check_descriptors(&options)?;
        Ok((options, Arc::new(crowd), token::secret(&env)?))
    });
    let (options, crowd, secret) = match ready {
        Ok(ready) => ready,
        Err(sentence) => return output::refuse(&sentence),
    };
    let bar = Bar::new();
    let measured = measure(&options, &crowd, secret, env, &bar);
    bar.clear();
    match measured.and_then(|report| print(&options, &report).map(|()| report.sound)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => output::fail("a client did not get what it must"),
        Err(sentence) => output::fail(&sentence),
    }
}

fn measure(
    options: &Options,
    crowd: &Arc<Crowd>,
    secret: Option<String>,
    env: impl Fn(&str) -> Option<String>,
    bar: &Bar,
) -> Result<Report, String> {
    let find = || Target::find(options, secret.clone(), &env);
    if options.scenarios.contains(&Scenario::Comeback) {
        return comeback::run(options, &find()?, crowd, bar);
    }
    let mut target = find()?;
    let storm = options.scenarios.contains(&Scenario::Storm) && target.is_node();
    let upgraded = storm.then(|| session::upgrades(options, &target, crowd, bar)).transpose()?;
    if storm && target.is_spawned() {
        target = find()?; // A fresh one: what the last clients left in its memory is not to be counted.
    }
    let mut bench = Bench::new(options, &target, crowd, ranges(crowd.len(), options.threads), bar)?;
    if let Some(upgraded) = upgraded {
        bench.report.connects = upgraded.connects;
        bench.report.notes = upgraded.notes;
    }
    let name = if target.is_node() { "auth and subscribe" } else { "upgrade only" };
    bench.connect(name, client::Goal::Fresh)?;
    if options.scenarios.iter().any(|scenario| *scenario != Scenario::Storm) {
        bench.warm_up()?;
    }
    for scenario in &options.scenarios {
        match scenario {
            Scenario::Storm | Scenario::Comeback => {}
            Scenario::Closed => bench.closed()?,
            Scenario::Burst => bench.burst()?,
            Scenario::Open => bench.open()?,
            Scenario::Posts => bench.posts()?,
        }
    }
    bench.conclude()
}

/// One process holds all clients, so it needs a descriptor for each.
fn check_descriptors(options: &Options) -> Result<(), String> {
    let needed = u64::from(options.most_connections()) + u64::from(options.publishers) + SPARE_DESCRIPTORS;
    match descriptors::raise(needed) {
        Some(limit) if limit < needed => Err(format!(
            "--connections: {} need {needed} open files, and this process may have {limit} (ulimit -n): run several of these, \
             or raise the limit",
            options.most_connections()
        )),
        _ => Ok(()),
    }
}

fn print(options: &Options, report: &Report) -> Result<(), String> {
    let text = if options.json {
        let json = serde_json::to_string(report).map_err(|e| format!("the report is no JSON: {e}"))?;
        format!("{json}\n")
    } else {
        report.text()
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(format!("can't write: {e}")),
        _ => {}
    }
    let Some(path) = &options.plot else { return Ok(()) };
    let line = |name, histogram| plot::Line { name, histogram };
    let mut lines: Vec<_> =
        report.phases.iter().map(|phase| line(phase.name.as_str(), &phase.histogram)).collect();
    if let Some(comeback) = &report.comeback {
        lines.extend(
            ["everybody there", "the others away", "the others coming back"]
                .into_iter()
                .zip(&comeback.histograms)
                .map(|(name, h)| line(name, h)),
        );
    }
    plot::draw(path, &format!("{} clients of {}", report.clients, report.url), &lines)
}
