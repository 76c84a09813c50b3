//! A real node under real connections: bytes per connection, CPU per delivery, latency, and
//! whether anything is lost or out of order. Beside it, in the same run and taking turns, the
//! floor: the least that any server must do, one bare `write` of one ready frame per socket.
//!
//! ```text
//! cargo bench --bench loopback                       # 1,000 and 10,000 connections
//! cargo bench --bench loopback -- --connections 10000 --flow 1000
//! ```
//!
//! The machine's other work moves absolute figures a lot: quote the ratios.

mod fleet;
mod floor;
mod server;

use std::time::{Duration, Instant};

use fleet::Fleet;
use server::Server;

/// Single events per round, each sent when the one before has reached everybody.
const CLOSED: usize = 20;
/// Events of one burst.
const BURST: usize = 40;
/// Rounds; node and floor take turns.
const ROUNDS: usize = 3;

struct Options {
    connections: Vec<usize>,
    /// Events of the flow, the phase that counts every delivery.
    flow: usize,
    /// Events a second in the flow.
    rate: f64,
    shards: String,
}

fn options() -> Options {
    let mut options =
        Options { connections: vec![1_000, 10_000], flow: 1_000, rate: 40.0, shards: "1".to_owned() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} takes a value"));
        match argument.as_str() {
            "--connections" => options.connections = vec![value().parse().expect("a number")],
            "--flow" => options.flow = value().parse().expect("a number"),
            "--rate" => options.rate = value().parse().expect("a number"),
            "--shards" => options.shards = value(),
            // As `cargo test --benches` asks: does it run at all?
            "--test" => {
                options.connections = vec![100];
                options.flow = 100;
                options.rate = 400.0;
            }
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    options
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--floor") => floor::run(),
        Some("--fleet") => fleet::run(&arguments[1..]),
        _ => {}
    }
    let options = options();
    for &n in &options.connections {
        measure(n, &options);
    }
}

/// One server with its clients.
struct Side {
    /// Before the server: it is dropped first, and sees no connection closed.
    fleet: Fleet,
    server: Server,
    closed: Vec<f64>,
    burst: Vec<f64>,
}

impl Side {
    fn new(name: &str, server: Server, n: usize) -> Side {
        let (cpu, rss) = (server.cpu_ns(), server.rss());
        let fleet = Fleet::connect(server.address, n, server.speaks_protocol());
        let per = |total: u64| total as f64 / n as f64;
        let memory = server.rss().saturating_sub(rss);
        println!(
            "{name}: {:.0} B of RSS and {:.1} us of CPU per connection{}",
            per(memory),
            per(server.cpu_ns() - cpu) / 1000.0,
            if server.speaks_protocol() { " (upgraded, authenticated, subscribed)" } else { " (upgraded)" },
        );
        Side { server, fleet, closed: vec![], burst: vec![] }
    }

    /// CPU microseconds per delivery while `events` reach everybody, in groups of `together`.
    fn deliver(&mut self, events: usize, together: usize) -> f64 {
        let cpu = self.server.cpu_ns();
        for _ in 0..events / together {
            self.fleet.expect((together * self.fleet.len()) as u64);
            self.server.post(together);
            let (_, disordered) = self.fleet.received();
            assert_eq!(disordered, 0, "nothing is out of order");
        }
        (self.server.cpu_ns() - cpu) as f64 / 1000.0 / (events * self.fleet.len()) as f64
    }

    fn round(&mut self) {
        self.deliver(3, 1); // Warm up.
        let closed = self.deliver(CLOSED, 1);
        self.closed.push(closed);
    }

    fn burst_round(&mut self) {
        let burst = self.deliver(BURST, BURST);
        self.burst.push(burst);
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn measure(n: usize, options: &Options) {
    println!("\n== {n} connections, {} shard(s)", options.shards);
    let mut floor = Side::new("floor", Server::floor(), n);
    let mut node = Side::new("node", Server::node(n, &options.shards), n);
    for _ in 0..ROUNDS {
        node.round();
        floor.round();
    }
    for (name, side) in [("node", &mut node), ("floor", &mut floor)] {
        println!("{name}: latency of one event at a time: {}", side.fleet.latency());
    }
    for _ in 0..ROUNDS {
        node.burst_round();
        floor.burst_round();
    }
    for (what, ours, bare) in
        [("one event at a time", &node.closed, &floor.closed), ("a burst of 40", &node.burst, &floor.burst)]
    {
        let (ours, bare) = (median(ours), median(bare));
        println!("{what}: node {ours:.2} us, floor {bare:.2} us of CPU per delivery = {:.2}", ours / bare);
    }
    drop(floor);
    node.fleet.latency();
    flow(&mut node, options);
}

/// Events at a steady rate; every delivery is counted.
fn flow(node: &mut Side, options: &Options) {
    if options.flow == 0 {
        return;
    }
    let cpu = node.server.cpu_ns();
    let start = Instant::now();
    let expected = (options.flow * node.fleet.len()) as u64;
    node.fleet.expect(expected);
    for posted in 0..options.flow {
        let due = Duration::from_secs_f64(posted as f64 / options.rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        node.server.post(1);
    }
    let (deliveries, disordered) = node.fleet.received();
    let seconds = start.elapsed().as_secs_f64();
    let per = (node.server.cpu_ns() - cpu) as f64 / 1000.0 / expected as f64;
    println!(
        "flow: {} events to {} connections at {}/s: {deliveries} of {expected} deliveries, {disordered} out of \
         order, {:.0} deliveries/s, {per:.2} us of CPU per delivery, latency {}",
        options.flow,
        node.fleet.len(),
        options.rate,
        deliveries as f64 / seconds,
        node.fleet.latency(),
    );
    assert_eq!(deliveries, expected, "nothing is lost, nothing comes twice");
    assert_eq!(disordered, 0, "nothing is out of order");
}
