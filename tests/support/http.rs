//! Requests to either listener.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::{Node, PATIENCE};

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
    /// How long a read may take.
    fn set_patience(&self, patience: Duration);
    fn patient(&self) {
        self.set_patience(PATIENCE);
    }
    /// The other side reads an end.
    fn shut_write(&mut self);
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
        self.set_write_timeout(Some(PATIENCE)).unwrap();
    }

    fn shut_write(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
        self.set_write_timeout(Some(PATIENCE)).unwrap();
    }

    fn shut_write(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
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
