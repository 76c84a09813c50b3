//! The control thread: its sockets, the sequencer's inbox, and time.
//!
//! ```text
//! turn: poll → now → inbox → read, serve → overdue questions, deadlines → wake the shards → write, drop
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};

use crate::base::slots::{Id, Slots};
use crate::base::time::Now;
use crate::control::http::{Answer, Reply, Secret};
use crate::control::metrics::{self, Sources};
use crate::control::past::Past;
use crate::control::peer::{Peer, Stream, Took};
use crate::control::questions::{Asker, Question, Questions, Settled};
use crate::control::router::{Outcome, route};
use crate::control::routes;
use crate::publish::sequencer::Sequencer;
use crate::shard::clock::Clock;
use crate::shard::mail::{Order, Report};
use crate::shard::mailbox::WakeGate;

/// The inbox's token.
pub const WAKER: Token = Token(usize::MAX);
const UNIX: Token = Token(usize::MAX - 1);
const TCP: Token = Token(usize::MAX - 2);
/// Connections to the control listener at once, of both kinds.
pub const CLIENTS_MAX: usize = 1_024;
/// Of those, the ones over TCP.
const REMOTE_CLIENTS_MAX: usize = 256;
/// Connections accepted in one turn.
const ACCEPT_BUDGET: usize = 64;
/// Requests of one connection that are served in one turn.
const SERVE_BUDGET: usize = 64;
/// Bytes read from one connection in one turn.
const READ_BUDGET: usize = 1 << 20;
/// Reports taken in one turn.
const REPORT_BUDGET: usize = 4_096;
/// How long the journal may take to settle what it has in hand when the node stops.
const FINISH_MS: u64 = 500;
/// Peers that stall are looked for this often.
const CHECK_MS: u64 = 500;
/// How long accepting pauses when descriptors have run out.
const ACCEPT_PAUSE_MS: u64 = 100;

const OVERRUN: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 70\r\n\r\n\
    {\"error\":{\"code\":\"overloaded\",\"message\":\"too many connections here\"}}\n";

/// What the control listener is made of.
pub struct Listeners {
    /// The local socket.
    pub unix: UnixListener,
    /// The TCP listener and the token that it asks for.
    pub tcp: Option<(TcpListener, Secret)>,
}

/// The control thread.
pub struct Reactor {
    poll: Poll,
    listeners: Listeners,
    /// Whether somebody may wait to be accepted.
    accepts: bool,
    accept_again_at: Option<u64>,
    peers: Slots<Peer>,
    ready: Vec<Id>,
    /// When peers that stall are looked for next (monotonic ms).
    check_at: u64,
    /// Served this turn, answers not written.
    unwritten: Vec<Id>,
    sequencer: Sequencer,
    questions: Questions,
    /// Who made the posts that wait for the journal, in the order of their tickets.
    posts: VecDeque<Id>,
    past: Option<Past>,
    sources: Sources,
    inbox: Receiver<Report>,
    gate: Arc<WakeGate>,
    clock: Clock,
    body_max: usize,
    buffer: Box<[u8]>,
}

impl Reactor {
    /// A control thread. `poll` is where the waker behind `gate` is registered as [`WAKER`].
    ///
    /// # Errors
    /// When a listener cannot be registered.
    #[expect(
        clippy::too_many_arguments,
        reason = "assembled in one place, from parts that are made elsewhere"
    )]
    pub fn new(
        poll: Poll,
        mut listeners: Listeners,
        sequencer: Sequencer,
        past: Option<Past>,
        sources: Sources,
        inbox: Receiver<Report>,
        gate: Arc<WakeGate>,
        clock: Clock,
        body_max: usize,
    ) -> io::Result<Reactor> {
        poll.registry().register(&mut listeners.unix, UNIX, Interest::READABLE)?;
        if let Some((tcp, _)) = &mut listeners.tcp {
            poll.registry().register(tcp, TCP, Interest::READABLE)?;
        }
        Ok(Reactor {
            poll,
            listeners,
            accepts: true,
            accept_again_at: None,
            peers: Slots::default(),
            ready: Vec::new(),
            check_at: 0,
            unwritten: Vec::new(),
            sequencer,
            questions: Questions::default(),
            posts: VecDeque::new(),
            past,
            sources,
            inbox,
            gate,
            clock,
            body_max,
            buffer: vec![0; 64 << 10].into_boxed_slice(),
        })
    }

    /// Runs until the node stops.
    ///
    /// # Errors
    /// When polling fails, which leaves nothing sensible to do.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut more = false;
        loop {
            let timeout = if more { 0 } else { self.due_in(self.clock.now()) };
            match self.poll.poll(&mut events, Some(Duration::from_millis(timeout))) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => events.clear(),
                Err(e) => return Err(e),
            }
            self.gate.close();
            let now = self.clock.now();
            let Some(reports_left) = self.take_reports(now) else { return self.finish() };
            self.sequencer.settle(now);
            self.answer_posts();
            self.answer_past();
            self.accepts |= events.iter().any(|event| matches!(event.token(), UNIX | TCP));
            let more_wait = self.accept(now);
            let mut ready = std::mem::take(&mut self.ready);
            for id in ready.drain(..) {
                self.serve(id, true, now);
            }
            let mut hung_up = Vec::new();
            for event in events.iter().filter(|event| event.token().0 < TCP.0) {
                let id = Id::unpack(event.token().0 as u64);
                if event.is_error() || event.is_write_closed() {
                    hung_up.push(id);
                }
                self.serve(id, event.is_read_closed() || event.is_error(), now);
            }
            // What they had sent is done; nobody is left to wait for the journal's word.
            for id in hung_up {
                if self.peers.get(id).is_some_and(|peer| peer.client.is_held()) {
                    self.peers.remove(id);
                }
            }
            self.fire_deadlines(now);
            self.answer_posts();
            self.sequencer.ring();
            self.flush(now);
            more = reports_left || more_wait || !self.ready.is_empty();
        }
    }

    /// The last turns: whatever the journal has in hand is settled, and those who posted it hear of
    /// it, if that does not take long.
    fn finish(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let deadline = self.clock.now().mono + FINISH_MS;
        loop {
            let now = self.clock.now();
            self.sequencer.settle(now);
            self.sequencer.ring();
            self.answer_posts();
            for id in std::mem::take(&mut self.ready) {
                self.write(id, now);
            }
            if self.sequencer.uncommitted() == 0 || now.mono >= deadline {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(Duration::from_millis(deadline - now.mono))) {
                Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
                _ => self.gate.close(),
            }
        }
    }

    fn due_in(&self, now: Now) -> u64 {
        let questions = self.questions.next_due().map_or(u64::MAX, |at| at.saturating_sub(now.mono));
        let accept = self.accept_again_at.map_or(u64::MAX, |at| at.saturating_sub(now.mono));
        let check = self.check_at.saturating_sub(now.mono);
        self.sequencer.due_in(now).min(questions).min(accept).min(check)
    }

    /// Takes what the shards report. `Some(true)`: there is more. `None`: the node stops.
    fn take_reports(&mut self, now: Now) -> Option<bool> {
        for _ in 0..REPORT_BUDGET {
            let Ok(report) = self.inbox.try_recv() else { return Some(false) };
            match self.sequencer.handle_report(report, now) {
                None => {}
                Some(Report::Stop) => return None,
                Some(Report::AskedStats { shard, conn }) => self.ask_for_client(shard, conn, now),
                Some(answer) => {
                    if let Some(settled) = self.questions.handle_report(answer) {
                        self.answer(&settled, now);
                    }
                }
            }
        }
        Some(true)
    }

    fn ask(&mut self, asker: Asker, question: Question, now: Now) -> bool {
        let config = self.sequencer.config().clone();
        self.questions.ask(asker, question, &config.policy, self.sequencer.mailboxes(), now)
    }

    fn ask_for_client(&mut self, shard: usize, conn: Id, now: Now) {
        if !self.ask(Asker::Client { shard, conn }, Question::Stats, now) {
            self.sequencer.mailboxes()[shard].order(Order::Stats { conn, body: None });
        }
    }

    /// Gives the sum of the shards' answers to whoever asked.
    fn answer(&mut self, settled: &Settled, now: Now) {
        let id = match settled.asker {
            Asker::Control(id) => id,
            Asker::Client { shard, conn } => {
                let body = routes::stats::body(settled, &self.sequencer).map(String::into_boxed_str);
                return self.sequencer.mailboxes()[shard].order(Order::Stats { conn, body });
            }
        };
        let shards = self.sequencer.mailboxes().len();
        let answer = match &settled.question {
            Question::Stats => routes::stats::answer(settled, &self.sequencer),
            Question::Metrics => {
                let page = metrics::page(settled, &self.sequencer, &self.sources, now.mono);
                let mut answer = Answer::json(200, page);
                answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
                answer
            }
            Question::List { limit, .. } => routes::connections::answer(settled, *limit, shards),
            Question::Kick(_) => routes::kick::answer(settled, shards),
        };
        if let Some(peer) = self.peers.get_mut(id)
            && peer.client.is_waiting()
        {
            peer.client.answer(&answer);
            self.ready.push(id);
        }
    }

    /// Answers the questions for which the log has been read.
    fn answer_past(&mut self) {
        while let Some((id, query, page)) = self.past.as_mut().and_then(Past::next_page) {
            let page = self.sequencer.go_on(&query, page);
            if let Some(peer) = self.peers.get_mut(id)
                && peer.client.is_waiting()
            {
                peer.client.answer(&routes::history::answer(page, &self.sequencer));
                self.ready.push(id);
            }
        }
    }

    /// Answers the posts about which there is word from the journal.
    fn answer_posts(&mut self) {
        while let Some((ticket, published)) = self.sequencer.next_settled() {
            let Some(id) = self.posts.pop_front() else { continue };
            if let Some(peer) = self.peers.get_mut(id) {
                let refusal = (!published).then(routes::events::not_safe);
                peer.client.settle(ticket, refusal.as_ref());
                self.ready.push(id);
            }
        }
    }

    fn fire_deadlines(&mut self, now: Now) {
        while let Some(settled) = self.questions.pop_overdue(now) {
            self.answer(&settled, now);
        }
        self.sequencer.fire_deadlines(now);
        if now.mono < self.check_at {
            return;
        }
        self.check_at = now.mono + CHECK_MS;
        let stalled: Vec<Id> =
            self.peers.iter().filter(|(_, peer)| peer.is_overdue(now)).map(|(id, _)| id).collect();
        for id in stalled {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if peer.shut_at.is_some() || peer.left_at.is_some() || !peer.client.is_midway() {
                peer.ended = true; // It does not read its answer, or does not go, or is long gone.
            } else {
                peer.client.refuse(&Answer::error(
                    408,
                    "request_timeout",
                    "the request was not complete in time",
                ));
                peer.since = Some(now.mono);
            }
            self.serve(id, true, now);
        }
    }

    /// Accepts what waits. `true`: more may wait.
    fn accept(&mut self, now: Now) -> bool {
        if self.accept_again_at.is_some_and(|at| at <= now.mono) {
            self.accept_again_at = None;
            self.accepts = true;
        }
        if !self.accepts || self.accept_again_at.is_some() {
            return false;
        }
        for _ in 0..ACCEPT_BUDGET {
            let unix = self.listeners.unix.accept().map(|(stream, _)| (Stream::Unix(stream), None));
            let tcp = || match &self.listeners.tcp {
                Some((tcp, secret)) => tcp.accept().map(|(stream, _)| {
                    let _ = stream.set_nodelay(true); // A latency hint; without it all works.
                    (Stream::Tcp(stream), Some(*secret))
                }),
                None => Err(ErrorKind::WouldBlock.into()),
            };
            match unix.or_else(|e| if e.kind() == ErrorKind::WouldBlock { tcp() } else { Err(e) }) {
                Ok((stream, secret)) => self.welcome(stream, secret, now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.accepts = false;
                    return false;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted || e.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    self.accept_again_at = Some(now.mono + ACCEPT_PAUSE_MS);
                    return false;
                }
            }
        }
        true
    }

    /// Those who come over the network cannot take the places of those who come over the socket.
    fn welcome(&mut self, mut stream: Stream, secret: Option<Secret>, now: Now) {
        let same = self.peers.iter().filter(|(_, peer)| peer.is_remote == secret.is_some()).count();
        let max = if secret.is_some() { REMOTE_CLIENTS_MAX } else { CLIENTS_MAX - REMOTE_CLIENTS_MAX };
        if same >= max {
            let _ = stream.write(OVERRUN); // Best effort: nothing was read.
            return;
        }
        let id = self.peers.insert(Peer::new(stream, self.body_max, secret, now));
        let token = Token(id.pack() as usize);
        let registry = self.poll.registry();
        let registered = self.peers.get_mut(id).is_some_and(|peer| peer.register(registry, token).is_ok());
        if !registered {
            self.peers.remove(id);
        }
    }

    /// Reads and serves one connection as far as it goes, or as its share of a turn does. Its answers are
    /// written at the end of the turn. A read that does not fill the buffer has emptied the socket, and
    /// what comes later makes a new edge; only an end that was announced must be read out `to_the_end`.
    fn serve(&mut self, id: Id, to_the_end: bool, now: Now) {
        let (mut spent, mut budget) = (0, SERVE_BUDGET);
        loop {
            let took = self.peers.get_mut(id).map_or(Took::End, |peer| peer.read(&mut self.buffer));
            let before = budget;
            while budget > 0
                && let Some(cost) = self.serve_one(id, now)
            {
                budget -= cost.min(budget);
            }
            match took {
                Took::End if budget > 0 => break,
                // It waits for bytes, for an answer, or for its peer to read.
                Took::Nothing if budget == before => break,
                Took::Bytes(n) if n < self.buffer.len() && !to_the_end && budget > 0 => break,
                Took::End | Took::Nothing => {}
                Took::Bytes(n) => spent += n,
            }
            if budget == 0 || spent >= READ_BUDGET {
                self.ready.push(id);
                break;
            }
        }
        self.unwritten.push(id);
    }

    /// Writes what this turn's requests are answered.
    fn flush(&mut self, now: Now) {
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for id in unwritten.drain(..) {
            let was_choked = self.peers.get(id).is_some_and(|peer| peer.client.is_choked());
            self.write(id, now);
            if was_choked && self.peers.get(id).is_some_and(|peer| !peer.client.is_choked()) {
                self.ready.push(id); // What it had sent meanwhile was left with the kernel.
            }
            self.retire_if_over(id, now);
        }
        self.unwritten = unwritten;
    }

    /// Serves the next request of a connection. Returns what that takes of its share of a turn;
    /// nothing where there was none.
    fn serve_one(&mut self, id: Id, now: Now) -> Option<usize> {
        let peer = self.peers.get_mut(id)?;
        let sequencer = &mut self.sequencer;
        let (mut asked, mut past) = (None, None);
        let posts = &mut self.posts;
        let mut cost = 1;
        let served = peer.client.poll_request(|request| {
            if request.head.method == "GET" && request.head.path() == "/api/events" {
                // It looks at thousands of events: what was posted this turn does not wait for that.
                cost = SERVE_BUDGET;
                sequencer.ring();
            }
            match route(request, sequencer, now) {
                Outcome::Answer(answer) => Reply::Now(answer),
                Outcome::Once(ticket, answer) => {
                    posts.push_back(id);
                    Reply::Once(ticket, answer)
                }
                Outcome::Past(query) => {
                    past = Some(query);
                    Reply::Later
                }
                Outcome::Ask(question) => {
                    asked = Some(question);
                    Reply::Later
                }
            }
        });
        if served {
            peer.since = None;
        }
        let refused = match (asked, past) {
            (Some(question), _) => !self.ask(Asker::Control(id), question, now),
            (None, Some(query)) => !self.past.as_mut().is_some_and(|past| past.ask(id, query)),
            (None, None) => false,
        };
        if refused && let Some(peer) = self.peers.get_mut(id) {
            peer.client
                .answer(&Answer::error(503, "overloaded", "too many questions").with("Retry-After", "1"));
        }
        served.then_some(cost)
    }

    fn write(&mut self, id: Id, now: Now) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.write(self.poll.registry(), Token(id.pack() as usize), now);
        }
    }

    fn retire_if_over(&mut self, id: Id, now: Now) {
        if self.peers.get_mut(id).is_some_and(|peer| peer.is_over(now)) {
            self.peers.remove(id); // Closing the descriptor also ends its registration.
        }
    }
}

#[cfg(test)]
#[path = "reactor_tests.rs"]
mod tests;
