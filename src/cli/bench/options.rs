//! What the command line says.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cli::bench::crowd::Plan;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Connecting.
    Storm,
    /// The next event when the last one has reached everybody.
    Closed,
    /// Many events at once.
    Burst,
    /// Events at a rate, whatever the node does.
    Open,
    /// How many posts the node takes.
    Posts,
    /// Very many come back at once.
    Comeback,
}

impl Scenario {
    const ALL: [(&str, Scenario); 6] = [
        ("storm", Scenario::Storm),
        ("closed", Scenario::Closed),
        ("burst", Scenario::Burst),
        ("open", Scenario::Open),
        ("posts", Scenario::Posts),
        ("comeback", Scenario::Comeback),
    ];

    fn named(name: &str) -> Option<Scenario> {
        Scenario::ALL.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario)
    }
}

/// Where the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// A running one: its URL, control listener and process, as far as they were named.
    Running { url: Option<String>, control: Option<String>, pid: Option<u32> },
    /// One of our own, with so many shards and these settings.
    Spawned { shards: Option<u32>, settings: Vec<(String, String)> },
    /// A server that upgrades and sends everybody what comes in at `/publish`: the floor of the benches.
    Bare { url: String, pid: Option<u32> },
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the node is.
    pub place: Where,
    /// Who the clients are; for a comeback, those that stay.
    pub plan: Plan,
    /// Threads for the clients.
    pub threads: u32,
    /// Connections that may be under way at once.
    pub in_flight: usize,
    /// What is measured, in order.
    pub scenarios: Vec<Scenario>,
    /// Events of the closed loop.
    pub events: u64,
    /// Events of a burst.
    pub burst: u64,
    /// Bursts.
    pub bursts: u64,
    /// Events a second, where it was said.
    pub rate: Option<f64>,
    /// Length of a phase that has one, where it was said.
    pub seconds: Option<f64>,
    /// Bytes of an event on the wire.
    pub size: usize,
    /// Connections that post.
    pub publishers: u16,
    /// Posts that may wait for their answer on one of them.
    pub pipeline: usize,
    /// Events of an NDJSON post.
    pub batch: usize,
    /// Clients that come back.
    pub returning: u32,
    /// Events that they missed.
    pub behind: u64,
    /// JSON instead of a table.
    pub json: bool,
    /// Where to draw.
    pub plot: Option<PathBuf>,
}

/// The subcommand's arguments.
pub fn command() -> Command {
    Command::new("bench")
        .about("Measure a node: connect very many clients, publish, and count what each of them gets")
        .next_help_heading("Node")
        .args([
            option("url", "URL", "The node [default: where tail looks]"),
            option("control", "PATH", "Its control socket, or IP:PORT with the token in WS_CONTROL_TOKEN [default: where nodes usually are]"),
            number("pid", "PID", "Its process, whose CPU and memory are read [default: who listens on the control socket]"),
            flag("spawn", "Start a node for this, on a port of its own, and stop it at the end")
                .conflicts_with_all(["url", "control", "pid"]),
            number("shards", "N", "Shards of that node [default: as many as it takes by itself]").requires("spawn"),
            option("set", "NAME=VALUE", "A setting of that node, such as WS_JOURNAL_SYNC=never")
                .requires("spawn")
                .action(ArgAction::Append),
            option("bare", "URL", "A server without the protocol: it sends everybody what comes in at /publish")
                .hide(true)
                .conflicts_with_all(["url", "control", "spawn"]),
        ])
        .next_help_heading("Clients")
        .args([
            number("connections", "N", "How many [default: 1000]"),
            option("roles", "LIST", "Their roles, with weights").default_value("staff"),
            option("namespaces", "LIST", "What they subscribe to and what is published").default_value("inventory"),
            number("keys", "N", "Entities that events are about; each client asks for one of them [default: 0, for all]"),
            flag("to-one", "Address each event to one user, in turn"),
            option("slow", "SHARE", "Clients that read 10 kB a second").default_value("0"),
            option("paused", "SHARE", "Clients that stop reading until all is over").default_value("0"),
            number("threads", "N", "Threads for them [default: 1, and 1 for each 20,000]"),
            number("in-flight", "N", "Connections under way at once [default: 256, in a comeback 4000]"),
        ])
        .next_help_heading("Work")
        .args([
            option("scenario", "LIST", "Of storm, closed, burst, open, posts, comeback")
                .default_value("storm,closed,burst,open"),
            number("events", "N", "Events of the closed loop [default: 200,000 deliveries, 20 to 200]"),
            number("burst", "N", "Events of a burst [default: 40]"),
            number("bursts", "N", "Bursts [default: 5]"),
            option("rate", "N", "Events a second of open [default: 40,000 deliveries, 1 to 100] and comeback [10]"),
            option("seconds", "N", "Length of open [default: 10], of each kind of posts [3], of each stretch before a comeback [5]"),
            number("size", "BYTES", "Size of an event on the wire, as far as its fields allow [default: 200]"),
            number("publishers", "N", "Connections that post, in posts [default: 8]"),
            number("pipeline", "N", "Posts without an answer on each, where they are pipelined [default: 32]"),
            number("batch", "N", "Events of an NDJSON post [default: 100]"),
            number("returning", "N", "Clients that come back, in comeback [default: 10000]"),
            number("behind", "N", "Events that they missed [default: 500]"),
        ])
        .next_help_heading("Report")
        .args([
            flag("json", "Print one JSON object"),
            option("plot", "FILE", "Draw the latencies by percentile (SVG)"),
        ])
        .after_help(
            "storm     connect everybody at once: rate, CPU and memory of each connection; upgrade only, and with auth and subscribe\n\
             closed    the next event when the last one has reached everybody\n\
             burst     many events in one write\n\
             open      events at a rate, whatever the node does; latency counts from when an event was due\n\
             posts     posts a second: one at a time, pipelined, NDJSON\n\
             comeback  very many come back at once for what they missed, while others get events\n\n\
             Every delivery is counted, and compared with what the rights of the built-in policy say. Exits with 1 where one was \
             lost, came twice, out of order, or to somebody who must not see it.\n\
             CPU is that of all threads of the node, by its process; on loopback it includes the receiving half of TCP. Who the \
             clients are: tokens minted with WS_JWT_SECRET, else the plain identity that a node in trusted mode believes.\n\n\
             Examples:\n  \
             omnicast bench --spawn\n  \
             omnicast bench --connections 10000 --roles staff=7,customer=2,guest=1 --namespaces orders,products\n  \
             omnicast bench --spawn --connections 10000 --scenario open --rate 40 --paused 0.01 --plot latency.svg\n  \
             omnicast bench --spawn --scenario comeback",
        )
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).allow_negative_numbers(true)
}

fn number(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(name, value, help).value_parser(value_parser!(u32))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// One sentence that names the option, its value and what is allowed.
    pub fn read(matches: &ArgMatches) -> Result<Options, String> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let number = |name: &str| matches.get_one::<u32>(name).copied();
        let within = |name: &str, default: u32, min: u32, max: u32| match number(name).unwrap_or(default) {
            n if (min..=max).contains(&n) => Ok(n),
            n => Err(format!("--{name} is {n}: allowed is {min} to {max}")),
        };
        let list = |name: &str| {
            let items = text(name).unwrap_or_default();
            items
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let place = match text("bare") {
            Some(url) => Where::Bare { url, pid: number("pid") },
            None if matches.get_flag("spawn") => {
                let pairs = matches.get_many::<String>("set").into_iter().flatten().map(|pair| {
                    let (name, value) = pair
                        .split_once('=')
                        .ok_or_else(|| format!("--set is \"{pair}\": allowed is NAME=VALUE"))?;
                    Ok((name.to_owned(), value.to_owned()))
                });
                let settings = pairs.collect::<Result<_, String>>()?;
                Where::Spawned { shards: number("shards"), settings }
            }
            None => Where::Running { url: text("url"), control: text("control"), pid: number("pid") },
        };
        let scenarios = list("scenario").into_iter().map(|name| {
            Scenario::named(&name).ok_or_else(|| {
                let known: Vec<_> = Scenario::ALL.iter().map(|(name, _)| *name).collect();
                format!("--scenario: there is no \"{name}\"; there are {}", known.join(", "))
            })
        });
        let scenarios = scenarios.collect::<Result<Vec<_>, String>>()?;
        if scenarios.contains(&Scenario::Comeback) && scenarios.len() > 1 {
            return Err("--scenario: comeback stands alone".into());
        }
        let connections = within("connections", 1000, 1, 1_000_000)?;
        let (slow, paused) = (share("slow", text("slow"))?, share("paused", text("paused"))?);
        if slow + paused > 1.0 {
            return Err(
                "--slow and --paused are shares of the same clients: allowed is a sum of at most 1".into()
            );
        }
        let plan = Plan {
            clients: connections,
            roles: list("roles").iter().map(|item| weight(item)).collect::<Result<_, _>>()?,
            namespaces: list("namespaces"),
            keys: within("keys", 0, 0, 1_000_000)?,
            to_one: matches.get_flag("to-one"),
            slow,
            paused,
        };
        let comeback = scenarios.contains(&Scenario::Comeback);
        if comeback && (slow > 0.0 || paused > 0.0) {
            return Err("--slow and --paused do not go with a comeback".into());
        }
        Ok(Options {
            place,
            threads: within("threads", connections.div_ceil(20_000), 1, 256)?,
            in_flight: within("in-flight", if comeback { 4000 } else { 256 }, 1, 100_000)? as usize,
            scenarios,
            events: within("events", (200_000 / connections).clamp(20, 200), 1, 1_000_000)?.into(),
            burst: within("burst", 40, 1, 10_000)?.into(),
            bursts: within("bursts", 5, 1, 10_000)?.into(),
            rate: positive("rate", text("rate"), 100_000.0)?,
            seconds: positive("seconds", text("seconds"), 86_400.0)?,
            size: within("size", 200, 0, 200_000)? as usize,
            publishers: within("publishers", 8, 1, 200)? as u16,
            pipeline: within("pipeline", 32, 1, 4096)? as usize,
            batch: within("batch", 100, 1, 10_000)? as usize,
            returning: within("returning", 10_000, 1, 1_000_000)?,
            behind: within("behind", 500, 1, 1_000_000)?.into(),
            json: matches.get_flag("json"),
            plot: text("plot").map(PathBuf::from),
            plan,
        })
    }

    /// Events a second of an open loop.
    pub fn open_rate(&self) -> f64 {
        self.rate.unwrap_or_else(|| (40_000.0 / f64::from(self.plan.clients)).clamp(1.0, 100.0))
    }

    /// Everybody who connects at once.
    pub fn most_connections(&self) -> u32 {
        let returning = if self.scenarios.contains(&Scenario::Comeback) { self.returning } else { 0 };
        self.plan.clients + returning
    }
}

/// `staff=7`, or `staff` alone.
fn weight(item: &str) -> Result<(String, u32), String> {
    let (role, weight) = item.split_once('=').unwrap_or((item, "1"));
    match weight.parse() {
        Ok(weight @ 1..=10_000) => Ok((role.to_owned(), weight)),
        _ => Err(format!(
            "--roles is \"{item}\": allowed is a role, or ROLE=WEIGHT with a weight of 1 to 10000"
        )),
    }
}

/// `0.05` or `5%`.
fn share(name: &str, text: Option<String>) -> Result<f64, String> {
    let text = text.unwrap_or_default();
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match parsed {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("--{name} is \"{text}\": allowed is a share such as 0.05 or 5%")),
    }
}

fn positive(name: &str, text: Option<String>, max: f64) -> Result<Option<f64>, String> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0.0 && number <= max => Ok(Some(number)),
        _ => Err(format!("--{name} is \"{text}\": allowed is a number above 0, at most {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, String> {
        let all = std::iter::once(&"bench").chain(arguments);
        Options::read(&command().try_get_matches_from(all).map_err(|e| e.to_string())?)
    }

    #[test]
    fn a_mix_and_shares_are_read() {
        let options =
            read(&["--roles", "staff=7, customer=2,guest", "--slow", "5%", "--paused", "0.01"]).unwrap();
        let roles: Vec<_> =
            options.plan.roles.iter().map(|(role, weight)| (role.as_str(), *weight)).collect();
        assert_eq!(roles, [("staff", 7), ("customer", 2), ("guest", 1)]);
        assert_eq!((options.plan.slow, options.plan.paused), (0.05, 0.01));
        assert_eq!(options.scenarios, [Scenario::Storm, Scenario::Closed, Scenario::Burst, Scenario::Open]);
    }

    #[test]
    fn defaults_follow_the_number_of_connections() {
        for (connections, events, rate, threads) in
            [("1000", 200, 40.0, 1), ("10000", 20, 4.0, 1), ("50000", 20, 1.0, 3)]
        {
            let options = read(&["--connections", connections]).unwrap();
            assert_eq!((options.events, options.open_rate(), options.threads), (events, rate, threads));
        }
        let comeback = read(&["--scenario", "comeback"]).unwrap();
        assert_eq!((comeback.most_connections(), comeback.in_flight), (11_000, 4000));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (arguments, part) in [
            (&["--connections", "0"][..], "--connections is 0"),
            (&["--roles", "staff=x"], "--roles is \"staff=x\""),
            (&["--slow", "2"], "--slow is \"2\""),
            (&["--slow", "0.6", "--paused", "0.6"], "sum of at most 1"),
            (&["--rate", "-1"], "--rate"),
            (&["--rate", "0"], "--rate is \"0\""),
            (&["--scenario", "calm"], "no \"calm\""),
            (&["--scenario", "storm,comeback"], "stands alone"),
            (&["--shards", "2"], "--spawn"),
            (&["--spawn", "--set", "WS_LOG"], "NAME=VALUE"),
            (&["--spawn", "--url", "ws://h/"], "--url"),
        ] {
            let refusal = read(arguments).unwrap_err();
            assert!(refusal.contains(part), "{arguments:?}: {refusal}");
        }
    }
}
