//! The loop of a shard: the only one that reads client sockets, which are in `shard::sockets`.
//!
//! ```text
//! turn: poll → now → drain mail → read, accept → fire deadlines → report → flush → ask → retire → report
//! ```
//!
//! Mail comes before sockets: what was published before a client asked is before the answer.
//!
//! Sockets are registered once, edge-triggered, for both directions: an edge for writing comes
//! only after a write fell short, so there is no `epoll_ctl` per message. A socket that was not
//! read to its end within the turn's budget is kept in a list: no edge will announce the rest.
//! Whoever's TLS handshake is not over is read from that list only, a few in each turn: a storm of
//! handshakes must not become everybody's latency.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::base::slots::Id;
use crate::base::time::Now;
use crate::shard::admission::Admission;
use crate::shard::archive::Ask;
use crate::shard::clock::Clock;
use crate::shard::core::Core;
use crate::shard::counters::Counters;
use crate::shard::mail::{Order, Report};
use crate::shard::mailbox::{Mailroom, WakeGate};
use crate::shard::orders::Onward;
use crate::shard::sockets::Sockets;
use crate::shard::tls::{Acceptor, Flushed, Opened, Pulled};

/// The mailbox's token. Connections use their packed [`Id`].
pub const WAKER: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);
/// Readiness events taken per poll.
const POLL_EVENTS: usize = 1024;
/// The shard's one read buffer.
const READ_BYTES: usize = 64 << 10;
/// Bytes read from one socket in one turn: one client cannot keep the others waiting.
const READ_BUDGET: usize = 128 << 10;
/// Sockets accepted in one turn.
const ACCEPT_BUDGET: usize = 256;
/// How long accepting pauses when descriptors have run out.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Reads of TLS handshakes in one turn. One may cost a signature: with a key of P-256 a fraction of
/// a millisecond, with RSA a whole one.
const HANDSHAKE_READS: usize = 16;

/// How soon questions that the log's reader had no room for are sent again, where nothing else
/// happens.
const ASK_AGAIN_MS: u64 = 2;

/// Reports on their way to the sequencer, and its wake gate; questions on their way to the log.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The sequencer's inbox.
    pub inbox: Sender<Report>,
    /// Wakes the sequencer.
    pub gate: Arc<WakeGate>,
    /// The line of the log's reader, where there is a log. It answers by
    /// [`crate::shard::mail::Order::Past`].
    pub archive: Option<Sender<Ask>>,
}

/// One shard's thread.
pub struct Reactor {
    poll: Poll,
    listener: TcpListener,
    accepts: bool,
    accept_again_at: Option<u64>,
    /// Accepting waits until a handshake is over.
    crowded: bool,
    /// What new connections are greeted with, where the node ends TLS.
    acceptor: Option<Acceptor>,
    /// Reads of handshakes that are left in this turn; none but while the list is read.
    handshake_reads: usize,
    sockets: Sockets,
    core: Core,
    mailroom: Mailroom,
    upstream: Upstream,
    admission: Arc<Admission>,
    counters: Arc<Counters>,
    clock: Clock,
    buffer: Box<[u8]>,
    /// Connections with more to read than their budget allowed.
    unread: Vec<Id>,
    stop_when_empty: bool,
}

impl Reactor {
    /// A shard that accepts on `listener`. `poll` is where the waker of its mailbox is
    /// registered as [`WAKER`].
    ///
    /// # Errors
    /// When the listener cannot be registered.
    #[expect(
        clippy::too_many_arguments,
        reason = "assembled in one place, from parts that are made elsewhere"
    )]
    pub fn new(
        poll: Poll,
        mut listener: TcpListener,
        acceptor: Option<Acceptor>,
        core: Core,
        mailroom: Mailroom,
        upstream: Upstream,
        admission: Arc<Admission>,
        counters: Arc<Counters>,
        clock: Clock,
    ) -> io::Result<Reactor> {
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Reactor {
            poll,
            listener,
            accepts: true,
            accept_again_at: None,
            crowded: false,
            acceptor,
            handshake_reads: 0,
            sockets: Sockets::new(counters.clone()),
            core,
            mailroom,
            upstream,
            admission,
            counters,
            clock,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            unread: Vec::new(),
            stop_when_empty: false,
        })
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When polling fails, which leaves nothing sensible to do.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(POLL_EVENTS);
        let mut more = false;
        loop {
            let now = self.poll_once(&mut events, more)?;
            self.counters.turns.add(1);
            if self.take_mail(now) == Onward::Stop {
                self.core.end_all(now);
                self.core.flush(&mut self.sockets, now);
                self.sockets.shut_all();
                return Ok(());
            }
            self.silence();
            let mut busy = self.take_readiness(&events, now);
            busy |= self.accept_some(now);
            busy |= self.read_unread(now);
            self.core.fire_deadlines(now);
            self.silence();
            // Before its client knows: what that does next, on another shard, comes after it.
            self.send_reports();
            busy |= self.core.flush(&mut self.sockets, now);
            busy |= self.send_asks();
            self.core.retire(&mut self.sockets);
            // No edge of the listener will say again that somebody waits.
            busy |= self.crowded && !self.sockets.is_crowded();
            busy |= self.send_reports();
            if self.stop_when_empty && self.core.is_drained() {
                return Ok(());
            }
            // What a full sweep left in the mailbox has room once the sweep is done.
            more = busy || self.mailroom.has_events();
        }
    }

    /// Sleeps until something happens or falls due, and reads the turn's time.
    fn poll_once(&mut self, events: &mut Events, more: bool) -> io::Result<Now> {
        let timeout = if more {
            Duration::ZERO
        } else {
            let now = self.clock.now();
            let due = self.core.due_in(now);
            let accept = self.accept_again_at.map_or(u64::MAX, |at| at.saturating_sub(now.mono));
            let ask = if self.core.asks().is_empty() { u64::MAX } else { ASK_AGAIN_MS };
            Duration::from_millis(due.min(accept).min(ask))
        };
        match self.poll.poll(events, Some(timeout)) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => events.clear(),
            Err(e) => return Err(e),
        }
        self.mailroom.begin();
        Ok(self.clock.now())
    }

    /// Serves the sockets that have something. `true`: some have more than was taken.
    fn take_readiness(&mut self, events: &Events, now: Now) -> bool {
        for event in events {
            match event.token() {
                WAKER => {}
                LISTENER => self.accepts = true,
                Token(word) => {
                    let id = Id::unpack(word as u64);
                    if event.is_writable() && self.core.id_at(id.slot) == Some(id) {
                        self.go_on_writing(id, now);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.read(id, event.is_read_closed() || event.is_error(), now);
                    }
                }
            }
        }
        events.iter().count() >= POLL_EVENTS
    }

    fn read_unread(&mut self, now: Now) -> bool {
        self.handshake_reads = HANDSHAKE_READS;
        for id in std::mem::take(&mut self.unread) {
            if self.acceptor.is_some() && self.core.id_at(id.slot) == Some(id) {
                self.sockets.note_waits(id.slot, false);
            }
            self.read(id, true, now);
        }
        self.handshake_reads = 0;
        !self.unread.is_empty()
    }

    /// The socket of `id` can take bytes again: first those that were encrypted already.
    fn go_on_writing(&mut self, id: Id, now: Now) {
        if self.acceptor.is_none() {
            return self.core.handle_writable(id.slot);
        }
        match self.sockets.flush(id.slot) {
            Flushed::All => self.core.handle_writable(id.slot),
            Flushed::Some => {}
            Flushed::Broken => self.core.handle_broken(id, now),
        }
    }

    /// Reads one socket until it is empty or the budget is spent. A read that does not fill
    /// the buffer has emptied the socket: what comes later makes a new edge. Only where the
    /// end of the stream was announced must it be read out to the end.
    fn read(&mut self, id: Id, to_the_end: bool, now: Now) {
        if self.core.id_at(id.slot) != Some(id) {
            return;
        }
        if self.acceptor.is_some() {
            return self.read_sealed(id, to_the_end, now);
        }
        let mut spent = 0;
        loop {
            let Some(socket) = self.sockets.get(id.slot) else { return };
            match (&*socket).read(&mut self.buffer) {
                Ok(0) => return self.core.handle_end(id, now),
                Ok(n) => {
                    self.core.handle_bytes(id, &mut self.buffer[..n], now);
                    spent += n;
                    if n < self.buffer.len() && !to_the_end {
                        return;
                    }
                    if spent >= READ_BUDGET {
                        self.unread.push(id);
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.core.handle_broken(id, now),
            }
        }
    }

    /// As [`Reactor::read`], through TLS. The budget is of ciphertext: of records without plaintext
    /// there may be many.
    fn read_sealed(&mut self, id: Id, to_the_end: bool, now: Now) {
        let mut spent = 0;
        loop {
            if self.sockets.shakes(id.slot) {
                if self.handshake_reads == 0 {
                    return self.put_off(id);
                }
                self.handshake_reads -= 1;
            }
            let (pulled, emptied) = self.sockets.pull(id.slot);
            loop {
                match self.sockets.open(id.slot, &mut self.buffer) {
                    Opened::Bytes(n) => self.core.handle_bytes(id, &mut self.buffer[..n], now),
                    Opened::Nothing => break,
                    Opened::End => return self.core.handle_end(id, now),
                }
                self.silence();
            }
            match pulled {
                Pulled::Bytes(n) => spent += n,
                Pulled::Blocked => return,
                Pulled::Broken => return self.core.handle_broken(id, now),
            }
            if emptied && !to_the_end {
                return;
            }
            if spent >= READ_BUDGET {
                return self.put_off(id);
            }
        }
    }

    /// Cuts off who has lost the right to events while some were encrypted and not written.
    fn silence(&mut self) {
        while let Some(id) = self.core.silenced().pop() {
            if self.core.id_at(id.slot) == Some(id) && self.sockets.holds(id.slot) {
                self.core.cut_off(id);
            }
        }
    }

    /// Puts a TLS connection into the list of those to be read, once.
    fn put_off(&mut self, id: Id) {
        if self.sockets.note_waits(id.slot, true) {
            self.unread.push(id);
        }
    }

    /// Accepts what waits. `true`: more may wait.
    fn accept_some(&mut self, now: Now) -> bool {
        if self.accept_again_at.is_some_and(|at| at <= now.mono) {
            self.accept_again_at = None;
            self.accepts = true;
        }
        if !self.accepts || self.accept_again_at.is_some() {
            return false;
        }
        for _ in 0..ACCEPT_BUDGET {
            self.crowded = self.sockets.is_crowded();
            if self.crowded {
                return false;
            }
            if !self.admission.has_descriptor() {
                self.pause_accepting("no descriptor is left for clients", now);
                return false;
            }
            match self.listener.accept() {
                Ok((socket, peer)) => self.welcome(socket, peer.ip(), now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.accepts = false;
                    return false;
                }
                Err(e) if is_exhaustion(&e) => {
                    self.pause_accepting(&e.to_string(), now);
                    return false;
                }
                // The peer gave up between its SYN and our accept; the next one may be fine.
                Err(_) => {}
            }
        }
        true
    }

    /// Leaves who waits to the kernel for a while.
    fn pause_accepting(&mut self, why: &str, now: Now) {
        if self.counters.accept_pauses.read() == 0 {
            tracing::warn!(why, "accepting pauses: out of descriptors or memory");
        }
        self.counters.accept_pauses.add(1);
        self.accept_again_at = Some(now.mono + ACCEPT_PAUSE_MS);
    }

    fn welcome(&mut self, mut socket: TcpStream, peer: std::net::IpAddr, now: Now) {
        if !self.admission.take_socket() {
            self.counters.turned_away.add(1);
            // Best effort: the request was not read, so the answer may not survive the close.
            if self.acceptor.is_none() {
                let _ = socket.write(OVERRUN);
            }
            let _ = socket.shutdown(Shutdown::Write);
            return;
        }
        let id = self.core.welcome(peer, now);
        let token = Token(id.pack() as usize);
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut socket, token, both);
        let session = self.acceptor.as_ref().map(Acceptor::session);
        let sealed = !matches!(session, Some(None));
        self.sockets.put(id.slot, socket, session.flatten());
        if registered.is_err() || !sealed {
            self.core.handle_broken(id, now);
        }
    }

    /// Takes all orders, and as many events as have room under way.
    fn take_mail(&mut self, now: Now) -> Onward {
        while let Some(order) = self.mailroom.next_order() {
            if let Order::Certify { acceptor } = order {
                self.acceptor = Some(acceptor);
                continue;
            }
            match self.core.handle_order(order, now) {
                Onward::Go => {}
                Onward::StopWhenEmpty => self.stop_when_empty = true,
                Onward::Stop => return Onward::Stop,
            }
        }
        let mut taken = 0;
        while taken < EVENT_BUDGET && self.core.has_room() {
            let Some(mail) = self.mailroom.next_mail() else { break };
            self.core.handle_mail(mail, now);
            taken += 1;
        }
        Onward::Go
    }

    /// Sends what the shard has for the sequencer. `true`: its inbox is full, try again.
    fn send_reports(&mut self) -> bool {
        let reports = self.core.reports();
        if reports.is_empty() {
            return false;
        }
        while let Some(report) = reports.pop_front() {
            match self.upstream.inbox.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => {
                    reports.push_front(report);
                    break;
                }
                // The sequencer is gone: the node is stopping.
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        self.upstream.gate.open();
        !self.core.reports().is_empty()
    }

    /// Sends what the shard asks of the log. `true`: some of it was answered at once, by a log that is
    /// not there.
    fn send_asks(&mut self) -> bool {
        let lost = pass_on(self.core.asks(), self.upstream.archive.as_ref());
        for ask in &lost {
            self.core.handle_part(ask.after, None);
        }
        !lost.is_empty()
    }
}

/// Passes questions on; those for which there is no room stay for the next turn. Returns those that
/// nobody will answer.
fn pass_on(asks: &mut VecDeque<Ask>, reader: Option<&Sender<Ask>>) -> Vec<Ask> {
    while let (Some(ask), Some(reader)) = (asks.front(), reader) {
        match reader.try_send(*ask) {
            Ok(()) => drop(asks.pop_front()),
            Err(TrySendError::Full(_)) => return Vec::new(),
            Err(TrySendError::Disconnected(_)) => break,
        }
    }
    asks.drain(..).collect()
}

/// Events taken from the mailbox in one turn. Events for single users do not join the sweep,
/// so that its room does not bound them.
const EVENT_BUDGET: usize = 1024;

const OVERRUN: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 60\r\n\r\n\
    {\"error\":{\"code\":\"node_full\",\"message\":\"too many sockets\"}}\n";

/// Whether accepting failed for want of something that may come back.
fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_finds_no_room_goes_next_turn_and_none_is_left_without_an_answer() {
        let ask = |after| Ask { shard: 3, after };
        let mut asks = VecDeque::from([ask(1), ask(2), ask(3)]);
        let (line, reader) = crossbeam_channel::bounded(2);
        assert_eq!(pass_on(&mut asks, Some(&line)), []);
        assert_eq!(asks, [ask(3)]);
        assert_eq!(pass_on(&mut asks, Some(&line)), [], "still no room");
        assert_eq!(asks, [ask(3)]);
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [ask(1), ask(2)]);
        assert_eq!(pass_on(&mut asks, Some(&line)), []);
        assert_eq!(reader.try_iter().collect::<Vec<_>>(), [ask(3)]);
        assert!(asks.is_empty());

        drop(reader);
        for reader in [Some(&line), None] {
            asks.extend([ask(4), ask(5)]);
            assert_eq!(pass_on(&mut asks, reader), [ask(4), ask(5)], "nobody is there");
            assert!(asks.is_empty());
        }
    }
}
