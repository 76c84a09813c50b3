//! One place for node after node: a directory, a port, a control socket, and the log of them all.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Response, Stream, exchange, read_response, request, wait_until};

/// Ports outside of those that the system gives away by itself, so that nobody takes ours while
/// no node is there.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A place for a node. Its directory stays behind when the test fails.
pub struct Site {
    dir: Option<tempfile::TempDir>,
    pub address: SocketAddr,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

impl Site {
    /// A place whose nodes have a journal, and these settings.
    pub fn new(settings: &[(&str, &str)]) -> Site {
        let dir = tempfile::Builder::new().prefix("crash-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut site = Site { dir: Some(dir), address: free_address(), settings: Vec::new(), child: None };
        let (port, control) = (site.address.port().to_string(), site.control());
        let journal = site.journal();
        site.set("WS_PORT", &port);
        site.set("WS_CONTROL_SOCKET", control.to_str().unwrap());
        site.set("WS_JOURNAL", journal.to_str().unwrap());
        site.set("WS_CONNECT_RATE_PER_IP", "1000000");
        site.set("WS_MAX_CONNECTIONS_PER_IP", "1000");
        site.set("WS_DRAIN_TIMEOUT", "500");
        settings.iter().for_each(|(name, value)| site.set(name, value));
        site
    }

    /// A setting of nodes to come.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(n, _)| n != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("it is there until the site is dropped").path()
    }

    pub fn journal(&self) -> PathBuf {
        self.path().join("journal")
    }

    pub fn control(&self) -> PathBuf {
        self.path().join("control.sock")
    }

    /// The segments of the log, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        // Their names are their first positions, with leading zeros.
        let files = fs::read_dir(self.journal()).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
        segments.sort();
        segments
    }

    /// What all nodes have logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn spawn(&self, mut command: Command, stderr: File) -> Child {
        let settings = self.settings.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(settings).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
    }

    /// Starts a node, and waits until it listens.
    pub fn start(&mut self) {
        self.launch(|| Command::new(env!("CARGO_BIN_EXE_omnicast")));
    }

    /// As [`Site::start`], by a command of the test's own, which becomes the node.
    pub fn launch(&mut self, command: impl Fn() -> Command) {
        assert!(self.child.is_none(), "one node at a time");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = OpenOptions::new().append(true).create(true).open(self.path().join("log")).unwrap();
            let mut child = self.spawn(command(), log);
            let mut said = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
            if said.contains("ws://") {
                self.child = Some(child);
                return;
            }
            let status = child.wait().unwrap();
            let log = self.log();
            let taken = log.lines().last().is_some_and(|line| line.contains("in use"));
            assert!(taken && Instant::now() < deadline, "no node: {status}; it said {said:?}, and {log}");
            std::thread::sleep(Duration::from_millis(20)); // Nobody tells when a port is free again.
        }
    }

    /// Starts a node and waits until it proves that it delivers.
    pub fn start_ready(&mut self) {
        self.start();
        self.wait_ready();
    }

    pub fn wait_ready(&self) {
        wait_until("ready", || self.ask("GET", "/readyz", "").status == 200);
    }

    /// Starts a node that does not come to life: its end, and what it said on stderr.
    pub fn refused(&self) -> (ExitStatus, String) {
        self.refused_by(|| Command::new(env!("CARGO_BIN_EXE_omnicast")))
    }

    pub fn refused_by(&self, command: impl Fn() -> Command) -> (ExitStatus, String) {
        let path = self.path().join("refusal");
        let mut child = self.spawn(command(), File::create(&path).unwrap());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let said = fs::read_to_string(&path).unwrap();
                if !said.contains("in use") {
                    return (status, said);
                }
                // Somebody else's port: not what it was to be refused for.
                child = self.spawn(command(), File::create(&path).unwrap());
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("it runs: {}", fs::read_to_string(path).unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a node runs").id()
    }

    /// The end that nobody can prepare for.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a node runs");
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself: {}", self.log());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The end in good order.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut child = self.child.take().expect("a node runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A request to the control socket.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        let stream = UnixStream::connect(self.control()).unwrap();
        exchange(stream, request(method, path, "Connection: close\r\n", body).as_bytes())
    }

    /// Posts events, which must be accepted. Returns their ids.
    pub fn post(&self, events: &Value) -> Vec<u64> {
        let response = self.ask("POST", "/api/events", &events.to_string());
        assert_eq!(response.status, 200, "{}", response.body);
        let ids: Vec<String> = serde_json::from_value(response.json()["ids"].clone()).unwrap();
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    /// A client that is authenticated.
    pub fn client(&self, user: &str, role: &str) -> Client {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.patient();
        let upgrade = format!(
            "GET /api/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        stream.write_all(upgrade.as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).status, 101);
        let mut client = Client::over(stream, Vec::new());
        client.auth(user, role);
        client
    }

    /// A client that comes back to `orders` from behind an event, and the node's answer.
    pub fn resume(&self, epoch: &str, id: u64) -> (Client, Value) {
        let mut client = self.client("boss", "admin");
        client.send(&json!({"type": "subscribe", "data": {
            "namespaces": ["orders"], "since": {"epoch": epoch, "id": id.to_string()}}}));
        let answer = client.expect("subscribed");
        (client, answer)
    }

    /// The value of a metric without labels (its name without `omnicast_`).
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.ask("GET", "/metrics", "").body;
        let value = page.lines().find_map(|line| line.strip_prefix(&format!("omnicast_{name} ")));
        value.unwrap_or_else(|| panic!("no metric {name} in {page}")).parse().unwrap()
    }

    pub fn epoch(&self) -> String {
        let answer = self.ask("GET", "/api/events?limit=1", "");
        answer.header("omnicast-epoch").unwrap().to_owned()
    }

    /// The history after `since`, page by page: the events, and whether it has a gap.
    pub fn history(&self, since: u64) -> (Vec<Value>, bool) {
        let (mut events, mut gap, mut since) = (Vec::new(), false, since.to_string());
        loop {
            let answer = self.ask("GET", &format!("/api/events?limit=65536&since={since}"), "");
            assert_eq!(answer.status, 200, "{}", answer.body);
            gap |= answer.header("omnicast-gap").is_some();
            events.extend(answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            let cursor = answer.header("omnicast-cursor").map(str::to_owned);
            let last = events.last().map(|event| event["id"].as_str().unwrap().to_owned());
            if answer.header("omnicast-more").is_none() {
                return (events, gap);
            }
            since = cursor.or(last).expect("more of nothing");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let kept = self.dir.take().expect("it is there until now").keep();
            println!("the directory stays: {}", kept.display());
        }
    }
}

/// A loopback address that nobody listens on.
fn free_address() -> SocketAddr {
    let mut at = std::process::id() as u16;
    loop {
        at = at.wrapping_mul(31).wrapping_add(crate::support::now_ms() as u16);
        let port = PORTS.start + at % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Ids of events, as numbers.
pub fn ids(events: &[Value]) -> Vec<u64> {
    events.iter().filter_map(|event| event["id"].as_str()?.parse().ok()).collect()
}
