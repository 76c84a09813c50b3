//! What is measured: where it is, how to publish on it, and which process it is.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use rustix::net::sockopt::socket_peercred;
use serde_json::Value;

use crate::cli::bench::crowd::Crowd;
use crate::cli::bench::event::Maker;
use crate::cli::bench::options::{Options, Scenario, Where};
use crate::cli::bench::process::Process;
use crate::cli::bench::publisher::Publisher;
use crate::cli::bench::spawn::Spawned;
use crate::cli::bench::talk::{Credentials, Entry};
use crate::cli::control::{Control, Link};
use crate::cli::tail::address::{default_url, read_url};

/// Where the publisher of a server without the protocol goes.
const PUBLISH_PATH: &str = "/publish";

/// Bytes that may wait for a client where posts are measured: as many as the setting allows.
const POSTS_BACKLOG_BYTES: &str = "1073741824";

/// The server under measurement.
pub struct Target {
    /// As it was named or found.
    pub url: String,
    /// The same, resolved.
    pub address: SocketAddr,
    /// Its process, where it is one of this machine.
    pub process: Option<Process>,
    /// The id of the process.
    pub pid: Option<u32>,
    control: Option<Control>,
    secret: Option<String>,
    /// Ends with this value.
    spawned: Option<Spawned>,
}

impl Target {
    /// Finds or starts it.
    ///
    /// # Errors
    /// One sentence: it is not to be found, or does not start.
    pub fn find(
        options: &Options,
        secret: Option<String>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Target, String> {
        let (url, control, pid, spawned) = match &options.place {
            Where::Spawned { shards, settings } => {
                let mut settings = settings.clone();
                if options.scenarios.contains(&Scenario::Posts) {
                    // How much a node takes in is measured, and not how fast the clients of a busy machine read.
                    settings.insert(0, ("WS_MAX_BACKLOG".into(), POSTS_BACKLOG_BYTES.into()));
                }
                let node = Spawned::start(options.most_connections(), *shards, &settings, secret.as_deref())?;
                let control = Control::Sockets(vec![node.control()]);
                (node.url().to_owned(), Some(control), Some(node.pid()), Some(node))
            }
            Where::Running { url, control, pid } => {
                let url = url.clone().unwrap_or_else(|| default_url(&env));
                let control = Control::find(control.as_deref(), &env);
                let pid = pid.or(peer(&control)?);
                (url, Some(control), pid, None)
            }
            Where::Bare { url, pid } => (url.clone(), None, *pid, None),
        };
        let address = resolve(&url)?;
        let process = pid.map(Process::new).transpose()?;
        Ok(Target { url, address, process, pid, control, secret, spawned })
    }

    /// Whether it speaks the protocol.
    pub fn is_node(&self) -> bool {
        self.control.is_some()
    }

    /// Whether it was started for this run.
    pub fn is_spawned(&self) -> bool {
        self.spawned.is_some()
    }

    /// How clients come in.
    pub fn entry(&self, run: u32) -> Entry {
        let credentials = Credentials { secret: self.secret.clone(), run };
        Entry::new(&self.address.to_string(), path(&self.url), self.is_node().then_some(credentials))
    }

    /// Opens a connection that publishes.
    ///
    /// # Errors
    /// One sentence: it can't be had.
    pub fn publisher(&self, maker: Maker, crowd: Arc<Crowd>) -> Result<Publisher, String> {
        match &self.control {
            Some(control) => {
                let (link, token) = control.open()?;
                Publisher::posts(link, token, maker, crowd)
            }
            None => {
                let stream =
                    TcpStream::connect(self.address).map_err(|e| format!("can't reach {}: {e}", self.url))?;
                let entry = Entry::new(&self.address.to_string(), PUBLISH_PATH, None);
                Publisher::messages(stream, &entry, maker, crowd)
            }
        }
    }

    /// The control listener, where there is one.
    pub fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }

    /// One of the node's statistics.
    pub fn stat(&self, name: &str) -> Option<Value> {
        let response = self.control.as_ref()?.ask("GET", "/api/ws/stats", None).ok()?;
        serde_json::from_slice::<Value>(&response.body).ok()?.get(name).cloned()
    }

    /// How many connections the node has ended as slow consumers.
    pub fn slow_closes(&self) -> Option<u64> {
        let response = self.control.as_ref()?.ask("GET", "/metrics", None).ok()?;
        let page = String::from_utf8(response.body).ok()?;
        let name = "omnicast_closes_total{reason=\"slow_consumer\"} ";
        page.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    }
}

/// The process that listens on a Unix socket.
fn peer(control: &Control) -> Result<Option<u32>, String> {
    let (link, _) = control.open()?;
    let Link::Unix(stream) = link else { return Ok(None) };
    let peer = socket_peercred(&stream).map_err(|e| format!("the control socket has no owner: {e}"))?;
    Ok(u32::try_from(peer.pid.as_raw_nonzero().get()).ok())
}

fn resolve(url: &str) -> Result<SocketAddr, String> {
    let (host, port) = read_url(url)?;
    let mut addresses =
        (host.as_str(), port).to_socket_addrs().map_err(|e| format!("can't find {host}: {e}"))?;
    addresses.next().ok_or_else(|| format!("{host} has no address"))
}

/// What follows the authority.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_path() {
        for (url, expected) in
            [("ws://h:1/api/ws", "/api/ws"), ("ws://h:1", "/"), ("ws://[::1]:3/x?y", "/x?y")]
        {
            assert_eq!(path(url), expected);
        }
    }
}
