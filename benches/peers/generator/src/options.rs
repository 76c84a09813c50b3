//! The command line.

use std::net::SocketAddr;

use lexopt::prelude::*;

use crate::client::Entry;
use crate::posts::Office;
use crate::publisher::{Schedule, Way};
use crate::tongue::Tongue;

const USAGE: &str = "usage: generator floor PORT [gather]
       generator --address IP:PORT --pid PID --connections N [--phase PHASE]...
  --tongue plain|nats|socketio|pusher|omnicast   what is spoken within WebSocket (plain)
  --path PATH            upgrade of subscribers (/)
  --publish WAY          ws, node, node-lines or pusher (ws)
  --publish-path PATH    upgrade of publishers (that of subscribers)
  --publish-address A    (that of subscribers)
  --links N              publishing connections (1)
  --depth N              requests on their way on one of them (1)
  --upgrade-only         connect and say no word
PHASE: warm:COUNT, closed:COUNT[:WINDOW], burst:SIZE:TIMES, open:COUNT:RATE, overload:COUNT:RATE, ingest:COUNT:WINDOW";

/// A phase to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name in the report.
    pub name: String,
    /// Events.
    pub count: u64,
    /// When they are due.
    pub schedule: Schedule,
}

/// What is to be done.
#[derive(Debug)]
pub enum Order {
    /// Be the floor.
    Floor {
        /// Where.
        port: u16,
        /// Whether frames that arrived together are written together.
        gather: bool,
    },
    /// Drive a server.
    Drive(Box<Options>),
}

/// How a server is driven.
#[derive(Debug)]
pub struct Options {
    /// Where subscribers connect to.
    pub address: SocketAddr,
    /// The server's first process.
    pub pid: u32,
    /// Subscribers.
    pub connections: usize,
    /// What is measured, in order.
    pub phases: Vec<Phase>,
    /// Whether nothing is said after the upgrade.
    pub upgrade_only: bool,
    tongue: Tongue,
    path: String,
    /// By HTTP, or over WebSocket.
    office: Option<Office>,
    publish_path: Option<String>,
    publish_address: Option<SocketAddr>,
    /// Publishing connections.
    pub links: usize,
    depth: usize,
}

/// Reads the arguments of the process.
///
/// # Errors
/// What is wrong with them.
pub fn read() -> Result<Order, String> {
    parse(lexopt::Parser::from_env()).map_err(|e| format!("{e}\n{USAGE}"))
}

fn parse(mut parser: lexopt::Parser) -> Result<Order, lexopt::Error> {
    let mut options = Options {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        pid: 0,
        connections: 0,
        phases: Vec::new(),
        upgrade_only: false,
        tongue: Tongue::Plain,
        path: "/".into(),
        office: None,
        publish_path: None,
        publish_address: None,
        links: 1,
        depth: 1,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) if word == "floor" => {
                let port = parser.value()?.parse()?;
                return Ok(Order::Floor { port, gather: parser.next()?.is_some() });
            }
            Long("address") => options.address = parser.value()?.parse()?,
            Long("pid") => options.pid = parser.value()?.parse()?,
            Long("connections") => options.connections = parser.value()?.parse()?,
            Long("phase") => options.phases.push(parser.value()?.parse_with(phase)?),
            Long("upgrade-only") => options.upgrade_only = true,
            Long("tongue") => {
                let tongue = |name: &str| Tongue::named(name).ok_or("no such tongue");
                options.tongue = parser.value()?.parse_with(tongue)?;
            }
            Long("path") => options.path = parser.value()?.string()?,
            Long("publish") => options.office = parser.value()?.parse_with(office)?,
            Long("publish-path") => options.publish_path = Some(parser.value()?.string()?),
            Long("publish-address") => options.publish_address = Some(parser.value()?.parse()?),
            Long("links") => options.links = parser.value()?.parse()?,
            Long("depth") => options.depth = parser.value()?.parse()?,
            _ => return Err(argument.unexpected()),
        }
    }
    if options.address.port() == 0 || options.pid == 0 || options.connections == 0 {
        return Err("--address, --pid and --connections are needed".into());
    }
    Ok(Order::Drive(Box::new(options)))
}

fn office(name: &str) -> Result<Option<Office>, &'static str> {
    Ok(Some(match name {
        "ws" => return Ok(None),
        "node" => Office::Node,
        "node-lines" => Office::NodeLines,
        "pusher" => Office::Pusher,
        _ => return Err("no such way to publish"),
    }))
}

fn phase(text: &str) -> Result<Phase, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |i: usize| parts.get(i).and_then(|part| part.parse::<u64>().ok()).filter(|n| *n > 0);
    let wrong = || format!("{text} is no phase");
    let first = number(1).ok_or_else(wrong)?;
    let (count, schedule) = match (parts[0], number(2)) {
        ("warm" | "closed", None) if parts.len() == 2 => (first, Schedule::Closed(1)),
        ("closed" | "ingest", Some(window)) => (first, Schedule::Closed(window)),
        ("burst", Some(times)) => (first * times, Schedule::Burst(first)),
        ("open" | "overload", Some(rate)) => (first, Schedule::Open(rate as f64)),
        _ => return Err(wrong()),
    };
    Ok(Phase { name: parts[0].into(), count, schedule })
}

impl Options {
    /// How subscribers come in.
    pub fn entry(&self, wall_ms: u64) -> Entry {
        Entry {
            tongue: self.tongue,
            path: self.path.clone(),
            subscribes: true,
            upgrade_only: self.upgrade_only,
            wall_ms,
        }
    }

    /// How events are published.
    pub fn way(&self, entry: &Entry) -> Way {
        let path = self.publish_path.clone().unwrap_or_else(|| self.path.clone());
        let publishing = Entry { path, subscribes: false, upgrade_only: false, ..entry.clone() };
        Way {
            address: self.publish_address.unwrap_or(self.address),
            entry: self.office.is_none().then_some(publishing),
            office: self.office.unwrap_or(Office::Node),
            links: self.links,
            depth: self.depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read() {
        let cases = [
            ("warm:3", "warm", 3, Schedule::Closed(1)),
            ("closed:20", "closed", 20, Schedule::Closed(1)),
            ("ingest:20000:256", "ingest", 20_000, Schedule::Closed(256)),
            ("burst:40:2", "burst", 80, Schedule::Burst(40)),
            ("open:16:4", "open", 16, Schedule::Open(4.0)),
        ];
        for (text, name, count, schedule) in cases {
            assert_eq!(phase(text), Ok(Phase { name: name.into(), count, schedule }));
        }
        for wrong in ["", "open:3", "closed", "closed:x", "burst:0:1", "tea:1:1"] {
            assert!(phase(wrong).is_err(), "{wrong}");
        }
    }
}
