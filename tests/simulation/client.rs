//! A client: what it says, and what it makes of the bytes it gets.
//!
//! `truth` is what the node must believe of it once it has read what was said; `person` is what
//! the client knows from the answers it has got. Events are judged by `person`, in stream order:
//! every answer says up to which event it speaks, so that a missing, doubled, foreign or
//! misplaced event is found at the first frame that shows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::frames::{frame, whole_frame};
use crate::log::Log;
use crate::oracle::Person;
use crate::rng::Rng;
use crate::stream::Stream;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads at once, answers pings at once.
    Prompt,
    /// Has a small buffer, reads now and then, pauses; its bytes come in bits.
    Sluggish,
    /// Reads at once and never answers.
    Silent,
    /// Upgrades and never says who it is.
    Mute,
    /// Speaks HTTP only: a complete request, or the start of one.
    Plain,
}

/// What a client says.
#[derive(Clone, Debug)]
pub enum Say {
    Upgrade,
    Auth {
        user: &'static str,
        session: &'static str,
        role: &'static str,
        exp_ms: u64,
        forged: bool,
    },
    Subscribe {
        namespaces: Vec<&'static str>,
        keys: Option<Vec<&'static str>>,
        since: Option<Since>,
    },
    Unsubscribe {
        namespaces: Vec<&'static str>,
        keys: Option<Vec<&'static str>>,
    },
    Ping,
    Presence,
    Publish,
    /// Something for which the node closes with this code.
    Offend(u16),
    Close,
    /// Nothing that changes anything.
    Noise,
}

/// From where a client asks for what it missed.
#[derive(Clone, Debug)]
pub enum Since {
    /// An id of this epoch, or what looks like one.
    At(String),
    /// An id of another epoch.
    Elsewhere(String),
    /// Not even the shape of a position.
    Mistyped,
}

/// What the answer to a command must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Welcome,
    Kind(&'static str),
    Subscribed {
        namespaces: Vec<&'static str>,
        /// Where `since` was given: the position, or why nothing can be replayed.
        recovery: Option<Result<u64, &'static str>>,
    },
    Error(&'static str),
}

/// A command that was read by the node and is not answered yet.
#[derive(Clone, Debug)]
pub struct Awaited {
    pub id: u64,
    /// The last event that the node had when it read the command.
    pub position: u64,
    pub expect: Expect,
    /// What holds from the answer on.
    pub person: Option<Person>,
}

/// An event as clients get it, with a position and nothing else.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event<'a> {
    #[serde(rename = "type")]
    pub event: &'a str,
    pub namespace: &'a str,
    #[serde(rename = "data")]
    _data: BTreeMap<&'a str, serde::de::IgnoredAny>,
    #[serde(rename = "timestamp")]
    _timestamp: u64,
    pub id: &'a str,
}

pub struct Client {
    pub name: String,
    pub manner: Manner,
    pub slot: Option<u32>,
    /// Said and not delivered; `said` are its ends, as offsets in all it ever said.
    pub outgoing: Vec<u8>,
    pub said: VecDeque<(u64, u64, Say)>,
    pub said_bytes: u64,
    pub delivered_bytes: u64,
    pub next_id: u64,
    /// It plays a part in a saga: it says nothing but what that has it say.
    pub is_saga: bool,
    /// Will end its side once everything is delivered.
    pub fin: bool,
    /// What the node must believe.
    pub upgraded: bool,
    pub truth: Option<Person>,
    /// The node has ended it, by all that it knows.
    pub over: bool,
    /// It must not begin to get another event.
    pub barred: bool,
    /// It may be closed as too slow, but only where the window has moved past it.
    pub only_overrun: bool,
    /// Codes with which the node may close it.
    pub causes: BTreeSet<u16>,
    pub peer_closed: bool,
    pub last_heard: u64,
    // What it got.
    buf: Vec<u8>,
    pub got_bytes: u64,
    pub read_bytes: u64,
    /// Whether the frame that is incomplete began when the client was barred.
    cut: Option<bool>,
    pub status: Option<u16>,
    /// Compression was agreed on.
    deflates: bool,
    pub person: Option<Person>,
    pub upto: u64,
    pub stream: Stream,
    pub awaiting: VecDeque<Awaited>,
    pub publishing: BTreeMap<u64, Option<String>>,
    pub closing: Option<u16>,
    pub closed: bool,
    pub events: u64,
    /// Of those, the ones that the window did not hold any more when they came.
    pub old_events: u64,
    /// Answers to send once so much was read.
    reactions: VecDeque<(u64, u8)>,
}

impl Client {
    pub fn new(name: String, manner: Manner) -> Client {
        let causes: &[u16] = match manner {
            Manner::Prompt | Manner::Plain => &[],
            Manner::Sluggish => &[4103, 4201, 4001],
            Manner::Silent => &[4201],
            Manner::Mute => &[4001, 4201],
        };
        Client {
            name,
            manner,
            slot: None,
            outgoing: Vec::new(),
            said: VecDeque::new(),
            said_bytes: 0,
            delivered_bytes: 0,
            next_id: 1,
            is_saga: false,
            fin: false,
            upgraded: false,
            truth: None,
            over: false,
            barred: false,
            only_overrun: false,
            causes: causes.iter().copied().collect(),
            peer_closed: false,
            last_heard: 0,
            buf: Vec::new(),
            got_bytes: 0,
            read_bytes: 0,
            cut: None,
            status: None,
            deflates: false,
            person: None,
            upto: 0,
            stream: Stream::default(),
            awaiting: VecDeque::new(),
            publishing: BTreeMap::new(),
            closing: None,
            closed: false,
            events: 0,
            old_events: 0,
            reactions: VecDeque::new(),
        }
    }

    fn queue(&mut self, bytes: &[u8], say: Say) {
        self.outgoing.extend_from_slice(bytes);
        self.said_bytes += bytes.len() as u64;
        self.said.push_back((self.said_bytes, self.next_id, say));
        self.next_id += 1;
    }

    /// Sends an HTTP request, or a part of one.
    pub fn request(&mut self, text: &str, say: Say) {
        self.queue(text.as_bytes(), say);
    }

    /// Sends raw bytes that change nothing, or offend.
    pub fn raw(&mut self, bytes: &[u8], say: Say) {
        self.queue(bytes, say);
    }

    /// Sends a command with the next id, in one frame or several.
    pub fn command(&mut self, rng: &mut Rng, kind: &str, data: Option<Value>, say: Say) {
        let mut message = json!({"type": kind, "id": self.next_id});
        if let Some(data) = data {
            message["data"] = data;
        }
        let text = message.to_string().into_bytes();
        let mut bytes = Vec::new();
        if rng.percent(15) {
            let at = rng.below(text.len());
            frame(rng, &mut bytes, false, 1, &text[..at]);
            if rng.percent(30) {
                frame(rng, &mut bytes, true, 10, b"odd");
            }
            frame(rng, &mut bytes, true, 0, &text[at..]);
        } else {
            frame(rng, &mut bytes, true, 1, &text);
        }
        self.queue(&bytes, say);
    }

    /// Sends a frame of its own.
    pub fn control(&mut self, rng: &mut Rng, opcode: u8, payload: &[u8], say: Say) {
        let mut bytes = Vec::new();
        frame(rng, &mut bytes, true, opcode, payload);
        self.queue(&bytes, say);
    }

    /// The node handed these bytes to its socket.
    pub fn hear(&mut self, bytes: &[u8], log: &Log) {
        self.buf.extend_from_slice(bytes);
        self.got_bytes += bytes.len() as u64;
        if self.status.is_none() {
            let Some(end) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") else { return };
            let head = std::str::from_utf8(&self.buf[..end]).expect("heads are text").to_owned();
            let status: u16 = head["HTTP/1.1 ".len()..][..3].parse().expect("a status");
            self.status = Some(status);
            self.deflates = head.contains("permessage-deflate");
            self.buf.drain(..end + 4);
            assert_eq!(status == 101, self.upgraded, "{}: {head}", self.name);
            self.upto = log.base;
        }
        if self.status != Some(101) {
            self.buf.clear();
            return;
        }
        let buf = std::mem::take(&mut self.buf);
        let mut at = 0;
        while let Some((opcode, payload, len)) = whole_frame(&buf[at..], self.deflates) {
            let barred = self.cut.take().unwrap_or(self.barred);
            assert!(!self.closed, "{}: bytes after the close frame", self.name);
            let ends_at = self.got_bytes - (buf.len() - at - len) as u64;
            self.hear_frame(opcode, &payload, ends_at, barred, log);
            at += len;
        }
        if at < buf.len() {
            self.cut.get_or_insert(self.barred);
        }
        self.buf = buf[at..].to_vec();
    }

    fn hear_frame(&mut self, opcode: u8, payload: &[u8], ends_at: u64, barred: bool, log: &Log) {
        assert!(self.closing.is_none() || opcode == 8, "{}: opcode {opcode} after `closing`", self.name);
        match opcode {
            1 => {
                let text = std::str::from_utf8(payload).expect("text is UTF-8");
                if let Ok(event) = serde_json::from_str::<Event<'_>>(text) {
                    let end = (&self.truth, &self.causes);
                    assert!(!barred, "{}: an event after the end, {end:?}: {text}", self.name);
                    return self.hear_event(&event, log);
                }
                let message: Value = serde_json::from_str(text).expect("text is JSON");
                self.hear_message(&message, log);
            }
            8 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                assert!(self.closing == Some(code) || self.peer_closed, "{}: close {code}", self.name);
                self.closed = true;
                self.reactions.push_back((ends_at, 8));
            }
            9 => self.reactions.push_back((ends_at, 10)),
            10 => {}
            other => panic!("{}: opcode {other} from the node", self.name),
        }
    }

    fn hear_message(&mut self, message: &Value, log: &Log) {
        let kind = message["type"].as_str().expect("every message has a type");
        let id = message.get("id").or(message.get("replyTo"));
        match kind {
            "closing" => {
                let code = message["data"]["code"].as_u64().expect("a code") as u16;
                assert!(self.causes.contains(&code), "{}: closed {code}, {:?}", self.name, self.causes);
                let retry = message["data"]["retry"].as_bool().expect("retry is told");
                assert_eq!(retry, matches!(code, 1001 | 4100..=4299), "{code}");
                let untold = |a: &Awaited| matches!(a.expect, Expect::Error("auth_failed" | "token_expired"));
                let by_auth = code == 4002 || (code == 4101 && !self.barred);
                assert!(
                    !by_auth || !self.awaiting.iter().any(untold),
                    "{}: closed {code}, and not told why",
                    self.name
                );
                self.check_overrun(code, log);
                self.closing = Some(code);
            }
            "caught_up" => self.hear_caught_up(&message["data"], log),
            "session_expiring" => assert!(message["data"]["expiresAt"].is_u64()),
            "error" | "pong" if id.is_none() => {} // Of a flood.
            "published" => {
                let id = id.and_then(Value::as_u64).expect("published has our id");
                let event = self.publishing.remove(&id).expect("asked to publish");
                assert_eq!(message["data"]["eventId"].as_str(), event.as_deref(), "{}", self.name);
            }
            "error" if id.and_then(Value::as_u64).is_some_and(|id| self.publishing.contains_key(&id)) => {
                let event = self.publishing.remove(&id.and_then(Value::as_u64).unwrap()).unwrap();
                assert_eq!(message["data"]["code"], "internal");
                assert_eq!(event, None, "{}: refused, and yet published", self.name);
            }
            _ => {
                let id = id.and_then(Value::as_u64).unwrap_or_else(|| panic!("{}: {message}", self.name));
                self.hear_answer(id, kind, message, log);
            }
        }
    }

    /// It has read so much more; what it answers is sent. True: it has seen a close frame.
    pub fn read(&mut self, n: u64, rng: &mut Rng) -> bool {
        self.read_bytes += n;
        let mut closed = false;
        while self.reactions.front().is_some_and(|(at, _)| *at <= self.read_bytes) {
            let (_, opcode) = self.reactions.pop_front().unwrap();
            if opcode == 8 {
                closed = true;
            } else if matches!(self.manner, Manner::Prompt | Manner::Sluggish) && !self.fin {
                self.control(rng, opcode, b"", Say::Noise);
            }
        }
        closed
    }
}
