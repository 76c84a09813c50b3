//! The control thread: its sockets, the sequencer's inbox, and time.
//!
//! ```text
//! turn: poll → now → inbox → read, serve → overdue questions, deadlines → write, drop
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

use crate::base::slots::{Id, Slots};
use crate::base::time::Now;
use crate::control::http::{Answer, Client, Reply, Secret};
use crate::control::metrics::{self, Sources};
use crate::control::past::Past;
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
/// A request must be complete so long after its first byte, an answer read.
const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// How long the answer to a peer that has shut its side waits for the journal.
const ABANDONED_MS: u64 = 10_000;
/// How long a peer that was refused may take to read why.
const LINGER_MS: u64 = 2_000;
/// How long the journal may take to settle what it has in hand when the node stops.
const FINISH_MS: u64 = 500;
/// How long accepting pauses when descriptors have run out.
const ACCEPT_PAUSE_MS: u64 = 100;

/// A socket of either kind.
enum Stream {
    Unix(UnixStream),
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
enum Took {
    Bytes(usize),
    Nothing,
    End,
}

const OVERRUN: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 70\r\n\r\n\
    {\"error\":{\"code\":\"overloaded\",\"message\":\"too many connections here\"}}\n";

struct Peer {
    stream: Stream,
    client: Client,
    /// It came over TCP.
    is_remote: bool,
    /// When it came (monotonic ms).
    born: u64,
    /// When the request under way began, or the answer under way was queued (monotonic ms).
    since: Option<u64>,
    /// Nothing more is written; waiting for the peer to close.
    shut_at: Option<u64>,
    /// When it said that it will send no more (monotonic ms).
    left_at: Option<u64>,
    ended: bool,
}

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
    accept_again_at: Option<u64>,
    peers: Slots<Peer>,
    ready: Vec<Id>,
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
            accept_again_at: None,
            peers: Slots::default(),
            ready: Vec::new(),
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
            let more_wait = self.accept(now);
            let mut ready = std::mem::take(&mut self.ready);
            let mut hung_up = Vec::new();
            for event in &events {
                if event.token().0 < TCP.0 {
                    let id = Id::unpack(event.token().0 as u64);
                    if event.is_error() || event.is_write_closed() {
                        hung_up.push(id);
                    }
                    ready.push(id);
                }
            }
            for id in ready.drain(..) {
                self.serve(id, now);
            }
            // What they had sent is done; nobody is left to wait for the journal's word.
            for id in hung_up {
                if self.peers.get(id).is_some_and(|peer| peer.client.is_held()) {
                    self.peers.remove(id);
                }
            }
            self.fire_deadlines(now);
            self.answer_posts();
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
        /// Peers that stall are looked for this often.
        const CHECK_MS: u64 = 1_000;
        self.sequencer.due_in(now).min(questions).min(accept).min(CHECK_MS)
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
        while let Some((id, page)) = self.past.as_mut().and_then(Past::next_page) {
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
            self.serve(id, now);
        }
    }

    /// Accepts what waits. `true`: more may wait.
    fn accept(&mut self, now: Now) -> bool {
        if self.accept_again_at.is_some_and(|at| at > now.mono) {
            return false;
        }
        self.accept_again_at = None;
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
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
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
        let id = self.peers.insert(Peer {
            stream,
            client: Client::new(self.body_max, secret),
            is_remote: secret.is_some(),
            born: now.mono,
            since: Some(now.mono),
            shut_at: None,
            left_at: None,
            ended: false,
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(id.pack() as usize);
        let registered = self
            .peers
            .get_mut(id)
            .is_some_and(|peer| self.poll.registry().register(peer.stream.source(), token, both).is_ok());
        if !registered {
            self.peers.remove(id);
        }
    }

    /// Reads, serves and writes one connection as far as it goes, or as its share of a turn does.
    fn serve(&mut self, id: Id, now: Now) {
        let (mut spent, mut budget) = (0, SERVE_BUDGET);
        loop {
            let took = self.read(id);
            let before = budget;
            while budget > 0
                && let Some(cost) = self.serve_one(id, now)
            {
                budget -= cost.min(budget);
            }
            self.write(id, now);
            match took {
                Took::End if budget > 0 => break,
                // It waits for bytes, for an answer, or for its peer to read.
                Took::Nothing if budget == before => break,
                Took::End | Took::Nothing => {}
                Took::Bytes(n) => spent += n,
            }
            if budget == 0 || spent >= READ_BUDGET {
                self.ready.push(id);
                break;
            }
        }
        self.retire_if_over(id, now);
    }

    fn read(&mut self, id: Id) -> Took {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.ended) else { return Took::End };
        // One who does not read its answers, or runs ahead of them, is not read from either.
        if peer.client.is_choked() || !peer.client.wants_bytes() {
            return Took::Nothing;
        }
        match peer.stream.read(&mut self.buffer) {
            Ok(0) => {
                peer.client.handle_end();
                Took::End
            }
            Ok(n) => {
                peer.client.handle_bytes(&self.buffer[..n]);
                Took::Bytes(n)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Took::Nothing,
            Err(_) => {
                peer.ended = true;
                Took::End
            }
        }
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
                cost = SERVE_BUDGET; // It looks at thousands of events.
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

    /// Writes what the socket takes. `true`: nothing is left.
    fn write(&mut self, id: Id, now: Now) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        while !peer.client.is_flushed() && !peer.ended {
            match peer.stream.write(&peer.client.unsent()) {
                Ok(n) => peer.client.advance_sent(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => peer.ended = true,
            }
        }
        let flushed = peer.client.is_flushed();
        peer.since = match (flushed && !peer.client.is_midway(), peer.since) {
            (true, _) => None,
            (false, since) => since.or(Some(now.mono)),
        };
        flushed
    }

    fn retire_if_over(&mut self, id: Id, now: Now) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.client.is_done() && peer.client.is_flushed() && peer.shut_at.is_none() {
            peer.stream.shutdown();
            peer.shut_at = Some(now.mono);
        }
        // The peer has closed too, now or a while after the answer: nothing is left to wait for.
        peer.ended |= peer.shut_at.is_some() && peer.client.is_ended();
        if peer.client.is_ended() {
            peer.left_at.get_or_insert(now.mono);
        }
        if peer.ended {
            self.peers.remove(id); // Closing the descriptor also ends its registration.
        }
    }
}

impl Peer {
    fn is_overdue(&self, now: Now) -> bool {
        let past = |since: Option<u64>, limit| since.is_some_and(|at| now.mono >= at + limit);
        let stranger = (!self.client.is_proven()).then_some(self.born);
        // Who left while the journal hangs keeps no place from those who come to look why.
        past(self.shut_at, LINGER_MS)
            || past(self.left_at.filter(|_| self.client.is_held()), ABANDONED_MS)
            || past(self.since, REQUEST_TIMEOUT_MS)
            || past(stranger, REQUEST_TIMEOUT_MS)
    }
}

#[cfg(test)]
#[path = "reactor_tests.rs"]
mod tests;
