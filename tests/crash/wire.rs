//! Connections that may break at any byte, and say so instead of failing the test.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Response, Stream, frame, request};

/// The peer is gone, or was silent for too long.
#[derive(Debug)]
pub struct Gone(pub String);

impl From<std::io::Error> for Gone {
    fn from(error: std::io::Error) -> Gone {
        Gone(error.to_string())
    }
}

/// Bytes that came and are not used yet.
struct Inlet<S> {
    stream: S,
    buf: Vec<u8>,
    at: usize,
}

impl<S: Stream> Inlet<S> {
    fn new(stream: S) -> Inlet<S> {
        Inlet { stream, buf: Vec::new(), at: 0 }
    }

    fn unused(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        self.at += bytes;
        self.buf[self.at - bytes..self.at].to_vec()
    }

    /// Reads once. `false`: the stream's patience was over.
    fn more(&mut self) -> Result<bool, Gone> {
        self.buf.drain(..self.at);
        self.at = 0;
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Gone("end of stream".into())),
            Ok(n) => {
                self.buf.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// The head of an HTTP answer: status and lines.
    fn head(&mut self) -> Result<(u16, Vec<(String, String)>), Gone> {
        let end = loop {
            match self.unused().windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if self.more()? => {}
                None => return Err(Gone("no answer".into())),
            }
        };
        let head = String::from_utf8(self.take(end)).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
        Ok((status, head.lines().skip(1).filter_map(pair).collect()))
    }
}

/// A connection to the control socket.
pub struct Line(Inlet<UnixStream>);

impl Line {
    pub fn open(path: &Path) -> Result<Line, Gone> {
        let stream = UnixStream::connect(path)?;
        stream.patient();
        Ok(Line(Inlet::new(stream)))
    }

    /// Writes a request without waiting for its answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<(), Gone> {
        Ok(self.0.stream.write_all(request(method, path, "", body).as_bytes())?)
    }

    /// The next answer.
    pub fn answer(&mut self) -> Result<Response, Gone> {
        let (status, headers) = self.0.head()?;
        let mut response = Response { status, headers, body: String::new() };
        let length = response.header("content-length").map_or(0, |l| l.parse().unwrap());
        while self.0.unused().len() < length {
            if !self.0.more()? {
                return Err(Gone("half an answer".into()));
            }
        }
        response.body = String::from_utf8(self.0.take(length)).unwrap();
        Ok(response)
    }
}

/// What came over a WebSocket.
#[derive(Debug)]
pub enum Got {
    Text(String),
    Close(u16),
    /// Nothing within the time.
    Nothing,
}

/// A WebSocket.
pub struct Socket(Inlet<TcpStream>);

impl Socket {
    /// Connects and upgrades; with `narrow` the system takes little that is not read.
    pub fn open(address: SocketAddr, narrow: bool) -> Result<Socket, Gone> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if narrow {
            socket.set_recv_buffer_size(4 << 10)?;
        }
        socket.connect(&address.into())?;
        let stream: TcpStream = socket.into();
        stream.patient();
        stream.set_nodelay(true)?;
        let mut inlet = Inlet::new(stream);
        let upgrade = format!(
            "GET /api/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        inlet.stream.write_all(upgrade.as_bytes())?;
        match inlet.head()? {
            (101, _) => Ok(Socket(inlet)),
            (status, _) => Err(Gone(format!("status {status}"))),
        }
    }

    /// Sends these texts in one write.
    pub fn send(&mut self, texts: &[&str]) -> Result<(), Gone> {
        let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
        Ok(self.0.stream.write_all(&bytes)?)
    }

    /// What comes next, within `patience`. Pings are answered.
    pub fn next(&mut self, patience: Duration) -> Result<Got, Gone> {
        let deadline = Instant::now() + patience;
        loop {
            while let Some((opcode, payload)) = self.frame() {
                match opcode {
                    1 => return Ok(Got::Text(String::from_utf8(payload).unwrap())),
                    8 => return Ok(Got::Close(u16::from_be_bytes([payload[0], payload[1]]))),
                    9 => self.0.stream.write_all(&frame(0x8a, &payload))?,
                    other => panic!("opcode {other}"),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(PATIENCE);
            if left.is_zero() {
                return Ok(Got::Nothing);
            }
            self.0.stream.set_read_timeout(Some(left))?;
            self.0.more()?;
        }
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let b = self.0.unused();
        let (&first, &second) = (b.first()?, b.get(1)?);
        assert!(first & 0x70 == 0 && first & 0x80 != 0 && second & 0x80 == 0, "{first:x} {second:x}");
        let (head, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(b.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(b.get(2..10)?.try_into().unwrap())),
            n => (2, u64::from(n)),
        };
        let whole = head + length as usize;
        b.get(..whole)?;
        let mut frame = self.0.take(whole);
        Some((first & 15, frame.split_off(head)))
    }
}
