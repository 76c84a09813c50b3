//! A node in its own process.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Response, SECRET, exchange, wait_until};

/// A node in its own process, on a port of the system's choice.
pub struct Node {
    child: Child,
    pub address: SocketAddr,
    pub control: PathBuf,
    /// Whether its clients speak TLS.
    pub is_tls: bool,
    _dir: tempfile::TempDir,
    log: PathBuf,
}

impl Node {
    /// Starts a node with these settings, and waits until it is ready.
    pub fn start(settings: &[(&str, &str)]) -> Node {
        Node::launch(Command::new(env!("CARGO_BIN_EXE_omnicast")), settings)
    }

    /// Starts a node by a command of the test's own, which may be a shell that becomes it.
    pub fn launch(mut command: Command, settings: &[(&str, &str)]) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let control = dir.path().join("control.sock");
        let log = dir.path().join("log");
        let mut child = command
            .env_clear()
            .env("WS_PORT", "0")
            .env("WS_CONTROL_SOCKET", &control)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.split("://").nth(1).and_then(|rest| rest.split('/').next()) else {
            let status = child.wait().unwrap();
            panic!("no node: {status}; it said {line:?} and {}", std::fs::read_to_string(&log).unwrap());
        };
        let address = address.parse().unwrap();
        let is_tls = line.contains("wss://");
        let node = Node { child, address, control, is_tls, _dir: dir, log };
        wait_until("ready", || match is_tls {
            true => node.control("GET", "/readyz", "").status == 200,
            false => node.get("/readyz").status == 200,
        });
        node
    }

    /// As [`Node::start`] with a key, so that only tokens count.
    pub fn start_with_key(settings: &[(&str, &str)]) -> Node {
        let mut all = vec![("WS_JWT_SECRET", SECRET)];
        all.extend_from_slice(settings);
        Node::start(&all)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the node did not end within {patience:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `GET` on the public listener.
    pub fn get(&self, path: &str) -> Response {
        self.public(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }

    /// Raw bytes to the public listener, and its answer.
    pub fn public(&self, request: &str) -> Response {
        exchange(TcpStream::connect(self.address).unwrap(), request.as_bytes())
    }

    /// A request to the control socket.
    pub fn control(&self, method: &str, path: &str, body: &str) -> Response {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        exchange(UnixStream::connect(&self.control).unwrap(), request.as_bytes())
    }

    /// Posts events; they must be accepted. Returns their ids.
    pub fn post(&self, events: &Value) -> Vec<String> {
        let response = self.control("POST", "/api/events", &events.to_string());
        assert_eq!(response.status, 200, "{}", response.body);
        let ids = response.json()["ids"].clone();
        serde_json::from_value(ids).unwrap()
    }

    /// The statistics, from the control socket.
    pub fn stats(&self) -> Value {
        self.control("GET", "/api/ws/stats", "").json()
    }

    /// The value of a metric (its name with labels, without `omnicast_`).
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.control("GET", "/metrics", "").body;
        let line = page.lines().find(|l| {
            l.strip_prefix("omnicast_")
                .is_some_and(|l| l.starts_with(name) && l[name.len()..].starts_with(' '))
        });
        line.unwrap_or_else(|| panic!("no metric {name} in {page}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Waits until every shard has taken up what was posted so far: a shard answers a question
    /// at the end of the turn in which it takes its mail. After it, [`Client::sync`] tells
    /// whether an event came.
    pub fn settle(&self) {
        self.stats();
    }
}
