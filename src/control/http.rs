//! One control connection as a machine: bytes in, requests out, answers in their order.
//!
//! HTTP/1.1 with keep-alive and pipelining. A request is handed out where it lies in the
//! buffer; the next one only after the answer to the last is known, so that answers cannot
//! overtake each other. An answer that is known may still have to wait for the journal: it is
//! held, and everything behind it, while further requests are served.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::wire::chunked::{ChunkFault, Chunked};
use crate::wire::head::{self, BodyLength, HEAD_BYTES_MAX, Head, HeadError};
use crate::wire::response::{JSON, Response, error_body};

/// Unsent answer bytes, held ones among them, past which no further request is taken from a connection.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes of further requests that are taken in while one is served.
const READ_AHEAD: usize = 64 << 10;
/// Buffer kept between requests; what a large body needed beyond it is given back.
const BUFFER_KEPT: usize = 64 << 10;
/// What the head of an answer usually needs.
const HEAD_ROOM: usize = 256;
/// Answers of one connection that may be held for the journal.
const HELD_MAX: usize = 1_024;

/// A request, where it lies in its connection's buffer.
#[derive(Debug)]
pub struct Request<'a> {
    /// Method, target, headers.
    pub head: Head<'a>,
    /// The whole body.
    pub body: &'a [u8],
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// JSON.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), content_type: JSON, body: body.into() }
    }

    /// A refusal: `{"error":{"code","message"}}`.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Answer {
        Answer::json(status, error_body(code, message))
    }

    fn encode(&self, close: bool, head_only: bool) -> Vec<u8> {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let response = Response {
            status: self.status,
            headers: &headers,
            content_type: self.content_type,
            body: &self.body,
            close,
        };
        let mut out = Vec::with_capacity(self.body.len() + HEAD_ROOM);
        if head_only {
            response.encode_head(&mut out);
        } else {
            response.encode(&mut out);
        }
        out
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Its answer.
    Now(Answer),
    /// Its answer, once the journal has settled this ticket in its favour.
    Once(u64, Answer),
    /// The answer comes by [`Client::answer`].
    Later,
}

/// An answer in its place behind others that are held.
#[derive(Debug)]
struct Held {
    /// What it waits for; none where only for those before it.
    ticket: Option<u64>,
    /// The encoded answer.
    bytes: Vec<u8>,
    /// How an answer in its place ends the connection, or not.
    close: bool,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the end of a head.
    Head { scanned: usize },
    /// Head complete, waiting for this many bytes of body behind it.
    Body { head: usize, length: usize },
    /// Head complete, decoding chunks as they come.
    Chunks { head: usize, decoder: Box<Chunked> },
    /// No further request: refused, or the last one was asked for.
    Done,
}

/// What is there to do.
#[derive(Debug, PartialEq, Eq)]
enum Ready {
    /// More bytes are needed.
    No,
    /// A request of this shape lies at the start of the buffer.
    Whole { head: usize, body: BodyAt },
    /// It cannot be understood, or is over a limit.
    Refused(Answer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyAt {
    /// Behind the head.
    Buffer(usize),
    /// In the decoded body; so many raw bytes of it lie behind the head.
    Decoded(usize),
}

/// A token that requests must show. Kept and compared as a digest, so that the time it takes says
/// nothing about how much of it was right.
#[derive(Clone, Copy)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The digest of `token`.
    #[must_use]
    pub fn new(token: &[u8]) -> Secret {
        let digest = ring::digest::digest(&ring::digest::SHA256, token);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Secret(bytes)
    }

    fn is_shown(&self, head: &Head<'_>) -> bool {
        let value = head.one("authorization").ok().flatten();
        let shown = value.and_then(|value| {
            let at = value.iter().position(|b| *b == b' ')?;
            value[..at].eq_ignore_ascii_case(b"bearer").then(|| value[at..].trim_ascii())
        });
        shown.is_some_and(|shown| Secret::new(shown).0 == self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// What each request must show, before its body is looked at.
    secret: Option<Secret>,
    /// A request has shown it.
    proven: bool,
    buf: Vec<u8>,
    /// Bytes of `buf` that are done with.
    at: usize,
    stage: Stage,
    decoded: Vec<u8>,
    body_max: usize,
    out: Vec<u8>,
    sent: usize,
    /// Answers that wait for the journal, and those behind them.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// A request was handed out and not answered.
    waiting: bool,
    keep_alive: bool,
    head_only: bool,
    continued: bool,
    ended: bool,
}

impl Client {
    /// A connection whose request bodies may have `body_max` bytes, and whose requests must show
    /// `secret`, if there is one.
    #[must_use]
    pub fn new(body_max: usize, secret: Option<Secret>) -> Client {
        Client {
            secret,
            proven: secret.is_none(),
            buf: Vec::new(),
            at: 0,
            stage: Stage::Head { scanned: 0 },
            decoded: Vec::new(),
            body_max,
            out: Vec::new(),
            sent: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            waiting: false,
            keep_alive: true,
            head_only: false,
            continued: false,
            ended: false,
        }
    }

    /// Takes bytes that arrived.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if !matches!(self.stage, Stage::Done) {
            self.buf.extend_from_slice(bytes);
        }
    }

    /// The peer will send no more; what it asked is still answered.
    pub fn handle_end(&mut self) {
        self.ended = true;
    }

    /// Whether the peer said that it will send no more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether it has shown the secret, or need not.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether more bytes are of use now: a request under way needs them, or little enough waits.
    /// What comes otherwise stays with the kernel, and so with the peer.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        let unread = self.buf.len() - self.at;
        match &self.stage {
            Stage::Done | Stage::Chunks { .. } => true, // Thrown away; decoded as they come.
            &Stage::Body { head, length } => unread < head + length,
            Stage::Head { .. } => unread < READ_AHEAD,
        }
    }

    /// Whether a request was handed out and not answered.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Whether so many answers are unread or held that nothing more is taken from the peer.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        let unsent = self.out.len() - self.sent + self.held_bytes;
        unsent > ANSWER_BYTES_MAX || self.held.len() >= HELD_MAX
    }

    /// Whether a request is under way: some of it has arrived, not all.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        !self.waiting && !self.is_choked() && self.at < self.buf.len() && !matches!(self.stage, Stage::Done)
    }

    /// Hands the next complete request to `serve`, if there is one and the answer to the one
    /// before is known. `true`: something happened, call again.
    pub fn poll_request(&mut self, serve: impl FnOnce(&Request<'_>) -> Reply) -> bool {
        if self.waiting || self.is_choked() {
            return false;
        }
        match self.advance() {
            Ready::No => {
                if self.ended {
                    self.stage = Stage::Done;
                }
                false
            }
            Ready::Refused(answer) => {
                self.stage = Stage::Done;
                self.keep_alive = false;
                self.head_only = false;
                self.buf = Vec::new();
                self.at = 0;
                self.queue(&answer);
                true
            }
            Ready::Whole { head, body } => {
                self.hand_out(head, body, serve);
                true
            }
        }
    }

    fn hand_out(&mut self, head_len: usize, body: BodyAt, serve: impl FnOnce(&Request<'_>) -> Reply) {
        let bytes = &self.buf[self.at..];
        let (body, raw) = match body {
            BodyAt::Buffer(n) => (&bytes[head_len..head_len + n], n),
            BodyAt::Decoded(raw) => (&self.decoded[..], raw),
        };
        let Ok(head) = head::parse(&bytes[..head_len]) else {
            unreachable!("the head was parsed when it was complete")
        };
        self.keep_alive = head.keep_alive();
        self.head_only = head.method == "HEAD";
        let reply = serve(&Request { head, body });
        self.at += head_len + raw;
        self.stage = if self.keep_alive { Stage::Head { scanned: 0 } } else { Stage::Done };
        self.continued = false;
        self.decoded = Vec::new();
        self.tidy();
        match reply {
            Reply::Now(answer) => self.queue(&answer),
            Reply::Once(ticket, answer) => {
                let (bytes, close) = (self.encode(&answer), !self.keep_alive);
                self.hold(Held { ticket: Some(ticket), bytes, close });
            }
            Reply::Later => self.waiting = true,
        }
    }

    /// The journal has settled `ticket`: what was held for it goes out, or `refusal` in its place.
    pub fn settle(&mut self, ticket: u64, refusal: Option<&Answer>) {
        if let Some(held) = self.held.iter_mut().find(|held| held.ticket == Some(ticket)) {
            held.ticket = None;
            if let Some(refusal) = refusal {
                self.held_bytes -= held.bytes.len();
                held.bytes = refusal.encode(held.close, false);
                self.held_bytes += held.bytes.len();
            }
        }
        while self.held.front().is_some_and(|held| held.ticket.is_none())
            && let Some(held) = self.held.pop_front()
        {
            self.held_bytes -= held.bytes.len();
            self.out.extend_from_slice(&held.bytes);
        }
    }

    fn hold(&mut self, held: Held) {
        self.held_bytes += held.bytes.len();
        self.held.push_back(held);
    }

    /// Whether answers wait for the journal.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Moves what is left to the front, once it is worth it.
    fn tidy(&mut self) {
        if self.at == self.buf.len() {
            self.buf.clear();
            self.at = 0;
        } else if self.at > BUFFER_KEPT {
            self.buf.drain(..self.at);
            self.at = 0;
        }
        if self.buf.len() < BUFFER_KEPT && self.buf.capacity() > 2 * BUFFER_KEPT {
            self.buf.shrink_to(BUFFER_KEPT);
        }
    }

    /// Goes on with the request that lies at the start of the buffer.
    fn advance(&mut self) -> Ready {
        loop {
            let bytes = &self.buf[self.at..];
            match &mut self.stage {
                Stage::Done => return Ready::No,
                Stage::Head { scanned } => {
                    let Some(end) = head::find_end(bytes, scanned) else {
                        if bytes.len() > HEAD_BYTES_MAX {
                            return Ready::Refused(head_refusal(HeadError::TooLarge));
                        }
                        return Ready::No;
                    };
                    if end > HEAD_BYTES_MAX {
                        return Ready::Refused(head_refusal(HeadError::TooLarge));
                    }
                    match self.begin_body(end) {
                        Ok(stage) => self.stage = stage,
                        Err(answer) => return Ready::Refused(answer),
                    }
                }
                &mut Stage::Body { head, length } => {
                    if bytes.len() >= head + length {
                        return Ready::Whole { head, body: BodyAt::Buffer(length) };
                    }
                    return Ready::No;
                }
                Stage::Chunks { head, decoder } => {
                    let head = *head;
                    let fed = decoder.feed(&bytes[head..], &mut self.decoded);
                    return match fed {
                        Ok(progress) if progress.done => {
                            Ready::Whole { head, body: BodyAt::Decoded(progress.consumed) }
                        }
                        Ok(progress) => {
                            // What is decoded need not be kept raw as well.
                            let from = self.at + head;
                            self.buf.drain(from..from + progress.consumed);
                            Ready::No
                        }
                        Err(ChunkFault::TooLarge) => Ready::Refused(body_refusal(self.body_max)),
                        Err(_) => Ready::Refused(Answer::error(400, "bad_request", "bad chunked body")),
                    };
                }
            }
        }
    }

    /// A complete head: how much body follows, and whether the peer waits for a word first.
    fn begin_body(&mut self, end: usize) -> Result<Stage, Answer> {
        let parsed = head::parse(&self.buf[self.at..self.at + end]).map_err(head_refusal)?;
        if self.secret.is_some_and(|secret| !secret.is_shown(&parsed)) {
            return Err(Answer::error(401, "unauthorized", "the control token is needed")
                .with("WWW-Authenticate", "Bearer realm=\"omnicast\""));
        }
        self.proven = true;
        let stage = match head::body_length(&parsed).map_err(head_refusal)? {
            BodyLength::None => Stage::Body { head: end, length: 0 },
            BodyLength::Known(length) => match usize::try_from(length) {
                Ok(length) if length <= self.body_max => Stage::Body { head: end, length },
                _ => return Err(body_refusal(self.body_max)),
            },
            BodyLength::Chunked => {
                Stage::Chunks { head: end, decoder: Box::new(Chunked::new(self.body_max as u64)) }
            }
        };
        let has_body = !matches!(stage, Stage::Body { length: 0, .. });
        let arrived = self.buf.len() > self.at + end;
        if has_body && !arrived && parsed.has_token("expect", "100-continue") && !self.continued {
            self.emit(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
        }
        self.continued = true;
        Ok(stage)
    }

    /// Answers the request that was handed out last.
    pub fn answer(&mut self, answer: &Answer) {
        debug_assert!(self.waiting);
        self.waiting = false;
        self.queue(answer);
    }

    /// Refuses whatever is under way, and is done with the connection.
    pub fn refuse(&mut self, answer: &Answer) {
        self.stage = Stage::Done;
        self.waiting = false;
        self.keep_alive = false;
        self.head_only = false;
        self.queue(answer);
    }

    fn queue(&mut self, answer: &Answer) {
        let bytes = self.encode(answer);
        self.emit(bytes);
    }

    fn encode(&self, answer: &Answer) -> Vec<u8> {
        answer.encode(!self.keep_alive, self.head_only)
    }

    /// Sends, in its place.
    fn emit(&mut self, bytes: Vec<u8>) {
        if !self.held.is_empty() {
            self.hold(Held { ticket: None, bytes, close: false });
        } else if self.out.is_empty() {
            self.out = bytes;
        } else {
            self.out.extend_from_slice(&bytes);
        }
    }

    /// What is to be sent.
    #[must_use]
    pub fn unsent(&self) -> IoSlice<'_> {
        IoSlice::new(&self.out[self.sent..])
    }

    /// Takes note that `n` bytes were sent.
    pub fn advance_sent(&mut self, n: usize) {
        self.sent += n;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            self.out.shrink_to(BUFFER_KEPT);
        }
    }

    /// Whether nothing is to be sent now.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.out.len() == self.sent
    }

    /// Whether no further request will be taken: close once flushed and answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done) && !self.waiting && self.held.is_empty()
    }
}

fn head_refusal(error: HeadError) -> Answer {
    match error {
        HeadError::Malformed => Answer::error(400, "bad_request", "the request is not sound HTTP/1.1"),
        HeadError::TooLarge => Answer::error(431, "head_too_large", "the request head is over 8 KiB"),
        HeadError::TooManyHeaders => Answer::error(431, "too_many_headers", "over 64 header lines"),
    }
}

fn body_refusal(max: usize) -> Answer {
    Answer::error(413, "body_too_large", &format!("the body is over {max} bytes (WS_MAX_BODY)"))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
