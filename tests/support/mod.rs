//! What the tests over real sockets share: a node as a child process, a client that speaks the
//! protocol byte by byte, and requests to either listener.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

/// Nothing that is awaited takes longer, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// A secret for tokens.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A node in its own process, on a port of the system's choice.
pub struct Node {
    child: Child,
    pub address: SocketAddr,
    pub control: PathBuf,
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
        let Some(address) = line.split("ws://").nth(1).and_then(|rest| rest.split('/').next()) else {
            let status = child.wait().unwrap();
            panic!("no node: {status}; it said {line:?} and {}", std::fs::read_to_string(&log).unwrap());
        };
        let address = address.parse().unwrap();
        let node = Node { child, address, control, _dir: dir, log };
        wait_until("ready", || node.get("/readyz").status == 200);
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

/// Waits until `holds`, asking again and again.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The code of a refusal: `{"error":{"code"}}`.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A stream of either kind, with time-outs.
pub trait Stream: Read + Write {
    fn patient(&self);
}

impl Stream for TcpStream {
    fn patient(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
        self.set_write_timeout(Some(PATIENCE)).unwrap();
    }
}

impl Stream for UnixStream {
    fn patient(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
        self.set_write_timeout(Some(PATIENCE)).unwrap();
    }
}

/// Sends `request` and reads one response.
pub fn exchange(mut stream: impl Stream, request: &[u8]) -> Response {
    stream.patient();
    let _ = stream.write_all(request); // One who is refused early may not be read to the end.
    read_response(&mut stream)
}

/// Reads one response: its head, and the body that its length announces.
pub fn read_response(stream: &mut impl Read) -> Response {
    let mut bytes = Vec::new();
    let mut byte = [0u8; 1];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            // A process that was halted for a moment sees this on sockets with a time-out.
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => panic!("no response: {other:?} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()))).collect();
    let mut response = Response { status, headers, body: String::new() };
    let length = response.header("content-length").map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    response.body = String::from_utf8(body).unwrap();
    response
}

/// One frame from the node.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A text message, as JSON.
    Text(Value),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Code and reason.
    Close(u16, String),
    /// The stream ended.
    End,
}

/// A client that does just what the test says: it answers no ping, and hides nothing.
pub struct Client {
    pub stream: TcpStream,
    buf: Vec<u8>,
    /// Messages passed over by [`Client::expect`].
    passed: VecDeque<Value>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Client {
    /// Upgrades a connection to `node`.
    pub fn connect(node: &Node) -> Client {
        Client::connect_with(node, "").unwrap_or_else(|r| panic!("not upgraded: {r:?}"))
    }

    /// Upgrades with further header lines (each ending with CRLF).
    pub fn connect_with(node: &Node, headers: &str) -> Result<Client, Response> {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.patient();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET /api/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            node.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let response = read_response(&mut stream);
        if response.status != 101 {
            return Err(response);
        }
        assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        Ok(Client { stream, buf: Vec::new(), passed: VecDeque::new() })
    }

    /// A connection that is authenticated in trusted mode and subscribed to `namespaces`.
    pub fn live(node: &Node, user: &str, role: &str, namespaces: &[&str]) -> Client {
        let mut client = Client::connect(node);
        client.auth(user, role);
        if !namespaces.is_empty() {
            client.subscribe(namespaces);
        }
        client
    }

    /// Authenticates in trusted mode, and returns the node's answer.
    pub fn auth(&mut self, user: &str, role: &str) -> Value {
        self.send(&json!({"type": "auth", "data": identity(user, role)}));
        self.expect_welcome()
    }

    /// The answer to an accepted `auth`.
    pub fn expect_welcome(&mut self) -> Value {
        let welcome = self.expect("system:notification");
        assert_eq!(welcome["data"]["message"], "Authentication successful", "{welcome}");
        welcome
    }

    /// Subscribes, and returns the node's answer.
    pub fn subscribe(&mut self, namespaces: &[&str]) -> Value {
        self.send(&json!({"type": "subscribe", "data": {"namespaces": namespaces}}));
        self.expect("subscribed")
    }

    pub fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    pub fn send_text(&mut self, text: &str) {
        self.send_raw(&frame(0x81, text.as_bytes()));
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame.
    pub fn next(&mut self) -> Frame {
        self.next_within(PATIENCE).expect("nothing came")
    }

    /// The next frame, if one comes within `patience`.
    pub fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(Frame::End),
                Ok(n) => self.buf.extend_from_slice(&chunk[..n]),
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock
                            | std::io::ErrorKind::TimedOut
                            | std::io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => return Some(Frame::End),
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let b = &self.buf;
        let (&first, &second) = (b.first()?, b.get(1)?);
        assert_eq!(first & 0x70, 0, "no reserved bit is set");
        assert_eq!(second & 0x80, 0, "a server does not mask");
        assert_ne!(first & 0x80, 0, "the node does not fragment");
        let (head, len) = match second {
            126 => (4, u64::from(u16::from_be_bytes(b.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(b.get(2..10)?.try_into().unwrap())),
            n => (2, u64::from(n)),
        };
        let end = head + len as usize;
        let payload = b.get(head..end)?.to_vec();
        self.buf.drain(..end);
        Some(match first & 15 {
            1 => Frame::Text(serde_json::from_slice(&payload).unwrap()),
            8 => Frame::Close(
                payload.get(..2).map_or(1005, |c| u16::from_be_bytes([c[0], c[1]])),
                String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).unwrap(),
            ),
            9 => Frame::Ping(payload),
            10 => Frame::Pong(payload),
            other => panic!("opcode {other}"),
        })
    }

    /// The next text message. Pings are answered on the way.
    pub fn message(&mut self) -> Value {
        loop {
            match self.next() {
                Frame::Text(value) => return value,
                Frame::Ping(payload) => self.send_raw(&frame(0x8a, &payload)),
                Frame::Pong(_) => {}
                other => panic!("a message was due, and there came {other:?}"),
            }
        }
    }

    /// The next message of this type; others are put aside for [`Client::passed`].
    pub fn expect(&mut self, kind: &str) -> Value {
        loop {
            let message = self.message();
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "waiting for {kind}: {message}");
            self.passed.push_back(message);
        }
    }

    /// The messages that came before those that were expected.
    pub fn passed(&mut self) -> Vec<Value> {
        self.passed.drain(..).collect()
    }

    /// The next message, which must be an error; returns its code and all of it.
    pub fn expect_error(&mut self) -> (String, Value) {
        let message = self.message();
        assert_eq!(message["type"], "error", "{message}");
        (message["data"]["code"].as_str().unwrap().to_owned(), message)
    }

    /// Reads on to the close: the `closing` message (which must be there and agree with the
    /// close frame), the frame's code, and nothing after it. Returns code and `closing`.
    pub fn expect_close(&mut self) -> (u16, Value) {
        let mut closing = None;
        loop {
            match self.next() {
                Frame::Text(value) if value["type"] == "closing" => closing = Some(value),
                Frame::Text(value) => {
                    assert!(closing.is_none(), "nothing follows `closing`: {value}");
                    self.passed.push_back(value);
                }
                Frame::Close(code, reason) => {
                    let closing = closing.expect("`closing` comes before the close frame");
                    assert_eq!(closing["data"]["code"], code);
                    assert_eq!(closing["data"]["reason"], reason.as_str());
                    self.send_raw(&frame(0x88, &code.to_be_bytes()));
                    assert_eq!(self.next(), Frame::End, "nothing follows the close frame");
                    return (code, closing);
                }
                Frame::End => panic!("the stream ended without a close frame"),
                Frame::Ping(_) | Frame::Pong(_) => {}
            }
        }
    }

    /// Proves that everything the node had for this client has arrived: a ping of the protocol
    /// is answered in order. Returns the messages that came before the answer.
    pub fn sync(&mut self) -> Vec<Value> {
        let id = unique("sync");
        self.send(&json!({"type": "ping", "id": id}));
        let mut before = self.passed();
        loop {
            let message = self.message();
            if message["type"] == "pong" && message["id"] == id.as_str() {
                return before;
            }
            before.push(message);
        }
    }

    pub fn close_write(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A plain identity that is good for an hour, with a session of its own.
pub fn identity(user: &str, role: &str) -> Value {
    json!({"userId": user, "role": role, "sessionId": unique("session"), "expiresAt": now_ms() + 3_600_000})
}

/// A masked client frame; `first` is its first byte (FIN and opcode).
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut out = vec![first];
    match payload.len() {
        n @ 0..126 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().enumerate().map(|(i, b)| b ^ KEY[i % 4]));
    out
}

/// An `order:created` of `customer` that is good.
pub fn order(order: &str, customer: &str) -> Value {
    json!({"type": "order:created", "data": {
        "orderId": order, "customerId": customer, "customerName": "Ada Lovelace",
        "total": 129.9, "status": "pending", "channel": "web",
    }})
}

/// Runs the binary with these arguments and settings; nothing else is in its environment.
pub fn omnicast(arguments: &[&str], settings: &[(&str, &str)], stdin: &str) -> std::process::Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnicast"))
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Resident memory of a process, in bytes.
pub fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).unwrap().count()
}

impl Client {
    /// A client on a stream that was upgraded by other means; `read` is what was already taken
    /// from it behind the head of the answer.
    pub fn over(stream: TcpStream, read: Vec<u8>) -> Client {
        stream.patient();
        Client { stream, buf: read, passed: VecDeque::new() }
    }

    /// The bytes of a good upgrade request.
    pub fn upgrade_request(node: &Node) -> String {
        format!(
            "GET /api/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            node.address
        )
    }

    /// Sends a message with this `id`, and returns the answer, which must echo it.
    pub fn ask(&mut self, id: &str, mut message: Value) -> Value {
        message["id"] = id.into();
        self.send(&message);
        let answer = self.message();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Breaks the connection: the node sees a reset.
    pub fn reset(self) {
        reset(self.stream);
    }
}

/// Breaks a connection: the peer sees a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A connection to the control listener that stays open.
pub struct Control<S> {
    pub stream: S,
}

impl Control<UnixStream> {
    pub fn open(node: &Node) -> Control<UnixStream> {
        Control::over(UnixStream::connect(&node.control).unwrap())
    }
}

impl<S: Stream> Control<S> {
    pub fn over(stream: S) -> Control<S> {
        stream.patient();
        Control { stream }
    }

    /// Writes without waiting for an answer.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next answer.
    pub fn answer(&mut self) -> Response {
        read_response(&mut self.stream)
    }

    /// One request and its answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Response {
        self.send(request(method, path, "", body).as_bytes());
        self.answer()
    }

    /// Posts, which must be accepted. Returns the ids.
    pub fn post(&mut self, events: &Value) -> Vec<String> {
        let response = self.ask("POST", "/api/events", &events.to_string());
        assert_eq!(response.status, 200, "{}", response.body);
        serde_json::from_value(response.json()["ids"].clone()).unwrap()
    }

    /// The node has closed: there is nothing more to read.
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest); // A reset ends it as well.
        assert!(rest.is_empty(), "after the last answer: {:?}", String::from_utf8_lossy(&rest));
    }
}

/// The bytes of a request with a body of known length; each of `headers` ends with CRLF.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

impl Client {
    /// The text of the next message as it came, digit for digit.
    pub fn message_text(&mut self) -> String {
        loop {
            let length = match self.buf.get(1) {
                Some(126) if self.buf.len() >= 4 => {
                    4 + usize::from(u16::from_be_bytes([self.buf[2], self.buf[3]]))
                }
                Some(&n) if n < 126 => 2 + usize::from(n),
                _ => usize::MAX,
            };
            if let Some(frame) = self.buf.get(..length) {
                let text = frame[if length < 128 { 2 } else { 4 }..].to_vec();
                let first = frame[0];
                self.buf.drain(..length);
                if first == 0x89 {
                    self.send_raw(&self::frame(0x8a, &text));
                    continue;
                }
                assert_eq!(first, 0x81, "a text message of less than 64 KiB");
                return String::from_utf8(text).unwrap();
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(n) if n > 0 => self.buf.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => panic!("a message was due, and there came {other:?}"),
            }
        }
    }

    /// Authenticates in trusted mode with a session of the test's choice.
    pub fn auth_session(&mut self, user: &str, role: &str, session: &str) -> Value {
        let mut data = identity(user, role);
        data["sessionId"] = session.into();
        self.send(&json!({"type": "auth", "data": data}));
        self.expect_welcome()
    }

    /// Everything that reached this client up to now, and all that was posted before: an event
    /// for everybody, posted now, comes after it. Such events of other clients are left out.
    pub fn settle(&mut self, node: &Node) -> Vec<Value> {
        let marker = unique("marker");
        node.post(&json!({"type": "system:maintenance", "data": {"message": marker}}));
        let mut before = self.passed();
        loop {
            let message = self.message();
            let text = message["data"]["message"].as_str().unwrap_or_default();
            if text == marker {
                return before;
            }
            if !text.starts_with("marker_") {
                before.push(message);
            }
        }
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
