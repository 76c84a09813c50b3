//! The connection: what it is, and what its client's messages do to it.
//!
//! Bytes come in through [`Conn::handle_bytes`]. What concerns this client alone is done here
//! and answered into its outbox; what concerns others is left in [`Changes`] for the shard.

use std::collections::VecDeque;
use std::net::IpAddr;

use bytes::Bytes;

use crate::base::permits::Bucket;
use crate::base::time::Now;
use crate::conn::config::{CLOSE_TIMEOUT_MS, Config, EXPIRY_NOTICE_MS, GREETING_MESSAGE_BYTES};
use crate::conn::interest::{Interest, KeyChange};
use crate::conn::outbox::Outbox;
use crate::conn::phase::Phase;
use crate::conn::reason::{Advice, Ending};
use crate::conn::resume::Resume;
use crate::policy::{Draft, Identity, Role, Viewer, ViewerClass};
use crate::wire::deflate::Codec;
use crate::wire::frame::{Control, encode_close, encode_control, encode_text};
use crate::wire::message::{Assembler, Flow, FrameFault, Item, Sink};
use crate::wire::reply::{self, ErrorCode};

/// Who may still come in: the shared cells of admission, as one connection needs them.
pub trait Door {
    /// Takes one of the node's seats for a WebSocket. `false`: the node is full.
    fn take_seat(&self) -> bool;
    /// Lets one more connection of `address` in.
    ///
    /// # Errors
    /// Milliseconds after which another attempt makes sense.
    fn enter(&self, address: IpAddr, now: Now) -> Result<(), u64>;
}

/// What a connection must know of the moment.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The node's settings.
    pub config: &'a Config,
    /// Admission.
    pub door: &'a dyn Door,
    /// The turn's time.
    pub now: Now,
    /// Position of the last event that the shard has seen.
    pub last_position: u64,
    /// Position of the oldest event that can be replayed.
    pub first_position: u64,
    /// Position of the last event that the node has published; the shard may lag behind.
    pub node_position: u64,
    /// Customers online, for `presence`.
    pub online: usize,
    /// The node answers health checks with yes.
    pub alive: bool,
    /// The node proved that it delivers.
    pub ready: bool,
    /// No new upgrades.
    pub draining: bool,
    /// What this connection is called: `connectionId`.
    pub name: &'a dyn std::fmt::Display,
}

/// What a connection's input means for others. Reused from call to call; the shard empties it.
#[derive(Debug, Default)]
pub struct Changes {
    /// It became a WebSocket (and holds a seat).
    pub upgraded: bool,
    /// It agreed to compress as it became one.
    pub agreed_on_deflate: bool,
    /// It presented its first accepted credential.
    pub authenticated: bool,
    /// It presented another one; this is what the old one said.
    pub reauthenticated: Option<Identity>,
    /// Which namespaces it hears of as a whole or by keys may have changed.
    pub interest: bool,
    /// The entities it asks for changed so, in order.
    pub keys: Vec<KeyChange>,
    /// It has a replay before it.
    pub behind: bool,
    /// Events that it publishes, with the id to answer to.
    pub published: Vec<(Option<Box<str>>, Draft)>,
    /// It asked for the node's statistics, over HTTP.
    pub asked_stats: bool,
    /// It is ending.
    pub ending: Option<Ending>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address that limits and lists go by: the socket's peer, or whom a trusted proxy named.
    pub address: IpAddr,
    /// The socket's peer is a trusted proxy, so a forwarded address in the head counts.
    pub proxied: bool,
    /// The address was counted by [`Door::enter`] and must be given back.
    pub counted: bool,
}

/// When the last refusals were (monotonic ms).
#[derive(Debug, Default)]
struct Refusals {
    at: VecDeque<u64>,
}

/// One client.
#[derive(Debug)]
pub struct Conn {
    pub(crate) phase: Phase,
    /// A ping is out and nothing was heard since.
    pub(crate) awaits_pong: bool,
    /// That ping went into a queue, and has not left it.
    pub(crate) ping_waits: bool,
    /// The end of the session was announced.
    pub(crate) noticed: bool,
    /// It holds one of the node's seats.
    pub(crate) seated: bool,
    /// Our close frame or HTTP answer is the last thing it gets; shut down once flushed.
    pub(crate) shut: bool,
    /// Not one more byte may reach the peer, also of those that the system still holds.
    pub(crate) aborted: bool,
    /// The peer will send no more; it is gone once it has read what it asked for.
    pub(crate) peer_done: bool,
    /// It may send compressed messages.
    pub(crate) inflates: bool,
    /// It takes the shared compressed copies of events.
    pub(crate) deflates: bool,
    /// When the oldest unanswered ping was queued (monotonic ms, the low half).
    pub(crate) pinged_at: u32,
    /// Born (wall ms).
    pub(crate) since: u64,
    pub(crate) origin: Origin,
    pub(crate) identity: Option<Identity>,
    pub(crate) interest: Interest,
    /// Every event up to this position was delivered to it, or was not for it. Only meaningful
    /// where the shard says that this connection is handled by itself, out of the common sweep.
    pub(crate) seen: u64,
    /// Every event after this position that needs no subscription was brought to it, or will be: a
    /// replay brings the older ones only.
    pub(crate) reached_after: u64,
    /// The one entry of the expiry queue that counts (wall ms).
    pub(crate) expiry_due: u64,
    /// Its neighbours among those of the same user and of the same session, by slot.
    pub(crate) next_of_user: u32,
    pub(crate) prev_of_user: u32,
    pub(crate) next_of_session: u32,
    pub(crate) prev_of_session: u32,
    pub(crate) ending: Option<Ending>,
    pub(crate) head: Option<Box<super::opening::Head>>,
    /// How the statistics were asked for; exists in phase `Asking` only.
    pub(crate) asked: Option<Box<super::opening::Asked>>,
    pub(crate) out: Option<Box<Outbox>>,
    /// Exists while it is behind: a cursor into the shard's window, or into the log.
    pub(crate) resume: Option<Box<Resume>>,
    assembler: Assembler,
    bucket: Bucket,
    /// Exists only for those who were refused.
    refusals: Option<Box<Refusals>>,
}

impl Conn {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(origin: Origin, now: Now) -> Conn {
        Conn {
            phase: Phase::Opening,
            awaits_pong: false,
            ping_waits: false,
            noticed: false,
            seated: false,
            shut: false,
            aborted: false,
            peer_done: false,
            inflates: false,
            deflates: false,
            pinged_at: 0,
            since: now.wall,
            origin,
            identity: None,
            interest: Interest::default(),
            seen: 0,
            reached_after: 0,
            expiry_due: 0,
            next_of_user: u32::MAX,
            prev_of_user: u32::MAX,
            next_of_session: u32::MAX,
            prev_of_session: u32::MAX,
            ending: None,
            head: None,
            asked: None,
            out: None,
            resume: None,
            assembler: Assembler::default(),
            bucket: Bucket::default(),
            refusals: None,
        }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the filter asks about it; nothing before it is authenticated.
    #[must_use]
    pub fn viewer(&self) -> Option<Viewer<'_>> {
        let identity = self.identity.as_ref().filter(|_| self.phase == Phase::Live)?;
        Some(Viewer {
            class: ViewerClass {
                role: identity.role,
                subscribed: self.interest.whole(),
                keyed: self.interest.keyed(),
            },
            user: &identity.user,
            session: &identity.session,
            keys: &self.interest,
        })
    }

    /// Bytes that arrived. They are unmasked in place. `codec` is lent for this call.
    pub fn handle_bytes(
        &mut self,
        input: &mut [u8],
        codec: &mut Codec,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        self.awaits_pong = false;
        match self.phase {
            Phase::Opening => self.handle_opening(input, codec, cx, changes),
            Phase::Asking | Phase::Draining => {}
            _ => self.handle_frames(input, codec, cx, changes),
        }
    }

    /// The peer will send no more. Whatever it still owed is over.
    pub fn handle_end(&mut self, changes: &mut Changes) {
        if self.ending.is_none() {
            self.ending = Some(Ending::PeerGone);
            changes.ending = self.ending;
        }
        self.phase = Phase::Draining;
        self.out = None;
        self.shut = false;
    }

    pub(super) fn handle_frames(
        &mut self,
        input: &mut [u8],
        codec: &mut Codec,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let mut assembler = std::mem::take(&mut self.assembler);
        let inflater = self.inflates.then_some(&mut codec.inflater);
        let mut hearing = Hearing {
            conn: self,
            cx,
            changes,
            #[cfg(feature = "conformance")]
            deflater: &mut codec.deflater,
        };
        let fault = assembler.feed(input, inflater, &mut hearing);
        if let Err(fault) = fault {
            let ending = match fault {
                FrameFault::Protocol(_) => Ending::Protocol,
                FrameFault::Utf8 => Ending::BadUtf8,
                FrameFault::TooBig => Ending::TooBig,
            };
            self.close(ending, ending.retry_after_ms(), cx.now, changes);
            // Nothing that still comes can be read, not even an answer to the close: the
            // connection has failed (RFC 6455 7.1.7).
            self.phase = Phase::Draining;
            self.shut = true;
        }
        if self.phase.reads_frames() {
            self.assembler = assembler;
        }
    }

    /// Queues frames for this client.
    pub fn send(&mut self, frames: Bytes, now: Now) {
        self.outbox(now).push(frames);
    }

    pub(super) fn outbox(&mut self, now: Now) -> &mut Outbox {
        self.out.get_or_insert_with(|| Box::new(Outbox::new(now.mono)))
    }

    /// Queues a reply for this client.
    pub fn reply(&mut self, text: &str, now: Now) {
        self.send(encode_text(text.as_bytes()), now);
    }

    pub(super) fn refuse(&mut self, id: Option<&str>, code: ErrorCode, message: &str, now: Now) {
        self.reply(&reply::error(id, code, message, &[]), now);
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self, now: Now) {
        if !self.awaits_pong {
            self.awaits_pong = true;
            self.pinged_at = now.mono as u32;
            self.ping_waits = self.out.is_some();
        }
        self.outbox(now).push_ping(PING);
    }

    /// The outbox is empty: whoever waited in it is on its way.
    pub fn handle_flushed(&mut self, now: Now) {
        self.out = None;
        if std::mem::take(&mut self.ping_waits) && self.awaits_pong {
            self.pinged_at = now.mono as u32;
        }
    }

    /// Announces that the session ends at `expires_at`.
    pub fn notice_expiry(&mut self, now: Now) {
        if let Some(identity) = &self.identity {
            let text = reply::session_expiring(identity.expires_at);
            self.noticed = true;
            self.reply(&text, now);
        }
    }

    /// When the expiry queue must look at this session next (wall ms).
    #[must_use]
    pub fn expiry_check_at(&self) -> u64 {
        let expires_at = self.identity.as_ref().map_or(0, |i| i.expires_at);
        if self.noticed { expires_at } else { expires_at.saturating_sub(EXPIRY_NOTICE_MS) }
    }

    /// Starts to end the connection from our side: says why, sends a close frame.
    pub fn close(&mut self, ending: Ending, retry_after_ms: u64, now: Now, changes: &mut Changes) {
        self.close_saying(None, ending, retry_after_ms, now, changes);
    }

    /// As [`Conn::close`], with a last answer in front that no forfeit takes away.
    pub(super) fn close_saying(
        &mut self,
        answer: Option<&str>,
        ending: Ending,
        retry_after_ms: u64,
        now: Now,
        changes: &mut Changes,
    ) {
        if self.phase >= Phase::Closing {
            return;
        }
        self.ending = Some(ending);
        changes.ending = Some(ending);
        let Some(code) = ending.code() else {
            self.phase = Phase::Draining;
            self.shut = true;
            return;
        };
        // A session that ends before this connection's last byte is out must not outlive itself.
        let too_late = now.wall.saturating_add(CLOSE_TIMEOUT_MS);
        let expires = self.identity.as_ref().is_some_and(|i| i.expires_at <= too_late);
        if (expires || ending.forfeits_backlog())
            && let Some(out) = &mut self.out
        {
            let half_a_frame = out.forfeit();
            if half_a_frame && ending.loses_rights() {
                // Half an event is under way: it may neither be finished nor be followed.
                self.abort();
                return;
            }
        }
        if let Some(answer) = answer {
            self.reply(answer, now);
        }
        if self.phase.hears_closing() {
            let retry = ending.advice() != Advice::Stay;
            let text = reply::closing(code, ending.word(), retry, retry_after_ms);
            self.reply(&text, now);
        }
        self.send(encode_close(code, ending.word()), now);
        self.phase = Phase::Closing;
    }

    /// Ends the connection without another byte.
    pub(crate) fn abort(&mut self) {
        self.out = None;
        self.aborted = true;
        self.phase = Phase::Draining;
    }

    /// Takes a permit for something that the client sent. Without one, the client is told, and
    /// one that does not stop is closed.
    pub(super) fn spend_permit(&mut self, id: Option<&str>, cx: &Context<'_>, changes: &mut Changes) -> bool {
        let Err(refused) = self.bucket.try_take(cx.config.message_rate, cx.now.mono) else {
            return true;
        };
        let since = cx.now.mono.saturating_sub(ABUSE_WINDOW_MS);
        let refusals = &mut self.refusals.get_or_insert_default().at;
        while refusals.front().is_some_and(|&at| at < since || refusals.len() > ABUSE_MEMORY) {
            refusals.pop_front();
        }
        refusals.push_back(cx.now.mono);
        let abusive = refusals.len() >= cx.config.rate_abuse as usize;
        let retry = refused.retry_after_ms.to_string();
        let message = "too many messages; slow down";
        self.reply(&reply::error(id, ErrorCode::RateLimited, message, &[("retryAfterMs", &retry)]), cx.now);
        if abusive {
            self.close(Ending::RateAbuse, Ending::RateAbuse.retry_after_ms(), cx.now, changes);
        }
        false
    }

    /// The role of the identity it presented last.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.identity.as_ref().map(|i| i.role)
    }
}

/// The window of [`Config::rate_abuse`].
const ABUSE_WINDOW_MS: u64 = 60_000;
/// Refusals remembered at most; `WS_RATE_ABUSE` cannot be set higher.
pub const ABUSE_MEMORY: usize = 10_000;
/// A ping frame without payload.
const PING: Bytes = Bytes::from_static(&[0x89, 0]);

/// A connection while it takes in what its client sent.
struct Hearing<'a, 'c> {
    conn: &'a mut Conn,
    cx: &'a Context<'c>,
    changes: &'a mut Changes,
    #[cfg(feature = "conformance")]
    deflater: &'a mut crate::wire::deflate::Deflater,
}

impl Sink for Hearing<'_, '_> {
    fn limit(&self) -> usize {
        match self.conn.phase {
            Phase::Live => self.cx.config.message_bytes_max,
            #[cfg(feature = "conformance")]
            Phase::Echoing => super::echo::MESSAGE_BYTES_MAX,
            _ => GREETING_MESSAGE_BYTES.min(self.cx.config.message_bytes_max),
        }
    }

    /// Whoever is told to go may no longer make the node work.
    fn listens(&self) -> bool {
        self.conn.phase != Phase::Closing
    }

    fn item(&mut self, item: Item<'_>) -> Flow {
        let Hearing { conn, cx, changes, .. } = self;
        if conn.phase == Phase::Closing {
            // Our close is on its way: only the peer's answer to it is of interest (RFC 6455 7.1.1).
            let Item::Close { .. } = item else { return Flow::Go };
            conn.phase = Phase::Draining;
            conn.shut = true;
            return Flow::Stop;
        }
        match item {
            #[cfg(feature = "conformance")]
            Item::Text(text) if conn.phase == Phase::Echoing => {
                conn.echo_text(text, self.deflater, cx, changes);
            }
            #[cfg(feature = "conformance")]
            Item::Binary if conn.phase == Phase::Echoing => {}
            Item::Text(text) => conn.handle_text(text, cx, changes),
            Item::Binary => conn.close(Ending::Binary, 0, cx.now, changes),
            Item::Ping(payload) => {
                if conn.spend_permit(None, cx, changes) {
                    conn.outbox(cx.now).push_pong(encode_control(Control::Pong, payload));
                }
            }
            Item::Pong(_) => conn.spend_unasked_pong(cx, changes),
            Item::Close { code, .. } => {
                conn.ending = Some(Ending::PeerClosed);
                changes.ending = conn.ending;
                let echo = match code {
                    Some(code) => encode_close(code, ""),
                    None => encode_control(Control::Close, &[]),
                };
                if let Some(out) = &mut conn.out {
                    out.forfeit();
                }
                conn.send(echo, cx.now);
                conn.phase = Phase::Draining;
                conn.shut = true;
            }
        }
        if conn.phase >= Phase::Draining { Flow::Stop } else { Flow::Go }
    }

    /// It costs as much as a message; what follows our close is of no interest.
    fn empty_fragment(&mut self) -> Flow {
        if self.conn.phase != Phase::Closing {
            self.conn.spend_permit(None, self.cx, self.changes);
        }
        Flow::Go
    }

    #[cfg(feature = "conformance")]
    fn binary(&mut self, payload: &[u8]) -> Flow {
        if self.conn.phase == Phase::Echoing {
            self.conn.echo_binary(payload, self.deflater, self.cx, self.changes);
        }
        Flow::Go
    }
}

impl Conn {
    /// A pong that answers one of our pings is free, and there is at most one of those per
    /// `WS_PING_INTERVAL`; a flood of others costs permits like anything else.
    fn spend_unasked_pong(&mut self, cx: &Context<'_>, changes: &mut Changes) {
        let elapsed = (cx.now.mono as u32).wrapping_sub(self.pinged_at);
        if self.pinged_at != 0 && u64::from(elapsed) < cx.config.ping_interval_ms.max(1) {
            self.pinged_at = 0;
        } else {
            self.spend_permit(None, cx, changes);
        }
    }

    fn handle_text(&mut self, text: &str, cx: &Context<'_>, changes: &mut Changes) {
        let parsed = crate::wire::command::parse(text);
        let id = match &parsed {
            Ok(command) => command.id,
            Err(fault) => fault.id,
        };
        if !self.spend_permit(id, cx, changes) {
            return;
        }
        match parsed {
            Ok(command) => self.handle_command(&command, cx, changes),
            Err(fault) => self.refuse_fault(&fault, cx),
        }
    }
}
