//! A client that speaks the protocol byte by byte.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Node, PATIENCE, Response, Stream, identity, read_response, unique};

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
pub struct Client<S = TcpStream> {
    pub stream: S,
    buf: Vec<u8>,
    /// Messages passed over by [`Client::expect`].
    passed: VecDeque<Value>,
    /// What the node answered about extensions.
    pub extensions: Option<String>,
    /// Messages that came compressed.
    pub compressed: usize,
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
        let extensions = response.header("sec-websocket-extensions").map(str::to_owned);
        Ok(Client { stream, buf: Vec::new(), passed: VecDeque::new(), extensions, compressed: 0 })
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

    /// The bytes of a good upgrade request.
    pub fn upgrade_request(node: &Node) -> String {
        format!(
            "GET /api/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            node.address
        )
    }

    /// Breaks the connection: the node sees a reset.
    pub fn reset(self) {
        reset(self.stream);
    }
}

impl<S: Stream> Client<S> {
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
            self.stream.set_patience(left);
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
        let is_compressed = first == 0xc1 && self.extensions.is_some();
        assert!(first & 0x70 == 0 || is_compressed, "no reserved bit is set without an extension");
        assert_eq!(second & 0x80, 0, "a server does not mask");
        assert_ne!(first & 0x80, 0, "the node does not fragment");
        let (head, len) = match second {
            126 => (4, u64::from(u16::from_be_bytes(b.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(b.get(2..10)?.try_into().unwrap())),
            n => (2, u64::from(n)),
        };
        let end = head + len as usize;
        let mut payload = b.get(head..end)?.to_vec();
        self.buf.drain(..end);
        if is_compressed {
            payload = inflate(&payload);
            self.compressed += 1;
        }
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

    pub fn close_write(&mut self) {
        self.stream.shut_write();
    }
}

impl<S: Stream> Client<S> {
    /// A client on a stream that was upgraded by other means; `read` is what was already taken
    /// from it behind the head of the answer.
    pub fn over(stream: S, read: Vec<u8>) -> Client<S> {
        stream.patient();
        Client { stream, buf: read, passed: VecDeque::new(), extensions: None, compressed: 0 }
    }

    /// Sends a message with this `id`, and returns the answer, which must echo it.
    pub fn ask(&mut self, id: &str, mut message: Value) -> Value {
        message["id"] = id.into();
        self.send(&message);
        let answer = self.message();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }
}

impl<S: Stream> Client<S> {
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

/// The payload of a compressed message, as a client that keeps nothing from one to the next makes it.
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    let mut stream = flate2::Compress::new(flate2::Compression::new(6), false);
    stream.compress_vec(message, &mut out, flate2::FlushCompress::Sync).unwrap();
    assert_eq!(stream.total_in(), message.len() as u64);
    out.truncate(out.len() - 4);
    out
}

/// The message of a compressed payload.
pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut stream = flate2::Decompress::new(false);
    stream.decompress_vec(&input, &mut out, flate2::FlushDecompress::Sync).unwrap();
    assert_eq!(stream.total_in(), input.len() as u64);
    out
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

/// Breaks a connection: the peer sees a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
