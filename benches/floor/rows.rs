//! The rows of the table: what is run for each of them, and how it is printed.

use std::path::PathBuf;

use super::side::{Runs, Side};

/// What is asked for.
pub struct Options {
    /// Clients of the main rows.
    pub connections: u32,
    /// How often everything is measured.
    pub rounds: usize,
    /// These rows; all where it is empty.
    pub only: Vec<String>,
    /// Where the reports of all runs go.
    pub raw: Option<PathBuf>,
    /// The smallest run that touches everything.
    smoke: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { connections: 10_000, rounds: 3, only: Vec::new(), raw: None, smoke: false }
    }
}

impl Options {
    /// For a test: it runs at all.
    pub fn smoke() -> Options {
        Options { connections: 60, rounds: 1, smoke: true, ..Options::default() }
    }

    /// Whether a row is asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == row)
    }

    /// A tenth of the clients.
    fn few(&self) -> u32 {
        (self.connections / 10).max(10)
    }

    /// As many as a process with 20,000 descriptors can hold, the node's own ones kept free.
    fn many(&self) -> u32 {
        if self.smoke { self.connections * 2 } else { self.connections.max(18_900) }
    }

    fn seconds(&self, seconds: f64) -> f64 {
        if self.smoke { 0.2 } else { seconds }
    }

    fn events(&self, events: u32) -> u32 {
        if self.smoke { 5 } else { events }
    }
}

/// A row, or some that come of the same runs.
pub struct Row {
    pub name: &'static str,
    pub measure: fn(&Options, &mut Runs, bool),
    print: fn(&Options, &Runs, &mut Vec<Vec<String>>),
}

const NODE: Side = Side::Node(1);
const FLOOR: Side = Side::Floor(1, 1);
const CPU: &str = "/phases/0/cpuUs";

/// All of them.
pub const ROWS: [Row; 8] = [
    Row { name: "closed", measure: closed, print: print_closed },
    Row { name: "few", measure: few, print: print_few },
    Row { name: "burst", measure: burst, print: print_burst },
    Row { name: "connect", measure: connect, print: print_connect },
    Row { name: "open", measure: open, print: print_open },
    Row { name: "overload", measure: overload, print: print_overload },
    Row { name: "posts", measure: posts, print: print_posts },
    Row { name: "growth", measure: growth, print: print_growth },
];

fn closed(options: &Options, runs: &mut Runs, backwards: bool) {
    let arguments = format!(
        "--connections {} --scenario closed,burst --events {} --bursts 1",
        options.connections,
        options.events(20)
    );
    let figures = [
        ("closed", CPU),
        ("closed p50", "/phases/0/latencyMs/p50"),
        ("closed p99", "/phases/0/latencyMs/p99"),
    ];
    runs.turn(&[("floor", FLOOR), ("node", NODE)], backwards, &arguments, &figures);
}

fn print_closed(options: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    let n = options.connections;
    ratio(
        out,
        runs,
        &format!("CPU per delivery, one event at a time, {n} clients, us"),
        "closed",
        "floor",
        "node",
        "1.03",
    );
    ratio(out, runs, "its latency, p50, ms", "closed p50", "floor", "node", "");
    ratio(out, runs, "its latency, p99, ms", "closed p99", "floor", "node", "");
}

fn few(options: &Options, runs: &mut Runs, backwards: bool) {
    let arguments =
        format!("--connections {} --scenario closed --events {}", options.few(), options.events(1_000));
    runs.turn(&[("floor", FLOOR), ("node", NODE)], backwards, &arguments, &[("few", CPU)]);
}

fn print_few(options: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    let name = format!("CPU per delivery, one event at a time, {} clients, us", options.few());
    ratio(out, runs, &name, "few", "floor", "node", "1.05");
}

fn burst(options: &Options, runs: &mut Runs, backwards: bool) {
    let figures = [("burst", CPU)];
    let run = |burst: u32| {
        format!(
            "--connections {} --scenario burst --burst {burst} --bursts {}",
            options.connections,
            options.events(5).min(2)
        )
    };
    let sides = [("floor", FLOOR), ("node", NODE), ("floor, all that arrived", Side::Floor(1, 0))];
    runs.turn(&sides, backwards, &run(40), &figures);
    runs.turn(&[("floor, 8 a write", Side::Floor(1, 8))], backwards, &run(8), &figures);
    runs.turn(&[("floor, 32 a write", Side::Floor(1, 32))], backwards, &run(32), &figures);
    runs.turn(&[("floor, 2 threads", Side::Floor(2, 1))], backwards, &run(40), &figures);
}

fn print_burst(_: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    ratio(out, runs, "CPU per delivery, 40 posts back to back, us", "burst", "floor", "node", "0.07");
    for side in ["floor, all that arrived", "floor, 8 a write", "floor, 32 a write", "floor, 2 threads"] {
        ratio(out, runs, &format!("the same, {side}"), "burst", "floor", side, "");
    }
}

fn connect(options: &Options, runs: &mut Runs, backwards: bool) {
    let arguments = format!("--connections {} --scenario storm", options.connections);
    let first = "/connects/0";
    let second = "/connects/1";
    let figures = |at: &str| [format!("{at}/cpuUs"), format!("{at}/rssBytes"), format!("{at}/perSecond")];
    let [cpu, rss, rate] = figures(first);
    let [full_cpu, full_rss, full_rate] = figures(second);
    let all = [
        ("upgrade", &*cpu),
        ("upgrade rate", &*rate),
        ("bytes", &*rss),
        ("enter", &*full_cpu),
        ("enter rate", &*full_rate),
        ("enter bytes", &*full_rss),
    ];
    runs.turn(&[("floor", FLOOR), ("node", NODE)], backwards, &arguments, &all);
    if !options.smoke {
        let many = format!("--connections {} --scenario storm", options.many());
        runs.turn(&[("node", NODE)], backwards, &many, &[("many bytes", &*full_rss)]);
    }
}

fn print_connect(options: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    ratio(out, runs, "CPU per connection, upgrade only, us", "upgrade", "floor", "node", "1.25");
    cross(out, runs, "the same with auth and subscribe", ("upgrade", "floor"), ("enter", "node"), "2.2");
    ratio(out, runs, "connections a second, upgrade only", "upgrade rate", "floor", "node", "");
    alone(out, runs, "connections a second, with auth and subscribe", "enter rate", "");
    let n = options.connections;
    cross(
        out,
        runs,
        &format!("memory per client, {n} clients, B"),
        ("bytes", "floor"),
        ("enter bytes", "node"),
        "600 B",
    );
    alone(out, runs, &format!("memory per client, {} clients, B", options.many()), "many bytes", "600 B");
}

fn open(options: &Options, runs: &mut Runs, backwards: bool) {
    let arguments =
        format!("--connections {} --scenario open --seconds {}", options.connections, options.seconds(8.0));
    let figures = [("p50", "/phases/0/latencyMs/p50"), ("p99", "/phases/0/latencyMs/p99"), ("open", CPU)];
    let sides =
        [("floor", FLOOR), ("node", NODE), ("2 shards", Side::Node(2)), ("2 threads", Side::Floor(2, 1))];
    runs.turn(&sides, backwards, &arguments, &figures);
}

fn print_open(_: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    ratio(out, runs, "open loop: CPU per delivery, us", "open", "floor", "node", "");
    ratio(out, runs, "open loop: p50, ms", "p50", "floor", "node", "1.05");
    ratio(out, runs, "open loop: p99, ms", "p99", "floor", "node", "1.05");
    ratio(out, runs, "open loop: p99 with 2 shards, ms", "p99", "floor", "2 shards", "0.85");
    ratio(out, runs, "open loop: p99 of the floor with 2 threads, ms", "p99", "floor", "2 threads", "");
}

fn overload(options: &Options, runs: &mut Runs, backwards: bool) {
    let arguments = format!(
        "--connections {} --scenario open --rate 40 --seconds {}",
        options.connections,
        options.seconds(5.0)
    );
    let figures =
        [("over", CPU), ("over p99", "/phases/0/latencyMs/p99"), ("over rate", "/phases/0/perSecond")];
    let sides = [("floor", Side::Floor(1, 0)), ("node", NODE)];
    runs.turn(&sides, backwards, &arguments, &figures);
}

fn print_overload(_: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    let beside = "(floor: all that arrived in a write)";
    ratio(
        out,
        runs,
        &format!("40 events a second {beside}: CPU per delivery, us"),
        "over",
        "floor",
        "node",
        "",
    );
    ratio(out, runs, "the same: p99, ms", "over p99", "floor", "node", "");
    ratio(out, runs, "the same: deliveries a second", "over rate", "floor", "node", "");
}

fn posts(options: &Options, runs: &mut Runs, backwards: bool) {
    let arguments = format!("--connections 1 --scenario posts --seconds {}", options.seconds(3.0));
    let figures = [
        ("post", "/posts/0/cpuUs"),
        ("post rate", "/posts/0/perSecond"),
        ("pipelined", "/posts/1/cpuUs"),
        ("pipelined rate", "/posts/1/perSecond"),
        ("ndjson", "/posts/2/cpuUs"),
        ("ndjson rate", "/posts/2/perSecond"),
    ];
    runs.turn(&[("floor", FLOOR), ("node", NODE)], backwards, &arguments, &figures);
}

fn print_posts(_: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    let floor = ("post", "floor");
    cross(
        out,
        runs,
        "CPU per event, single posts (floor: WebSocket in and out), us",
        floor,
        ("post", "node"),
        "2.5",
    );
    cross(out, runs, "the same, pipelined posts", floor, ("pipelined", "node"), "");
    cross(out, runs, "the same, NDJSON", floor, ("ndjson", "node"), "1.3");
    alone(out, runs, "single posts a second, 8 connections", "post rate", "150000");
    alone(out, runs, "pipelined posts a second, 8 connections", "pipelined rate", "");
    alone(out, runs, "NDJSON events a second, 8 connections", "ndjson rate", "");
}

fn growth(options: &Options, runs: &mut Runs, backwards: bool) {
    let events = options.events(20);
    for (figure, clients) in [("less", options.few()), ("more", options.many())] {
        let arguments = format!("--connections {clients} --scenario closed --events {events}");
        runs.turn(&[("floor", FLOOR), ("node", NODE)], backwards, &arguments, &[(figure, CPU)]);
        // Half of what one event to one client costs is the turn of the event, so a burst of them is measured.
        let alone = format!("--connections {clients} --scenario burst --burst 500 --bursts {events}");
        for (name, option) in [("user", "--to-one".to_owned()), ("key", format!("--keys {clients}"))] {
            let figure = format!("{figure} {name}");
            let sides: &[(&str, Side)] = match name {
                "user" => &[("floor", Side::FloorToOne), ("node", NODE)],
                _ => &[("node", NODE)],
            };
            runs.turn(sides, backwards, &format!("{alone} {option}"), &[(&figure, CPU)]);
        }
    }
}

fn print_growth(options: &Options, runs: &Runs, out: &mut Vec<Vec<String>>) {
    let (few, many) = (options.few(), options.many());
    let name = format!("CPU per delivery, {many} clients against {few}");
    let growth = |side: &str| {
        median(runs.values("more", side)).zip(median(runs.values("less", side))).map(|(a, b)| a / b)
    };
    let (floor, node) = (growth("floor"), growth("node"));
    let cell = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    let ratio = node.zip(floor).map(|(node, floor)| node / floor);
    out.push(vec![name, cell(floor), cell(node), cell(ratio), "1.10".into()]);
    for (what, figure) in [("user", "user"), ("entity", "key")] {
        let name = format!("CPU of an event for one {what}, {many} clients against {few}, us");
        let of = |size: &str| median(runs.values(&format!("{size} {figure}"), "node"));
        let pair = of("more").zip(of("less"));
        let text = pair.map_or("-".into(), |(more, less)| format!("{more:.2} / {less:.2}"));
        // Both sides write to one client of many, so the floor's growth is the kernel's.
        let of = |size: &str| median(runs.values(&format!("{size} user"), "floor"));
        let floor = of("more").zip(of("less"));
        let floor_text = floor.map_or("-".into(), |(more, less)| format!("{more:.2} / {less:.2}"));
        let growth = |pair: Option<(f64, f64)>| pair.map(|(more, less)| more / less);
        let ratio = growth(pair).zip(growth(floor)).map(|(node, floor)| node / floor);
        out.push(vec![name, floor_text, text, cell(ratio), "1.00".into()]);
    }
}

/// A figure of two sides.
fn ratio(
    out: &mut Vec<Vec<String>>,
    runs: &Runs,
    name: &str,
    figure: &str,
    base: &str,
    side: &str,
    target: &str,
) {
    cross(out, runs, name, (figure, base), (figure, side), target);
}

/// Two figures, one of the floor and one of another side.
fn cross(
    out: &mut Vec<Vec<String>>,
    runs: &Runs,
    name: &str,
    base: (&str, &str),
    other: (&str, &str),
    target: &str,
) {
    let (floor, node) = (runs.values(base.0, base.1), runs.values(other.0, other.1));
    let ratio = match (median(node), median(floor)) {
        (Some(node), Some(floor)) if floor > 0.0 => format!("{:.2}", node / floor),
        _ => "-".into(),
    };
    out.push(vec![name.into(), spread(floor), spread(node), ratio, target.into()]);
}

/// A figure of the node that the floor does not have.
fn alone(out: &mut Vec<Vec<String>>, runs: &Runs, name: &str, figure: &str, target: &str) {
    out.push(vec![name.into(), "-".into(), spread(runs.values(figure, "node")), "-".into(), target.into()]);
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

/// Median, lowest and highest.
fn spread(values: &[f64]) -> String {
    let Some(median) = median(values) else { return "-".into() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let show = |value: f64| match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    format!("{} ({}–{})", show(median), show(low), show(high))
}

/// All rows that were measured, as a table in Markdown.
pub fn table(options: &Options, runs: &Runs) -> String {
    let mut rows = Vec::new();
    for row in ROWS.iter().filter(|row| options.wants(row.name)) {
        (row.print)(options, runs, &mut rows);
    }
    let mut out = format!("{} rounds, medians (lowest–highest)\n\n", options.rounds);
    out.push_str("| figure | floor | node | node / floor | target |\n|---|---|---|---|---|\n");
    for row in rows {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    out
}
