//! One connection of the control listener: its socket, its times, its end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::base::time::Now;
use crate::control::http::{Client, Secret};

/// A request must be complete so long after its first byte, an answer read.
pub const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// How long the answer to a peer that has shut its side waits for the journal.
pub const ABANDONED_MS: u64 = 10_000;
/// How long a peer that was refused may take to read why.
pub const LINGER_MS: u64 = 2_000;

/// A socket of either kind.
pub enum Stream {
    /// Of this machine.
    Unix(UnixStream),
    /// Of any.
    Tcp(TcpStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Unix(s) => s,
            Stream::Tcp(s) => s,
        }
    }

    fn shutdown(&self) {
        // A socket that is broken already says so when it is read.
        let _ = match self {
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.read(buf),
            Stream::Tcp(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.write(buf),
            Stream::Tcp(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a read brought.
pub enum Took {
    /// So many bytes.
    Bytes(usize),
    /// None, for now.
    Nothing,
    /// None, for good.
    End,
}

/// The connection.
pub struct Peer {
    stream: Stream,
    pub(super) client: Client,
    /// It came over TCP.
    pub(super) is_remote: bool,
    /// When it came (monotonic ms).
    born: u64,
    /// When the request under way began, or the answer under way was queued (monotonic ms).
    pub(super) since: Option<u64>,
    /// Nothing more is written; waiting for the peer to close.
    pub(super) shut_at: Option<u64>,
    /// When it said that it will send no more (monotonic ms).
    pub(super) left_at: Option<u64>,
    /// Whether it is told when the socket takes more. Only where it did not: a Unix socket says so, and
    /// wakes this thread, whenever the peer reads.
    watches_room: bool,
    pub(super) ended: bool,
}

impl Peer {
    /// One that has just come; over TCP it has to show `secret`.
    pub fn new(stream: Stream, body_max: usize, secret: Option<Secret>, now: Now) -> Peer {
        Peer {
            stream,
            client: Client::new(body_max, secret),
            is_remote: secret.is_some(),
            born: now.mono,
            since: Some(now.mono),
            shut_at: None,
            left_at: None,
            watches_room: false,
            ended: false,
        }
    }

    /// Has it polled.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.stream.source(), token, Interest::READABLE)
    }

    /// Reads once.
    pub fn read(&mut self, buffer: &mut [u8]) -> Took {
        if self.ended {
            return Took::End;
        }
        // One who does not read its answers, or runs ahead of them, is not read from either.
        if self.client.is_choked() || !self.client.wants_bytes() {
            return Took::Nothing;
        }
        match self.stream.read(buffer) {
            Ok(0) => {
                self.client.handle_end();
                Took::End
            }
            Ok(n) => {
                self.client.handle_bytes(&buffer[..n]);
                Took::Bytes(n)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Took::Nothing,
            Err(_) => {
                self.ended = true;
                Took::End
            }
        }
    }

    /// Writes what the socket takes.
    pub fn write(&mut self, registry: &Registry, token: Token, now: Now) {
        while !self.client.is_flushed() && !self.ended {
            match self.stream.write(&self.client.unsent()) {
                Ok(n) => self.client.advance_sent(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true,
            }
        }
        let flushed = self.client.is_flushed();
        if self.watches_room == flushed && !self.ended {
            self.watches_room = !flushed;
            let interest = if flushed { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let watched = registry.reregister(self.stream.source(), token, interest);
            self.ended |= watched.is_err();
        }
        self.since = match (flushed && !self.client.is_midway(), self.since) {
            (true, _) => None,
            (false, since) => since.or(Some(now.mono)),
        };
    }

    /// Sees to its end. `true`: nothing is left to wait for.
    pub fn is_over(&mut self, now: Now) -> bool {
        if self.client.is_done() && self.client.is_flushed() && self.shut_at.is_none() {
            self.stream.shutdown();
            self.shut_at = Some(now.mono);
        }
        // The peer has closed too, now or a while after the answer: nothing is left to wait for.
        self.ended |= self.shut_at.is_some() && self.client.is_ended();
        if self.client.is_ended() {
            self.left_at.get_or_insert(now.mono);
        }
        self.ended
    }

    /// Whether it has taken too long over something.
    pub fn is_overdue(&self, now: Now) -> bool {
        let past = |since: Option<u64>, limit| since.is_some_and(|at| now.mono >= at + limit);
        let stranger = (!self.client.is_proven()).then_some(self.born);
        // Who left while the journal hangs keeps no place from those who come to look why.
        past(self.shut_at, LINGER_MS)
            || past(self.left_at.filter(|_| self.client.is_held()), ABANDONED_MS)
            || past(self.since, REQUEST_TIMEOUT_MS)
            || past(stranger, REQUEST_TIMEOUT_MS)
    }
}
